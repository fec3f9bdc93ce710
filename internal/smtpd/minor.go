package smtpd

import "gatepost/internal/smtp"

var (
	replyOK      = &smtp.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"}
	replyBye     = &smtp.Reply{Code: 221, Enhanced: "2.0.0", Text: "bye"}
	replyVrfy    = &smtp.Reply{Code: 252, Enhanced: "2.0.0", Text: "nobody is looked up here; send the message and see"}
	replyVrfyArg = &smtp.Reply{Code: 501, Enhanced: "5.5.4", Text: "the form is VRFY address"}
	replyExpn    = &smtp.Reply{Code: 502, Enhanced: "5.5.1", Text: "lists are not shown here"}
	replyHelp    = &smtp.Reply{Code: 214, Enhanced: "2.0.0", Text: "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\nsee RFC 5321"}
)

// minor obeys the verbs that change little.
func (s *session) minor(c smtp.Command) *smtp.Reply {
	switch {
	case c.Verb == "NOOP": // RFC 5321, section 4.1.1.9: its argument means nothing
		return replyOK
	case c.Verb == "HELP":
		return replyHelp
	case c.Verb == "EXPN":
		return replyExpn
	case c.Verb == "VRFY" && c.Args == "":
		return replyVrfyArg
	case c.Verb == "VRFY": // the same for all: whether an account exists is not told
		return replyVrfy
	case c.Args != "":
		return replyNoArgs
	case c.Verb == "RSET":
		s.reset("client reset")
		return replyOK
	}
	s.polite = true
	s.end("client quit")
	return replyBye
}

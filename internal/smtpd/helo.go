package smtpd

import (
	"context"
	"strconv"
	"strings"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
	"gatepost/internal/smtpd/xclient"
)

// helo obeys EHLO and HELO: RFC 5321, section 4.1.1.1. Either ends a
// transaction (section 4.1.4).
func (s *session) helo(ctx context.Context, c smtp.Command) *smtp.Reply {
	name, bad := smtp.ParseHelo(c.Args)
	if bad != nil {
		return bad
	}
	s.reset("client greeted again")
	s.peer.Helo, s.peer.ESMTP = name, c.Verb == "EHLO"
	if s.behind.Helo != "" { // the proxy's own name says nothing
		s.peer.Helo = s.behind.Helo
	}
	if err := s.o.Policy.Helo(ctx, &s.peer); err != nil {
		s.peer.Helo = ""
		return &envelope.AsError(err).Reply
	}
	text := s.o.Hostname
	if s.peer.ESMTP {
		text += "\n" + strings.Join(s.keywords(), "\n")
	}
	return &smtp.Reply{Code: 250, Text: text}
}

// keywords are the extensions offered as the session stands.
func (s *session) keywords() []string {
	k := make([]string, 0, 12)
	k = append(k, "PIPELINING", "SIZE "+strconv.FormatInt(s.o.Limits.MessageSize, 10), "8BITMIME", "SMTPUTF8",
		"CHUNKING", "DSN", "ENHANCEDSTATUSCODES", s.limits())
	if s.o.TLS != nil && s.peer.TLS == nil {
		k = append(k, "STARTTLS")
	}
	if s.peer.TLS != nil {
		k = append(k, "REQUIRETLS") // RFC 8689, section 2: never where others can listen
	}
	if m := s.mechanisms(); len(m) > 0 {
		k = append(k, "AUTH "+strings.Join(m, " "))
	}
	if s.mayIntroduce() {
		k = append(k, xclient.Keyword)
	}
	return append(k, "HELP")
}

// limits says what is counted in a session: RFC 9422, section 4.
func (s *session) limits() string {
	return "LIMITS MAILMAX=" + strconv.Itoa(s.o.Limits.Messages) + " RCPTMAX=" + strconv.Itoa(s.o.Limits.Recipients)
}

// mechanisms are the ways to sign in, none outside TLS or on the MX: a
// password that a server asks for where others can listen is lost.
func (s *session) mechanisms() []string {
	if s.o.Door != envelope.Submission || s.o.Auth == nil || s.peer.TLS == nil {
		return nil
	}
	return s.o.Auth.Mechanisms(s.peer.TLS)
}

// offered are the extensions whose parameters may be used.
func (s *session) offered() smtp.Extensions {
	if !s.peer.ESMTP {
		return 0
	}
	e := smtp.ExtSize | smtp.Ext8BitMIME | smtp.ExtUTF8 | smtp.ExtDSN
	if s.o.Door == envelope.Submission {
		e |= smtp.ExtAuth
	}
	if s.peer.TLS != nil {
		e |= smtp.ExtRequireTLS
	}
	return e
}

package smtpd

import (
	"context"
	"log/slog"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

var (
	replySender    = &smtp.Reply{Code: 250, Enhanced: "2.1.0", Text: "ok"}
	replyAuthFirst = &smtp.Reply{Code: 530, Enhanced: "5.7.0", Text: "authentication required"}
	replyMailTwice = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "sender already given"}
	replyMailFirst = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "sender not yet given"}
	replyTooBig    = &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "message too big"}
)

// transaction is a mail transaction: RFC 5321, section 3.3.
type transaction struct {
	envelope envelope.Envelope
	accepted int          // RCPT commands
	to       addr.Address // the forward-path of the last of them
	refused  int          // RCPT commands refused
	refusal  string       // the first refusal of anything, for the log
	intake   *intake      // its content; nil before DATA or the first BDAT
}

// mail obeys MAIL: RFC 5321, section 4.1.1.2.
func (s *session) mail(ctx context.Context, args string) *smtp.Reply {
	switch {
	case s.peer.Helo == "":
		return replySequence
	case s.o.Door == envelope.Submission && s.peer.Account == "":
		return replyAuthFirst
	case s.tx != nil:
		return replyMailTwice
	case s.budget.messages >= s.o.Limits.Messages && !s.peer.Relay:
		return replyBusy
	}
	m, bad := smtp.ParseMail(args, s.offered())
	if bad != nil {
		return bad
	}
	if m.Size > s.o.Limits.MessageSize { // RFC 1870, section 6.1
		return replyTooBig
	}
	tx := &transaction{envelope: envelope.Envelope{
		From: m.From, Origin: s.peer.Origin(), Account: s.peer.Account, Client: s.client,
		Ret: envelope.Ret(m.Ret), EnvID: m.EnvID, UTF8: m.UTF8, RequireTLS: m.RequireTLS,
	}}
	if err := s.o.Policy.Mail(ctx, &s.peer, &tx.envelope, m.Size); err != nil {
		e := envelope.AsError(err)
		tx.refusal = e.Error()
		s.logRefused(tx)
		return &e.Reply
	}
	s.tx = tx
	return replySender
}

// reset ends a transaction, if there is one, without a message: RFC 5321,
// section 4.1.1.5.
func (s *session) reset(why string) {
	if s.tx == nil {
		return
	}
	if s.tx.intake != nil {
		s.tx.intake.discard()
	}
	if s.tx.refusal != "" || s.tx.intake != nil {
		if s.tx.refusal == "" {
			s.tx.refusal = why
		}
		s.logRefused(s.tx)
	}
	s.tx = nil
}

// logRefused says once for a whole transaction that nothing came of it.
func (s *session) logRefused(tx *transaction) {
	s.log("message refused",
		slog.String("from", tx.envelope.From.String()), slog.Int("recipients", len(tx.envelope.Recipients)),
		slog.Int("recipients_refused", tx.refused), slog.String("why", tx.refusal))
}

package smtpd

import (
	"context"
	"slices"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

var (
	replyRecipient  = &smtp.Reply{Code: 250, Enhanced: "2.1.5", Text: "ok"}
	replyManyRcpt   = &smtp.Reply{Code: 452, Enhanced: "4.5.3", Text: "too many recipients; send the rest in another message"}
	replyRcptOfBdat = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "no more recipients after the first chunk"}
)

// Of the recipients that do not exist a few cost nothing; each further one is
// answered later than the one before, which makes harvesting addresses slow
// and refuses nobody.
const (
	freeGuesses = 3
	firstDelay  = 250 * time.Millisecond
	maxDelay    = 5 * time.Second
)

// rcpt obeys RCPT: RFC 5321, section 4.1.1.3.
func (s *session) rcpt(ctx context.Context, args string) *smtp.Reply {
	switch {
	case s.tx == nil:
		return replyMailFirst
	case s.tx.intake != nil:
		return replyRcptOfBdat
	}
	to, bad := smtp.ParseRcpt(args, s.offered(), s.tx.envelope.UTF8)
	if bad != nil {
		return s.unwelcome(&envelope.Error{Reply: *bad})
	}
	if len(s.tx.envelope.Recipients) >= s.o.Limits.Recipients {
		return s.unwelcome(&envelope.Error{Reply: *replyManyRcpt})
	}
	list, err := s.o.Policy.Rcpt(ctx, &s.peer, &s.tx.envelope,
		envelope.Recipient{To: to.To, ORcpt: to.ORcpt, Notify: envelope.Notify(to.Notify)})
	if err != nil {
		e := envelope.AsError(err)
		if e.Enhanced == "5.1.1" {
			s.slowDown(ctx)
		}
		return s.unwelcome(e)
	}
	s.tx.add(list)
	s.tx.accepted++
	s.tx.to = to.To
	return replyRecipient
}

// unwelcome notes a recipient that is not taken.
func (s *session) unwelcome(e *envelope.Error) *smtp.Reply {
	s.Counters.RecipientsRefused.Add(1)
	s.tx.refused++
	if s.tx.refusal == "" {
		s.tx.refusal = e.Error()
	}
	return &e.Reply
}

// slowDown makes whoever guesses recipients wait for the answer.
func (s *session) slowDown(ctx context.Context) {
	s.budget.guesses++
	n := s.budget.guesses - freeGuesses
	if n <= 0 || s.peer.Relay {
		return
	}
	s.wire.Flush() // the replies before it do not wait
	over := make(chan struct{})
	t := s.o.Clock.AfterFunc(min(firstDelay<<min(n-1, 16), maxDelay), func() { close(over) })
	defer t.Stop()
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// add takes in the recipients that one forward-path stands for, but for
// those that are there: two aliases may have the same person behind them.
func (tx *transaction) add(list []envelope.Recipient) {
	for _, r := range list {
		if !tx.has(r.To) {
			tx.envelope.Recipients = append(tx.envelope.Recipients, r)
		}
	}
}

func (tx *transaction) has(to addr.Address) bool {
	return slices.ContainsFunc(tx.envelope.Recipients, func(r envelope.Recipient) bool { return r.To == to })
}

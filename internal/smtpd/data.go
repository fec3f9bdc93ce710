package smtpd

import (
	"context"
	"math"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

var (
	replyGo          = &smtp.Reply{Code: 354, Text: "go ahead; end with CR LF . CR LF"}
	replyNoRcpt      = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "no recipient was accepted"}
	replyDataOfBdat  = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "not after BDAT; RSET first"}
	replySmuggling   = &smtp.Reply{Code: 521, Enhanced: "5.5.2", Text: "invalid line ending or NUL in the message; closing"}
	replyEndlessData = &smtp.Reply{Code: 552, Enhanced: "5.3.4", Text: "message far too big; closing"}
)

// dataGrace is how long a message may be slower than DataRate.
const dataGrace = time.Minute

// data obeys DATA: RFC 5321, section 4.1.1.4.
func (s *session) data(ctx context.Context, args string) *smtp.Reply {
	switch {
	case args != "":
		return replyNoArgs
	case s.peer.Helo == "":
		return replySequence
	case s.tx == nil:
		return replyMailFirst
	case s.tx.accepted == 0:
		return replyNoRcpt
	case s.tx.intake != nil:
		return replyDataOfBdat
	}
	in := newIntake(s)
	s.tx.intake = in
	s.reply(replyGo)
	if end, bad := s.receive(ctx, &in.data, &in.data.Content, in); !end {
		return bad
	}
	if in.data.Broken {
		// The client, or somebody before it, does not know where lines end:
		// it may think that this message ended earlier, and that what comes
		// next is not the beginning of a command.
		s.end("smuggling")
		return s.condemn(replySmuggling)
	}
	return s.finish(ctx, &in.data.Content)
}

// source is smtp.Data or smtp.Chunks.
type source interface {
	Next(p []byte) (content []byte, n int, done bool)
}

// receive reads content to its end and hands it to the intake, if there is
// one. If the end was not reached, the reply is what to say to that.
func (s *session) receive(ctx context.Context, from source, seen *smtp.Content, to *intake) (end bool, bad *smtp.Reply) {
	start, before := s.o.Clock.Now(), seen.Size
	s.wire.Bulk = true
	defer func() { s.wire.Bulk = false }()
	for {
		s.wire.Expect(s.o.Limits.DataTimeout, s.dueBy(start, seen.Size-before))
		p, err := s.wire.More()
		if err != nil {
			return false, s.unheard(err)
		}
		content, n, done := from.Next(p)
		if to != nil {
			to.take(ctx, content, seen)
		}
		s.wire.Used(n)
		switch {
		case done:
			return true, nil
		case seen.Size/2 > s.o.Limits.MessageSize:
			// It was to be read to its end before it is refused, but there
			// may be none.
			s.end("message without end")
			return false, replyEndlessData
		}
	}
}

// dueBy returns when the next octets must have come: a message that takes
// longer than its least rate allows keeps a session from others. Only who
// may relay has all the time in the world.
func (s *session) dueBy(start time.Time, octets int64) time.Time {
	if s.peer.Relay || s.o.Limits.DataRate <= 0 {
		return s.budget.end
	}
	seconds := min(octets/s.o.Limits.DataRate, math.MaxInt32)
	by := start.Add(dataGrace + time.Duration(seconds)*time.Second)
	if s.budget.end.Before(by) {
		return s.budget.end
	}
	return by
}

// condemn refuses a message with a broken line.
func (s *session) condemn(r *smtp.Reply) *smtp.Reply {
	s.Counters.Smuggling.Add(1)
	return s.fail(&envelope.Error{Reply: *r})
}

// fail ends a transaction at the end of a message that is not taken.
func (s *session) fail(e *envelope.Error) *smtp.Reply {
	s.Counters.MessagesRefused.Add(1)
	s.tx.refusal = e.Error()
	s.reset("")
	return &e.Reply
}

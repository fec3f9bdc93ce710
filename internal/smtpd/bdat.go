package smtpd

import (
	"context"
	"fmt"

	"gatepost/internal/smtp"
)

var replyBroken = &smtp.Reply{Code: 554, Enhanced: "5.6.0", Text: "bare CR, bare LF or NUL in the message"}

// bdat obeys BDAT: RFC 3030, section 2. Whatever becomes of the message, the
// octets of the chunk are read and never taken for commands. A chunk that
// fails ends the transaction; those that the client has sent behind it are
// then answered like any other that stands outside of one.
func (s *session) bdat(ctx context.Context, args string) *smtp.Reply {
	b, bad := smtp.ParseBdat(args)
	switch {
	case bad != nil:
		s.end("BDAT without a size")
		return bad
	case b.Size/2 > s.o.Limits.MessageSize:
		s.end("chunk without end")
		return replyEndlessData
	case b.Size == 0 && !b.Last && s.overspent():
		return nil
	case s.peer.Helo == "":
		return s.swallow(ctx, b.Size, replySequence)
	case s.tx == nil:
		return s.swallow(ctx, b.Size, replyMailFirst)
	case s.tx.accepted == 0:
		return s.swallow(ctx, b.Size, replyNoRcpt)
	}
	return s.chunk(ctx, b)
}

// swallow reads a chunk that is out of place.
func (s *session) swallow(ctx context.Context, size int64, r *smtp.Reply) *smtp.Reply {
	var c smtp.Chunks
	if end, bad := s.receiveChunk(ctx, &c, size, nil); !end {
		return bad
	}
	return r
}

// chunk takes in one chunk of a message.
func (s *session) chunk(ctx context.Context, b smtp.Bdat) *smtp.Reply {
	if s.tx.intake == nil {
		s.tx.intake = newIntake(s)
	}
	in := s.tx.intake
	c := &in.chunks
	if end, bad := s.receiveChunk(ctx, c, b.Size, in); !end {
		return bad
	}
	if b.Last {
		in.take(ctx, c.End(), &c.Content)
	}
	switch {
	case c.Broken:
		// The client has counted its octets, so that the session is in step;
		// it is only the message that cannot be sent on.
		return s.condemn(replyBroken)
	case in.refused != nil:
		return s.fail(in.refused)
	case b.Last:
		return s.finish(ctx, &c.Content)
	}
	return &smtp.Reply{Code: 250, Enhanced: "2.0.0", Text: fmt.Sprintf("%d octets", b.Size)}
}

func (s *session) receiveChunk(ctx context.Context, c *smtp.Chunks, size int64, to *intake) (end bool, bad *smtp.Reply) {
	if size == 0 {
		return true, nil
	}
	c.Begin(size)
	return s.receive(ctx, c, &c.Content, to)
}

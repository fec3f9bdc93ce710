package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/verdict"
)

// sendBack finds whom mail to a return address is for: what is told of a
// message that we forwarded. That has no reverse-path (RFC 5321, section
// 4.5.5); with one it would be somebody's letter, and we their relay.
func (g *Gate) sendBack(ctx context.Context, q *rcpt) error {
	if !q.local {
		return nil
	}
	sender, is, err := g.o.Returns.Find(ctx, q.asked.To)
	switch {
	case !is || err != nil:
		return err
	case !q.envelope.From.IsNull():
		return envelope.Refuse(550, "5.7.1", "this address takes nothing but reports on one message, which have no sender (MAIL FROM:<>)")
	case len(q.envelope.Recipients) > 0:
		// One message to many of them would be many from us.
		return envelope.Refuse(452, "4.5.3", "a return address stands alone; send the rest in another message")
	}
	to := []addr.Address{sender}
	if sender.IsNull() { // nobody who was forged is told, as with failures of our own
		sender = addr.Address{Local: "postmaster", Domain: q.asked.To.Domain}
	}
	local, err := g.o.Directory.IsLocal(ctx, sender.Domain)
	if err == nil && local {
		to, err = g.o.Directory.Resolve(ctx, sender)
	}
	for _, a := range to {
		r := stand(q.asked, a)
		r.Via = q.asked.To.Fold()
		q.recipients = append(q.recipients, r)
	}
	return err
}

// countReturn counts a message to a return address, once all of it has come
// and nothing else objects.
func (g *Gate) countReturn(ctx context.Context, _ *envelope.Peer, e *envelope.Envelope) error {
	for i := range e.Recipients {
		if via := e.Recipients[i].Via; !via.IsNull() {
			return g.o.Returns.Spend(ctx, via) // it stands alone
		}
	}
	return nil
}

// noCircle refuses a message that has been passed on through one of its
// aliases before: each turn would make it longer, and copies of it where an
// alias has several targets. RFC 5321, section 6.3 leaves it to us how to
// detect it; Delivered-To is what outbound adds.
func (g *Gate) noCircle(_ context.Context, _ *envelope.Peer, e *envelope.Envelope, header []byte) error {
	for i := range e.Recipients {
		via := e.Recipients[i].Via
		if via.IsNull() {
			continue
		}
		for f := range message.Fields(header) {
			if f.Is("Delivered-To") && addressed(f.Value(), via) {
				return envelope.Refuse(554, "5.4.6", fmt.Sprintf("mail loop: the message has been forwarded from %s before", via))
			}
		}
	}
	return nil
}

// addressed reports whether a field names an address of ours.
func addressed(value string, a addr.Address) bool {
	to, err := addr.Parse(strings.TrimSpace(value))
	return err == nil && to.Fold() == a
}

// passOn decides for a message that is unfit to go on through an alias. An
// alias with a mailbox here behind it has its copy there. Where nothing is
// left to be done here the message is refused, so that its sender hears why;
// else those whom it cannot reach are told of, or kept, as any failure is,
// when the queue comes to them.
func (g *Gate) passOn(ctx context.Context, v *verdict.Verdict, e *envelope.Envelope) error {
	why := v.Unfit()
	if v.Err() != nil || why == nil {
		return nil
	}
	var kept []envelope.Recipient
	stranded := 0
	for _, r := range e.Recipients {
		leaves, home, err := g.whereTo(ctx, e, r)
		switch {
		case err != nil:
			return err
		case home:
			g.o.Log.LogAttrs(ctx, slog.LevelInfo, "not forwarded", slog.String("id", e.ID.String()),
				slog.String("alias", r.Via.String()), slog.String("why", why.Text))
			continue
		case leaves:
			stranded++
		}
		kept = append(kept, r)
	}
	if stranded > 0 && stranded == len(kept) {
		v.Refuse(why)
		return nil
	}
	e.Recipients, e.Unfit = kept, stranded > 0
	return nil
}

// whereTo reports whether a recipient is forwarded to another server, and if
// so, whether there is a home for the message behind the same alias.
func (g *Gate) whereTo(ctx context.Context, e *envelope.Envelope, r envelope.Recipient) (leaves, home bool, err error) {
	if r.Via.IsNull() {
		return false, false, nil
	}
	local, err := g.o.Directory.IsLocal(ctx, r.To.Domain)
	if local || err != nil {
		return false, false, err
	}
	home, err = g.hasHome(ctx, e, r.Via)
	return true, home, err
}

// hasHome reports whether one of those who get an envelope here stands behind
// an alias.
func (g *Gate) hasHome(ctx context.Context, e *envelope.Envelope, alias addr.Address) (bool, error) {
	targets, err := g.o.Directory.Resolve(ctx, alias)
	var refused *envelope.Error
	if errors.As(err, &refused) && !refused.Temporary() { // a return address, or it has gone meanwhile
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, t := range targets {
		local, err := g.o.Directory.IsLocal(ctx, t.Domain)
		if err != nil {
			return false, err
		}
		for i := range e.Recipients {
			if local && e.Recipients[i].To == t {
				return true, nil
			}
		}
	}
	return false, nil
}

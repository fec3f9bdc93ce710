package outbound

import (
	"context"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// forward attempts to deliver to those behind one alias.
func (o *Outbound) forward(ctx context.Context, a *envelope.Attempt, g *group) []envelope.Outcome {
	next := *a
	next.Recipients = g.recipients
	if g.alias.IsNull() {
		return o.o.Next.Deliver(ctx, &next)
	}
	if a.Envelope.Unfit {
		return same(len(g.recipients), envelope.Outcome{Status: envelope.Failed, Ours: true, Err: envelope.Refuse(550, "5.7.1",
			"the message was not forwarded from "+g.alias.String()+": it looks like junk, or nothing shows that it is by its author (DMARC)")})
	}
	from, err := o.reversePath(ctx, a.Envelope, g.alias)
	if err != nil {
		o.o.Log.Error("a message waits since it cannot be forwarded", "id", a.Envelope.ID, "alias", g.alias.String(), "err", err)
		return same(len(g.recipients), envelope.Outcome{Status: envelope.Deferred, Ours: true, Err: envelope.Fail(err, 451, "4.3.0",
			"the address to forward from cannot be kept at the moment")})
	}
	next.Envelope = o.passedOn(a, g.alias, from)
	return o.o.Next.Deliver(ctx, &next)
}

// reversePath returns where the failures of a forwarded message go.
func (o *Outbound) reversePath(ctx context.Context, e *envelope.Envelope, alias addr.Address) (addr.Address, error) {
	if e.From.IsNull() { // RFC 5321, section 4.5.5: a report on a report goes nowhere
		return e.From, nil
	}
	if ofOurs(e) {
		ours, err := o.o.IsLocal(ctx, e.From.Domain)
		if ours || err != nil {
			return e.From, err
		}
	}
	return o.o.Returns.Address(ctx, e, alias)
}

// ofOurs reports whether a message is by a client of ours, or by ourselves.
func ofOurs(e *envelope.Envelope) bool {
	return e.Origin == envelope.User || e.Origin == envelope.Relay || e.Origin == envelope.Self
}

// passedOn returns the envelope of a message that goes on through an alias.
func (o *Outbound) passedOn(a *envelope.Attempt, alias, from addr.Address) *envelope.Envelope {
	header := a.Envelope.Header
	if alias.IsASCII() { // else few servers could take it, for the sake of this field
		header = append([]byte("Delivered-To: "+alias.String()+"\r\n"), header...)
	}
	set, err := o.seal(a, alias.Domain, header)
	if err != nil {
		o.o.Log.Warn("a message is forwarded without a seal", "id", a.Envelope.ID, "alias", alias.String(), "err", err)
	}
	return a.Envelope.Leaving(from, append(set, header...), a.Body.Size())
}

package gate

import (
	"context"
	"net/netip"
	"slices"
	"unicode/utf8"

	"gatepost/internal/envelope"
	"gatepost/internal/verdict"
)

// Watch is the check of one message from the world while it passes.
type Watch struct {
	gate  *Gate
	check *verdict.Check
	from  netip.Addr
}

// Watch begins to verify who a message is from, with its header as it came.
// It returns nil for signed-in users and [relay] clients: whose they are was
// checked otherwise, and printers sign nothing.
func (g *Gate) Watch(p *envelope.Peer, e *envelope.Envelope, header []byte) *Watch {
	if p.Verified() {
		return nil
	}
	from := p.Addr.Addr()
	return &Watch{g, g.o.Checker.Begin(verdict.Client{IP: from, Helo: p.Helo, From: e.From}, header), from}
}

// Write takes the next octets of the body.
func (w *Watch) Write(p []byte) (int, error) { return w.check.Write(p) }

// Judge asks the DNS and refuses the message, or puts what was found in front
// of it: for people, for their programs, and for local, which files it.
func (w *Watch) Judge(ctx context.Context, e *envelope.Envelope) error {
	v, err := w.check.Finish(ctx)
	if err != nil {
		return err
	}
	if err := w.gate.passOn(ctx, v, e); err != nil {
		return err
	}
	w.tell(v, e)
	if err := v.Err(); err != nil {
		return err
	}
	if v.ProvesSender() {
		e.Origin = envelope.Proven // so that a failure may be told to it
	}
	fields := v.Fields(string(w.gate.o.Hostname))
	e.Header = append(e.Header, fields...)
	if slices.ContainsFunc(fields, func(c byte) bool { return c >= utf8.RuneSelf }) {
		e.Form |= envelope.HeaderUTF8 // a sender's address is named there
	}
	return nil
}

// tell has the message counted among those that its author's domain hears of,
// unless it is a report itself: two servers would else tell each other of
// their reports for ever.
func (w *Watch) tell(v *verdict.Verdict, e *envelope.Envelope) {
	if w.gate.o.Witness == nil || !slices.ContainsFunc(e.Recipients, func(r envelope.Recipient) bool { return !w.gate.o.Directory.IsReports(r.To) }) {
		return
	}
	if policy, row, ok := v.Row(w.from, e.From.Domain); ok {
		w.gate.o.Witness.Saw(policy, row)
	}
}

package ledger

import (
	"bytes"
	"slices"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Declare enters the voids that a segment says, before anything is replayed.
func (l *Ledger) Declare(g *segment.Segment, f wire.Found) {
	for d := wire.NewDecoder(f.Text, &l.Words); d.More(); {
		if v := d.Voided(); !d.Failed() {
			l.Voids = append(l.Voids, &Void{Voided: v, At: g})
		}
	}
}

// IsVoid reports whether a record counts for nothing.
func (l *Ledger) IsVoid(g *segment.Segment, f wire.Found) bool {
	return slices.ContainsFunc(l.Voids, func(v *Void) bool {
		return v.First <= f.Seq && f.Seq <= v.Last && g.Gen <= v.Gen
	})
}

// Replay does what a record says, as the spool did when it was written. It
// reports false if the record makes no sense. The records come in the order
// of the log; Replayed ends them.
func (l *Ledger) Replay(g *segment.Segment, f wire.Found) bool {
	d := wire.NewDecoder(f.Text, &l.Words)
	switch f.Kind {
	case wire.Message, wire.Moved:
		l.replayMessage(g, f, d)
		l.replayChanges(g, d)
	case wire.Changes:
		l.replayChanges(g, d)
	case wire.Gone:
		for d.More() {
			if id := d.ID(); !d.Failed() {
				l.replayEnd(id, g)
			}
		}
	}
	return !d.Failed()
}

func (l *Ledger) replayMessage(g *segment.Segment, f wire.Found, d *wire.Decoder) {
	env, body := d.Envelope()
	if d.Failed() {
		return
	}
	if !body.Blob {
		body.Size, body.Sum = int64(f.Body), f.BodySum
	}
	if t := l.Tombs[env.ID]; t != nil {
		g.IDs = append(g.IDs, env.ID)
		t.copies++
		return
	}
	e := l.Entries[env.ID]
	if e == nil {
		e = &Entry{}
		l.Entries[env.ID] = e
	}
	e.Envelope, e.Body = env, body
	l.Mention(e, g)
	l.Land(e, g, f.Off, f.Length()+wire.IndexEntry+f.Meta)
}

func (l *Ledger) replayChanges(g *segment.Segment, d *wire.Decoder) {
	for d.More() {
		before := d.Len()
		c, last := d.Change()
		if d.Failed() {
			return
		}
		e := l.Entries[c.ID]
		if e == nil || !l.Apply(e.Envelope, &c) {
			continue
		}
		l.Place(e, c.Recipient, g, 2*(before-d.Len()))
		if last || e.Envelope.Done() {
			l.replayEnd(c.ID, g)
		}
	}
}

// replayEnd notes that a message is done. All the dead are remembered while
// the log is read, so that a record of one that comes later (a batch that was
// written twice) does not bring it back.
func (l *Ledger) replayEnd(id envelope.ID, g *segment.Segment) {
	e := l.Entries[id]
	l.Gone(id, g)
	if e != nil && l.Tombs[id] == nil {
		l.bury(id, g, e.copies)
	}
}

// Replayed ends a replay: it forgets the dead whose only record is where
// their end is, and orders the living by age.
func (l *Ledger) Replayed() {
	for _, g := range l.Segments {
		for _, id := range g.IDs {
			if t := l.Tombs[id]; t != nil && t.copies == 1 && t.At == g {
				l.weigh(g, -tombSize)
				delete(l.Tombs, id)
			}
		}
	}
	l.dropVoids()
	list := make([]*Entry, 0, len(l.Entries))
	for _, e := range l.Entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Entry) int {
		if c := a.Envelope.Received.Compare(b.Envelope.Received); c != 0 {
			return c
		}
		return bytes.Compare(a.Envelope.ID[:], b.Envelope.ID[:])
	})
	for _, e := range list {
		l.Append(e)
	}
}

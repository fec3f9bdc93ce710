package spool

import (
	"strings"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/wire"
)

// maxGroup bounds what is written as one record of changes, in octets.
const maxGroup = 32 << 10

// group is maxGroup in segments of this size: a record stands in the index
// once more, and must fit with it.
func (s *Spool) group() int { return min(maxGroup, s.maxMeta()-wire.MaxChange) }

// clip shortens a reason to its bound, at the end of a character.
func clip(s string) string {
	if len(s) > wire.MaxReason {
		s = strings.ToValidUTF8(s[:wire.MaxReason], "")
	}
	return s
}

// Change writes down new states. They hold for everyone in this process when
// it returns, and for ever once durable is called, from a goroutine of its
// own; nil means that nobody wants to know. A change of a message that is
// not there (any more), of a recipient that is settled already or does not
// exist, is ignored. When the disk fails, changes wait in memory for the
// next batch that can be written.
func (s *Spool) Change(changes []envelope.Change, durable func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	var r *record
	for i := range changes {
		c := changes[i]
		c.Reason = clip(c.Reason)
		e := s.l.Find(c.ID)
		if e == nil || !s.l.Apply(e.Envelope, &c) {
			continue
		}
		if r == nil {
			r = newRecord(wire.Changes)
		}
		last := e.Envelope.Done()
		r.note(note{entry: e, recipient: c.Recipient, last: last}, &c)
		if last {
			s.end(e)
		}
		if len(r.buf) > s.group() {
			s.enqueue(r)
			r = nil
		}
	}
	if r == nil {
		if durable == nil {
			return
		}
		// There is nothing to write; but what others wrote of the same
		// messages may not be durable yet.
		r = &record{}
	}
	r.durable = durable
	s.enqueue(r)
}

// note appends a change to a record.
func (r *record) note(n note, c *envelope.Change) {
	before := len(r.buf)
	r.buf = wire.AppendChange(r.buf, c, n.last)
	n.size = 2 * (len(r.buf) - before) // it stands in the index too
	r.notes = append(r.notes, n)
}

// ride appends changes to the record of a message. They take effect when it
// is durable: should it be refused, they have not happened either.
func (s *Spool) ride(r *record, changes []envelope.Change) {
	if len(changes) == 0 {
		return
	}
	type which struct {
		e         *ledger.Entry
		recipient int
	}
	settled := map[which]bool{}
	for i := range changes {
		c := changes[i]
		c.Reason = clip(c.Reason)
		e := s.l.Find(c.ID)
		if e == nil || !ledger.Applies(e.Envelope, &c) {
			continue
		}
		if c.Recipient >= 0 && c.Status.Final() {
			settled[which{e, c.Recipient}] = true
		}
		last := i+1 == len(changes) || changes[i+1].ID != c.ID
		for k := 0; last && k < len(e.Envelope.Recipients); k++ {
			last = e.Envelope.Recipients[k].Status.Final() || settled[which{e, k}]
		}
		e.Riders++
		r.note(note{entry: e, recipient: c.Recipient, last: last, rider: &c}, &c)
	}
}

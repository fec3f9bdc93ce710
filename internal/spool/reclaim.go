package spool

import (
	"errors"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Bounds of reclaim.
const (
	// maxMove is what is copied at once, in octets: a batch of it must not
	// hold up those who commit.
	maxMove = 512 << 10
	// maxLook is how many messages are looked at under one hold of the lock.
	maxLook = 1000
)

// errBusy says that a segment cannot be freed yet. A change of a message is on
// its way which its state in memory does not show yet, so that to copy that
// state now would undo the change; or a snapshot needs the segment.
var errBusy = errors.New("the segment is in use")

// keep is the housekeeper: it sees to it that the committer always finds an
// empty segment, and gives back what is not needed any more.
func (s *Spool) keep() {
	defer s.running.Done()
	for s.awaitChores() {
		for more := true; more; {
			s.refill()
			s.sweep()
			s.seal(false)
			more = s.reclaim()
			s.trim()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived()
}

// kick wakes the housekeeper. It is called under the lock.
func (s *Spool) kick() {
	s.kicked = true
	s.chores.Signal()
}

func (s *Spool) awaitChores() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.kicked && !s.closing {
		s.chores.Wait()
	}
	s.kicked = false
	return !s.closing
}

// refill makes the next segment before it is needed. If that fails, the
// committer tries again when it needs one, and tells those who wait.
func (s *Spool) refill() {
	if err := s.pool.Refill(); err != nil {
		s.o.Log.Warn("no new segment for the spool", "err", err)
	}
}

// sweep removes the blobs of messages whose end is durable: not before,
// since a message that is tried again needs its body.
func (s *Spool) sweep() {
	s.mu.Lock()
	trash := s.l.Trash
	s.l.Trash = nil
	s.mu.Unlock()
	for _, name := range trash {
		if err := s.o.Blobs.Remove(name); err != nil {
			s.o.Log.Warn("the content of a finished message stays until the next start", "blob", name, "err", err)
		}
	}
}

// seal ends the segments that are full with their index; at the end of the
// spool, the active one too.
func (s *Spool) seal(end bool) {
	var open []*segment.Segment
	s.mu.Lock()
	for _, g := range s.l.Segments {
		if !g.Sealed && (g.Full || end) {
			open = append(open, g)
		}
	}
	s.mu.Unlock()
	for _, g := range open {
		err := g.Seal()
		s.mu.Lock()
		g.Sealed, g.Bad = true, err != nil
		s.mu.Unlock()
		if err != nil {
			s.Counters.Faults.Add(1)
			s.o.Log.Warn("a segment has no index; the next start takes longer", "file", g.Path, "err", err)
		}
	}
}

// reclaim frees one segment, if there is one to be freed. It reports whether
// it did.
func (s *Spool) reclaim() bool {
	s.mu.Lock()
	g := s.l.Victim(s.o.SegmentSize)
	stop := g == nil || s.closing
	s.mu.Unlock()
	if stop {
		return false
	}
	for _, step := range []func(*segment.Segment) error{s.moveMessages, s.moveNotes, s.moveVoids, s.free} {
		if err := step(g); err != nil {
			if !errors.Is(err, errBusy) {
				s.o.Log.Warn("a segment cannot be freed now", "file", g.Path, "err", err)
			}
			return false
		}
	}
	s.Counters.Reclaimed.Add(1)
	return true
}

// moveMessages copies the messages whose record is in g to the end of the
// log, and waits until they are durable there.
func (s *Spool) moveMessages(g *segment.Segment) error {
	var err error
	for ids := g.IDs; len(ids) > 0 && err == nil; {
		var moved []*record
		for size := 0; len(ids) > 0 && size < maxMove && err == nil; ids = ids[1:] {
			var r *record
			if r, err = s.moveMessage(g, ids[0]); r != nil {
				moved = append(moved, r)
				size += len(r.buf)
			}
		}
		err = errors.Join(err, settled(moved))
	}
	return err
}

// moveMessage appends a copy of a message with its state of this moment; a
// change that comes later stands behind it. It returns nil if there is
// nothing to copy.
func (s *Spool) moveMessage(g *segment.Segment, id envelope.ID) (*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.l.Find(id)
	if e == nil || e.At != g {
		return nil, nil
	}
	r := newRecord(wire.Moved)
	r.entry, r.keeper = e, true
	if !e.Body.Blob {
		// The sum stays that of the content as it came: damage that has
		// happened on the disk is not made good by the copy.
		r.body, r.bodySum = int(e.Body.Size), e.Body.Sum
		r.buf = make([]byte, wire.RecordHeader+r.body, wire.RecordHeader+r.body+512)
		off := e.Off
		s.mu.Unlock() // g stays: only this goroutine frees
		err := g.ReadBody(r.buf[wire.RecordHeader:], off)
		s.mu.Lock()
		if err != nil {
			g.Unread = true
			return nil, err
		}
	}
	switch {
	case e.Stage != ledger.Live:
		return nil, nil
	case e.Riders > 0:
		return nil, errBusy
	}
	r.buf = wire.AppendEnvelope(r.buf, e.Envelope, e.Body)
	if !segment.Holds(s.o.SegmentSize, len(r.buf), r.meta()) {
		// The reasons of its recipients have made it too large to be one
		// record. They stay where they are, beside it.
		g.Unread = true
		return nil, errors.New("a message has grown too large to be moved")
	}
	s.enqueue(r)
	return r, nil
}

// settled waits until records are durable.
func settled(records []*record) error {
	for _, r := range records {
		if <-r.batch.done; r.err != nil {
			return r.err
		}
	}
	return nil
}

// moveNotes says once more, at the end of the log, what g says of messages
// whose record is elsewhere: the state of those that are live, the end of
// those that are dead.
func (s *Spool) moveNotes(g *segment.Segment) error {
	here := make(map[envelope.ID]bool, len(g.IDs))
	for _, id := range g.IDs {
		here[id] = true
	}
	seen := make(map[envelope.ID]bool)
	for ids := g.Touched; len(ids) > 0; {
		n := min(len(ids), maxLook)
		records, err := s.repeat(g, ids[:n], here, seen)
		if err = errors.Join(err, settled(records)); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// repeat appends what g says of some messages. here are those with a record
// in g: a record and its end in one segment go together.
func (s *Spool) repeat(g *segment.Segment, ids []envelope.ID, here, seen map[envelope.ID]bool) ([]*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []*record
	last := newRecord(wire.Gone)
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		e := s.l.Find(id)
		switch {
		case e != nil && e.Riders > 0:
			return records, errBusy
		case e != nil:
			records = s.repeatState(g, e, records)
		case s.l.Needs(id, g, here[id]):
			last.gone(id)
		}
	}
	if len(last.ids) > 0 {
		last.keeper = true
		s.enqueue(last)
		records = append(records, last)
	}
	return records, nil
}

// repeatState appends those parts of a message's state that g says.
func (s *Spool) repeatState(g *segment.Segment, e *ledger.Entry, records []*record) []*record {
	var r *record
	for i, p := range e.Notes {
		if p.At != g {
			continue
		}
		if r == nil || len(r.buf) > s.group() {
			r = newRecord(wire.Changes)
			r.keeper = true
			records = append(records, r)
		}
		c := e.Change(i)
		r.note(note{entry: e, recipient: c.Recipient}, &c)
	}
	if r != nil {
		s.enqueue(r)
	}
	return records
}

// moveVoids says once more what g says of sequences that count for nothing.
func (s *Spool) moveVoids(g *segment.Segment) error {
	s.mu.Lock()
	s.l.Unsay(g)
	if len(s.l.Owed()) == 0 {
		s.mu.Unlock()
		return nil
	}
	r := &record{keeper: true} // the committer puts the voids in front of it
	s.enqueue(r)
	s.mu.Unlock()
	return settled([]*record{r})
}

// free gives a segment back of which nothing is needed any more.
func (s *Spool) free(g *segment.Segment) error {
	s.mu.Lock()
	for g.Pins > 0 {
		s.unpinned.Wait()
	}
	g.Leaving = g.Kept == 0
	s.mu.Unlock()
	if !g.Leaving {
		return errBusy
	}
	lost, err := s.pool.Retire(g)
	s.mu.Lock()
	g.Stuck, g.Leaving = lost, err == nil
	if err == nil {
		s.l.Release(g)
	}
	s.mu.Unlock()
	if err == nil {
		s.pool.Put(g)
	}
	return err
}

// trim removes free segments that exceed the bound of the disk: twice what is
// needed and four segments.
func (s *Spool) trim() {
	s.mu.Lock()
	used := s.l.Held()
	most := 2*s.l.Live + 4*s.o.SegmentSize - used - 1
	s.mu.Unlock()
	s.Counters.Disk.Store(used + s.pool.Trim(most))
}

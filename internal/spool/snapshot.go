package spool

import (
	"io"
	"slices"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/recovery"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/snapshot"
)

// Snapshot is the spool as it was at one moment; Message is one of it.
type (
	Snapshot = snapshot.Snapshot
	Message  = snapshot.Message
)

// Snapshot returns the spool as it is now: every change that was made is in
// it, durable or not. While it is open the segments that it needs are not
// freed, so that the disk may hold more than its bound. Whoever takes it holds
// the blobs first, and closes it.
func (s *Spool) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := snapshot.Take(s.l, s.o.Blobs, s.settled, s.giveBack)
	n.Blind = s.blind
	return n
}

// giveBack ends what a snapshot has kept.
func (s *Spool) giveBack(views []segment.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range views {
		v.Segment.Kept--
	}
	s.kick()
}

// Owns reports whether a blob belongs to a message that arrives, is there, or
// has just ended.
func (s *Spool) Owns(id envelope.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.l.Entries[id] != nil || slices.Contains(s.l.Trash, id.String())
}

// Look reads the log as Open would, reports what Open would find, and changes
// nothing: nobody else may be using it. o.Blobs must be on a frozen file
// system. Where there is no log yet, there are no messages.
func Look(o Options) (*Snapshot, *Report, error) {
	pool := &segment.Pool{FS: blob.Frozen(o.FS), Dir: o.Dir, Size: o.SegmentSize, Random: o.Random}
	state, report, err := recovery.Read(pool, o.Blobs, o.Log)
	if err != nil {
		return nil, nil, err
	}
	n := snapshot.Take(state.Ledger, o.Blobs, state.Durable, func(views []segment.View) {
		for _, v := range views {
			_ = v.Segment.Close()
		}
		pool.Close()
	})
	n.Blind = state.Blind
	return n, report, nil
}

// ReadMessage reads a message of a backup; what is left of r is its body.
func ReadMessage(r io.Reader) (*Message, error) { return snapshot.Read(r) }

// Restore is Commit for a message of a backup: it keeps its id, its state and
// its checksum, so that what was damaged before the backup stays known for
// that.
func (d *Draft) Restore(m *Message) error {
	d.sum = m.Sum
	return d.Commit(m.Envelope)
}

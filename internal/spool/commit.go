package spool

import (
	"errors"
	"fmt"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// maxBatch bounds what is written and synced at once, in octets.
const maxBatch = 4 << 20

// record is one that waits to be written. What belongs to its kind is set.
type record struct {
	kind    byte
	buf     []byte // room for the header, body, meta; nil: there is nothing to write
	body    int    // octets of body in buf
	bodySum uint32
	metaSum uint32
	entry   *ledger.Entry  // of a message
	notes   []note         // the changes in it
	ids     []envelope.ID  // of messages that are gone
	voids   []*ledger.Void // that it declares
	keeper  bool           // the housekeeper wants it, and gives up when it fails
	durable func()         // called once it is synced; may be nil
	charged int64          // octets of the draft budget that it holds
	batch   *batch
	err     error // valid once batch.done is closed
	off     int64 // in its segment, once it is gathered
}

// note is what one change in a record means to the ledger.
type note struct {
	entry     *ledger.Entry
	recipient int
	size      int
	last      bool             // the message ends with it
	rider     *envelope.Change // takes effect when it is durable, not before
}

func newRecord(kind byte) *record {
	return &record{kind: kind, buf: make([]byte, wire.RecordHeader, 128)}
}

func (r *record) meta() int { return max(0, len(r.buf)-wire.RecordHeader-r.body) }

// weight is what r takes in its segment.
func (r *record) weight() int {
	return wire.RoundUp(len(r.buf), wire.Align) + wire.IndexEntry + r.meta()
}

// batch is what arrived while another was being written.
type batch struct {
	records []*record
	size    int
	done    chan struct{}
}

// errClosed says that the spool does not take anything any more.
var errClosed = errors.New("the spool is closed")

// enqueue appends r to the log as far as everyone in this process is
// concerned. It is called under the lock.
func (s *Spool) enqueue(r *record) {
	if r.buf != nil {
		r.metaSum = wire.Checksum(r.buf[wire.RecordHeader+r.body:])
	}
	n := len(s.queue)
	if n == 0 || s.queue[n-1].size > 0 && s.queue[n-1].size+len(r.buf) > maxBatch {
		s.queue = append(s.queue, &batch{done: make(chan struct{})})
		n++
	}
	b := s.queue[n-1]
	b.records = append(b.records, r)
	b.size += len(r.buf)
	r.batch = b
	s.work.Signal()
}

// run is the committer: the only goroutine that writes records.
func (s *Spool) run() {
	defer s.running.Done()
	for b := s.next(); b != nil; b = s.next() {
		started := s.o.Clock.Now()
		s.commit(b)
		if s.o.Observe != nil {
			s.o.Observe(len(b.records), s.o.Clock.Now().Sub(started))
		}
	}
}

// next waits for a batch, and puts in front of it what an earlier one could
// not get written. It returns nil when the spool is closed and all is done.
func (s *Spool) next() *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 {
		if s.closing && s.arriving == 0 {
			if s.ended || len(s.kept) == 0 && len(s.l.Owed()) == 0 {
				return nil
			}
			// One last attempt for what is kept: the disk may be dead.
			s.ended = true
			s.queue = append(s.queue, &batch{done: make(chan struct{})})
			break
		}
		s.work.Wait()
	}
	b := s.queue[0]
	s.queue = s.queue[1:]
	b.records = append(s.kept, b.records...)
	s.kept = nil
	if owed := s.l.Owed(); len(owed) > 0 {
		b.records = append([]*record{voidRecord(owed)}, b.records...)
	}
	return b
}

// commit writes a batch, in more than one segment if need be, and wakes
// those who wait for it.
func (s *Spool) commit(b *batch) {
	for rest := b.records; len(rest) > 0; {
		n, err := s.attempt(rest)
		if err != nil {
			// The segment is closed for good: the second attempt, and the
			// last, is in another.
			n, err = s.attempt(rest)
		}
		if err != nil {
			s.fail(rest, err)
			break
		}
		rest = rest[n:]
	}
	s.tried = nil
	close(b.done)
	s.call()
}

// call tells those who asked that their changes are durable, in a goroutine
// of its own: what they do then must not hold up the log.
func (s *Spool) call() {
	calls := s.calls
	if len(calls) == 0 {
		return
	}
	s.calls = nil
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		for _, f := range calls {
			f()
		}
	}()
}

// attempt writes as many of the records as fit into one segment, syncs it,
// and enters them in the ledger. It returns how many it dealt with.
func (s *Spool) attempt(records []*record) (int, error) {
	g, err := s.room(records[0])
	if err != nil {
		return 0, err
	}
	n := s.gather(g, records)
	if s.out.Len() > 0 {
		if err := s.write(g); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.Written, s.settled = g.Used(), s.durable
	for _, r := range records[:n] {
		s.settle(r, g)
	}
	if len(s.l.Trash) > 0 || s.l.Victim(s.o.SegmentSize) != nil {
		s.kick()
	}
	return n, nil
}

// room returns the segment that r goes to.
func (s *Spool) room(r *record) (*segment.Segment, error) {
	if g := s.active; g != nil {
		if g.Fits(wire.BatchHeader+wire.RoundUp(len(r.buf), wire.Align), wire.IndexEntry+r.meta()) {
			return g, nil
		}
		s.retire(g, false)
	}
	g, err := s.pool.Take()
	if err != nil {
		return nil, fmt.Errorf("no room in the spool: %w", err)
	}
	s.active = g
	s.mu.Lock()
	defer s.mu.Unlock()
	s.l.Segments = append(s.l.Segments, g)
	s.kick() // for the next one
	return g, nil
}

// retire ends appending to the active segment.
func (s *Spool) retire(g *segment.Segment, bad bool) {
	s.active = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	g.Full, g.Bad, g.Sealed = true, bad, bad
	s.kick()
}

// gather puts the records behind one another, as they go to the disk, and
// gives them their sequences. Whatever comes of the write, the segment may
// hold them from now on.
func (s *Spool) gather(g *segment.Segment, records []*record) (n int) {
	s.out.Begin(g, s.seq+1, s.durable)
	for _, r := range records {
		if n > 0 && r.buf != nil && !s.out.Fits(len(r.buf), r.meta(), maxBatch) {
			break
		}
		n++
		if r.buf != nil {
			r.off = s.out.Add(wire.RecordHead{
				Kind: r.kind, Body: r.body, Meta: r.meta(), BodySum: r.bodySum, MetaSum: r.metaSum,
			}, r.buf)
		}
	}
	s.seq += uint64(s.out.Len())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records[:n] {
		if r.entry != nil {
			s.l.Mention(r.entry, g)
		}
	}
	return n
}

// write makes the gathered batch durable. After an error the segment is
// closed for good, and what may have reached it is remembered.
func (s *Spool) write(g *segment.Segment) error {
	size, err := s.out.Write()
	if err != nil {
		s.Counters.Faults.Add(1)
		if s.ill == 0 {
			s.o.Log.Error("the spool could not write; it goes on in another file", "file", g.Path, "err", err)
		}
		first := s.seq + 1 - uint64(s.out.Len())
		s.tried = append(s.tried, &ledger.Void{Voided: wire.Voided{First: first, Last: s.seq, Gen: g.Gen}})
		s.retire(g, true)
		return err
	}
	s.durable = wire.Mark{Seq: s.seq, Gen: g.Gen}
	if s.ill > 0 {
		s.o.Log.Info("the spool can write again", "failed", s.ill)
		s.ill = 0
	}
	s.Counters.Batches.Add(1)
	s.Counters.Bytes.Add(int64(size))
	s.out.Shrink(maxBatch)
	return nil
}

// settle enters a durable record in the ledger. It is called under the lock,
// in the order of the log.
func (s *Spool) settle(r *record, g *segment.Segment) {
	switch r.kind {
	case wire.Message:
		s.l.Land(r.entry, g, r.off, r.weight())
		s.l.Append(r.entry)
		s.keepFresh(r)
		s.Counters.Messages.Add(1)
		s.Counters.Live.Add(1)
	case wire.Moved:
		s.l.Land(r.entry, g, r.off, r.weight())
		s.Counters.Moved.Add(1)
	}
	for _, id := range r.ids {
		if s.l.Gone(id, g) {
			s.Counters.Live.Add(-1)
		}
	}
	for _, v := range r.voids {
		v.At = g
		s.l.Trash = append(s.l.Trash, v.Blobs...)
		v.Blobs = nil
	}
	for i := range r.notes {
		s.settleNote(&r.notes[i], g)
	}
	if r.durable != nil {
		s.calls = append(s.calls, r.durable)
	}
}

func (s *Spool) settleNote(n *note, g *segment.Segment) {
	e := n.entry
	if n.rider != nil && !s.settleRider(n) {
		return
	}
	s.Counters.Changes.Add(1)
	if n.last {
		s.l.Finish(e, g)
		s.Counters.Live.Add(-1)
		return
	}
	s.l.Place(e, n.recipient, g, n.size)
}

// settleRider lets a change take effect that was waiting for its record. It
// reports false if the change has come too late.
func (s *Spool) settleRider(n *note) bool {
	e := n.entry
	e.Riders--
	if e.Stage != ledger.Live || !s.l.Apply(e.Envelope, n.rider) {
		return false
	}
	if e.Envelope.Done() {
		s.end(e)
		if !n.last {
			// Others came between: the end is said by itself.
			r := newRecord(wire.Gone)
			r.gone(e.Envelope.ID)
			s.enqueue(r)
		}
	}
	return true
}

// end marks a message as done, for everyone in this process.
func (s *Spool) end(e *ledger.Entry) {
	e.Stage = ledger.Done
	s.l.DropFresh(e)
}

// gone appends the id of a message that is done.
func (r *record) gone(id envelope.ID) {
	r.ids = append(r.ids, id)
	r.buf = append(r.buf, id[:]...)
}

// fail gives up on a batch after both attempts. Messages are refused;
// changes have happened, and are kept for the next batch.
func (s *Spool) fail(records []*record, cause error) {
	s.Counters.Faults.Add(1)
	if s.ill == 0 { // once, and not for every message that comes while it lasts
		s.o.Log.Error("the spool refuses mail until it can write again", "records", len(records), "err", cause)
	}
	s.ill++
	s.mu.Lock()
	defer s.mu.Unlock()
	var blobs []string
	for _, r := range records {
		switch {
		case r.keeper:
			r.err = cause
		case r.kind == wire.Void:
		case r.kind == wire.Message:
			r.err = envelope.Fail(cause, 452, "4.3.1", "no room for the message now; try again later")
			blobs = append(blobs, s.refuse(r)...)
		default:
			s.kept = append(s.kept, r)
		}
	}
	if len(s.tried) == 0 {
		s.l.Trash = append(s.l.Trash, blobs...)
		return
	}
	// Something of them may be on the disk. They are declared void before
	// their blobs go, so that what comes back in spite of all is whole.
	s.tried[len(s.tried)-1].Blobs = blobs
	s.l.Owe(s.tried)
}

// refuse takes back a message that could not be written, and returns its
// blob.
func (s *Spool) refuse(r *record) []string {
	for i := range r.notes {
		r.notes[i].entry.Riders--
	}
	s.drafts.Add(-r.charged)
	s.l.Forget(r.entry)
	if r.entry.Body.Blob {
		return []string{r.entry.Envelope.ID.String()}
	}
	return nil
}

// voidRecord declares voids.
func voidRecord(owed []*ledger.Void) *record {
	r := newRecord(wire.Void)
	r.voids = owed
	for _, v := range owed {
		r.buf = wire.AppendVoided(r.buf, v.Voided)
	}
	r.metaSum = wire.Checksum(r.buf[wire.RecordHeader:])
	return r
}

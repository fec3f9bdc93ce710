package spool

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/recovery"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Options are what a spool is given. All but Observe are required.
type Options struct {
	Dir    string     // of the segments; made when it is missing
	FS     blob.FS    // that Dir is on
	Blobs  blob.Store // for large bodies, under the texts of message ids
	Clock  clock.Clock
	Random io.Reader // for ids and tags; safe for concurrent use
	Log    *slog.Logger

	SegmentSize int64 // octets of a new segment; a multiple of 4,096, at least 65,536
	Inline      int   // octets of the largest body in the log; at most a quarter of SegmentSize
	DraftBudget int64 // octets of all messages that are arriving; what exceeds it goes to blobs
	FreshBudget int64 // octets of bodies that wait in memory for their first attempt

	// Observe, if not nil, is told of each batch: how many records, and how
	// long its write and sync took.
	Observe func(records int, took time.Duration)
}

func (o *Options) check() error {
	switch {
	case o.SegmentSize%wire.Block != 0 || o.SegmentSize < 16*wire.Block || o.SegmentSize > 1<<30:
		return fmt.Errorf("spool: segments of %d octets", o.SegmentSize)
	case o.Inline < 0 || int64(o.Inline)*4 > o.SegmentSize:
		return fmt.Errorf("spool: bodies of %d octets in segments of %d", o.Inline, o.SegmentSize)
	}
	return nil
}

// Counters count since the start, but for those that say otherwise.
type Counters struct {
	Messages  atomic.Int64 // committed
	Changes   atomic.Int64 // made durable
	Batches   atomic.Int64 // synced
	Bytes     atomic.Int64 // written to segments in batches
	Spilled   atomic.Int64 // messages that went to a blob
	Moved     atomic.Int64 // messages copied for reclaim
	Reclaimed atomic.Int64 // segments freed
	Faults    atomic.Int64 // writes and syncs that failed
	Damaged   atomic.Int64 // bodies that were found damaged or missing when they were read
	Live      atomic.Int64 // messages there now
	Disk      atomic.Int64 // octets of all segments now
}

// Spool is the durable log of messages in flight. Its methods may be called
// from any goroutine.
type Spool struct {
	Counters Counters

	o      Options
	pool   segment.Pool
	blind  bool         // a part of the log could not be relied upon at the start
	drafts atomic.Int64 // octets of drafts in memory
	// running counts the committer, the housekeeper and calls of durable.
	running sync.WaitGroup

	// Of the committer alone.
	active  *segment.Segment // that it appends to; nil: none yet
	seq     uint64           // the last that was used
	durable wire.Mark
	out     segment.Batch
	ill     int            // batches in a row that could not be written
	tried   []*ledger.Void // failed attempts at the present batch
	calls   []func()       // of changes that have become durable

	mu       sync.Mutex // guards all below, and what the ledger leads to
	work     *sync.Cond // for the committer
	chores   *sync.Cond // for the housekeeper
	unpinned *sync.Cond
	l        *ledger.Ledger
	settled  wire.Mark // of all that the ledger says
	offer    func(*envelope.Envelope)
	queue    []*batch
	kept     []*record // changes that could not be written yet
	arriving int       // messages between claim and append, and the housekeeper
	kicked   bool      // there are chores
	closing  bool
	ended    bool // the last attempt at what is kept was begun
}

// Report says what was found at the start.
type Report = recovery.Report

// Open reads the log and starts the spool. What is damaged is in the report;
// an error says that nothing could be read.
func Open(o Options) (*Spool, *Report, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	began := o.Clock.Now()
	s := &Spool{o: o, arriving: 1, kicked: true}
	s.work, s.chores, s.unpinned = sync.NewCond(&s.mu), sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	s.pool = segment.Pool{FS: o.FS, Dir: o.Dir, Size: o.SegmentSize, Random: o.Random}
	state, report, err := recovery.Read(&s.pool, o.Blobs, o.Log)
	if err != nil {
		return nil, nil, fmt.Errorf("spool: %w", err)
	}
	report.Took = o.Clock.Now().Sub(began)
	report.Log(o.Log)
	s.l, s.seq, s.durable, s.blind = state.Ledger, state.Seq, state.Durable, state.Blind
	s.settled = s.durable
	s.Counters.Live.Store(int64(report.Messages))
	s.running.Add(2)
	go s.run()
	go s.keep()
	return s, report, nil
}

// Serve offers every message that is not done, oldest first, and from then
// on each new one once it is durable, in the goroutine that commits it and
// before its Commit returns. It is called once. offer must not hold on to
// the mutable fields of the envelope: View shows them.
func (s *Spool) Serve(offer func(*envelope.Envelope)) {
	s.mu.Lock()
	s.offer = offer
	var old []*envelope.Envelope
	s.l.Each(func(e *ledger.Entry) bool {
		if !e.Offered {
			e.Offered = true
			old = append(old, e.Envelope)
		}
		return true
	})
	s.mu.Unlock()
	for _, e := range old {
		offer(e)
	}
}

// View shows a message to f, under the lock: f must be quick, must not call
// the spool and must not keep what it sees. It reports whether the message is
// there.
func (s *Spool) View(id envelope.ID, f func(*envelope.Envelope)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.l.Find(id)
	if e != nil {
		f(e.Envelope)
	}
	return e != nil
}

// Each shows all messages to f, oldest first, until it returns false. It is
// bound as in View.
func (s *Spool) Each(f func(*envelope.Envelope) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.l.Each(func(e *ledger.Entry) bool { return f(e.Envelope) })
}

// Live reports whether a message may still be delivered: it is there and not
// done, or it may be in a part of the log that cannot be read at the moment.
func (s *Spool) Live(id envelope.ID) bool {
	return s.blind || s.View(id, func(*envelope.Envelope) {})
}

// Release says that the first attempt of a message is over: its body is no
// longer kept in memory.
func (s *Spool) Release(id envelope.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.l.Entries[id]; e != nil {
		e.Young = false
		s.l.DropFresh(e)
	}
}

// Close writes what is pending and ends the spool: from its beginning on,
// Commit is refused and Change ignored. An error says that changes could not
// be written; their outcomes will be tried again.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.work.Signal()
	s.chores.Signal()
	s.mu.Unlock()
	s.running.Wait()

	var err error
	if len(s.kept) > 0 {
		err = errors.New("spool: closed with changes that could not be written")
	}
	s.seal(true)
	s.sweep()
	for _, g := range s.l.Segments {
		_ = g.Close()
	}
	s.pool.Close()
	return err
}

// maxMeta bounds what a record holds beside its body: with a body of Inline
// and its share of the index it must fit into a segment.
func (s *Spool) maxMeta() int { return int(s.o.SegmentSize / 4) }

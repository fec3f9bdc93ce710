package queue

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
	"gatepost/internal/queue/alarm"
)

// Spool keeps the messages. It alone writes the state in an envelope; all
// else in one may be read at any time.
type Spool interface {
	Create() Draft
	// Change writes changes down, in the order of the calls, and returns at
	// once. durable, which may be nil, is called when they are synced, not
	// within Change.
	Change(changes []envelope.Change, durable func())
	Body(id envelope.ID) (*envelope.Body, error)
	// Release says that the first attempt is over: the body need not stay
	// in memory.
	Release(id envelope.ID)
	// View and Each show envelopes under the spool's lock; f must be quick
	// and not call back. Each goes by age until f returns false.
	View(id envelope.ID, f func(*envelope.Envelope)) bool
	Each(f func(*envelope.Envelope) bool)
}

// Draft is a message that is being written.
type Draft interface {
	io.Writer
	// Commit makes the message durable together with changes of others, and
	// offers it before it returns. With an error, nothing of it happened.
	Commit(e *envelope.Envelope, changes ...envelope.Change) error
	Discard() // safe after Commit
}

// Router tells where mail for a domain goes: the name of the line, which is
// the domain or "route:" and the name of a route, and whether it is ours. It
// must be quick.
type Router interface {
	Route(to addr.Domain) (destination string, local bool)
}

// Deliverer attempts to deliver. It returns an outcome for each of the
// attempt's recipients, in order, and soon after ctx is cancelled. Of the
// envelope it reads nothing that the spool may change.
type Deliverer interface {
	Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome
}

// Settler is a local deliverer that remembers whom it filed a message for.
// Settled tells it of messages whose local recipients are all final and
// durably so: nobody will attempt these again. It must return at once.
type Settler interface {
	Settled(ids []envelope.ID)
}

// Options are the parts and bounds of a queue; all are required.
type Options struct {
	Spool  Spool
	Router Router
	Local  Deliverer // for our own domains; may be a Settler
	Remote Deliverer
	// Expand returns who gets the mail for one of our own addresses, which
	// may be an alias. It is asked about the recipients of mail that we
	// write ourselves, which no session has resolved.
	Expand func(ctx context.Context, to addr.Address) ([]addr.Address, error)

	// Begin begins to sign mail that we write ourselves; nil for what is not.
	Begin func(section []byte) (*dkim.Signer, error)
	// Ended is told of each recipient of an errand (envelope.IsErrand) for
	// whom it is over, with the reason if they did not get it. It must return
	// at once. It may be nil.
	Ended func(e *envelope.Envelope, c envelope.Change)

	Clock  clock.Clock
	Log    *slog.Logger
	Random io.Reader // good for secrets; safe for concurrent use

	Hostname   addr.Domain  // in reports
	Postmaster addr.Address // is told of what may not be bounced

	Lifetime    time.Duration // after it a recipient has failed
	DelayNotice time.Duration // after it the sender hears of the delay
	KeptFor     time.Duration // how long a failure is kept that nobody may be told

	RemoteWorkers  int // attempts at other servers at the same time
	RemoteYoung    int // of those, that have just begun; see slot.Young; 0: any number
	LocalWorkers   int // attempts at our mailboxes at the same time
	PerDestination int // attempts at one destination at the same time
}

// Counters count since the start.
type Counters struct {
	Attempts  atomic.Int64 // calls of a deliverer
	Delivered atomic.Int64 // recipients, as all up to Dropped
	Relayed   atomic.Int64
	Deferred  atomic.Int64
	Failed    atomic.Int64 // with a bounce, or silently as the sender wished
	Expired   atomic.Int64 // of those failed or kept: for their age
	Kept      atomic.Int64
	Dropped   atomic.Int64
	Reports   atomic.Int64 // bounces and other notices to senders
	Notices   atomic.Int64 // to postmaster
}

// Queue holds the messages that are not done. Its methods may be called from
// any goroutine. Its verbs work without Start, too.
type Queue struct {
	Counters Counters

	o       Options
	settler Settler         // Local, if it is one
	ctx     context.Context // of attempts
	cancel  context.CancelFunc
	base    time.Time // the start; see now
	running sync.WaitGroup

	desk sync.Mutex // see the package comment

	mu       sync.Mutex
	messages map[envelope.ID]*queued
	kept     map[envelope.ID]time.Duration // messages with failures that are kept, until when
	lines    map[lineName]*line
	idle     int                          // lines without jobs
	doomed   map[envelope.ID]map[int]bool // recipients to be dropped once their attempt ends
	frozen   map[string]bool              // accounts whose mail is kept back
	remote   pool
	local    pool
	alarms   alarm.Heap[sleeper]
	timer    clock.Timer
	wake     time.Duration // when timer goes off; never if it is stopped
	chores   []func()
	busy     bool // a goroutine does chores
	open     bool // started and not stopping
	stopping bool
	notice   notice
}

// New returns a queue that takes offers and attempts nothing before Start.
func New(o Options) *Queue {
	q := &Queue{
		o:        o,
		base:     o.Clock.Now(),
		messages: map[envelope.ID]*queued{},
		kept:     map[envelope.ID]time.Duration{},
		lines:    map[lineName]*line{},
		doomed:   map[envelope.ID]map[int]bool{},
		frozen:   map[string]bool{},
		remote:   newPool(&o),
		local:    newLocalPool(&o),
		wake:     never,
	}
	q.settler, _ = o.Local.(Settler)
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// Start begins with the attempts.
func (q *Queue) Start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = true
	q.arm()
	q.pump(&q.local)
	q.pump(&q.remote)
}

// Stop begins no more attempts and waits for those under way. When ctx ends
// they are cancelled. Nothing is lost: what was not settled is offered again
// at the next start.
func (q *Queue) Stop(ctx context.Context) {
	q.mu.Lock()
	q.open, q.stopping = false, true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		q.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		q.cancel()
		<-ended
	}
	q.cancel()
	q.tellPostmaster()
}

// now is the time since the start, which no setting of the wall clock moves.
func (q *Queue) now() time.Duration { return q.o.Clock.Now().Sub(q.base) }

// wall turns a time since the start into what a wall clock shows then.
func (q *Queue) wall(at time.Duration) time.Time {
	now := q.o.Clock.Now()
	return now.Add(at - now.Sub(q.base))
}

// Offer takes on a message that the spool holds. It is called once for each
// message and start.
func (q *Queue) Offer(e *envelope.Envelope) {
	var few [8]lineName
	names := q.routes(e, few[:0])
	now := q.o.Clock.Now()
	m := &queued{env: e, held: e.Held, delayed: e.Delayed}
	m.born = now.Sub(q.base) - max(0, now.Sub(e.Received))

	if q.takeIn(m, names, now) {
		q.o.Spool.Release(e.ID)
	}
}

// takeIn sorts the recipients of a message into jobs and reports whether its
// body need not stay in memory, since no attempt is near.
func (q *Queue) takeIn(m *queued, names []lineName, now time.Time) (release bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.messages[m.env.ID] != nil {
		return false
	}
	m.frozen = q.frozen[m.env.Account]
	for i := range m.env.Recipients {
		q.takeOn(m, i, names[i], now)
	}
	if _, kept := q.kept[m.env.ID]; m.jobs == nil && !kept {
		return false
	}
	q.messages[m.env.ID] = m
	release = q.place(m)
	q.setAge(m, 0)
	q.pump(&q.local)
	q.pump(&q.remote)
	return release
}

// routes appends the line of each recipient to names.
func (q *Queue) routes(e *envelope.Envelope, names []lineName) []lineName {
	for i := range e.Recipients {
		name, local := q.o.Router.Route(e.Recipients[i].To.Domain)
		names = append(names, lineName{name, local, e.TLSOptional && !local})
	}
	return names
}

// pump starts goroutines for all jobs that may be attempted now.
func (q *Queue) pump(p *pool) {
	for j := q.next(p); j != nil; j = q.next(p) {
		q.running.Go(func() { q.work(p, j) })
	}
}

// next takes the job whose turn it is, nil if there is none or no slot. If one
// may be given a moment later, an alarm is set for that.
func (q *Queue) next(p *pool) *job {
	if !q.open {
		return nil
	}
	j := p.take(q.now())
	if at, ok := p.Again(); ok && j == nil && !p.again.Set() {
		q.set(p, at)
	}
	return j
}

// work attempts a job, and then others as long as there are any.
func (q *Queue) work(p *pool, j *job) {
	for j != nil {
		started := q.now()
		outcomes, reached := q.attempt(p, j)
		v := q.judge(j, outcomes, reached, q.now()-started)
		q.record(j, v)

		q.mu.Lock()
		p.Free(&j.line.slots, j.slot)
		q.finish(j, v)
		j = q.next(p)
		q.pump(p)
		q.mu.Unlock()
	}
}

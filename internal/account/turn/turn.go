// Package turn gives out the few places in which passwords are hashed, so
// that nobody who asks much keeps others from theirs.
//
// There are two lines: one of people whose network their account knows, one of
// strangers. Of runs+1 places each line may hold runs, so that one is always
// left to the other: a flood of strangers does not reach those who are known,
// nor the other way. In a line, networks take turns: a waiter stands behind
// everybody who came share before it, and behind another share for each that
// waits from its network already and each failure that was counted there. So
// a network that did nothing wrong waits as if all others sent one at a time,
// and nobody is overtaken for ever.
//
// A line holds bound waiters for each place. In a full one whoever stands last
// is sent away for whoever comes to stand before him.
//
// The package knows no accounts and hashes nothing.
package turn

import (
	"container/heap"
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"gatepost/internal/clock"
)

const (
	// bound is how many of a line wait for each place: with a hash in a
	// quarter of a second, the last of them waits half a minute.
	bound = 128
	// share is what each further waiter of a network, and each failure,
	// stands behind; maxFailures is how many of those count.
	share       = 5 * time.Second
	maxFailures = 10
)

// ErrBusy says that too many wait already.
var ErrBusy = errors.New("too many sign-ins at once")

// ErrGone says that whoever waited has left.
var ErrGone = errors.New("the client has left")

// Who is who asks for a place.
type Who struct {
	Known    bool         // to the account that it claims to be
	Network  netip.Prefix // it comes from
	Failures int          // that were counted there lately
	// Gone reports whether whoever asks has left meanwhile; nil: it is not
	// known.
	Gone func() bool
}

// Lines gives out places. Its methods may be called from any goroutine.
type Lines struct {
	clock clock.Clock
	runs  int

	mu    sync.Mutex
	seq   uint64
	lines [2]line // known, strangers: in which order free places are given
}

// line is one of the two.
type line struct {
	running int
	waiting waiters
	last    map[netip.Prefix]spot // of networks that wait
}

// spot is where the last waiter of a network stands.
type spot struct {
	at    time.Time
	count int
}

type waiter struct {
	at      time.Time // it stands behind those of an earlier one
	seq     uint64
	network netip.Prefix
	own     bool
	ready   chan struct{} // closed when it may go in, or must go
	err     error
	index   int // -1: it waits no more
}

// New returns lines for so many places for each.
func New(c clock.Clock, runs int) *Lines {
	l := &Lines{clock: c, runs: runs}
	for i := range l.lines {
		l.lines[i].last = map[netip.Prefix]spot{}
	}
	return l
}

// Enter waits for a place; done gives it back. It fails with ErrBusy where too
// many wait, and when ctx ends.
func (l *Lines) Enter(ctx context.Context, who Who) (done func(), err error) {
	return l.enter(ctx, who, false)
}

// Own is Enter for what an operator does: it stands with those who are known,
// and waits however many wait.
func (l *Lines) Own(ctx context.Context) (done func(), err error) {
	return l.enter(ctx, Who{Known: true}, true)
}

func (l *Lines) enter(ctx context.Context, who Who, own bool) (done func(), err error) {
	n := &l.lines[1]
	if who.Known {
		n = &l.lines[0]
	}
	done = func() { l.leave(n) }
	l.mu.Lock()
	if len(n.waiting) == 0 && l.free(n) {
		n.running++
		l.mu.Unlock()
		return done, nil
	}
	w := l.stand(n, who, own)
	l.mu.Unlock()
	if w == nil {
		return nil, ErrBusy
	}
	select {
	case <-w.ready:
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		if w.index >= 0 {
			n.remove(w)
			return nil, ctx.Err()
		}
		if w.err == nil { // it was called at the same time
			n.running--
			l.call()
		}
		return nil, ctx.Err()
	}
	if w.err != nil {
		return nil, w.err
	}
	// A crowd that has left must not keep others waiting for its hashes.
	if who.Gone != nil && who.Gone() {
		done()
		return nil, ErrGone
	}
	return done, nil
}

// free reports whether somebody of a line may go in; l.mu is held.
func (l *Lines) free(n *line) bool {
	return n.running < l.runs && l.lines[0].running+l.lines[1].running <= l.runs
}

// stand puts somebody into a line, or returns nil; l.mu is held.
func (l *Lines) stand(n *line, who Who, own bool) *waiter {
	l.seq++
	w := &waiter{at: l.clock.Now(), seq: l.seq, network: who.Network, own: own, ready: make(chan struct{})}
	if !own {
		s := n.last[who.Network]
		if s.at.After(w.at) {
			w.at = s.at
		}
		w.at = w.at.Add(share * time.Duration(1+min(who.Failures, maxFailures)))
	}
	if !own && len(n.waiting) >= bound*l.runs {
		worst := n.waiting.worst()
		if worst == nil || !w.before(worst) {
			return nil
		}
		n.remove(worst)
		worst.err = ErrBusy
		close(worst.ready)
	}
	if !own {
		s := n.last[w.network]
		n.last[w.network] = spot{w.at, s.count + 1}
	}
	heap.Push(&n.waiting, w)
	return w
}

// remove takes a waiter out of its line.
func (n *line) remove(w *waiter) {
	heap.Remove(&n.waiting, w.index)
	if w.own {
		return
	}
	s := n.last[w.network]
	if s.count--; s.count == 0 {
		delete(n.last, w.network)
		return
	}
	n.last[w.network] = s
}

func (l *Lines) leave(n *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.running--
	l.call()
}

// call lets in whoever may go; l.mu is held.
func (l *Lines) call() {
	for i := range l.lines {
		for n := &l.lines[i]; len(n.waiting) > 0 && l.free(n); {
			w := n.waiting[0]
			n.remove(w)
			n.running++
			close(w.ready)
		}
	}
}

// waiters is a heap: who stands first is at its root.
type waiters []*waiter

func (w *waiter) before(o *waiter) bool {
	if !w.at.Equal(o.at) {
		return w.at.Before(o.at)
	}
	return w.seq < o.seq
}

// worst returns who stands last of those who may be sent away.
func (h waiters) worst() (last *waiter) {
	for _, w := range h {
		if !w.own && (last == nil || last.before(w)) {
			last = w
		}
	}
	return last
}

func (h waiters) Len() int           { return len(h) }
func (h waiters) Less(i, j int) bool { return h[i].before(h[j]) }

func (h waiters) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is heap's.
func (h *waiters) Push(x any) {
	w := x.(*waiter)
	w.index = len(*h)
	*h = append(*h, w)
}

// Pop is heap's.
func (h *waiters) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.index = -1
	return w
}

package throttle

import (
	"math/bits"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxWaiting bounds how many wait at the same time, and waitingEach how
	// many of one network do.
	maxWaiting  = 1000
	waitingEach = 50
	// levels are those of the delays, which double from one to the next.
	levels = 6
)

// queue is who waits. When it is full, one whose delay is longer goes for one
// whose delay is shorter: who guessed much for who did not.
type queue struct {
	mu    sync.Mutex
	count int
	level [levels]map[*waiting]struct{}
	each  map[netip.Prefix]int
}

type waiting struct {
	level   int
	network netip.Prefix
	away    chan struct{} // closed when it has to go
}

func newQueue() *queue {
	q := &queue{each: map[netip.Prefix]int{}}
	for i := range q.level {
		q.level[i] = map[*waiting]struct{}{}
	}
	return q
}

// enter lets somebody wait, or returns nil.
func (q *queue) enter(d time.Duration, network netip.Prefix) *waiting {
	w := &waiting{bits.Len64(uint64((d - 1) / firstDelay)), network, make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.each[network] >= waitingEach || q.count >= maxWaiting && !q.sendAway(w.level) {
		return nil
	}
	q.count++
	q.each[network]++
	q.level[w.level][w] = struct{}{}
	return w
}

// sendAway makes room for one of a level; q.mu is held.
func (q *queue) sendAway(level int) bool {
	for l := levels - 1; l > level; l-- {
		for w := range q.level[l] {
			q.remove(w)
			close(w.away)
			return true
		}
	}
	return false
}

// leave ends a wait.
func (q *queue) leave(w *waiting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, there := q.level[w.level][w]; there {
		q.remove(w)
	}
}

func (q *queue) remove(w *waiting) {
	delete(q.level[w.level], w)
	q.count--
	if q.each[w.network]--; q.each[w.network] == 0 {
		delete(q.each, w.network)
	}
}

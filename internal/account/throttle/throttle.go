// Package throttle slows down who guesses passwords, and locks nobody out.
//
// Each failure is counted twice: for the network it came from, and for that
// network and the name it tried. Past a few, every further attempt waits
// before its credential is looked at, twice as long each time up to
// maxDelay; with time the counts fall. An owner who signs in from another
// network than the attacker is not slowed at all, and one who shares the
// attacker's waits maxDelay at most.
//
// Memory is fixed: counts live in slots chosen by a keyed hash, without a
// name. Two that share a slot share its delay, which nobody can arrange who
// does not know the key. Names that do not exist count like those that do.
package throttle

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
)

const (
	// slots is the size of each of the two tables: 2^15 of 16 octets.
	slots = 1 << 15
	// pairFree failures of a name from one network are taken for typing
	// errors; networkFree of all names, since people share networks.
	pairFree    = 3
	networkFree = 10
	firstDelay  = 500 * time.Millisecond
	maxDelay    = 10 * time.Second
	// halfLife is the time in which a count falls to its half.
	halfLife = 10 * time.Minute
	// ceiling bounds a count, so that the delay is gone after an hour
	// however long the attack was.
	ceiling = 60
	// maxWaiting bounds how many wait at the same time. Connections are
	// bounded by address, so that one address cannot take all places.
	maxWaiting = 1000
)

// ErrBusy says that too many wait already.
var ErrBusy = errors.New("too many sign-ins wait")

// Throttle holds the counts. Its methods may be called from any goroutine.
type Throttle struct {
	clock   clock.Clock
	seed    maphash.Seed
	waiting atomic.Int64

	mu             sync.Mutex
	pairs, sources []slot
}

// slot is a count of failures as of a moment.
type slot struct {
	count float64
	at    int64 // seconds since 1970
}

// New returns a throttle that has counted nothing.
func New(c clock.Clock) *Throttle {
	return &Throttle{
		clock:   c,
		seed:    maphash.MakeSeed(),
		pairs:   make([]slot, slots),
		sources: make([]slot, slots),
	}
}

// Network returns what is taken for one source: a /24 or a /64.
func Network(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	p, _ := ip.Prefix(bits) // fails for the zero Addr only, and gives the zero Prefix
	return p
}

// Wait returns when an attempt to sign in as name from the network may be
// looked at. It fails when ctx ends or too many wait.
func (t *Throttle) Wait(ctx context.Context, name string, from netip.Prefix) error {
	d := t.Delay(name, from)
	if d == 0 {
		return nil
	}
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > maxWaiting {
		return ErrBusy
	}
	over := make(chan struct{})
	timer := t.clock.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Delay returns how long the next attempt waits.
func (t *Throttle) Delay(name string, from netip.Prefix) time.Duration {
	now := t.clock.Now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(delay(t.pair(name, from).now(now), pairFree), delay(t.source(from).now(now), networkFree))
}

// Failed counts a failure.
func (t *Throttle) Failed(name string, from netip.Prefix) {
	now := t.clock.Now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pair(name, from).add(now)
	t.source(from).add(now)
}

// Passed forgets the failures of name from the network: its owner found the
// right password. Those of the network stay, or whoever has an account could
// wipe out what they do to others'.
func (t *Throttle) Passed(name string, from netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*t.pair(name, from) = slot{}
}

func (t *Throttle) pair(name string, from netip.Prefix) *slot {
	type key struct {
		name string
		from netip.Prefix
	}
	return &t.pairs[maphash.Comparable(t.seed, key{name, from})%slots]
}

func (t *Throttle) source(from netip.Prefix) *slot {
	return &t.sources[maphash.Comparable(t.seed, from)%slots]
}

// now returns what time has left of the count. A clock that was set back
// leaves all of it.
func (s *slot) now(now int64) float64 {
	if s.count == 0 || now <= s.at {
		return s.count
	}
	return s.count * math.Exp2(-float64(now-s.at)/halfLife.Seconds())
}

func (s *slot) add(now int64) {
	s.count = min(s.now(now)+1, ceiling)
	s.at = now
}

func delay(count float64, free int) time.Duration {
	over := int(math.Round(count)) - free
	switch {
	case over < 0:
		return 0
	case over > 10: // shifted further it would overflow
		return maxDelay
	}
	return min(firstDelay<<over, maxDelay)
}

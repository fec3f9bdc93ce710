// Package throttle slows down who guesses passwords, and locks nobody out.
//
// # What is counted
//
// Each failure is counted for the address it came from and for its network,
// for the name that it tried, and for that name from that network. Past a few,
// every further attempt waits before its credential is looked at, twice as
// long each time; with time the counts fall. What a name alone is slowed by is
// less than the rest (accountDelay), so that an owner who comes from nowhere
// known stands before those who guess.
//
// # Who is not slowed
//
// Where an account signed in before (Places) others do not slow it: from a
// network that it knows, what is counted for the name does not count; from an
// address and with a program that it knows, only what failed there with that
// program as that name does. So a telephone with an old password does not hold
// up the computer beside it, nor does whoever guesses in the same house.
//
// # Limits
//
// Memory is fixed: counts live in slots chosen by a keyed hash, without a
// name. Two that share a slot share its delay, which nobody can arrange who
// does not know the key; names at places that they know have a table of their
// own, which strangers cannot fill. Names that do not exist count like those
// that do. At most maxWaiting wait, waitingEach of a network; where there are
// more, who waits longest anyway goes first.
package throttle

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"

	"gatepost/internal/clock"
)

const (
	// slots is the size of each table: 2^15 of 16 octets.
	slots = 1 << 15

	firstDelay   = 500 * time.Millisecond
	maxDelay     = 10 * time.Second
	accountDelay = 4 * time.Second
	// halfLife is the time in which a count falls to its half.
	halfLife = 10 * time.Minute
	// ceiling is how far beyond what is free a count grows, so that the delay
	// is gone after an hour however long the attack was.
	ceiling = 57
)

// What is counted. Each has a table.
const (
	own     = iota // a name from an address and a program that it knows
	pair           // a name from a network
	address        // an address
	network        // a network
	account        // a name, from wherever
	tables
)

// free is how many failures are taken for typing errors. People share
// addresses, and more of them networks.
var free = [tables]int{own: 3, pair: 3, address: 10, network: 40, account: 30}

// ErrBusy says that too many wait already.
var ErrBusy = errors.New("too many sign-ins wait")

// Source is where an attempt comes from, and by what.
type Source struct {
	Address netip.Prefix // what one client has: an address, or a /64
	Network netip.Prefix // what it can easily move in: a /24 or a /48
	Device  string       // what is taken for one program on one device
}

// From returns the source of an address and a device.
func From(ip netip.Addr, device string) Source {
	ip = ip.Unmap().WithZone("")
	one, many := 64, 48
	if ip.Is4() {
		one, many = 32, 24
	}
	// Prefix fails for the zero Addr only, and gives the zero Prefix.
	s := Source{Device: device}
	s.Address, _ = ip.Prefix(one)
	s.Network, _ = ip.Prefix(many)
	return s
}

// Attempt is one attempt to sign in.
type Attempt struct {
	Name  string // that is tried
	Owner int64  // whose it is; 0: nobody's
	Source
	// Gone reports whether whoever tries has left; nil: it is not known.
	Gone func() bool
}

// Throttle holds the counts. Its methods may be called from any goroutine.
type Throttle struct {
	Places *Places

	clock clock.Clock
	seed  maphash.Seed
	queue *queue

	mu     sync.Mutex
	counts [tables][]slot
}

// slot is a count of failures as of a moment.
type slot struct {
	count float64
	at    int64 // seconds since 1970
}

// New returns a throttle that has counted nothing.
func New(c clock.Clock) *Throttle {
	t := &Throttle{Places: newPlaces(), clock: c, seed: maphash.MakeSeed(), queue: newQueue()}
	for i := range t.counts {
		t.counts[i] = make([]slot, slots)
	}
	return t
}

// Wait returns when an attempt may be looked at. It fails when ctx ends or too
// many wait.
func (t *Throttle) Wait(ctx context.Context, a Attempt) error {
	d := t.Delay(a)
	if d == 0 {
		return nil
	}
	w := t.queue.enter(d, a.Network)
	if w == nil {
		return ErrBusy
	}
	defer t.queue.leave(w)
	over := make(chan struct{})
	timer := t.clock.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
		return nil
	case <-w.away:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Delay returns how long the next attempt waits.
func (t *Throttle) Delay(a Attempt) (d time.Duration) {
	known := t.Places.known(&a)
	now := t.clock.Now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	of := func(table int) time.Duration { return delay(t.slot(table, &a).now(now), free[table]) }
	if known == home {
		return of(own)
	}
	d = max(of(pair), of(address), of(network))
	if known == nowhere {
		d = max(d, min(of(account), accountDelay))
	}
	return d
}

// Failures returns how many failures were counted lately where an attempt
// comes from.
func (t *Throttle) Failures(a Attempt) int {
	now := t.clock.Now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(math.Round(t.slot(network, &a).now(now)))
}

// Known reports whether an attempt comes from a network that its account
// knows.
func (t *Throttle) Known(a Attempt) bool { return t.Places.known(&a) != nowhere }

// Failed counts a failure.
func (t *Throttle) Failed(a Attempt) {
	known := t.Places.known(&a)
	now := t.clock.Now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	for table := pair; table < tables; table++ {
		t.slot(table, &a).add(now, free[table])
	}
	if known == home {
		t.slot(own, &a).add(now, free[own])
	}
}

// Passed forgets the failures of the name from where it comes: its owner found
// the right password, and knows the place from now on. Those of the address
// and the network stay, or whoever has an account could wipe out what they do
// to others'.
func (t *Throttle) Passed(a Attempt) {
	t.Places.Learn(a.Owner, a.Source)
	t.mu.Lock()
	defer t.mu.Unlock()
	*t.slot(pair, &a), *t.slot(own, &a) = slot{}, slot{}
}

// slot returns the slot of an attempt in a table; t.mu is held.
func (t *Throttle) slot(table int, a *Attempt) *slot {
	type key struct {
		name   string
		from   netip.Prefix
		device string
	}
	var k key
	switch table {
	case own:
		k = key{a.Name, a.Address, a.Device}
	case pair:
		k = key{a.Name, a.Network, ""}
	case address:
		k = key{from: a.Address}
	case network:
		k = key{from: a.Network}
	case account:
		k = key{name: a.Name}
	}
	return &t.counts[table][maphash.Comparable(t.seed, k)%slots]
}

// now returns what time has left of the count. A clock that was set back
// leaves all of it.
func (s *slot) now(now int64) float64 {
	if s.count == 0 || now <= s.at {
		return s.count
	}
	return s.count * math.Exp2(-float64(now-s.at)/halfLife.Seconds())
}

func (s *slot) add(now int64, free int) {
	s.count = min(s.now(now)+1, float64(free+ceiling))
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

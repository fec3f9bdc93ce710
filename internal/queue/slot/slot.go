// Package slot shares a bounded number of slots among lines that wait for
// one, so that none starves the others. It belongs to queue and takes no
// lock.
//
// Lines take turns. Who holds slots for long counts too: a line gets a second
// slot only while fewer than Spare are taken, those not known to be quick hold
// no more than Chill together, and of these the ones known to be slow no more
// than Freeze. So neither one slow line nor thousands of dead ones can take
// all, and who is new need not wait behind the dead. A quick line that had
// nothing to do has turns apart from those that have fallen behind: thousands
// of long lines are not in the way of a single message. Nor are many attempts at
// once: those of lines that have waited share the slots that may be Young.
package slot

import "time"

// Pool is a number of slots and the lines that wait for one.
type Pool[T any] struct {
	Max    int // slots
	Chill  int // how many of them lines may hold that are not known to be quick
	Freeze int // how many of those may be known to be slow
	Spare  int // how many may be taken when a line is given a further one
	Young  Young

	taken int
	held  [paces]int // of those taken, by the pace of who got them
	rings [kinds]ring[T]
	turn  int // which of the rings before further is asked first
}

// Pace is what is known of how long a line holds a slot.
type Pace uint8

// The paces.
const (
	Unknown Pace = iota
	Quick
	Slow // or dead
	paces
)

// What lines ask for.
const (
	fresh        = iota // the first slot of a quick line that had no use for one
	first               // the first slot of a quick line that has had turns
	unknownFirst        // the first slot of a line of which nothing is known
	slowFirst           // the first slot of a slow line
	further             // a slot beside others of the line
	kinds
	none = -1
)

// Line is one that waits for slots, for T. Its user sets Window, Pace and
// Idle, and calls Update after.
type Line[T any] struct {
	Of     T
	Window int // how many slots it may hold
	Pace   Pace
	Idle   bool // it has no use for a slot now

	running    int
	rested     bool // it was idle and held none, and has had no slot since
	turn       int  // 1 + the ring in which it stands; 0 for none
	prev, next *Line[T]
}

// Running returns how many slots the line holds.
func (l *Line[T]) Running() int { return l.running }

// Slot is a slot that a line holds.
type Slot struct {
	pace  Pace
	young bool          // it counted as that when it was given
	given time.Duration // when
}

// Take gives a slot to the line whose turn it is; ok is false if there is no
// such line or no slot for it. The kinds of first slots alternate; further
// slots come after all of them. now must not go back.
func (p *Pool[T]) Take(now time.Duration) (l *Line[T], s Slot, ok bool) {
	p.Young.grow(now)
	for i := range further {
		k := (p.turn + i) % further
		if l := p.rings[k].head; l != nil && p.allows(k) {
			p.turn = (k + 1) % further
			return l, p.give(l, now), true
		}
	}
	if l := p.rings[further].head; l != nil && p.allows(further) {
		return l, p.give(l, now), true
	}
	return nil, Slot{}, false
}

// Again returns when Take may give a slot that it did not give now, though
// nothing else happens: once there is one less that is young.
func (p *Pool[T]) Again() (at time.Duration, ok bool) {
	if !p.crowded() {
		return 0, false
	}
	return p.Young.since[0] + p.Young.Age, true
}

// crowded reports whether lines wait because too many slots are young.
func (p *Pool[T]) crowded() bool {
	if !p.Young.full() {
		return false
	}
	for k, r := range p.rings {
		if counted(k) && r.head != nil {
			return true
		}
	}
	return false
}

// counted reports whether a slot that was asked for like this counts as young:
// one of a line that has to look up, connect and greet, and that has waited
// before. What a line has further goes over connections that are there.
func counted(k int) bool { return k != fresh && k != further }

func (p *Pool[T]) allows(k int) bool {
	if counted(k) && p.Young.full() {
		return false
	}
	switch k {
	case unknownFirst:
		return p.taken < p.Max && p.cold() < p.Chill
	case slowFirst:
		return p.taken < p.Max && p.cold() < p.Chill && p.held[Slow] < p.Freeze
	case further:
		return p.taken < p.Spare && !p.crowded()
	}
	return p.taken < p.Max
}

// cold returns how many slots are held by who was not known to be quick.
func (p *Pool[T]) cold() int { return p.held[Unknown] + p.held[Slow] }

func (p *Pool[T]) give(l *Line[T], now time.Duration) Slot {
	s := Slot{l.Pace, counted(l.turn - 1), now}
	if s.young {
		p.Young.add(now)
	}
	l.running++
	l.rested = false
	p.taken++
	p.held[s.pace]++
	p.leave(l) // its turn is over, also if it asks for the same again
	p.Update(l)
	return s
}

// Free takes a slot back.
func (p *Pool[T]) Free(l *Line[T], s Slot) {
	l.running--
	p.taken--
	p.held[s.pace]--
	if s.young {
		p.Young.remove(s.given)
	}
	p.Update(l)
}

// Update puts a line to where it belongs now, at the end; where it stands
// there already, it keeps its turn.
func (p *Pool[T]) Update(l *Line[T]) {
	if l.Idle && l.running == 0 {
		l.rested = true
	}
	k := l.asks()
	if l.turn == k+1 {
		return
	}
	p.leave(l)
	if k != none {
		p.rings[k].push(l)
		l.turn = k + 1
	}
}

func (p *Pool[T]) leave(l *Line[T]) {
	if l.turn != 0 {
		p.rings[l.turn-1].remove(l)
		l.turn = 0
	}
}

// asks returns what a line asks for.
func (l *Line[T]) asks() int {
	switch {
	case l.Idle || l.running >= l.Window:
		return none
	case l.running > 0:
		return further
	case l.Pace == Unknown:
		return unknownFirst
	case l.Pace == Slow:
		return slowFirst
	case l.rested:
		return fresh
	}
	return first
}

// ring is lines in the order of their turns.
type ring[T any] struct{ head, tail *Line[T] }

func (r *ring[T]) push(l *Line[T]) {
	l.prev, l.next = r.tail, nil
	if r.tail == nil {
		r.head = l
	} else {
		r.tail.next = l
	}
	r.tail = l
}

func (r *ring[T]) remove(l *Line[T]) {
	if l.prev == nil {
		r.head = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		r.tail = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
}

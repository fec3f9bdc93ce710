// Package slot shares a bounded number of slots among lines that wait for
// one, so that none starves the others. It belongs to queue and takes no
// lock.
//
// Lines take turns. Who holds slots for long counts too: a line gets a second
// slot only while fewer than Spare are taken, and cold lines, which have not
// proven to be quick, hold no more than Chill together. So neither one slow
// line nor thousands of dead ones can take all. A quick line that had nothing
// to do has turns apart from those that have fallen behind: thousands of long
// lines are not in the way of a single message.
package slot

// Pool is a number of slots and the lines that wait for one.
type Pool[T any] struct {
	Max   int // slots
	Chill int // how many of them cold lines may hold
	Spare int // how many may be taken when a line is given a further one

	taken int
	cold  int // of those taken, given to cold lines
	rings [kinds]ring[T]
	turn  int // fresh, first or coldFirst: which is asked first
}

// What lines ask for.
const (
	fresh     = iota // the first slot of a quick line that had no use for one
	first            // the first slot of a quick line that has had turns
	coldFirst        // the first slot of a cold line
	further          // a slot beside others of the line
	kinds
	none = -1
)

// Line is one that waits for slots, for T. Its user sets Window, Cold and
// Idle, and calls Update after.
type Line[T any] struct {
	Of     T
	Window int  // how many slots it may hold
	Cold   bool // it is not known to be quick
	Idle   bool // it has no use for a slot now

	running    int
	rested     bool // it was idle and held none, and has had no slot since
	turn       int  // 1 + the ring in which it stands; 0 for none
	prev, next *Line[T]
}

// Running returns how many slots the line holds.
func (l *Line[T]) Running() int { return l.running }

// Slot is a slot that a line holds.
type Slot struct{ cold bool }

// Take gives a slot to the line whose turn it is; ok is false if there is no
// such line or no slot for it. Fresh, quick and cold lines alternate; further
// slots come after all of them.
func (p *Pool[T]) Take() (l *Line[T], s Slot, ok bool) {
	for i := range further {
		k := (p.turn + i) % further
		if l := p.rings[k].head; l != nil && p.allows(k) {
			p.turn = (k + 1) % further
			return l, p.give(l), true
		}
	}
	if l := p.rings[further].head; l != nil && p.allows(further) {
		return l, p.give(l), true
	}
	return nil, Slot{}, false
}

func (p *Pool[T]) allows(k int) bool {
	switch k {
	case coldFirst:
		return p.taken < p.Max && p.cold < p.Chill
	case further:
		return p.taken < p.Spare
	}
	return p.taken < p.Max
}

func (p *Pool[T]) give(l *Line[T]) Slot {
	l.running++
	l.rested = false
	p.taken++
	if l.Cold {
		p.cold++
	}
	p.leave(l) // its turn is over, also if it asks for the same again
	p.Update(l)
	return Slot{l.Cold}
}

// Free takes a slot back.
func (p *Pool[T]) Free(l *Line[T], s Slot) {
	l.running--
	p.taken--
	if s.cold {
		p.cold--
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
	case l.Cold:
		return coldFirst
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

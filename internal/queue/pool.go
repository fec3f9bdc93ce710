package queue

// The rings of a pool: lines with a job that may be attempted, by what kind
// of slot they ask for. See "Fairness" in the package comment.
const (
	first     = iota // the first slot of a quick line
	coldFirst        // the first slot of a cold line
	more             // a further slot
	rings
)

// pool is the slots for attempts of one kind, and the lines that wait for
// one.
type pool struct {
	to    Deliverer
	max   int // slots
	chill int // how many of them cold lines may hold
	spare int // how many may be taken for a line to get a further one
	each  int // how many one line may hold

	taken int
	cold  int // of those taken, by cold lines
	rings [rings]ring
	turn  int // the ring that is asked first
}

func newPool(to Deliverer, slots, each int) pool {
	return pool{to: to, max: slots, chill: max(1, slots*3/4), spare: max(1, slots/2), each: each}
}

// newLocalPool returns a pool for lines that all end in the same store, which
// takes the more at once the better: no line needs protection from another.
func newLocalPool(to Deliverer, slots int) pool {
	return pool{to: to, max: slots, chill: slots, spare: slots, each: slots}
}

// take gives a slot to the line whose turn it is and returns its first job.
func (p *pool) take() *job {
	for i := range rings {
		k := (p.turn + i) % rings
		if l := p.rings[k].head; l != nil && p.allows(k) {
			p.turn = k + 1
			return p.give(l)
		}
	}
	return nil
}

func (p *pool) allows(k int) bool {
	switch k {
	case coldFirst:
		return p.taken < p.max && p.cold < p.chill
	case more:
		return p.taken < p.spare
	}
	return p.taken < p.max
}

func (p *pool) give(l *line) *job {
	j := l.pop()
	j.state, j.cold = busy, l.cold
	l.running++
	p.taken++
	if j.cold {
		p.cold++
	}
	p.leave(l)
	p.enlist(l)
	return j
}

// free takes the slot of a job back.
func (p *pool) free(j *job) {
	j.line.running--
	p.taken--
	if j.cold {
		p.cold--
	}
	p.enlist(j.line)
}

// enlist puts a line into the ring where it belongs now, at the end; where
// it is in it already, it keeps its turn.
func (p *pool) enlist(l *line) {
	ring := l.asks()
	if l.turn == ring {
		return
	}
	p.leave(l)
	if ring != 0 {
		p.rings[ring-1].push(l)
		l.turn = ring
	}
}

func (p *pool) leave(l *line) {
	if l.turn != 0 {
		p.rings[l.turn-1].remove(l)
		l.turn = 0
	}
}

// asks returns 1 + the ring that a line belongs into, 0 for none.
func (l *line) asks() int {
	switch {
	case l.head == nil || l.held() || l.running >= l.window:
		return 0
	case l.running > 0:
		return 1 + more
	case l.cold:
		return 1 + coldFirst
	}
	return 1 + first
}

// ring is lines in the order of their turns.
type ring struct{ head, tail *line }

func (r *ring) push(l *line) {
	l.prev, l.succ = r.tail, nil
	if r.tail == nil {
		r.head = l
	} else {
		r.tail.succ = l
	}
	r.tail = l
}

func (r *ring) remove(l *line) {
	if l.prev == nil {
		r.head = l.succ
	} else {
		l.prev.succ = l.succ
	}
	if l.succ == nil {
		r.tail = l.prev
	} else {
		l.succ.prev = l.prev
	}
	l.prev, l.succ = nil, nil
}

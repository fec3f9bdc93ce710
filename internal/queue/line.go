package queue

import (
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/queue/alarm"
	"gatepost/internal/queue/slot"
)

// Bounds of lines.
const (
	// brisk is how long an attempt may take for its line to count as quick.
	brisk = 5 * time.Second
	// youth is how long an attempt counts as one that has just begun: longer
	// than one takes where processors are the bound, and shorter than most do
	// on the internet. Eight young ones let 500 begin in a second there.
	youth = 15 * time.Millisecond
	// maxIdle is how many lines are remembered at most once they are empty,
	// for what is known of their destinations.
	maxIdle = 10_000
)

// lineName names a line. A domain that was made ours while mail for it
// waited has two. Messages that ask for no protection have lines of their
// own, since a destination that cannot offer it is open to them.
type lineName struct {
	name   string
	local  bool
	waived bool // the TLS that the destination promised
}

// pool is the slots for attempts of one kind.
type pool struct {
	slot.Pool[*line]
	to    Deliverer
	each  int         // how many one line may hold
	again alarm.Alarm // set while slots are free, but too many are young: see slot.Young
}

// newPool returns a pool for other servers, some of which are dead or slow.
func newPool(o *Options) pool {
	slots := o.RemoteWorkers
	return pool{Pool: slot.Pool[*line]{
		Max: slots, Chill: max(1, slots*3/4), Freeze: max(1, slots*3/8), Spare: max(1, slots/2),
		Young: slot.Young{Max: o.RemoteYoung, Age: youth},
	}, to: o.Remote, each: o.PerDestination}
}

// newLocalPool returns a pool for lines that all end in the same store, which
// takes the more at once the better: no line needs protection from another.
func newLocalPool(o *Options) pool {
	slots := o.LocalWorkers
	return pool{Pool: slot.Pool[*line]{Max: slots, Chill: slots, Freeze: slots, Spare: slots}, to: o.Local, each: slots}
}

func (p *pool) Alarm() *alarm.Alarm { return &p.again }

// ring does nothing: both pools are looked at after all alarms.
func (p *pool) ring(*Queue) {}

// take returns the job whose turn it is, with a slot.
func (p *pool) take(now time.Duration) *job {
	l, s, ok := p.Take(now)
	if !ok {
		return nil
	}
	j := l.Of.pop()
	j.state, j.slot = busy, s
	return j
}

// line is the jobs of one destination.
type line struct {
	name       lineName
	pool       *pool
	slots      slot.Line[*line]
	head, tail *job // ready ones, first come first served
	filling    *job // of the message that is being offered
	jobs       int  // in any state

	hold     alarm.Alarm      // set while the destination is left alone
	failures int              // of the destination, in a row
	last     envelope.Outcome // the latest failure
	proof    *envelope.Proof  // of the latest connection; nil if none was made
}

func (l *line) Alarm() *alarm.Alarm { return &l.hold }

// ring ends a hold: one attempt will show.
func (l *line) ring(*Queue) { l.update() }

func (l *line) held() bool { return l.hold.Set() }

// update tells the pool what has changed.
func (l *line) update() {
	l.slots.Idle = l.head == nil || l.held()
	l.pool.Update(&l.slots)
}

// line returns the line of a name.
func (q *Queue) line(name lineName) *line {
	l := q.lines[name]
	if l == nil {
		l = &line{name: name, pool: &q.remote}
		l.slots = slot.Line[*line]{Of: l, Window: 1, Idle: true}
		if name.local {
			l.pool, l.slots.Window, l.slots.Pace = &q.local, q.local.each, slot.Quick
		}
		q.lines[name] = l
		q.idle++
	}
	return l
}

// sweep forgets the empty lines when there are too many of them.
func (q *Queue) sweep() {
	if q.idle <= maxIdle {
		return
	}
	q.idle = 0
	for name, l := range q.lines {
		if l.jobs == 0 {
			q.alarms.Clear(l)
			delete(q.lines, name)
		}
	}
}

// push puts a job at the end.
func (l *line) push(j *job) {
	j.next = nil
	if l.head == nil {
		l.head = j
	} else {
		l.tail.next = j
	}
	l.tail = j
	l.update()
}

// pop takes the first job.
func (l *line) pop() *job {
	j := l.head
	l.head, j.next = j.next, nil
	l.update()
	return j
}

// remove takes out a job in the middle: for operators, so it may be slow.
func (l *line) remove(j *job) {
	var before *job
	for at := &l.head; *at != nil; at = &(*at).next {
		if *at == j {
			*at = j.next
			if l.tail == j {
				l.tail = before
			}
			break
		}
		before = *at
	}
	j.next = nil
	l.update()
}

// alive takes note that the destination answered.
func (q *Queue) alive(l *line, took time.Duration) {
	if l.failures > 0 {
		l.failures = 0
		q.alarms.Clear(l)
	}
	if l.pool == &q.local {
		l.slots.Window = l.pool.each
	} else {
		l.slots.Window = min(l.slots.Window+1, l.pool.each)
		l.slots.Pace = slot.Quick
		if took > brisk {
			l.slots.Pace = slot.Slow
		}
	}
	l.update()
}

// dead takes note that it did not, and holds the line. Attempts that ran
// side by side and failed together count once. The messages that so lose
// their first attempt are returned: nobody will read their bodies soon.
func (q *Queue) dead(l *line, o envelope.Outcome) (untried []envelope.ID) {
	l.last = o
	if l.held() {
		return nil
	}
	q.set(l, q.now()+q.interval(backoff, l.failures))
	l.failures++
	l.slots.Window = 1
	if l.pool == &q.remote {
		l.slots.Pace = slot.Slow
	}
	l.update()
	for j := l.head; j != nil; j = j.next {
		if q.tried(j) {
			untried = append(untried, j.of.env.ID)
		}
	}
	return untried
}

// tried notes that the first attempt of a job is over and reports whether
// that was the last of its message to be so.
func (q *Queue) tried(j *job) bool {
	if j.tried {
		return false
	}
	j.tried = true
	j.of.untried--
	return j.of.untried == 0
}

package queue

import (
	"time"

	"gatepost/internal/envelope"
)

// Bounds of lines.
const (
	// brisk is how long an attempt may take for its line to count as quick.
	brisk = 5 * time.Second
	// maxIdle is how many lines are remembered at most once they are empty,
	// for what is known of their destinations.
	maxIdle = 10_000
)

// lineName names a line. A domain that was made ours while mail for it
// waited has two.
type lineName struct {
	name  string
	local bool
}

// line is the jobs of one destination.
type line struct {
	name       lineName
	pool       *pool
	head, tail *job // ready ones, first come first served
	filling    *job // of the message that is being offered
	jobs       int  // in any state

	running int  // attempts under way
	window  int  // how many there may be
	cold    bool // not known to be quick

	hold     alarm            // while the destination is left alone
	failures int              // of the destination, in a row
	last     envelope.Outcome // the latest failure

	turn       int // 1 + the ring in which it stands; 0 for none
	prev, succ *line
}

func (l *line) alarm() *alarm { return &l.hold }

// ring ends a hold: one attempt will show.
func (l *line) ring(*Queue) { l.pool.enlist(l) }

func (l *line) held() bool { return l.hold.pos != 0 }

// line returns the line of a name.
func (q *Queue) line(name lineName) *line {
	l := q.lines[name]
	if l == nil {
		l = &line{name: name, pool: &q.remote, window: 1, cold: true}
		if name.local {
			l.pool, l.window, l.cold = &q.local, q.local.each, false
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
			q.clear(l)
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
	l.pool.enlist(l)
}

// pop takes the first job.
func (l *line) pop() *job {
	j := l.head
	l.head, j.next = j.next, nil
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
	l.pool.enlist(l)
}

// alive takes note that the destination answered.
func (q *Queue) alive(l *line, took time.Duration) {
	if l.failures > 0 {
		l.failures = 0
		q.clear(l)
	}
	if l.pool == &q.local {
		l.window = l.pool.each
	} else {
		l.window = min(l.window+1, l.pool.each)
		l.cold = took > brisk
	}
	l.pool.enlist(l)
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
	l.window, l.cold = 1, l.pool == &q.remote
	l.pool.enlist(l)
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

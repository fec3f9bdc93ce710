package queue

import (
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/queue/alarm"
	"gatepost/internal/queue/slot"
)

// queued is a message that is not done.
type queued struct {
	env  *envelope.Envelope
	age  alarm.Alarm   // the next thing that its age brings
	born time.Duration // when it was received, on the clock of Queue.now
	jobs *job          // linked by sibling

	untried uint16 // jobs whose first attempt is not over
	homing  uint16 // local recipients that wait, or whose outcome is not durable
	held    bool
	frozen  bool // the account that sent it is; see freeze.go
	delayed bool // a notice of delay was sent, or need not be
}

// state is where a job stands; see the package comment.
type state uint8

const (
	ready state = iota
	busy
	waiting
	parked
)

// job is the recipients of a message that share a destination.
type job struct {
	due        alarm.Alarm // set when waiting
	of         *queued
	line       *line
	recipients []int // indexes in the envelope; replaced, never changed
	next       *job  // in the line
	sibling    *job  // in the message

	attempts uint16
	step     uint8 // own deferrals so far: how far the schedule has come
	state    state
	tried    bool      // the first attempt is over, or cannot be made
	stray    bool      // its route has changed while it was busy
	afresh   bool      // it was held: what it is signed with may not hold any more
	slot     slot.Slot // when busy
}

// small holds the lists of one index, which most jobs have.
var small = func() (s [64]int) {
	for i := range s {
		s[i] = i
	}
	return s
}()

func only(i int) []int {
	if i < len(small) {
		return small[i : i+1 : i+1]
	}
	return []int{i}
}

// takeOn makes recipient i of a message part of a job.
func (q *Queue) takeOn(m *queued, i int, name lineName, now time.Time) {
	r := &m.env.Recipients[i]
	if r.Status == envelope.Kept {
		q.keep(m, now.Sub(q.base)+clamp(r.Next.Sub(now), q.o.KeptFor))
	}
	if !r.Status.Waiting() {
		return
	}
	due := now.Sub(q.base)
	if !r.Next.IsZero() { // the wall clock may have jumped while we were not running
		due += clamp(r.Next.Sub(now), longest)
	}
	q.jobOf(m, name, due).join(i, r.Attempts, due)
}

// jobOf returns the job of a line that a message's recipients are being put
// into, a new one for the first of them. place ends this.
func (q *Queue) jobOf(m *queued, name lineName, due time.Duration) *job {
	l := q.line(name)
	if l.filling == nil {
		j := &job{of: m, line: l, sibling: m.jobs, state: busy}
		j.due.At = due
		m.jobs, l.filling = j, j
		m.untried++
		if l.jobs++; l.jobs == 1 {
			q.idle--
		}
	}
	return l.filling
}

// place admits the jobs that were filled, and reports whether the body of
// the message need not stay in memory, since no first attempt is near.
func (q *Queue) place(m *queued) (release bool) {
	for j := m.jobs; j != nil; j = j.sibling {
		if j.line.filling != j {
			continue
		}
		j.line.filling = nil
		if (j.attempts > 0 || j.line.held() || m.stopped()) && q.tried(j) {
			release = true
		}
		q.admit(j)
	}
	return release
}

// join adds a recipient that has had some attempts. All are tried again when
// the first of them is due.
func (j *job) join(i int, attempts uint16, due time.Duration) {
	if j.recipients == nil {
		j.recipients = only(i)
	} else {
		j.recipients = append(j.recipients, i)
	}
	j.attempts = max(j.attempts, attempts)
	j.step = uint8(min(j.attempts, uint16(len(schedule))))
	j.due.At = min(j.due.At, due)
	if j.line.name.local {
		j.of.homing++
	}
}

func clamp(d, most time.Duration) time.Duration { return min(max(d, 0), most) }

// admit puts a job where it belongs now: it was not anywhere.
func (q *Queue) admit(j *job) {
	switch {
	case j.of.stopped():
		j.state = parked
	case j.due.At > q.now():
		j.state = waiting
		q.set(j, j.due.At)
	default:
		j.state = ready
		j.line.push(j)
	}
}

// hurry makes a job ready wherever it stands; a busy one stays.
func (q *Queue) hurry(j *job) {
	if j.state == waiting || j.state == parked {
		q.alarms.Clear(j)
		j.due.At = 0
		q.admit(j)
	}
}

// withdraw takes a job out of where it stands, for who then owns it.
func (q *Queue) withdraw(j *job) {
	switch j.state {
	case ready:
		j.line.remove(j)
	case waiting:
		q.alarms.Clear(j)
	}
	j.state = busy
}

// finish puts a busy job where its verdict says.
func (q *Queue) finish(j *job, v *verdict) {
	q.undoom(j, v.Left)
	j.recipients, j.due.At = v.Left, v.due
	if len(v.Left) == 0 {
		q.end(j)
		return
	}
	q.admit(j)
	if j.stray {
		j.stray = false
		q.later(func() { q.reroute(j.of) })
	}
}

// end forgets a job, and its message with the last one.
func (q *Queue) end(j *job) {
	m := j.of
	for at := &m.jobs; *at != nil; at = &(*at).sibling {
		if *at == j {
			*at = j.sibling
			break
		}
	}
	if j.line.jobs--; j.line.jobs == 0 {
		q.idle++
		q.sweep()
	}
	if m.jobs == nil {
		q.leave(m)
	}
}

// leave forgets a message without jobs, unless failures of it are kept.
func (q *Queue) leave(m *queued) {
	q.setAge(m, 0)
	if _, kept := q.kept[m.env.ID]; !kept {
		delete(q.messages, m.env.ID)
	}
}

// keep notes that a message has failures that are kept for a while.
func (q *Queue) keep(m *queued, until time.Duration) {
	if at, ok := q.kept[m.env.ID]; !ok || until < at {
		q.kept[m.env.ID] = until
	}
}

// unkeep notes that it has none any more.
func (q *Queue) unkeep(m *queued) {
	delete(q.kept, m.env.ID)
	if m.jobs == nil {
		q.leave(m)
	}
}

func (j *job) Alarm() *alarm.Alarm    { return &j.due }
func (m *queued) Alarm() *alarm.Alarm { return &m.age }

// ring makes a job ready that was deferred.
func (j *job) ring(q *Queue) { q.admit(j) }

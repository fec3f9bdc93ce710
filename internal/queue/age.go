package queue

import (
	"time"

	"gatepost/internal/dsn"
	"gatepost/internal/envelope"
	"gatepost/internal/queue/settle"
)

const (
	// regain is how long the queue watches after a start before anything is
	// given up for its age: the wall clock may not have been set yet.
	regain = time.Hour
	// recheck is when a message that is too old but could not be judged is
	// looked at again.
	recheck = 5 * time.Minute
	// errandLife is how long reports to other domains are tried: RFC 8460,
	// section 5.5.
	errandLife = 24 * time.Hour
)

// lifetime returns how long a message is tried.
func (q *Queue) lifetime(e *envelope.Envelope) time.Duration {
	if e.IsErrand() {
		return min(errandLife, q.o.Lifetime)
	}
	return q.o.Lifetime
}

// setAge sets the alarm for the next thing that a message's age brings, not
// before the given time.
func (q *Queue) setAge(m *queued, notBefore time.Duration) {
	at := never
	if m.jobs != nil && !m.stopped() {
		at = m.born + q.lifetime(m.env)
		if !m.delayed {
			at = min(at, m.born+q.o.DelayNotice)
		}
		at = max(at, notBefore)
	}
	if until, kept := q.kept[m.env.ID]; kept {
		at = min(at, until)
	}
	if at == never {
		q.alarms.Clear(m)
		return
	}
	q.set(m, at)
}

// old reports whether a message has had its time, by our own watch and by
// the wall clock: either alone may be wrong.
func (q *Queue) old(m *queued) bool {
	now := q.now()
	wall := q.o.Clock.Now().Round(0).Sub(m.env.Received.Round(0))
	life := q.lifetime(m.env)
	return now-m.born >= life && wall >= life && now >= min(regain, life)
}

// ring has the age of a message looked at.
func (m *queued) ring(q *Queue) { q.later(func() { q.review(m) }) }

// later puts off what cannot be done under the lock.
func (q *Queue) later(chore func()) {
	q.chores = append(q.chores, chore)
	if !q.busy {
		q.busy = true
		q.running.Go(q.doChores)
	}
}

// doChores does what was put off, one after the other.
func (q *Queue) doChores() {
	for {
		q.mu.Lock()
		if len(q.chores) == 0 || q.stopping { // at the next start, offers bring them back
			q.busy = false
			q.mu.Unlock()
			return
		}
		chore := q.chores[0]
		q.chores = q.chores[1:]
		q.mu.Unlock()

		q.desk.Lock()
		chore()
		q.desk.Unlock()
	}
}

// review does what the age of a message calls for: failures that were kept
// for long enough go, the sender hears of a delay, or all is given up.
func (q *Queue) review(m *queued) {
	q.mu.Lock()
	if q.messages[m.env.ID] != m {
		q.mu.Unlock()
		return
	}
	until, kept := q.kept[m.env.ID]
	drop := kept && until <= q.now()
	var expired []*job
	notice := false
	switch {
	case m.stopped():
	case q.old(m):
		expired = q.expire(m)
	case !m.delayed && q.now()-m.born >= q.o.DelayNotice:
		notice = m.stuck()
	}
	if drop {
		q.unkeep(m)
	}
	if m.jobs != nil {
		q.setAge(m, q.now()+recheck)
	}
	q.mu.Unlock()

	if drop {
		q.dropKept(m)
	}
	for _, j := range expired {
		q.giveUp(j)
	}
	if notice {
		q.tellDelay(m)
	}
}

// stuck reports whether a message waits for others and not for us.
func (m *queued) stuck() bool {
	for j := m.jobs; j != nil; j = j.sibling {
		if j.tried || j.line.failures > 0 {
			return true
		}
	}
	return false
}

// expire gives the jobs of an old message one last attempt. Those whose
// destination is being left alone get none, and are returned, withdrawn.
func (q *Queue) expire(m *queued) (expired []*job) {
	for j := m.jobs; j != nil; j = j.sibling {
		switch {
		case j.line.held() && j.line.failures > 0 && (j.state == ready || j.state == waiting):
			q.withdraw(j)
			expired = append(expired, j)
		case j.state == waiting:
			q.hurry(j)
		}
	}
	q.pump(&q.local)
	q.pump(&q.remote)
	return expired
}

// giveUp fails a withdrawn job with what is known of its destination.
func (q *Queue) giveUp(j *job) {
	q.mu.Lock()
	last, f := j.line.last, q.facts(j)
	q.mu.Unlock()
	f.Old = true
	v := &verdict{Plan: settle.Decide(j.of.env, j.recipients, same(len(j.recipients), last), f)}
	q.record(j, v)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finish(j, v)
}

// tellDelay tells the sender once that a message is late, if they want to
// know and may be told.
func (q *Queue) tellDelay(m *queued) {
	list := q.late(m)
	if len(list) > 0 {
		mark := envelope.Change{ID: m.env.ID, Recipient: -1, Held: m.held, Delayed: true}
		if err := q.send(m.env, list, []envelope.Change{mark}); err != nil {
			q.o.Log.Error("a notice of delay could not be written", "id", m.env.ID, "err", err)
			return // the next review tries again
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	m.delayed = true
}

// late returns the recipients of whom a notice of delay tells.
func (q *Queue) late(m *queued) []dsn.Recipient {
	if !m.env.Bounceable() {
		return nil
	}
	waits := q.waits(m)
	var list []dsn.Recipient
	until := m.env.Received.Add(q.o.Lifetime)
	q.o.Spool.View(m.env.ID, func(e *envelope.Envelope) {
		for i := range e.Recipients {
			r := &e.Recipients[i]
			if !r.Status.Waiting() || !r.Notify.Wants(envelope.NotifyDelay) {
				continue
			}
			note := sentence(waits[i].why)
			if r.Reason != "" {
				note = ended(r.Reason)
			}
			list = append(list, dsn.Recipient{
				To: r.To, ORcpt: r.ORcpt, Action: dsn.Delayed, Note: note, RetryUntil: until,
			})
		}
	})
	return list
}

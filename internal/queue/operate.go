package queue

import (
	"errors"
	"fmt"
	"slices"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// Errors of the verbs.
var (
	ErrUnknown   = errors.New("no such message in the queue")
	ErrRecipient = errors.New("the message has no such recipient")
	ErrHeld      = errors.New("the message is held; release it instead")
)

// Retry makes the waiting recipients of a message be attempted now, and
// those whose failure was kept, too. A destination that is being left alone
// is tried with this message.
func (q *Queue) Retry(id envelope.ID) error {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	m := q.messages[id]
	_, kept := q.kept[id]
	held, frozen := m != nil && m.held, m != nil && m.frozen
	q.mu.Unlock()
	switch {
	case m == nil:
		return ErrUnknown
	case held:
		return ErrHeld
	case frozen:
		return ErrFrozen
	}
	if kept {
		q.revive(m)
	}
	q.retry([]*queued{m})
	return nil
}

// RetryDestination is Retry for everything that waits for one destination, or
// for one domain that shares a route with others, or, if it is empty, for
// any. It returns how many messages that are.
func (q *Queue) RetryDestination(destination string) int {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	var list []*queued
	for _, m := range q.messages {
		for j := m.jobs; j != nil; j = j.sibling {
			if destination == "" || j.goesTo(destination) {
				list = append(list, m)
				break
			}
		}
	}
	q.mu.Unlock()
	q.retry(list)
	return len(list)
}

// goesTo reports whether a job waits for a destination, or one of its
// recipients is in a domain of that name.
func (j *job) goesTo(destination string) bool {
	return j.line.name.name == destination || slices.ContainsFunc(j.recipients, func(i int) bool {
		return string(j.of.env.Recipients[i].To.Domain) == destination
	})
}

// retry makes the jobs of messages ready and lets their lines try. If the
// queue is not running, it is noted for when it is.
func (q *Queue) retry(list []*queued) {
	var changes []envelope.Change
	q.mu.Lock()
	for _, m := range list {
		for j := m.jobs; j != nil; j = j.sibling {
			if m.stopped() || j.state == busy {
				continue
			}
			if !q.open && j.state == waiting {
				changes = append(changes, j.dueNow()...)
			}
			q.hurry(j)
			q.alarms.Clear(j.line)
			j.line.update()
		}
	}
	q.pump(&q.local)
	q.pump(&q.remote)
	q.mu.Unlock()
	if len(changes) > 0 {
		q.o.Spool.Change(changes, nil)
	}
}

// dueNow returns the changes that make a deferred job due.
func (j *job) dueNow() (changes []envelope.Change) {
	for _, i := range j.recipients {
		changes = append(changes, envelope.Change{
			ID: j.of.env.ID, Recipient: i, Status: envelope.Deferred, Attempts: j.attempts, Reason: "to be tried at once",
		})
	}
	return changes
}

// revive makes failures that were kept wait for delivery again.
func (q *Queue) revive(m *queued) {
	var changes []envelope.Change
	q.o.Spool.View(m.env.ID, func(e *envelope.Envelope) {
		for i := range e.Recipients {
			if r := &e.Recipients[i]; r.Status == envelope.Kept {
				changes = append(changes, envelope.Change{
					ID: e.ID, Recipient: i, Status: envelope.Deferred, Attempts: r.Attempts, Reason: r.Reason,
				})
			}
		}
	})
	q.o.Spool.Change(changes, nil)
	names := q.routes(m.env, nil)
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.kept, m.env.ID)
	for _, c := range changes {
		j := q.jobOf(m, names[c.Recipient], 0)
		j.join(c.Recipient, c.Attempts, 0)
	}
	q.place(m)
	q.setAge(m, q.now()+recheck)
}

// Hold keeps a message back. An attempt under way goes on.
func (q *Queue) Hold(id envelope.ID) error {
	return q.setHeld(id, true, func(j *job) {
		if j.state != busy {
			q.withdraw(j)
			j.state = parked
		}
	})
}

// Release ends Hold: the message goes on as it would have, unless its account
// is frozen.
func (q *Queue) Release(id envelope.ID) error {
	err := q.setHeld(id, false, func(j *job) {
		if j.state == parked {
			j.afresh = true
			q.admit(j)
		}
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	if m := q.messages[id]; err == nil && m != nil && m.frozen {
		err = ErrFrozen
	}
	return err
}

// ReleaseAll releases all that is held, as after a restore, and returns how
// many messages that are.
func (q *Queue) ReleaseAll() int {
	q.mu.Lock()
	var ids []envelope.ID
	for id, m := range q.messages {
		if m.held {
			ids = append(ids, id)
		}
	}
	q.mu.Unlock()
	slices.SortFunc(ids, func(a, b envelope.ID) int { return slices.Compare(a[:], b[:]) })
	for _, id := range ids {
		_ = q.Release(id) // it may be done meanwhile
	}
	return len(ids)
}

// setHeld notes that a message is held or not, and moves its jobs.
func (q *Queue) setHeld(id envelope.ID, held bool, move func(*job)) error {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	m := q.messages[id]
	if m == nil {
		q.mu.Unlock()
		return ErrUnknown
	}
	m.held = held
	for j := m.jobs; j != nil; j = j.sibling {
		move(j)
	}
	q.setAge(m, 0)
	mark := envelope.Change{ID: id, Recipient: -1, Held: held, Delayed: m.delayed}
	q.pump(&q.local)
	q.pump(&q.remote)
	q.mu.Unlock()
	q.o.Spool.Change([]envelope.Change{mark}, nil)
	return nil
}

// Drop removes recipients of a message, or all that are not settled if none
// are named. Nobody is told. Whoever is being delivered to just now is
// dropped unless that succeeds.
func (q *Queue) Drop(id envelope.ID, recipients ...addr.Address) error {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	m := q.messages[id]
	q.mu.Unlock()
	if m == nil {
		return ErrUnknown
	}
	var list []int
	for i := range m.env.Recipients {
		if len(recipients) == 0 || slices.Contains(recipients, m.env.Recipients[i].To) {
			list = append(list, i)
		}
	}
	for _, a := range recipients {
		if !slices.ContainsFunc(list, func(i int) bool { return m.env.Recipients[i].To == a }) {
			return fmt.Errorf("%w: %s", ErrRecipient, a)
		}
	}
	q.drop(m, list)
	return nil
}

// drop drops those recipients of a list that are not settled.
func (q *Queue) drop(m *queued, list []int) {
	q.mu.Lock()
	waiting, homing := q.dropWaiting(m, list)
	q.mu.Unlock()
	var changes []envelope.Change
	keeps := false
	q.o.Spool.View(m.env.ID, func(e *envelope.Envelope) {
		for i := range e.Recipients {
			r := &e.Recipients[i]
			kept := r.Status == envelope.Kept
			if kept && slices.Contains(list, i) || slices.Contains(waiting, i) {
				changes = append(changes, envelope.Change{
					ID: e.ID, Recipient: i, Status: envelope.Dropped, Attempts: r.Attempts, Reason: "dropped by an operator",
				})
			} else if kept {
				keeps = true
			}
		}
	})
	if len(changes) > 0 {
		q.o.Spool.Change(changes, q.whenDurable(m, homing))
		q.Counters.Dropped.Add(int64(len(changes)))
		for _, c := range changes {
			q.ended(m.env, c)
		}
	}
	if !keeps {
		q.mu.Lock()
		q.unkeep(m)
		q.mu.Unlock()
	}
}

// dropWaiting takes recipients out of the jobs they wait in and returns
// those, with how many are local. Those of busy jobs are dropped when their
// attempt ends.
func (q *Queue) dropWaiting(m *queued, list []int) (waiting []int, homing int) {
	for j := m.jobs; j != nil; {
		next := j.sibling
		left, out := split(j.recipients, list)
		switch {
		case len(out) == 0:
		case j.state == busy:
			q.doom(m, out)
		default:
			waiting = append(waiting, out...)
			homing += j.home(len(out))
			if j.recipients = left; len(left) == 0 {
				q.withdraw(j)
				q.end(j)
			}
		}
		j = next
	}
	return waiting, homing
}

// split divides all into what is not and what is in some.
func split(all, some []int) (left, out []int) {
	for _, i := range all {
		if slices.Contains(some, i) {
			out = append(out, i)
		} else {
			left = append(left, i)
		}
	}
	return left, out
}

// doom marks recipients of a busy job as dropped.
func (q *Queue) doom(m *queued, list []int) {
	d := q.doomed[m.env.ID]
	if d == nil {
		d = map[int]bool{}
		q.doomed[m.env.ID] = d
	}
	for _, i := range list {
		d[i] = true
	}
}

// undoom unmarks the recipients of a job whose attempt is over, and has those
// dropped that were marked after its verdict.
func (q *Queue) undoom(j *job, left []int) {
	d := q.doomed[j.of.env.ID]
	if d == nil {
		return
	}
	var late []int
	for _, i := range j.recipients {
		if d[i] && slices.Contains(left, i) {
			late = append(late, i)
		}
		delete(d, i)
	}
	if len(d) == 0 {
		delete(q.doomed, j.of.env.ID)
	}
	if len(late) > 0 {
		q.later(func() { q.drop(j.of, late) })
	}
}

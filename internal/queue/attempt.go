package queue

import (
	"log/slog"
	"maps"
	"math"
	"time"

	"gatepost/internal/dsn"
	"gatepost/internal/envelope"
)

// again is when a recipient is attempted again whose failure could not be
// written down with its bounce.
const again = 5 * time.Minute

// attempt makes one try to deliver a job. reached is false when the fault
// is ours, and says nothing about the destination.
func (q *Queue) attempt(p *pool, j *job) (outcomes []envelope.Outcome, reached bool) {
	q.Counters.Attempts.Add(1)
	e := j.of.env
	body, err := q.o.Spool.Body(e.ID)
	if err != nil {
		q.o.Log.Error("the body of a message cannot be read", "id", e.ID, "err", err)
		fault := envelope.Fail(err, 451, "4.3.0", "the message cannot be read from the disk")
		return same(len(j.recipients), envelope.Outcome{Status: envelope.Deferred, Err: fault}), false
	}
	defer body.Close() // it was only read
	outcomes = p.to.Deliver(q.ctx, &envelope.Attempt{
		Envelope: e, Body: body, Recipients: j.recipients, Destination: j.line.name.name,
	})
	for len(outcomes) < len(j.recipients) { // a deliverer that says too little loses nobody
		outcomes = append(outcomes, envelope.Outcome{Status: envelope.Deferred})
	}
	return outcomes, true
}

// same returns n outcomes like o.
func same(n int, o envelope.Outcome) []envelope.Outcome {
	list := make([]envelope.Outcome, n)
	for i := range list {
		list[i] = o
	}
	return list
}

// facts are what a verdict is based on beside the outcomes.
type facts struct {
	attempts uint16
	due      time.Duration // of what is deferred
	next     time.Time     // the same on the wall
	old      bool          // what is deferred has had its time
	stopped  bool          // what is deferred was cut short by us
	doomed   map[int]bool  // recipients that an operator dropped meanwhile
}

// verdict is what follows from an attempt.
type verdict struct {
	left    []int         // recipients that are still to be delivered to
	due     time.Duration // when
	changes []envelope.Change
	homing  int           // local recipients that changes settle
	failed  []told        // settled once their bounce is written
	done    []told        // delivered or relayed, as the sender wants to hear
	kept    []told        // failed, and only postmaster may be told
	only    bool          // there is no other job of the message
	release []envelope.ID // messages whose first attempt is over
}

// told is a change of a recipient that somebody is told of.
type told struct {
	change envelope.Change
	report dsn.Recipient
}

// judge decides what becomes of the recipients of an attempt, and of the
// line.
func (q *Queue) judge(j *job, outcomes []envelope.Outcome, reached bool, took time.Duration) *verdict {
	q.mu.Lock()
	f := facts{stopped: q.ctx.Err() != nil, old: q.old(j.of), doomed: maps.Clone(q.doomed[j.of.env.ID])}
	if j.attempts < math.MaxUint16 {
		j.attempts++
	}
	f.attempts = j.attempts
	var release []envelope.ID
	if q.tried(j) {
		release = append(release, j.of.env.ID)
	}
	deferred, dead := deferrals(outcomes)
	switch {
	case f.stopped || !reached:
	case dead != nil:
		release = append(release, q.dead(j.line, *dead)...)
	default:
		q.alive(j.line, took)
	}
	f.due = q.dueAgain(j, deferred || !reached)
	only := j.of.jobs == j && j.sibling == nil
	q.mu.Unlock()

	f.next = q.wall(f.due)
	v := q.sort(j, outcomes, f)
	v.only, v.release = only, release
	return v
}

// deferrals reports whether recipients were deferred for their own sake, and
// returns the outcome that says that the destination failed, if one does.
func deferrals(outcomes []envelope.Outcome) (own bool, dead *envelope.Outcome) {
	for i := range outcomes {
		if o := &outcomes[i]; o.Status == envelope.Deferred {
			if o.Destination {
				dead = o
			} else {
				own = true
			}
		}
	}
	return own, dead
}

// dueAgain returns when what is left of a job is tried again: by its own
// schedule, or with its line.
func (q *Queue) dueAgain(j *job, own bool) time.Duration {
	switch {
	case own:
		d := q.interval(schedule, int(j.step))
		j.step = uint8(min(int(j.step)+1, len(schedule)))
		return q.now() + d
	case j.line.held():
		return j.line.hold.at
	}
	return q.now() + again
}

// sort decides what becomes of each recipient.
func (q *Queue) sort(j *job, outcomes []envelope.Outcome, f facts) *verdict {
	v := &verdict{due: f.due}
	for k, i := range j.recipients {
		o := outcomes[k]
		c := envelope.Change{ID: j.of.env.ID, Recipient: i, Status: o.Status, Attempts: f.attempts}
		switch {
		case o.Status == envelope.Delivered || o.Status == envelope.Relayed:
			q.succeed(v, j, c, o)
		case f.doomed[i]:
			c.Status = envelope.Dropped
			v.quietly(j, c)
		case o.Status == envelope.Failed:
			q.fail(v, j, c, o, false)
		case f.stopped:
			v.left = append(v.left, i)
		case f.old:
			q.fail(v, j, c, o, true)
		default:
			c.Status, c.Next, c.Reason = envelope.Deferred, f.next, reason(o)
			v.left = append(v.left, i)
			v.changes = append(v.changes, c)
		}
	}
	return v
}

// quietly settles a recipient of whom nobody is told.
func (v *verdict) quietly(j *job, c envelope.Change) {
	v.changes = append(v.changes, c)
	if j.line.name.local {
		v.homing++
	}
}

// succeed settles a recipient who has the message. RFC 3461, section 5.2.2
// and 5.2.3: we report success where we are the last who can, that is, at
// our own mailboxes and when relaying to a server without DSN.
func (q *Queue) succeed(v *verdict, j *job, c envelope.Change, o envelope.Outcome) {
	e := j.of.env
	last := j.line.name.local || o.Status == envelope.Relayed
	if !last || !e.Recipients[c.Recipient].Notify.Wants(envelope.NotifySuccess) || !e.Bounceable() {
		v.quietly(j, c)
		return
	}
	action := dsn.Delivered
	if o.Status == envelope.Relayed {
		action = dsn.Relayed
	}
	v.done = append(v.done, told{c, q.reported(e, c.Recipient, action, o)})
}

// fail settles a recipient who will not get the message.
func (q *Queue) fail(v *verdict, j *job, c envelope.Change, o envelope.Outcome, expired bool) {
	e := j.of.env
	c.Status, c.Reason = envelope.Failed, reason(o)
	r := q.reported(e, c.Recipient, dsn.Failed, o)
	if expired {
		// RFC 3463, section 2: class 4 with a failure says that sending
		// again later may succeed.
		r.Status = "4.4.7"
		r.Note = "It was tried for " + period(q.o.Lifetime) + "."
		c.Reason = "given up after " + period(q.o.Lifetime) + "; last, " + c.Reason
		q.Counters.Expired.Add(1)
	}
	switch {
	case !e.Recipients[c.Recipient].Notify.Wants(envelope.NotifyFailure):
		v.quietly(j, c) // the sender wishes not to know
	case e.Bounceable():
		v.failed = append(v.failed, told{c, r})
	default:
		// A bounce would hit whoever was forged as the sender, or go
		// around in circles (RFC 5321, sections 4.5.5 and 6.1).
		c.Status, c.Next = envelope.Kept, q.o.Clock.Now().Add(q.o.KeptFor)
		v.quietly(j, c)
		v.kept = append(v.kept, told{c, r})
	}
}

// record writes a verdict down. Where that fails, the verdict is changed: a
// failure whose bounce could not be written has not happened.
func (q *Queue) record(j *job, v *verdict) {
	m := j.of
	if len(v.changes) > 0 {
		q.o.Spool.Change(v.changes, q.whenDurable(m, v.homing))
	}
	if err := q.tell(j, v.failed); err != nil {
		q.o.Log.Error("a bounce could not be written", "id", m.env.ID, "err", err)
		for _, t := range v.failed {
			v.left = append(v.left, t.change.Recipient)
		}
		v.failed = nil
	}
	if err := q.tell(j, v.done); err != nil {
		// To deliver again for the sake of the report would be worse.
		q.o.Log.Error("a report of success could not be written", "id", m.env.ID, "err", err)
		q.changeTold(j, v.done)
	}
	if len(v.kept) > 0 {
		q.keepAll(m, v.kept)
	}
	for _, id := range v.release {
		if id != m.env.ID || len(v.left) > 0 || !v.only { // else it is done
			q.o.Spool.Release(id)
		}
	}
	q.count(v)
	q.log(j, v)
}

// tell reports recipients to the sender, and settles them with the report in
// one record.
func (q *Queue) tell(j *job, list []told) error {
	if len(list) == 0 {
		return nil
	}
	if err := q.report(j.of.env, list); err != nil {
		return err
	}
	if j.line.name.local {
		q.settled(j.of, len(list))
	}
	return nil
}

// changeTold settles recipients without a report.
func (q *Queue) changeTold(j *job, list []told) {
	var changes []envelope.Change
	for _, t := range list {
		changes = append(changes, t.change)
	}
	homing := 0
	if j.line.name.local {
		homing = len(list)
	}
	q.o.Spool.Change(changes, q.whenDurable(j.of, homing))
}

// whenDurable returns what is to be called when n local recipients are
// settled, nil where nobody wants to know.
func (q *Queue) whenDurable(m *queued, n int) func() {
	if n == 0 || q.settler == nil {
		return nil
	}
	return func() { q.settled(m, n) }
}

// settled counts local recipients whose outcome is durable. After the last
// one, the local deliverer may forget whom it filed the message for; before,
// a crash could make it file for another one twice.
func (q *Queue) settled(m *queued, n int) {
	q.mu.Lock()
	m.homing -= uint16(n)
	last := m.homing == 0
	q.mu.Unlock()
	if last && q.settler != nil {
		q.settler.Settled([]envelope.ID{m.env.ID})
	}
}

// each calls f with every change of a verdict.
func (v *verdict) each(f func(*envelope.Change)) {
	for i := range v.changes {
		f(&v.changes[i])
	}
	for i := range v.failed {
		f(&v.failed[i].change)
	}
	for i := range v.done {
		f(&v.done[i].change)
	}
}

func (q *Queue) count(v *verdict) {
	v.each(func(c *envelope.Change) {
		switch c.Status {
		case envelope.Delivered:
			q.Counters.Delivered.Add(1)
		case envelope.Relayed:
			q.Counters.Relayed.Add(1)
		case envelope.Deferred:
			q.Counters.Deferred.Add(1)
		case envelope.Failed:
			q.Counters.Failed.Add(1)
		case envelope.Kept:
			q.Counters.Kept.Add(1)
		case envelope.Dropped:
			q.Counters.Dropped.Add(1)
		}
	})
}

// log writes one line for an attempt: what happened to the worst off of its
// recipients, and why.
func (q *Queue) log(j *job, v *verdict) {
	what, why := "interrupted", ""
	v.each(func(c *envelope.Change) {
		if why == "" {
			what, why = c.Status.String(), c.Reason
		}
	})
	q.o.Log.LogAttrs(q.ctx, slog.LevelInfo, what,
		slog.String("id", j.of.env.ID.String()),
		slog.String("destination", j.line.name.name),
		slog.Int("recipients", len(j.recipients)),
		slog.Int("left", len(v.left)),
		slog.Int("attempt", int(j.attempts)),
		slog.String("reason", why))
}

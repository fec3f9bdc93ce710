package queue

import (
	"log/slog"
	"maps"
	"math"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/queue/settle"
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
		Envelope: e, Body: body, Recipients: j.recipients, Destination: j.line.name.name, Afresh: j.afresh,
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

// verdict is what follows from an attempt.
type verdict struct {
	*settle.Plan
	due     time.Duration // when what is left is tried again
	only    bool          // there is no other job of the message
	release []envelope.ID // messages whose first attempt is over
}

// facts returns what is known of a busy job.
func (q *Queue) facts(j *job) settle.Facts {
	return settle.Facts{
		Attempts: j.attempts, Now: q.o.Clock.Now(), Local: j.line.name.local, Old: q.old(j.of),
		Dropped: maps.Clone(q.doomed[j.of.env.ID]), Lifetime: q.lifetime(j.of.env), KeptFor: q.o.KeptFor,
	}
}

// judge decides what becomes of the recipients of an attempt, and of the
// line.
func (q *Queue) judge(j *job, outcomes []envelope.Outcome, reached bool, took time.Duration) *verdict {
	q.mu.Lock()
	if j.attempts < math.MaxUint16 {
		j.attempts++
	}
	f := q.facts(j)
	f.Stopped = q.ctx.Err() != nil
	v := &verdict{only: j.of.jobs == j && j.sibling == nil}
	if q.tried(j) {
		v.release = append(v.release, j.of.env.ID)
	}
	for i := range outcomes {
		if p := outcomes[i].Proof; p != nil {
			j.line.proof = p
		}
	}
	deferred, dead := deferrals(outcomes)
	switch {
	case f.Stopped || !reached:
	case dead != nil:
		v.release = append(v.release, q.dead(j.line, *dead)...)
	default:
		q.alive(j.line, took)
	}
	v.due = q.dueAgain(j, deferred || !reached)
	q.mu.Unlock()

	f.Next = q.wall(v.due)
	v.Plan = settle.Decide(j.of.env, j.recipients, outcomes, f)
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
		return j.line.hold.At
	}
	return q.now() + again
}

// record writes a verdict down. Where that fails, the verdict is changed: a
// failure whose bounce could not be written has not happened.
func (q *Queue) record(j *job, v *verdict) {
	m := j.of
	if len(v.Changes) > 0 {
		q.o.Spool.Change(v.Changes, q.whenDurable(m, j.home(v.Over)))
	}
	if err := q.tell(j, v.Failed); err != nil {
		q.o.Log.Error("a bounce could not be written", "id", m.env.ID, "err", err)
		for _, t := range v.Failed {
			v.Left = append(v.Left, t.Change.Recipient)
		}
		v.Failed = nil
	}
	if err := q.tell(j, v.Done); err != nil {
		// To deliver again for the sake of the report would be worse.
		q.o.Log.Error("a report of success could not be written", "id", m.env.ID, "err", err)
		q.changeTold(j, v.Done)
	}
	if len(v.Kept) > 0 {
		q.keepAll(m, v.Kept)
	}
	v.Each(func(c *envelope.Change) { q.ended(m.env, *c) })
	for _, id := range v.release {
		if id != m.env.ID || len(v.Left) > 0 || !v.only { // else it is done
			q.o.Spool.Release(id)
		}
	}
	q.count(v)
	q.log(j, v)
}

// ended tells of a recipient of an errand for whom it is over.
func (q *Queue) ended(e *envelope.Envelope, c envelope.Change) {
	if q.o.Ended != nil && c.Status.Final() && e.IsErrand() {
		q.o.Ended(e, c)
	}
}

// tell reports recipients to the sender, and settles them with the report in
// one record.
func (q *Queue) tell(j *job, list []settle.Told) error {
	if len(list) == 0 {
		return nil
	}
	if err := q.report(j.of.env, list); err != nil {
		return err
	}
	if f := q.whenDurable(j.of, j.home(len(list))); f != nil {
		f()
	}
	return nil
}

// changeTold settles recipients without a report.
func (q *Queue) changeTold(j *job, list []settle.Told) {
	var changes []envelope.Change
	for _, t := range list {
		changes = append(changes, t.Change)
	}
	q.o.Spool.Change(changes, q.whenDurable(j.of, j.home(len(list))))
}

// home returns n for a job at our mailboxes, else 0.
func (j *job) home(n int) int {
	if j.line.name.local {
		return n
	}
	return 0
}

// whenDurable returns what is to be called once it is durable that n local
// recipients are settled; nil where nobody wants to know.
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
	if last {
		q.settler.Settled([]envelope.ID{m.env.ID})
	}
}

func (q *Queue) count(v *verdict) {
	q.Counters.Expired.Add(int64(v.Expired))
	v.Each(func(c *envelope.Change) {
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
	v.Each(func(c *envelope.Change) {
		if why == "" {
			what, why = c.Status.String(), c.Reason
		}
	})
	q.o.Log.LogAttrs(q.ctx, slog.LevelInfo, what,
		slog.String("id", j.of.env.ID.String()),
		slog.String("destination", j.line.name.name),
		slog.Int("recipients", len(j.recipients)),
		slog.Int("left", len(v.Left)),
		slog.Int("attempt", int(j.attempts)),
		slog.String("reason", why))
}

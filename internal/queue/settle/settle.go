// Package settle decides what an attempt means for each recipient: whether
// it is over, whether it is tried again, and who is told. It belongs to
// queue and is pure.
//
// Standards: RFC 3461, sections 4.1 and 5.2 (NOTIFY), RFC 3463 (codes), RFC
// 5321, sections 4.5.5 and 6.1 (where bounces must not go).
//
// What other servers said is hostile: it reaches a reason only cleaned and
// cut.
package settle

import (
	"time"

	"gatepost/internal/dsn"
	"gatepost/internal/envelope"
)

// Facts are what a decision is based on beside the outcomes.
type Facts struct {
	Attempts uint16       // so far, with this one
	Now      time.Time    // when it ended
	Next     time.Time    // when what is deferred is tried again
	Local    bool         // it was at our own mailboxes
	Old      bool         // what is deferred has had its time
	Stopped  bool         // what is deferred was cut short by ourselves
	Dropped  map[int]bool // recipients that an operator dropped meanwhile

	Lifetime time.Duration // how long is tried
	KeptFor  time.Duration // how long failures are kept of which nobody may be told
}

// Plan is what follows from an attempt.
type Plan struct {
	Left    []int             // recipients that are still to be delivered to
	Changes []envelope.Change // of which the sender is not told
	Over    int               // how many of Changes are of recipients for whom it is over
	Expired int               // how many were given up for their age

	Failed []Told // over once the bounce that says so is written
	Done   []Told // delivered or relayed, as the sender wants to hear
	Kept   []Told // failed, and only postmaster may be told; also in Changes
}

// Told is the change of a recipient and what a report says of it.
type Told struct {
	Change envelope.Change
	Report dsn.Recipient
}

// Decide makes a plan for the recipients of an attempt, which have one
// outcome each.
func Decide(e *envelope.Envelope, recipients []int, outcomes []envelope.Outcome, f Facts) *Plan {
	p := &Plan{}
	for k, i := range recipients {
		o := outcomes[k]
		c := envelope.Change{ID: e.ID, Recipient: i, Status: o.Status, Attempts: f.Attempts}
		switch {
		case o.Status == envelope.Delivered || o.Status == envelope.Relayed:
			p.succeed(e, c, o, f)
		case f.Dropped[i]:
			c.Status = envelope.Dropped
			p.over(c)
		case o.Status == envelope.Failed:
			p.fail(e, c, o, f)
		case f.Stopped:
			p.Left = append(p.Left, i)
		case f.Old:
			p.expire(e, c, o, f)
		default:
			c.Status, c.Next, c.Reason = envelope.Deferred, f.Next, Reason(o)
			p.Left = append(p.Left, i)
			p.Changes = append(p.Changes, c)
		}
	}
	return p
}

// over ends a recipient of whom the sender is not told.
func (p *Plan) over(c envelope.Change) {
	p.Changes = append(p.Changes, c)
	p.Over++
}

// succeed ends a recipient who has the message. RFC 3461, sections 5.2.2 and
// 5.2.3: we report success where we are the last who can, that is, at our
// own mailboxes and when relaying to a server without DSN.
func (p *Plan) succeed(e *envelope.Envelope, c envelope.Change, o envelope.Outcome, f Facts) {
	last := f.Local || o.Status == envelope.Relayed
	if !last || !e.Recipients[c.Recipient].Notify.Wants(envelope.NotifySuccess) || !e.Bounceable() {
		p.over(c)
		return
	}
	action := dsn.Delivered
	if o.Status == envelope.Relayed {
		action = dsn.Relayed
	}
	p.Done = append(p.Done, Told{c, report(e, c, action, o, f)})
}

// fail ends a recipient who was refused.
func (p *Plan) fail(e *envelope.Envelope, c envelope.Change, o envelope.Outcome, f Facts) {
	c.Reason = Reason(o)
	p.lose(e, c, report(e, c, dsn.Failed, o, f), f)
}

// expire ends a recipient for whom it was tried long enough.
func (p *Plan) expire(e *envelope.Envelope, c envelope.Change, o envelope.Outcome, f Facts) {
	c.Reason = "given up after " + Period(f.Lifetime) + "; last, " + Reason(o)
	r := report(e, c, dsn.Failed, o, f)
	// RFC 3463, section 2: class 4 with a failure says that sending again
	// later may succeed.
	r.Status = "4.4.7"
	r.Note = "It was tried for " + Period(f.Lifetime) + "."
	p.Expired++
	p.lose(e, c, r, f)
}

// lose ends a recipient who will not get the message, and decides who hears
// of it.
func (p *Plan) lose(e *envelope.Envelope, c envelope.Change, r dsn.Recipient, f Facts) {
	c.Status = envelope.Failed
	switch {
	case !e.Recipients[c.Recipient].Notify.Wants(envelope.NotifyFailure):
		p.over(c) // the sender wishes not to know
	case e.Bounceable():
		p.Failed = append(p.Failed, Told{c, r})
	default:
		// A bounce would hit whoever was forged as the sender, or go around
		// in circles (RFC 5321, sections 4.5.5 and 6.1).
		c.Status, c.Next = envelope.Kept, f.Now.Add(f.KeptFor)
		p.over(c)
		p.Kept = append(p.Kept, Told{c, r})
	}
}

// report returns what a report says of a recipient.
func report(e *envelope.Envelope, c envelope.Change, action dsn.Action, o envelope.Outcome, f Facts) dsn.Recipient {
	r := dsn.Recipient{
		To: e.Recipients[c.Recipient].To, ORcpt: e.Recipients[c.Recipient].ORcpt,
		Action: action, LastAttempt: f.Now,
	}
	if !o.Ours { // RFC 3464, section 2.3.5: the server that said so
		r.Host = o.Host
	}
	if o.Err != nil {
		r.Reply = &o.Err.Reply
	}
	return r
}

// Each calls f with every change of the plan.
func (p *Plan) Each(f func(*envelope.Change)) {
	for i := range p.Changes {
		f(&p.Changes[i])
	}
	for i := range p.Failed {
		f(&p.Failed[i].Change)
	}
	for i := range p.Done {
		f(&p.Done[i].Change)
	}
}

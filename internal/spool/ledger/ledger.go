// Package ledger is what the spool knows of its log: where each message's
// record and the changes after it are, and what of each segment is still
// needed.
//
// It follows what is on the disk: everything here happens when a batch is
// durable, in the order of the log, and by the same rules when the log is
// read at the start (Replay). It does no I/O and has no lock: the spool's
// guards it.
package ledger

import (
	"slices"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Stage is where a message stands in memory.
type Stage uint8

// The stages.
const (
	Arriving Stage = iota // not yet durable: nobody sees it
	Live
	Done // every recipient is final; the change that said so is not yet durable
)

// Entry is one message. It is held for as long as the message is live, so
// its size counts.
type Entry struct {
	Envelope   *envelope.Envelope
	prev, next *Entry // by age

	At     *segment.Segment // where its record is
	Off    int64            // of the record
	Body   wire.Content
	weight int64 // octets of the record and its share of the index

	fresh []byte  // the body in memory, until the first attempt is over
	held  int64   // octets that it counts for in the budget
	Young bool    // its body was written in this life, and its first attempt is not over
	Notes []Place // of the latest change of each recipient, then of the envelope's marks; nil: none

	copies  int32 // segments that may hold a record of it
	Riders  int32 // changes of it on their way in records of other messages
	Stage   Stage
	Offered bool
}

// Place is where something is that is still needed.
type Place struct {
	At   *segment.Segment
	size int32
}

// Ledger is all of it.
type Ledger struct {
	Entries        map[envelope.ID]*Entry
	oldest, newest *Entry
	Segments       []*segment.Segment // in use, by generation
	Tombs          map[envelope.ID]*Tomb
	Voids          []*Void
	Live           int64    // octets that are needed in all segments
	Fresh          int64    // octets of bodies in memory
	Trash          []string // blobs that nobody needs any more
	Words          wire.Words
}

// New returns an empty ledger.
func New() *Ledger {
	return &Ledger{Entries: map[envelope.ID]*Entry{}, Tombs: map[envelope.ID]*Tomb{}}
}

// Find returns the message of an id if it is there for others to see.
func (l *Ledger) Find(id envelope.ID) *Entry {
	if e := l.Entries[id]; e != nil && e.Stage == Live {
		return e
	}
	return nil
}

// Each calls f with the messages that are there for others to see, oldest
// first, until it returns false.
func (l *Ledger) Each(f func(*Entry) bool) {
	for e := l.oldest; e != nil; e = e.next {
		if e.Stage == Live && !f(e) {
			return
		}
	}
}

// weigh adds to what a segment holds that is still needed.
func (l *Ledger) weigh(g *segment.Segment, n int64) {
	if g != nil && !g.Freed {
		g.Live += n
		l.Live += n
	}
}

// Mention notes that a segment may hold a record of e, whether or not the
// write succeeds.
func (l *Ledger) Mention(e *Entry, g *segment.Segment) {
	g.IDs = append(g.IDs, e.Envelope.ID)
	e.copies++
}

// Land says that a record of e is durable, with the state of that moment:
// older records of it, and changes before, are not needed any more.
func (l *Ledger) Land(e *Entry, g *segment.Segment, off int64, weight int) {
	l.weigh(e.At, -e.weight)
	l.unplace(e)
	e.At, e.Off, e.weight = g, off, int64(weight)
	l.weigh(g, e.weight)
}

// Append makes a message that has landed visible, as the newest.
func (l *Ledger) Append(e *Entry) {
	e.Stage = Live
	if e.prev = l.newest; e.prev == nil {
		l.oldest = e
	} else {
		e.prev.next = e
	}
	l.newest = e
}

// Place says that the latest change of one recipient, -1 for the marks, is
// durable in g and takes a number of octets.
func (l *Ledger) Place(e *Entry, recipient int, g *segment.Segment, size int) {
	n := len(e.Envelope.Recipients)
	if e.Notes == nil {
		e.Notes = make([]Place, n+1)
	}
	if recipient < 0 {
		recipient = n
	}
	p := &e.Notes[recipient]
	l.weigh(p.At, -int64(p.size))
	*p = Place{g, int32(size)}
	l.weigh(g, int64(size))
	g.Touch(e.Envelope.ID)
}

func (l *Ledger) unplace(e *Entry) {
	for _, p := range e.Notes {
		l.weigh(p.At, -int64(p.size))
	}
	e.Notes = nil
}

// Finish says that the end of e is durable in g.
func (l *Ledger) Finish(e *Entry, g *segment.Segment) {
	id := e.Envelope.ID
	l.weigh(e.At, -e.weight)
	l.unplace(e)
	l.Forget(e)
	if e.Body.Blob {
		l.Trash = append(l.Trash, id.String())
	}
	if e.copies == 1 && e.At == g {
		return // the only record and its end go together
	}
	if e.copies > 0 {
		l.bury(id, g, e.copies)
	}
}

// Forget drops e from memory.
func (l *Ledger) Forget(e *Entry) {
	l.DropFresh(e)
	delete(l.Entries, e.Envelope.ID)
	if e.Stage == Arriving {
		return
	}
	if e.prev == nil {
		l.oldest = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.newest = e.prev
	} else {
		e.next.prev = e.prev
	}
}

// KeepFresh leaves a body in memory; held is what its memory takes.
func (l *Ledger) KeepFresh(e *Entry, body []byte, held int64) {
	e.fresh, e.held = body, held
	l.Fresh += held
}

// FreshBody returns the body if it is in memory.
func (e *Entry) FreshBody() []byte { return e.fresh }

// DropFresh gives the memory of a body back.
func (l *Ledger) DropFresh(e *Entry) {
	l.Fresh -= e.held
	e.fresh, e.held = nil, 0
}

// Applies reports whether a change means anything: not for a recipient that
// does not exist or is settled. What is final stays so.
func Applies(e *envelope.Envelope, c *envelope.Change) bool {
	return c.Recipient == -1 ||
		c.Recipient >= 0 && c.Recipient < len(e.Recipients) && !e.Recipients[c.Recipient].Status.Final()
}

// Apply writes a change into an envelope, if it means anything.
func (l *Ledger) Apply(e *envelope.Envelope, c *envelope.Change) bool {
	if !Applies(e, c) {
		return false
	}
	if c.Recipient == -1 {
		e.Held, e.Delayed = c.Held, c.Delayed
		return true
	}
	r := &e.Recipients[c.Recipient]
	r.Status, r.Attempts, r.Next = c.Status, c.Attempts, c.Next
	r.Reason = l.Words.Share(c.Reason)
	return true
}

// Change returns the change that leads to the present state of what Notes
// has at a place.
func (e *Entry) Change(place int) envelope.Change {
	c := envelope.Change{ID: e.Envelope.ID, Recipient: place}
	if place == len(e.Envelope.Recipients) {
		c.Recipient, c.Held, c.Delayed = -1, e.Envelope.Held, e.Envelope.Delayed
		return c
	}
	r := &e.Envelope.Recipients[place]
	c.Status, c.Attempts, c.Next, c.Reason = r.Status, r.Attempts, r.Next, r.Reason
	return c
}

// Remove takes a segment out of use.
func (l *Ledger) Remove(g *segment.Segment) {
	l.Segments = slices.DeleteFunc(l.Segments, func(other *segment.Segment) bool { return other == g })
}

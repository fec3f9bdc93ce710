// Package snapshot is the spool as it was at one moment: the messages that
// were not done, each with its state of that moment, and the files that hold
// them. It is read while the spool goes on.
//
// # Place in the path
//
// None: backup copies what is here, and a deep check reads all of it. The
// spool makes a snapshot under its lock, frees no segment that it names while
// it is open, and changes none of the octets that it may read. Bodies in the
// blob store are there for as long as whoever takes the snapshot holds that
// (blob.Dir.Hold).
//
// # A message in a backup
//
// Encoded, a message is a magic with a version, the length and the CRC32C of
// what follows, and the envelope with its state, the size and the checksum of
// the body; then the body. It stands for itself: no segment is needed to read
// it, and a later version of the log can take it in.
package snapshot

import (
	"time"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Snapshot is the spool as it was at one moment. It is used by one goroutine.
type Snapshot struct {
	// Blind says that a part of the log could not be read: there may be
	// messages that are not here.
	Blind bool

	blobs    blob.Store
	segments []segment.View
	messages []saved
	states   []state
	durable  wire.Mark
	release  func([]segment.View)
}

// saved is one message, and where its recipients' states begin.
type saved struct {
	entry         *ledger.Entry // of which only what never changes is read
	body          wire.Content
	at            *segment.Segment
	off           int64
	held, delayed bool
	first         int
}

// state is what changes of a recipient.
type state struct {
	status   envelope.Status
	attempts uint16
	next     time.Time
	reason   string
}

// Take makes a snapshot of what a ledger holds, under the lock that guards it.
// release is called once, by Close, to have the segments back.
func Take(l *ledger.Ledger, blobs blob.Store, durable wire.Mark, release func([]segment.View)) *Snapshot {
	s := &Snapshot{blobs: blobs, durable: durable, release: release}
	for _, g := range l.Segments {
		if !g.Leaving {
			g.Kept++
			s.segments = append(s.segments, segment.View{Segment: g, End: g.Written, Sealed: g.Sealed})
		}
	}
	s.messages = make([]saved, 0, len(l.Entries))
	s.states = make([]state, 0, len(l.Entries))
	l.Each(func(e *ledger.Entry) bool {
		s.messages = append(s.messages, saved{
			entry: e, body: e.Body, at: e.At, off: e.Off,
			held: e.Envelope.Held, delayed: e.Envelope.Delayed, first: len(s.states),
		})
		for i := range e.Envelope.Recipients {
			r := &e.Envelope.Recipients[i]
			s.states = append(s.states, state{r.Status, r.Attempts, r.Next, r.Reason})
		}
		return true
	})
	return s
}

// Close gives the segments back.
func (s *Snapshot) Close() {
	if s.release != nil {
		s.release(s.segments)
		s.release = nil
	}
}

// Len returns the number of messages.
func (s *Snapshot) Len() int { return len(s.messages) }

// Octets returns what the bodies take together.
func (s *Snapshot) Octets() (n int64) {
	for i := range s.messages {
		n += s.messages[i].body.Size
	}
	return n
}

// Each calls f with every message, oldest first, until it fails.
func (s *Snapshot) Each(f func(*Message) error) error {
	for i := range s.messages {
		if err := f(s.message(&s.messages[i])); err != nil {
			return err
		}
	}
	return nil
}

// message puts one together. The fields of its envelope that the spool may be
// changing now are not even read.
func (s *Snapshot) message(m *saved) *Message {
	e := m.entry.Envelope
	c := &envelope.Envelope{
		ID: e.ID, Received: e.Received, From: e.From, Origin: e.Origin, Account: e.Account, Client: e.Client,
		Ret: e.Ret, EnvID: e.EnvID, UTF8: e.UTF8, Form: e.Form, RequireTLS: e.RequireTLS, TLSOptional: e.TLSOptional, Unfit: e.Unfit, Header: e.Header, Size: e.Size,
		Held: m.held, Delayed: m.delayed,
		Recipients: make([]envelope.Recipient, len(e.Recipients)),
	}
	for i := range c.Recipients {
		r, st := &e.Recipients[i], &s.states[m.first+i]
		c.Recipients[i] = envelope.Recipient{
			To: r.To, ORcpt: r.ORcpt, Notify: r.Notify, Via: r.Via,
			Status: st.status, Attempts: st.attempts, Next: st.next, Reason: st.reason,
		}
	}
	return &Message{Envelope: c, Size: m.body.Size, Sum: m.body.Sum, saved: m, blobs: s.blobs}
}

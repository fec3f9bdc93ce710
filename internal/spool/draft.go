package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"gatepost/internal/addr"
	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/wire"
)

// firstBuffer is what a draft begins with, in octets: most messages fit into
// it with their envelope.
const firstBuffer = 8 << 10

// Draft is a message that is arriving. It is used by one goroutine, which
// must end it with Commit or Discard.
type Draft struct {
	s       *Spool
	buf     []byte // room for a record's header, then the body; nil once it is in a blob
	blob    blob.Writer
	size    int64
	sum     uint32
	charged int64 // octets of the draft budget
	ended   bool
	err     error // the first failure: what is there is not the whole
}

// Create begins a message.
func (s *Spool) Create() *Draft { return &Draft{s: s} }

// Write appends content as it was received, canonical. It keeps no reference
// to p. Its errors are *envelope.Error.
func (d *Draft) Write(p []byte) (int, error) {
	if d.ended {
		return 0, envelope.AsError(errors.New("spool: write to a draft that has ended"))
	}
	if d.err != nil {
		return 0, d.err
	}
	if d.blob == nil && !d.hold(len(p)) {
		d.spill()
	}
	switch {
	case d.err != nil:
		return 0, d.err
	case d.blob == nil:
		d.buf = append(d.buf, p...)
	default:
		d.stream(p)
	}
	if d.err != nil {
		return 0, d.err
	}
	d.size += int64(len(p))
	d.sum = crc32.Update(d.sum, wire.Castagnoli, p)
	return len(p), nil
}

// hold makes room for n more octets in memory, if the message may grow that
// large there and the budget of all drafts allows it.
func (d *Draft) hold(n int) bool {
	need := max(len(d.buf), wire.RecordHeader) + n
	if need > wire.RecordHeader+d.s.o.Inline {
		return false
	}
	if need > cap(d.buf) {
		size := max(firstBuffer, 2*cap(d.buf))
		for size < need {
			size *= 2
		}
		size = min(size, wire.RecordHeader+d.s.o.Inline+wire.Block)
		if !d.charge(int64(size - cap(d.buf))) {
			return false
		}
		d.buf = slices.Grow(d.buf, size-len(d.buf))
	}
	d.buf = d.buf[:max(len(d.buf), wire.RecordHeader)]
	return true
}

// charge takes n octets of the budget of all drafts.
func (d *Draft) charge(n int64) bool {
	if d.s.drafts.Add(n) > d.s.o.DraftBudget {
		d.s.drafts.Add(-n)
		return false
	}
	d.charged += n
	return true
}

// spill moves the message from memory into a blob.
func (d *Draft) spill() {
	w, err := d.s.o.Blobs.Create()
	if err != nil {
		d.fail(err)
		return
	}
	d.s.Counters.Spilled.Add(1)
	d.blob = w
	if len(d.buf) > wire.RecordHeader {
		d.stream(d.buf[wire.RecordHeader:])
	}
	d.drop()
}

func (d *Draft) stream(p []byte) {
	if _, err := d.blob.Write(p); err != nil {
		d.fail(err)
	}
}

// fail remembers that the message cannot be taken.
func (d *Draft) fail(err error) {
	d.s.Counters.Faults.Add(1)
	d.s.o.Log.Error("a message could not be written down", "err", err)
	d.err = envelope.Fail(err, 452, "4.3.1", "no room for the message now; try again later")
}

// drop gives the memory back.
func (d *Draft) drop() {
	d.s.drafts.Add(-d.charged)
	d.buf, d.charged = nil, 0
}

// Discard forgets the message. After Commit it does nothing.
func (d *Draft) Discard() {
	if d.ended {
		return
	}
	d.ended = true
	if d.blob != nil {
		d.blob.Discard()
	}
	d.drop()
}

// Commit makes the message durable, together with changes of others: both
// or neither. It sets e.ID, e.Received and e.Size where they are zero and
// keeps a copy of e. When it returns nil the message is offered already and
// survives a power loss; any error is an *envelope.Error, and there is no
// such message. The draft is used up either way.
func (d *Draft) Commit(e *envelope.Envelope, changes ...envelope.Change) error {
	defer d.Discard()
	switch {
	case d.ended:
		return envelope.AsError(errors.New("spool: commit of a draft that has ended"))
	case d.err != nil:
		return d.err
	case e.Done():
		return envelope.AsError(errors.New("spool: a message without a recipient that waits"))
	}
	if err := d.s.name(e, d.size); err != nil {
		return envelope.AsError(err)
	}
	r, err := d.record(e, len(changes))
	if err != nil {
		return err
	}
	if err := d.s.claim(r.entry); err != nil {
		return err
	}
	if d.blob != nil {
		if err := d.blob.Commit(e.ID.String()); err != nil {
			d.s.unclaim(r.entry)
			d.fail(err)
			return d.err
		}
	}
	// The memory belongs to the record from here on.
	d.ended, d.buf, d.charged = true, nil, 0
	d.s.append(r, changes)
	return d.s.await(r)
}

// name fills in what the spool knows of a message.
func (s *Spool) name(e *envelope.Envelope, size int64) (err error) {
	now := s.o.Clock.Now()
	if e.Received.IsZero() {
		e.Received = now
	}
	if e.ID.IsZero() {
		e.ID, err = envelope.NewID(now, s.o.Random)
	}
	if e.Size == 0 {
		e.Size = int64(len(e.Header)) + size
	}
	return err
}

// record encodes the message behind its body, which is not copied again if
// there is room for the rest. It leaves room for changes.
func (d *Draft) record(e *envelope.Envelope, changes int) (*record, error) {
	env := *e
	env.Header = slices.Clone(e.Header)
	env.Recipients = slices.Clone(e.Recipients)
	for i := range env.Recipients {
		env.Recipients[i].Reason = clip(env.Recipients[i].Reason)
	}
	c := wire.Content{Size: d.size, Sum: d.sum, Blob: d.blob != nil}
	r := &record{kind: wire.Message, charged: d.charged, buf: d.buf}
	r.entry = &ledger.Entry{Envelope: &env, Body: c, Young: true}
	if r.buf == nil {
		r.buf = make([]byte, wire.RecordHeader, wire.RecordHeader+1024)
	}
	if !c.Blob {
		r.body, r.bodySum = int(c.Size), c.Sum
	}
	r.buf = wire.AppendEnvelope(r.buf, &env, c)
	if room := d.s.maxMeta() - changes*wire.MaxChange; r.meta() > room {
		// RFC 5321, section 4.5.3.1.10 has 452 for too many recipients.
		return nil, envelope.Fail(fmt.Errorf("the envelope takes %d octets of %d", r.meta(), room),
			452, "4.5.3", "too many recipients or too much trace for one message")
	}
	r.buf = slices.Grow(r.buf, changes*wire.MaxChange)
	return r, nil
}

// claim takes the id of a message that arrives, so that nobody else uses it
// or its blob.
func (s *Spool) claim(e *ledger.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return envelope.Fail(errClosed, 451, "4.3.2", "shutting down; try again later")
	case s.l.Entries[e.Envelope.ID] != nil:
		return envelope.AsError(fmt.Errorf("spool: there is a message %v already", e.Envelope.ID))
	}
	s.l.Entries[e.Envelope.ID] = e
	s.arriving++
	return nil
}

func (s *Spool) unclaim(e *ledger.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.l.Forget(e)
	s.arrived()
}

// arrived ends what claim began: the committer may stop once nobody arrives.
func (s *Spool) arrived() {
	if s.arriving--; s.arriving == 0 {
		s.work.Signal()
	}
}

// append puts a message and the changes that go with it into the log.
func (s *Spool) append(r *record, changes []envelope.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.share(r.entry.Envelope)
	s.ride(r, changes)
	s.enqueue(r)
	s.arrived()
}

// share replaces the texts of e that many messages have in common.
func (s *Spool) share(e *envelope.Envelope) {
	e.From.Domain = addr.Domain(s.l.Words.Share(string(e.From.Domain)))
	e.Account = s.l.Words.Share(e.Account)
	e.Client = s.l.Words.Share(e.Client)
	for i := range e.Recipients {
		to := &e.Recipients[i].To
		to.Domain = addr.Domain(s.l.Words.Share(string(to.Domain)))
	}
}

// await waits until r is durable, and offers the message.
func (s *Spool) await(r *record) error {
	<-r.batch.done
	if r.err != nil {
		return r.err
	}
	s.mu.Lock()
	offer := s.offer
	if offer == nil || r.entry.Offered {
		s.mu.Unlock()
		return nil
	}
	r.entry.Offered = true
	s.mu.Unlock()
	offer(r.entry.Envelope)
	return nil
}

// keepFresh leaves the body of a message in memory until its first attempt,
// if there is room, and ends the draft's claim.
func (s *Spool) keepFresh(r *record) {
	s.drafts.Add(-r.charged)
	held := int64(cap(r.buf))
	if r.entry.Body.Blob || s.l.Fresh+held > s.o.FreshBudget {
		return
	}
	end := wire.RecordHeader + r.body
	s.l.KeepFresh(r.entry, r.buf[wire.RecordHeader:end:end], held)
}

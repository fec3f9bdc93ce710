package smtpd

import (
	"context"
	"fmt"
	"log/slog"

	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/smtp"
)

// maxHops is how many servers a message may have passed: RFC 5321, section
// 6.3. One that has passed more goes in circles.
const maxHops = 100

// maxHeld bounds the octets of header sections that all sessions together
// hold because they have not come whole, or many slow clients with a large
// header each could use up the memory.
const maxHeld = 64 << 20

// intake takes the content of one message: it holds the header section back
// until that is complete and judged, and lets the rest stream into a draft.
// Once something is wrong it drops all that comes, since a message is read
// to its end before it is refused.
type intake struct {
	s        *session
	envelope *envelope.Envelope
	data     smtp.Data // one of these two reads it
	chunks   smtp.Chunks
	header   []byte // as far as it has come
	inBody   bool
	id       string // of the message, once in the body
	named    string // its Message-ID, likewise
	draft    Draft
	watcher  Watcher         // sees the body; may be nil
	watched  int64           // octets of the header that it holds
	refused  *envelope.Error // the first reason not to take the message
}

func newIntake(s *session) *intake { return &intake{s: s, envelope: &s.tx.envelope} }

// take gets the next octets of content, after they were seen.
func (in *intake) take(ctx context.Context, p []byte, seen *smtp.Content) {
	switch {
	case in.refused != nil || len(p) == 0:
	case seen.Broken:
		in.refuse(replyBroken)
	case seen.Size > in.s.o.Limits.MessageSize:
		in.refuse(replyTooBig)
	case seen.TooLong: // RFC 3463, section 3.7
		in.refuse(envelope.Refuse(554, "5.6.0", "a line of the message is longer than 64 KiB"))
	case in.inBody:
		in.body(p)
	default:
		in.collect(ctx, p, seen)
	}
}

// collect gets octets that begin in the header section.
func (in *intake) collect(ctx context.Context, p []byte, seen *smtp.Content) {
	head, rest := p, []byte(nil)
	if seen.HeaderEnd > 0 {
		n := seen.HeaderEnd - (seen.Size - int64(len(p)))
		head, rest = p[:n], p[n:]
	}
	if len(in.header) > 0 || seen.HeaderEnd == 0 {
		if !in.hold(head) {
			return
		}
		head = in.header
	}
	switch {
	case len(head) > in.s.o.Limits.HeaderSize && !beginsWithField(head):
		in.begin(ctx, nil, head, rest)
	case len(head) > in.s.o.Limits.HeaderSize:
		in.refuse(envelope.Refuse(552, "5.3.4", "header section too big"))
	case seen.HeaderEnd > 0:
		in.split(ctx, head[:len(head)-len("\r\n")], head, rest)
	}
}

var replyHeld = envelope.Refuse(452, "4.3.1", "too many messages at a time; try again later")

// hold keeps a part of the header section until the rest has come.
func (in *intake) hold(p []byte) bool {
	n := int64(len(p))
	if in.s.held.Add(n) > maxHeld {
		in.s.held.Add(-n)
		in.refuse(replyHeld)
		return false
	}
	in.header = append(in.header, p...)
	return true
}

// letGo ends hold.
func (in *intake) letGo() {
	in.s.held.Add(-int64(len(in.header)))
	in.header = nil
}

// split begins the message where its header section is known whole: fields,
// which is head without the empty line if there was one.
func (in *intake) split(ctx context.Context, fields, head, rest []byte) {
	if len(fields) > 0 && !beginsWithField(fields) {
		in.begin(ctx, nil, head, rest)
		return
	}
	in.begin(ctx, fields, nil, rest)
}

// beginsWithField reports whether content begins with anything like a field.
// If not, it has no header section at all (somebody has sent two words by
// hand), and is taken as a body with an empty line before it. Nobody after us
// can then take a line further down for a header.
func beginsWithField(content []byte) bool {
	for f := range message.Fields(content) {
		return f.Name() != ""
	}
	return false
}

// begin judges the header section and, if it may pass, starts the draft with
// it, the empty line, and what is known of the body.
func (in *intake) begin(ctx context.Context, fields, body, more []byte) {
	in.inBody = true
	kept, err := in.judge(ctx, fields)
	if err != nil {
		in.refuse(err)
		return
	}
	if f, ok := message.Find(kept, "Message-ID"); ok {
		in.named = f.Value()
	}
	in.draft = in.s.o.Spool.Create()
	in.write(kept)
	in.write([]byte("\r\n"))
	in.body(body)
	in.body(more)
	in.letGo()
}

// judge returns the fields to keep, or why the message is refused for them.
func (in *intake) judge(ctx context.Context, fields []byte) ([]byte, error) {
	if err := message.Check(fields); err != nil {
		return nil, envelope.Fail(err, 554, "5.6.0", "malformed message header: "+err.Error())
	}
	if message.Count(fields, "Received") > maxHops {
		return nil, envelope.Refuse(554, "5.4.6", fmt.Sprintf("mail loop: the message has passed more than %d servers", maxHops))
	}
	id, err := envelope.NewID(in.s.o.Clock.Now(), in.s.o.Random)
	if err != nil {
		return nil, err
	}
	in.envelope.ID, in.id = id, id.String()
	if err := in.watch(fields); err != nil {
		return nil, err
	}
	kept, err := in.s.o.Policy.Header(ctx, &in.s.peer, in.envelope, fields)
	if err == nil && in.watcher == nil {
		in.watcher, err = in.s.o.Policy.Sign(&in.s.peer, in.envelope, kept)
	}
	return kept, err
}

// watch lets the policy see the message, as it came. Its copy of the header
// counts as held until the message ends.
func (in *intake) watch(fields []byte) error {
	w := in.s.o.Policy.Watch(&in.s.peer, in.envelope, fields)
	if w == nil {
		return nil
	}
	n := int64(len(fields))
	if in.s.held.Add(n) > maxHeld {
		in.s.held.Add(-n)
		return replyHeld
	}
	in.watcher, in.watched = w, n
	return nil
}

// body takes what follows the empty line.
func (in *intake) body(p []byte) {
	if in.watcher != nil && in.refused == nil && len(p) > 0 {
		if _, err := in.watcher.Write(p); err != nil {
			in.refuse(err)
			return
		}
	}
	in.write(p)
}

// unwatch ends watch.
func (in *intake) unwatch() {
	in.s.held.Add(-in.watched)
	in.watcher, in.watched = nil, 0
}

func (in *intake) write(p []byte) {
	if in.refused != nil || len(p) == 0 {
		return
	}
	if _, err := in.draft.Write(p); err != nil {
		in.refuse(err)
	}
}

func (in *intake) refuse(err error) {
	in.refused = envelope.AsError(err)
	in.discard()
}

func (in *intake) discard() {
	if in.draft != nil {
		in.draft.Discard()
		in.draft = nil
	}
	in.letGo()
	in.unwatch()
}

// finish commits a message whose content has come in whole.
func (s *session) finish(ctx context.Context, seen *smtp.Content) *smtp.Reply {
	in := s.tx.intake
	if !in.inBody && in.refused == nil { // no empty line has ended the header
		in.split(ctx, in.header, in.header, nil)
	}
	if in.refused == nil {
		in.commit(ctx, seen)
	}
	if in.refused != nil {
		return s.fail(in.refused)
	}
	return s.accepted(seen.Size)
}

// commit asks the policy a last time and makes the message durable.
func (in *intake) commit(ctx context.Context, seen *smtp.Content) {
	e := in.envelope
	e.Received = in.s.o.Clock.Now()
	e.Form = form(seen)
	if err := in.ask(ctx); err != nil {
		in.refuse(err)
		return
	}
	if err := in.s.o.Policy.Data(ctx, &in.s.peer, e); err != nil {
		in.refuse(err)
		return
	}
	if in.s.wire.Ended() { // the last moment: what is durable is delivered
		in.refuse(&envelope.Error{Reply: *replyEnded})
		return
	}
	e.Header = append(received(in.s, e, in.id), e.Header...)
	if err := in.draft.Commit(e); err != nil {
		in.refuse(err)
		return
	}
	in.draft = nil
}

// ask asks who has watched the message.
func (in *intake) ask(ctx context.Context) error {
	if in.watcher == nil {
		return nil
	}
	defer in.unwatch()
	return in.watcher.Judge(ctx, in.envelope)
}

// form tells what the content asks of the next hop.
func form(seen *smtp.Content) (f envelope.Form) {
	add := func(is bool, bit envelope.Form) {
		if is {
			f |= bit
		}
	}
	add(seen.BodyEightBit, envelope.EightBit)
	add(seen.HeaderEightBit, envelope.HeaderUTF8)
	add(seen.LeadingDot, envelope.LeadingDot)
	add(seen.LongLine, envelope.LongLine)
	return f
}

// accepted says that the message is ours now.
func (s *session) accepted(size int64) *smtp.Reply {
	tx := s.tx
	s.tx = nil
	s.budget.messages++
	s.budget.commands = 0
	s.Counters.Messages.Add(1)
	s.Counters.Octets.Add(size)
	s.Counters.Recipients.Add(int64(len(tx.envelope.Recipients)))
	s.o.Book.Arrived(&s.peer, &tx.envelope, tx.intake.named)
	s.log("message accepted",
		slog.String("id", tx.intake.id), slog.String("from", tx.envelope.From.String()),
		slog.Int("recipients", len(tx.envelope.Recipients)), slog.Int("recipients_refused", tx.refused),
		slog.Int64("size", size), slog.String("with", protocol(s, &tx.envelope)))
	return &smtp.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as " + tx.intake.id}
}

package queue

import (
	"bytes"
	"context"
	"io"

	"gatepost/internal/addr"
	"gatepost/internal/dsn"
	"gatepost/internal/envelope"
	"gatepost/internal/queue/settle"
)

// Who handed over a message of our own, as operators see it (Envelope's
// Client).
const (
	byReport = "delivery report"
	byNotice = "notice to postmaster"
)

// Submit takes a message that Gatepost writes itself: the one entrance for
// bounces, notices and reports, where they are signed. write writes it whole,
// in canonical form.
// From and Recipients of e are set by the caller, as is Client; addresses of
// ours among the recipients are replaced by who gets their mail. changes
// become durable with the message, or not at all.
func (q *Queue) Submit(ctx context.Context, e *envelope.Envelope, write func(io.Writer) error, changes ...envelope.Change) error {
	return q.submit(ctx, e, write, false, changes...)
}

// SubmitSigned is Submit for what must not leave unsigned: then the error is
// envelope.ErrUnsigned, and nothing of it happened.
func (q *Queue) SubmitSigned(ctx context.Context, e *envelope.Envelope, write func(io.Writer) error) error {
	return q.submit(ctx, e, write, true)
}

func (q *Queue) submit(ctx context.Context, e *envelope.Envelope, write func(io.Writer) error, signed bool, changes ...envelope.Change) error {
	e.Origin, e.Received = envelope.Self, q.o.Clock.Now()
	e.Recipients = q.expand(ctx, e.Recipients)
	d := q.o.Spool.Create()
	defer d.Discard()
	form := formWriter{w: d}
	seal := sealer{w: &form, begin: q.o.Begin}
	if err := write(&seal); err != nil {
		return err
	}
	var err error
	if e.Header, err = seal.end(); err != nil {
		return err
	}
	if signed && len(e.Header) == 0 {
		return envelope.ErrUnsigned
	}
	e.Form = form.form
	return d.Commit(e, changes...)
}

// expand replaces our own addresses by who gets their mail. Where that
// cannot be told, the address stays: its delivery will say why.
func (q *Queue) expand(ctx context.Context, list []envelope.Recipient) []envelope.Recipient {
	var all []envelope.Recipient
	seen := map[addr.Address]bool{}
	for _, r := range list {
		to := []addr.Address{r.To}
		if _, local := q.o.Router.Route(r.To.Domain); local {
			if found, err := q.o.Expand(ctx, r.To); err == nil && len(found) > 0 {
				to = found
			}
		}
		for _, a := range to {
			if !seen[a] {
				seen[a] = true
				r.To = a
				all = append(all, r)
			}
		}
	}
	return all
}

// report tells the sender of a message about recipients, and settles these
// in the same record.
func (q *Queue) report(e *envelope.Envelope, list []settle.Told) error {
	var changes []envelope.Change
	byAction := map[dsn.Action][]dsn.Recipient{}
	for _, t := range list {
		changes = append(changes, t.Change)
		byAction[t.Report.Action] = append(byAction[t.Report.Action], t.Report)
	}
	for _, recipients := range byAction {
		err := q.send(e, recipients, changes)
		if err != nil {
			return err
		}
		changes = nil // they went with the first report
	}
	return nil
}

// send submits one report. Should that fail, it is tried without the body:
// one that cannot be read is no reason to be silent.
func (q *Queue) send(e *envelope.Envelope, recipients []dsn.Recipient, changes []envelope.Change) error {
	body, err := q.o.Spool.Body(e.ID)
	if err == nil {
		defer body.Close() // it was only read
		err = q.sendWith(e, recipients, changes, io.MultiReader(bytes.NewReader(e.Header), body.Reader()))
	}
	if err == nil {
		return nil
	}
	q.o.Log.Error("a report goes out without the message", "id", e.ID, "err", err)
	return q.sendWith(e, recipients, changes, bytes.NewReader(e.Header))
}

func (q *Queue) sendWith(e *envelope.Envelope, recipients []dsn.Recipient, changes []envelope.Change, original io.Reader) error {
	r := dsn.Report{
		Hostname: q.o.Hostname, To: e.From, Date: q.o.Clock.Now(), Arrival: e.Received, EnvID: e.EnvID,
		Recipients: recipients, Random: q.o.Random,
		// RFC 8689, section 5: of a message that must stay protected only the
		// header goes back, and that protected too.
		Original: original, Full: e.Ret == envelope.RetFull && !e.RequireTLS, Size: e.Size, EightBit: e.Form&envelope.EightBit != 0,
	}
	report := &envelope.Envelope{
		Client:     byReport,
		UTF8:       !e.From.IsASCII(),
		RequireTLS: e.RequireTLS,
		Recipients: []envelope.Recipient{{To: e.From}},
	}
	err := q.Submit(q.ctx, report, func(w io.Writer) error { return dsn.Write(w, r) }, changes...)
	if err == nil {
		q.Counters.Reports.Add(1)
	}
	return err
}

// formWriter notes the form of a message on its way.
type formWriter struct {
	w    io.Writer
	form envelope.Form
	line int  // octets of the current line
	body bool // the header is over
}

func (f *formWriter) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c == '\n':
			f.body = f.body || f.line == 0
			f.line = 0
			continue
		case c == '\r':
			continue
		case c == '.' && f.line == 0:
			f.form |= envelope.LeadingDot
		case c >= 0x80 && f.body:
			f.form |= envelope.EightBit
		case c >= 0x80:
			f.form |= envelope.HeaderUTF8
		}
		if f.line++; f.line > maxLine {
			f.form |= envelope.LongLine
		}
	}
	return f.w.Write(p)
}

// maxLine is the longest line of RFC 5322, section 2.1.1.
const maxLine = 998

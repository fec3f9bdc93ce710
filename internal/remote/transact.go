package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/smtp"
	"gatepost/internal/smtpclient"
)

// maxRcpt is the number of recipients of one transaction unless the host
// names its own limit: what RFC 5321, section 4.5.3.1.8 makes every host
// take.
const maxRcpt = 100

// delivery is one attempt under way.
type delivery struct {
	*Sender
	*envelope.Attempt
	outcomes []envelope.Outcome
	pending  []int // indexes in outcomes that have none yet
	retry    bool  // a kept connection proved dead: the next must be fresh
	said     *envelope.Error
}

func newDelivery(s *Sender, a *envelope.Attempt) *delivery {
	d := &delivery{Sender: s, Attempt: a, outcomes: make([]envelope.Outcome, len(a.Recipients))}
	d.pending = make([]int, len(a.Recipients))
	for i := range d.pending {
		d.pending[i] = i
	}
	return d
}

// recipient returns the recipient that outcome i is of.
func (d *delivery) recipient(i int) *envelope.Recipient {
	return &d.Envelope.Recipients[d.Recipients[i]]
}

// rest gives all who have no outcome the one of err.
func (d *delivery) rest(err error) {
	if len(d.pending) == 0 {
		return
	}
	var f *failure
	if !errors.As(err, &f) {
		f = broken("", err)
	}
	for _, i := range d.pending {
		d.outcomes[i] = f.Outcome
	}
	d.pending = d.pending[:0]
}

// over sends what is pending over one connection. An error is the outcome of
// those who are left; without one, those who are left need another
// connection.
func (d *delivery) over(c *connection) error {
	if d.refuseUTF8(c); len(d.pending) == 0 {
		return nil
	}
	content, err := d.content(c)
	if err != nil {
		return err
	}
	for len(d.pending) > 0 && c.Usable() {
		t, batch := d.transaction(c, content)
		d.Counters.Transactions.Add(1)
		err := c.Send(t)
		if c.reused && diedBefore(t, err) {
			d.Counters.Lost.Add(1)
			d.retry = true
			return nil
		}
		if err := d.settle(c, t, batch, err); err != nil {
			return err
		}
	}
	return nil
}

// diedBefore reports whether a kept connection was already dead: the host
// has not answered MAIL and cannot have taken the message, so that sending
// it again over a fresh one makes no second copy. A host that is slow would
// not be faster.
func diedBefore(t *smtpclient.Transaction, err error) bool {
	switch {
	case t.Mail.Code == 421:
		return true
	case t.Mail.Code != 0 || t.Unknown:
		return false
	case err == nil: // a 421 to RSET
		return true
	}
	return !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, smtpclient.ErrAborted) && !errors.Is(err, smtpclient.ErrContent)
}

// refuseUTF8 settles those whom the message cannot reach over a host without
// SMTPUTF8: RFC 6531, section 3.2.
func (d *delivery) refuseUTF8(c *connection) {
	if c.Extensions().UTF8 {
		return
	}
	d.pending = slices.DeleteFunc(d.pending, func(i int) bool {
		if !d.Envelope.NeedsUTF8(d.recipient(i)) {
			return false
		}
		d.outcomes[i] = never(c.host, nil, 553, "5.6.7", c.host+" takes only addresses and headers in ASCII (no SMTPUTF8)").Outcome
		return true
	})
}

// content returns the message as the host can take it.
func (d *delivery) content(c *connection) (smtpclient.Content, error) {
	e, ext := d.Envelope, c.Extensions()
	content := smtpclient.Content{
		Header: e.Header,
		Body:   d.Body.Bytes(),
		Size:   int64(len(e.Header)) + d.Body.Size(),
		Dots:   e.Form&envelope.LeadingDot != 0,
	}
	if content.Body == nil {
		content.Stream = func(w io.Writer) error {
			_, err := io.Copy(w, d.Body.Reader())
			return err
		}
	}
	if d.eightBit() && !ext.EightBit {
		var err error
		if content, err = d.downgrade(c); err != nil {
			return content, err
		}
	}
	// RFC 1870, section 6.3: sent all the same, it would be refused in the
	// end.
	if ext.MaxSize > 0 && content.Size > ext.MaxSize {
		return content, never(c.host, nil, 552, "5.3.4",
			fmt.Sprintf("the message has %d octets, and %s takes no more than %d", content.Size, c.host, ext.MaxSize))
	}
	return content, nil
}

// eightBit reports whether the content has octets above 127.
func (d *delivery) eightBit() bool {
	return d.Envelope.Form&(envelope.EightBit|envelope.HeaderUTF8) != 0
}

// downgrade returns the message without octets above 127: RFC 6152, section
// 3. It is converted twice, first to see whether it can be and how long it
// gets, so that it need not be held.
func (d *delivery) downgrade(c *connection) (smtpclient.Content, error) {
	stream := func(w io.Writer) error {
		return message.Downgrade(w, io.MultiReader(bytes.NewReader(d.Envelope.Header), d.Body.Reader()))
	}
	var size counter
	switch err := stream(&size); {
	case errors.Is(err, message.ErrNotConvertible):
		return smtpclient.Content{}, never(c.host, err, 554, "5.6.3", c.host+" takes no 8-bit content, and the message cannot be converted")
	case err != nil:
		return smtpclient.Content{}, unreadable(err)
	}
	return smtpclient.Content{Stream: stream, Size: int64(size), Dots: true}, nil
}

// counter counts what is written to it.
type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

// transaction makes a transaction of as many as the host takes at once. The
// batch holds their places in pending.
func (d *delivery) transaction(c *connection, content smtpclient.Content) (*smtpclient.Transaction, []int) {
	e, ext := d.Envelope, c.Extensions()
	t := &smtpclient.Transaction{
		From: e.From, EightBit: d.eightBit(), RequireTLS: e.RequireTLS, EnvID: e.EnvID, Ret: rets[e.Ret], Content: content,
	}
	batch := d.batch(ext)
	t.Recipients = make([]smtpclient.Recipient, len(batch))
	for n, i := range batch {
		r := d.recipient(i)
		t.Recipients[n] = smtpclient.Recipient{To: r.To, Notify: notifies[r.Notify&15], ORcpt: r.ORcpt}
		t.UTF8 = t.UTF8 || e.NeedsUTF8(r)
	}
	return t, batch
}

// batch returns the first of pending whom one transaction may hold: RFC 9422,
// sections 4.2 and 4.3. Those of further domains wait.
func (d *delivery) batch(ext *smtpclient.Extensions) []int {
	limit := maxRcpt
	if ext.RcptMax > 0 {
		limit = min(limit, ext.RcptMax)
	}
	if ext.RcptDomainMax == 0 || len(d.pending) == 1 {
		return d.pending[:min(limit, len(d.pending))]
	}
	var batch []int
	var domains []addr.Domain
	for _, i := range d.pending {
		domain := d.recipient(i).To.Domain
		if !slices.Contains(domains, domain) {
			if len(domains) == ext.RcptDomainMax {
				continue
			}
			domains = append(domains, domain)
		}
		if batch = append(batch, i); len(batch) == limit {
			break
		}
	}
	return batch
}

// settle reads the outcomes of a transaction. The error says what those have
// who were not in it when the host is lost.
func (d *delivery) settle(c *connection, t *smtpclient.Transaction, batch []int, lost error) error {
	taken := slices.ContainsFunc(t.Recipients, func(r smtpclient.Recipient) bool { return !overflow(&r.Reply) })
	var rest *failure
	if lost != nil {
		rest = d.lost(c, t, lost)
	}
	for n, i := range batch {
		r := &t.Recipients[n].Reply
		switch {
		case r.Code == 0:
			d.outcomes[i] = rest.Outcome
		case overflow(r) && taken && lost == nil:
			continue // it is sent to in the next transaction
		default:
			d.outcomes[i] = d.outcome(c, r)
		}
		if r.Code == 421 {
			rest = answered(c.host, r)
		}
	}
	d.pending = slices.DeleteFunc(d.pending, func(i int) bool { return d.outcomes[i].Status != envelope.Pending })
	if rest != nil {
		return rest
	}
	return nil
}

// overflow reports whether a host has enough recipients for one transaction:
// RFC 5321, section 4.5.3.1.10. Others use 452 for a full mailbox, and say so
// in the enhanced code.
func overflow(r *smtp.Reply) bool {
	return r.Code == 452 && (r.Enhanced == "" || strings.HasSuffix(r.Enhanced, ".5.3")) || r.Code == 552 && r.Enhanced == "5.5.3"
}

// lost returns the outcome of those who are undecided after a connection
// broke. It says something of the destination only before MAIL was answered:
// later it may have been this message.
func (d *delivery) lost(c *connection, t *smtpclient.Transaction, err error) *failure {
	switch {
	case errors.Is(err, smtpclient.ErrContent):
		return unreadable(err)
	case errors.Is(err, smtpclient.ErrAborted):
		return interrupted(err)
	}
	f := broken(c.host, err)
	f.Destination = t.Mail.Code == 0
	return f
}

// outcome returns what a reply means for a recipient. Those who got the same
// reply share it.
func (d *delivery) outcome(c *connection, r *smtp.Reply) envelope.Outcome {
	if d.said == nil || d.said.Code != r.Code || d.said.Enhanced != r.Enhanced || d.said.Text != clip(r.Text) {
		d.said = envelope.Refuse(r.Code, r.Enhanced, clip(r.Text))
	}
	o := envelope.Outcome{Status: envelope.Failed, Err: d.said, Host: c.host, Proof: c.proof}
	switch {
	case r.Positive() && c.Extensions().DSN:
		o.Status = envelope.Delivered
	case r.Positive():
		o.Status = envelope.Relayed // RFC 3461, section 5.2.2
	case r.Temporary():
		o.Status = envelope.Deferred
		o.Destination = r.Code == 421
	}
	return o
}

// The parameters of RFC 3461, sections 4.3 and 4.1.
const (
	onSuccess = envelope.NotifySuccess
	onFailure = envelope.NotifyFailure
	onDelay   = envelope.NotifyDelay
)

var (
	rets     = [...]string{envelope.RetFull: "FULL", envelope.RetHdrs: "HDRS"}
	notifies = [16]string{
		envelope.NotifyNever: "NEVER", onSuccess: "SUCCESS", onFailure: "FAILURE", onDelay: "DELAY",
		onSuccess | onFailure: "SUCCESS,FAILURE", onSuccess | onDelay: "SUCCESS,DELAY", onFailure | onDelay: "FAILURE,DELAY",
		onSuccess | onFailure | onDelay: "SUCCESS,FAILURE,DELAY",
	}
)

package courier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// noKey is why reports wait, in words for operators.
const noKey = "no key that mail is signed with is in use: see gatepost dns"

// run tells one domain of one day, at every destination that is not done with
// yet; again says that it is to be tried once more. An error is the store's:
// then some may get the report again, under the same id.
func (c *Courier) run(ctx context.Context, s subject, e errand) (again bool, err error) {
	done, err := c.settled(ctx, e)
	if err != nil || done[""] {
		return false, err
	}
	lookup, cancel := context.WithTimeout(ctx, lookupTime)
	to, refused, failed := s.destinations(lookup, e.domain)
	cancel()
	ends := map[string]end{"": {state: Done}}
	for _, d := range refused {
		ends[d.String()] = end{state: Failed, reason: "its domain does not agree in the DNS to get reports on others"}
	}
	if failed != nil {
		ends[""] = end{state: Waiting, reason: "the DNS does not say where all of it goes"}
	}
	to = slices.DeleteFunc(to, func(d destination) bool { return done[d.String()] })
	if len(to) > 0 {
		r, err := s.compose(ctx, e)
		if err != nil {
			return false, err
		}
		for _, d := range to {
			what := c.send(ctx, e, d, r)
			if ends[d.String()] = what; what.state == Waiting && failed == nil {
				ends[""] = end{}
			}
		}
	}
	return ends[""].state != Done, c.note(ctx, e, ends)
}

// send sends a report to one destination.
func (c *Courier) send(ctx context.Context, e errand, d destination, r report) end {
	how := c.mail
	if d.url != "" {
		how = c.post
	}
	what, err := how(ctx, e, d, r)
	n := c.Counters[e.kind]
	switch {
	case errors.Is(err, envelope.ErrUnsigned):
		n.Unsigned.Add(1)
		c.sayWaiting()
		return end{state: Waiting, reason: noKey}
	case err != nil:
		n.Failed.Add(1)
		c.o.Log.Info("a report was not taken", "kind", string(e.kind), "domain", e.domain, "to", d.String(), "error", err)
		return end{state: Waiting, reason: err.Error()}
	}
	return what
}

// sayWaiting says once that reports wait for a key.
func (c *Courier) sayWaiting() {
	c.mu.Lock()
	said := c.waiting
	c.waiting = true
	c.mu.Unlock()
	if !said {
		c.o.Log.Warn("reports to other domains wait: " + noKey)
	}
}

func (c *Courier) post(ctx context.Context, e errand, d destination, r report) (end, error) {
	if err := c.o.Post(ctx, d.url, r.packed); err != nil {
		return end{}, err
	}
	c.Counters[e.kind].Posted.Add(1)
	return end{state: Taken}, nil
}

// mail hands a report to the queue.
func (c *Courier) mail(ctx context.Context, e errand, d destination, r report) (end, error) {
	from := c.o.Sender()
	if from == "" {
		return end{}, envelope.ErrUnsigned
	}
	var b bytes.Buffer
	if err := r.message(&b, c.letter(e, from, d.mail)); err != nil {
		return end{}, err
	}
	if most := most(d.limit); int64(b.Len()) > most {
		return end{state: Failed, reason: fmt.Sprintf("the report has %d octets, more than the %d that may go there", b.Len(), most)}, nil
	}
	if !c.take() {
		return end{state: Waiting, reason: "there are many reports to send"}, nil
	}
	m := &envelope.Envelope{
		Client: envelope.ByCourier,
		UTF8:   !d.mail.IsASCII(),
		// RFC 8460, section 5.3.1: no failure of DANE or MTA-STS keeps a report
		// on such failures from its reader.
		TLSOptional: e.kind == TLS,
		Recipients:  []envelope.Recipient{{To: d.mail, Notify: envelope.NotifyNever}},
	}
	if err := c.o.Submit(ctx, m, func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err }); err != nil {
		return end{}, err
	}
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	c.Counters[e.kind].Mailed.Add(1)
	return end{state: Queued, message: m.ID.String()}, nil
}

// most returns how large a report for a destination may be.
func most(limit int64) int64 {
	if limit > 0 {
		return min(limit, maxPacked)
	}
	return maxPacked
}

// take takes one of the reports that this round may hand to the queue.
func (c *Courier) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return false
	}
	c.left--
	return true
}

// The addresses that reports are from are those where others send theirs: the
// server reads what comes there, so that an answer starts nothing.
var authors = map[Kind]string{TLS: "tls-reports", DMARC: "dmarc-reports"}

// letter returns what a message needs. Who reports is this host, or the
// domain that signs for it: RFC 8460, section 3 wants a signature of the one
// who reports.
func (c *Courier) letter(e errand, from addr.Domain, to addr.Address) letter {
	l := letter{
		from: addr.Address{Local: authors[e.kind], Domain: from}, to: to,
		submitter: c.o.Hostname, date: c.o.Clock.Now(), random: c.o.Random,
	}
	if l.submitter != from && !strings.HasSuffix(string(l.submitter), "."+string(from)) {
		l.submitter = from
	}
	return l
}

package queue

import (
	"fmt"
	"io"
	"strings"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/queue/alarm"
	"gatepost/internal/queue/settle"
)

const (
	// gather is how long failures are gathered before postmaster is told.
	gather = time.Minute
	// seldom is how far apart notices are at least.
	seldom = time.Hour
	// maxNotice bounds the failures that one notice lists.
	maxNotice = 100
)

// notice is what postmaster is to be told next.
type notice struct {
	due  alarm.Alarm
	sent time.Duration // when the last one was
	ever bool          // there was one
	list []string
	more int // failures beyond list
}

func (n *notice) Alarm() *alarm.Alarm { return &n.due }
func (n *notice) ring(q *Queue)       { q.later(q.tellPostmaster) }

// keepAll keeps failures of which only postmaster may be told. Of our own
// notices nobody is told, so that these cannot cause more of them.
func (q *Queue) keepAll(m *queued, list []settle.Told) {
	e := m.env
	q.mu.Lock()
	defer q.mu.Unlock()
	q.keep(m, q.now()+q.o.KeptFor)
	if e.Origin == envelope.Self && e.Client == byNotice {
		return
	}
	n := &q.notice
	for _, t := range list {
		if len(n.list) == maxNotice {
			n.more++
			continue
		}
		from := "<" + e.From.String() + ">"
		if e.From.IsNull() {
			from = "(a report or bounce)"
		}
		n.list = append(n.list, fmt.Sprintf("%s\r\n  from %s to <%s>\r\n  %s\r\n", e.ID, from, t.Report.To, t.Change.Reason))
	}
	if !n.due.Set() {
		at := q.now() + gather
		if n.ever {
			at = max(at, n.sent+seldom)
		}
		q.set(n, at)
	}
}

// tellPostmaster sends what has gathered, if anything has.
func (q *Queue) tellPostmaster() {
	q.mu.Lock()
	n := &q.notice
	list, more := n.list, n.more
	n.list, n.more = nil, 0
	n.sent, n.ever = q.now(), true
	q.alarms.Clear(n)
	q.mu.Unlock()
	if len(list) == 0 {
		return
	}
	e := &envelope.Envelope{
		Client:     byNotice,
		UTF8:       !q.o.Postmaster.IsASCII(),
		Recipients: []envelope.Recipient{{To: q.o.Postmaster}},
	}
	if err := q.Submit(q.ctx, e, func(w io.Writer) error { return q.writeNotice(w, list, more) }); err != nil {
		q.o.Log.Error("postmaster could not be told of failures", "failures", len(list)+more, "err", err)
		return
	}
	q.Counters.Notices.Add(1)
}

func (q *Queue) writeNotice(w io.Writer, list []string, more int) error {
	id, err := message.NewMessageID(q.o.Random, q.o.Hostname)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "From: Gatepost <MAILER-DAEMON@%s>\r\nTo: <%s>\r\n", q.o.Hostname, q.o.Postmaster)
	fmt.Fprintf(&b, "Subject: Mail that failed and could not be returned: %d\r\n", len(list)+more)
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: %s\r\n", message.Date(q.o.Clock.Now()), id)
	b.WriteString("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		"The mail below could not be delivered. Its senders were not told, since it\r\n" +
		"is not certain that they are who they seem to be, or there is none.\r\n\r\n")
	for _, s := range list {
		b.WriteString(s + "\r\n")
	}
	if more > 0 {
		fmt.Fprintf(&b, "And %d more.\r\n\r\n", more)
	}
	fmt.Fprintf(&b, "It is kept for %s: see \"gatepost queue list --failed\".\r\n", settle.Period(q.o.KeptFor))
	_, err = io.WriteString(w, b.String())
	return err
}

// dropKept ends the wait of failures that were kept for long enough.
func (q *Queue) dropKept(m *queued) {
	var changes []envelope.Change
	q.o.Spool.View(m.env.ID, func(e *envelope.Envelope) {
		for i := range e.Recipients {
			if r := &e.Recipients[i]; r.Status == envelope.Kept {
				changes = append(changes, envelope.Change{
					ID: e.ID, Recipient: i, Status: envelope.Dropped, Attempts: r.Attempts, Reason: r.Reason,
				})
			}
		}
	})
	if len(changes) > 0 {
		q.o.Spool.Change(changes, nil)
		q.Counters.Dropped.Add(int64(len(changes)))
	}
}

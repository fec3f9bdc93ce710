package queue

import (
	"slices"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/queue/settle"
)

// Message is a message in the queue as operators see it. Its field names in
// JSON are a contract.
type Message struct {
	ID         envelope.ID `json:"id"`
	From       string      `json:"from"` // empty for the null reverse-path
	Origin     string      `json:"origin"`
	Account    string      `json:"account,omitempty"`
	Client     string      `json:"client,omitempty"`
	Size       int64       `json:"size"`
	Received   time.Time   `json:"received"`
	Held       bool        `json:"held"`
	Recipients []Recipient `json:"recipients"`
}

// Recipient is one of a message that is not settled.
type Recipient struct {
	To          string    `json:"to"`
	Alias       string    `json:"alias,omitempty"` // of ours, that the message was sent to and is forwarded from
	Destination string    `json:"destination,omitempty"`
	Status      string    `json:"status"`
	Attempts    int       `json:"attempts"`
	Next        time.Time `json:"next,omitzero"` // when it is tried again
	Reason      string    `json:"reason"`        // why it is still here, in plain words
	// Reached tells how the destination was connected to last, by whatever
	// message: what protects the next attempt or is in its way.
	Reached string `json:"reached,omitempty"`
}

// Filter chooses messages; its zero value chooses all that wait for
// delivery.
type Filter struct {
	Failed bool        // with failures that are kept, instead
	Held   bool        // only those held
	Domain addr.Domain // only recipients in it
}

// List returns the messages that a filter chooses, the oldest first, with
// those of their recipients that it chooses.
func (q *Queue) List(f Filter) []Message {
	var found []sight
	frozen := q.frozenNow()
	q.o.Spool.Each(func(e *envelope.Envelope) bool {
		if !f.Held || e.Held || frozen[e.Account] {
			if s := see(e, frozen, f.chooses); len(s.state) > 0 {
				found = append(found, s)
			}
		}
		return true
	})
	list := make([]Message, 0, len(found))
	for _, s := range found {
		list = append(list, q.show(s))
	}
	return list
}

// Show returns one message with all its recipients that are not final.
func (q *Queue) Show(id envelope.ID) (Message, error) {
	var s sight
	frozen := q.frozenNow()
	found := q.o.Spool.View(id, func(e *envelope.Envelope) {
		s = see(e, frozen, func(r *envelope.Recipient) bool { return !r.Status.Final() })
	})
	if !found || len(s.state) == 0 {
		return Message{}, ErrUnknown
	}
	return q.show(s), nil
}

func (f Filter) chooses(r *envelope.Recipient) bool {
	return (f.Domain == "" || r.To.Domain == f.Domain) &&
		(f.Failed && r.Status == envelope.Kept || !f.Failed && r.Status.Waiting())
}

// sight is what was seen of an envelope under the spool's lock.
type sight struct {
	env   *envelope.Envelope
	held  bool
	which []int // recipients
	state []envelope.Recipient
}

func see(e *envelope.Envelope, frozen map[string]bool, chooses func(*envelope.Recipient) bool) sight {
	s := sight{env: e, held: e.Held || frozen[e.Account]}
	for i := range e.Recipients {
		if chooses(&e.Recipients[i]) {
			s.which = append(s.which, i)
			s.state = append(s.state, e.Recipients[i])
		}
	}
	return s
}

// show puts what the spool knows and what the queue knows together.
func (q *Queue) show(s sight) Message {
	e := s.env
	m := Message{
		ID: e.ID, From: e.From.String(), Origin: e.Origin.String(), Account: e.Account,
		Client: message.Printable(e.Client), Size: e.Size, Received: e.Received.UTC(), Held: s.held,
	}
	q.mu.Lock()
	queued := q.messages[e.ID]
	q.mu.Unlock()
	waits := q.waits(queued)
	for k, i := range s.which {
		m.Recipients = append(m.Recipients, q.showOne(&s.state[k], waits[i]))
	}
	return m
}

func (q *Queue) showOne(r *envelope.Recipient, w wait) Recipient {
	v := Recipient{
		To: r.To.String(), Alias: r.Via.String(), Destination: w.destination, Status: r.Status.String(),
		Attempts: int(r.Attempts), Next: w.next, Reason: r.Reason, Reached: w.reached,
	}
	switch {
	case r.Status == envelope.Kept:
		v.Next = time.Time{}
		v.Reason = ended(r.Reason) + " The sender cannot be told; it is kept until " + moment(r.Next) + "."
	case r.Reason == "":
		v.Reason = sentence(w.why)
	case w.why != "":
		v.Reason = ended(r.Reason) + " " + sentence(w.why)
	}
	return v
}

// wait is what a recipient waits for.
type wait struct {
	destination string
	next        time.Time // zero if it waits for no time
	why         string
	reached     string
}

// waits returns what the recipients of a message wait for.
func (q *Queue) waits(m *queued) map[int]wait {
	all := map[int]wait{}
	if m == nil {
		return all
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for j := m.jobs; j != nil; j = j.sibling {
		w := q.waitOf(j)
		w.destination = j.line.name.name
		if p := j.line.proof; p != nil {
			w.reached = "at " + moment(p.At) + " " + p.String()
		}
		for _, i := range j.recipients {
			all[i] = w
		}
	}
	return all
}

// waitOf says in plain words what a job waits for.
func (q *Queue) waitOf(j *job) (w wait) {
	l := j.line
	at := j.due.At
	if l.held() {
		at = max(at, l.hold.At)
	}
	switch {
	case j.state == busy:
		w.why = "it is being delivered now"
	case j.state == parked && j.of.frozen:
		w.why = "it is held since its account is frozen, until the account is released"
	case j.state == parked:
		w.why = "it is held until it is released"
	case j.state == waiting || l.held():
		w.next = q.wall(at).UTC().Truncate(time.Second)
		w.why = "it is tried again at " + moment(w.next)
		if j.state == ready && l.last.Err != nil {
			w.why = "nothing reaches " + l.name.spoken() + " (" + settle.Reason(l.last) + "); " + w.why
		}
	default:
		w.why = "it waits for its turn"
	}
	return w
}

// spoken returns a line's name for people: a route by where it leads.
func (n lineName) spoken() string {
	via, _, _ := strings.Cut(strings.TrimPrefix(n.name, "route:"), " ")
	return via
}

// sentence makes words of ours a sentence.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// ended makes a reason end in a full stop. It may begin with a hostname, so
// its case stays.
func ended(s string) string { return strings.TrimSuffix(s, ".") + "." }

// moment writes a time as operators read it.
func moment(t time.Time) string { return t.UTC().Format("15:04 UTC on 2 January") }

// Depth returns how many messages wait for delivery.
func (q *Queue) Depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for id := range q.kept {
		if m := q.messages[id]; m != nil && m.jobs == nil {
			n++
		}
	}
	return len(q.messages) - n
}

// OldestAge returns how long ago the oldest message came that waits for
// delivery; zero if none does.
func (q *Queue) OldestAge() time.Duration {
	var age time.Duration
	now := q.o.Clock.Now()
	q.o.Spool.Each(func(e *envelope.Envelope) bool {
		waits := slices.ContainsFunc(e.Recipients, func(r envelope.Recipient) bool { return r.Status.Waiting() })
		if waits {
			age = max(0, now.Sub(e.Received))
		}
		return !waits
	})
	return age
}

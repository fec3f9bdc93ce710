package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
)

// fakeSpool keeps messages in memory and holds the queue to what it promised
// the spool: a final state never changes, and a message is not offered twice.
type fakeSpool struct {
	t  testing.TB
	mu sync.Mutex

	messages map[envelope.ID]*fakeMessage
	order    []envelope.ID
	offer    func(*envelope.Envelope)
	full     bool // Commit fails
	damaged  map[envelope.ID]bool

	written  int // changes written down
	released map[envelope.ID]int
	pending  []func() // durable callbacks that wait, if slow is set
	slow     bool
}

type fakeMessage struct {
	env  *envelope.Envelope
	body []byte
}

func newFakeSpool(t testing.TB) *fakeSpool {
	return &fakeSpool{t: t, messages: map[envelope.ID]*fakeMessage{}, damaged: map[envelope.ID]bool{}, released: map[envelope.ID]int{}}
}

func (s *fakeSpool) Create() Draft { return &fakeDraft{s: s} }

type fakeDraft struct {
	s *fakeSpool
	b bytes.Buffer
}

func (d *fakeDraft) Write(p []byte) (int, error) { return d.b.Write(p) }
func (d *fakeDraft) Discard()                    {}

func (d *fakeDraft) Commit(e *envelope.Envelope, changes ...envelope.Change) error {
	return d.s.commit(e, bytes.Clone(d.b.Bytes()), changes...)
}

var errFull = envelope.Refuse(452, "4.3.1", "no room")

func (s *fakeSpool) commit(e *envelope.Envelope, body []byte, changes ...envelope.Change) error {
	s.mu.Lock()
	if s.full {
		s.mu.Unlock()
		return errFull
	}
	if e.ID.IsZero() {
		e.ID, _ = envelope.NewID(time.Now(), rand.Reader)
	}
	e.Size = int64(len(body) + len(e.Header))
	s.apply(changes)
	s.messages[e.ID] = &fakeMessage{e, body}
	s.order = append(s.order, e.ID)
	offer := s.offer
	s.mu.Unlock()
	if offer != nil {
		offer(e)
	}
	return nil
}

func (s *fakeSpool) apply(changes []envelope.Change) {
	for _, c := range changes {
		s.written++
		m := s.messages[c.ID]
		if m == nil {
			s.t.Errorf("change of an unknown message: %+v", c)
			continue
		}
		if c.Recipient < 0 {
			m.env.Held, m.env.Delayed = c.Held, c.Delayed
			continue
		}
		r := &m.env.Recipients[c.Recipient]
		if r.Status.Final() {
			s.t.Errorf("%s was %s for good and becomes %s", r.To, r.Status, c.Status)
		}
		r.Status, r.Attempts, r.Next, r.Reason = c.Status, c.Attempts, c.Next, c.Reason
	}
}

func (s *fakeSpool) Change(changes []envelope.Change, durable func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(changes)
	switch {
	case durable == nil:
	case s.slow:
		s.pending = append(s.pending, durable)
	default:
		go durable()
	}
}

func (s *fakeSpool) Body(id envelope.ID) (*envelope.Body, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil || s.damaged[id] {
		return nil, errors.New("damaged")
	}
	return envelope.MemoryBody(m.body), nil
}

func (s *fakeSpool) Release(id envelope.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released[id]++
}

func (s *fakeSpool) View(id envelope.ID, f func(*envelope.Envelope)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil || m.env.Done() {
		return false
	}
	f(m.env)
	return true
}

func (s *fakeSpool) Each(f func(*envelope.Envelope) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		if e := s.messages[id].env; !e.Done() && !f(e) {
			return
		}
	}
}

// serve offers what is not done, as the real spool does at a start.
func (s *fakeSpool) serve(offer func(*envelope.Envelope)) {
	var live []*envelope.Envelope
	s.Each(func(e *envelope.Envelope) bool { live = append(live, e); return true })
	for _, e := range live {
		offer(e)
	}
	s.mu.Lock()
	s.offer = offer
	s.mu.Unlock()
}

// state returns what the spool knows of a recipient.
func (s *fakeSpool) state(id envelope.ID, i int) envelope.Recipient {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages[id].env.Recipients[i]
}

// own returns the messages that Gatepost wrote itself.
func (s *fakeSpool) own(client string) (list []*fakeMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		if m := s.messages[id]; m.env.Origin == envelope.Self && m.env.Client == client {
			list = append(list, m)
		}
	}
	return list
}

// deliverer answers by destination and notes each attempt. A destination
// that is not named gets everything delivered.
type deliverer struct {
	t  testing.TB
	mu sync.Mutex

	answer   map[string]func(a *envelope.Attempt) []envelope.Outcome
	attempts []tried
	now      map[string]int // attempts under way
	most     map[string]int
	all      int
	mostAll  int
	active   map[string]bool // id and recipient
	settled  []envelope.ID
}

type tried struct {
	at          time.Time
	id          envelope.ID
	destination string
	recipients  int
	afresh      bool
}

func newDeliverer(t testing.TB) *deliverer {
	return &deliverer{t: t, answer: map[string]func(*envelope.Attempt) []envelope.Outcome{},
		now: map[string]int{}, most: map[string]int{}, active: map[string]bool{}}
}

// underWay returns how many attempts there are now.
func (d *deliverer) underWay() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}

func (d *deliverer) Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome {
	f := d.begin(a)
	defer d.end(a)
	if f == nil {
		return same(len(a.Recipients), envelope.Outcome{Status: envelope.Delivered, Host: "mx." + a.Destination})
	}
	done := make(chan []envelope.Outcome, 1)
	go func() { done <- f(a) }()
	select {
	case o := <-done:
		return o
	case <-ctx.Done():
		return same(len(a.Recipients), envelope.Outcome{Status: envelope.Deferred, Destination: true})
	}
}

func (d *deliverer) begin(a *envelope.Attempt) func(*envelope.Attempt) []envelope.Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attempts = append(d.attempts, tried{time.Now(), a.Envelope.ID, a.Destination, len(a.Recipients), a.Afresh})
	for _, i := range a.Recipients {
		key := fmt.Sprint(a.Envelope.ID, i)
		if d.active[key] {
			d.t.Errorf("%s is attempted twice at the same time", a.Envelope.Recipients[i].To)
		}
		d.active[key] = true
	}
	d.now[a.Destination]++
	d.all++
	d.most[a.Destination] = max(d.most[a.Destination], d.now[a.Destination])
	d.mostAll = max(d.mostAll, d.all)
	return d.answer[a.Destination]
}

func (d *deliverer) end(a *envelope.Attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range a.Recipients {
		delete(d.active, fmt.Sprint(a.Envelope.ID, i))
	}
	d.now[a.Destination]--
	d.all--
}

func (d *deliverer) Settled(ids []envelope.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = append(d.settled, ids...)
}

// set makes a destination answer the same for every recipient, after a while.
func (d *deliverer) set(destination string, o envelope.Outcome, after time.Duration) {
	d.script(destination, func(a *envelope.Attempt) []envelope.Outcome {
		time.Sleep(after)
		return same(len(a.Recipients), o)
	})
}

func (d *deliverer) script(destination string, f func(*envelope.Attempt) []envelope.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer[destination] = f
}

// to returns the attempts at a destination.
func (d *deliverer) to(destination string) (list []tried) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.attempts {
		if a.destination == destination {
			list = append(list, a)
		}
	}
	return list
}

func (d *deliverer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.attempts)
}

// router takes domains that end in "home.example" as ours, and sends those
// that end in "smart.example" through a route.
type router struct {
	smart atomic.Value // what that is called; "route:smart" unless it is set
}

func (r *router) Route(to addr.Domain) (string, bool) {
	if strings.HasSuffix(string(to), "smart.example") {
		if name, ok := r.smart.Load().(string); ok {
			return name, false
		}
		return "route:smart", false
	}
	return string(to), strings.HasSuffix(string(to), "home.example")
}

// world is a queue with everything around it.
type world struct {
	t      testing.TB
	spool  *fakeSpool
	local  *deliverer
	remote *deliverer
	router *router
	o      Options
	q      *Queue
}

// inWorld runs a test in a bubble of its own time, with a queue that runs.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		f(t, w)
		w.q.Stop(t.Context())
	})
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, spool: newFakeSpool(t), local: newDeliverer(t), remote: newDeliverer(t), router: &router{}}
	w.o = Options{
		Spool: w.spool, Router: w.router, Local: w.local, Remote: w.remote,
		Expand: func(_ context.Context, to addr.Address) ([]addr.Address, error) {
			if to.Local == "postmaster" {
				return []addr.Address{addr.MustParse("root@home.example")}, nil
			}
			return []addr.Address{to}, nil
		},
		Clock: clock.System, Log: slog.New(slog.DiscardHandler), Random: rand.Reader,
		Begin:    func([]byte) (*dkim.Signer, error) { return nil, nil },
		Hostname: "mx.home.example", Postmaster: addr.MustParse("postmaster@home.example"),
		Lifetime: 5 * 24 * time.Hour, DelayNotice: 4 * time.Hour, KeptFor: 30 * 24 * time.Hour,
		RemoteWorkers: 200, RemoteYoung: 8, LocalWorkers: 64, PerDestination: 20,
	}
	return w
}

// start makes a queue over the spool as it is and runs it.
func (w *world) start() {
	w.q = New(w.o)
	w.spool.serve(w.q.Offer)
	w.q.Start()
}

// restart stops the queue and starts another one after a while.
func (w *world) restart(after time.Duration) {
	w.q.Stop(context.Background())
	time.Sleep(after)
	w.start()
}

// pass lets time go by and waits until nothing moves.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const content = "From: ann@home.example\r\nSubject: Hello\r\nMessage-ID: <1@home.example>\r\n\r\nHello\r\n"

// mail makes an envelope from a user of ours.
func mail(to ...string) *envelope.Envelope {
	e := &envelope.Envelope{From: addr.MustParse("ann@home.example"), Origin: envelope.User, Account: "ann@home.example",
		Received: time.Now(), Header: []byte("Received: from client\r\n")}
	for _, s := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(s)})
	}
	return e
}

// send commits a message, which the spool offers.
func (w *world) send(e *envelope.Envelope) envelope.ID {
	w.t.Helper()
	if err := w.spool.commit(e, []byte(content)); err != nil {
		w.t.Fatal(err)
	}
	return e.ID
}

// want fails unless a message's recipients stand as named.
func (w *world) want(id envelope.ID, want ...envelope.Status) {
	w.t.Helper()
	var got []envelope.Status
	for i := range want {
		got = append(got, w.spool.state(id, i).Status)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("recipients are %v, want %v (%q)", got, want, w.spool.state(id, 0).Reason)
	}
}

// Outcomes that tests use.
var (
	refused   = envelope.Outcome{Status: envelope.Failed, Host: "mx.a.example", Err: envelope.Refuse(550, "5.1.1", "no such user")}
	greylist  = envelope.Outcome{Status: envelope.Deferred, Host: "mx.a.example", Err: envelope.Refuse(451, "4.7.1", "greylisted")}
	noAnswer  = envelope.Outcome{Status: envelope.Deferred, Host: "mx.a.example", Err: envelope.Refuse(451, "4.4.1", "no answer"), Destination: true}
	relayed   = envelope.Outcome{Status: envelope.Relayed, Host: "mx.a.example", Err: envelope.Refuse(250, "", "ok")}
	delivered = envelope.Outcome{Status: envelope.Delivered, Host: "mx.a.example"}
)

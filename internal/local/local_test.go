package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mailbox"
)

var start = time.Date(2026, 11, 22, 3, 29, 0, 0, time.UTC)

// people is a directory in memory: account ids by address.
type people map[string]account.Account

func (p people) Find(_ context.Context, to addr.Address) (account.Account, error) {
	a, ok := p[to.String()]
	switch {
	case !ok:
		return a, fmt.Errorf("%s: %w", to, account.ErrUnknown)
	case a.ID < 0:
		return a, errors.New("the store is broken")
	}
	return a, nil
}

func newPeople() people {
	p := people{"broken@example.org": {ID: -1}}
	for i := range int64(100) {
		p[fmt.Sprintf("user%d@example.org", i)] = account.Account{ID: i + 1, Quota: 1000}
	}
	return p
}

// boxes are mailboxes in memory that fail where they are told to.
type boxes struct {
	mu     sync.Mutex
	filed  []mailbox.Filing
	bodies []string
	fail   map[string]error // by recipient
	forgot [][]envelope.ID
	used   int64
	asked  int
	hold   chan struct{} // when not nil, File waits for it
	busy   atomic.Int64
	most   atomic.Int64
}

func (b *boxes) File(_ context.Context, f mailbox.Filing) (mailbox.Message, error) {
	if n := b.busy.Add(1); n > b.most.Load() {
		b.most.Store(n)
	}
	defer b.busy.Add(-1)
	if b.hold != nil {
		<-b.hold
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.fail[f.Recipient]; err != nil {
		return mailbox.Message{}, err
	}
	body, err := io.ReadAll(f.Body.Reader())
	b.filed = append(b.filed, f)
	b.bodies = append(b.bodies, string(body))
	return mailbox.Message{}, err
}

func (b *boxes) Forget(_ context.Context, ids []envelope.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgot = append(b.forgot, slices.Clone(ids))
	return b.fail["forget"]
}

func (b *boxes) Used(_ context.Context, id int64) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.used, b.fail["used"]
}

func newLocal() (*Local, *boxes, *clock.Fake) {
	b, c := &boxes{fail: map[string]error{}}, clock.NewFake(start)
	return New(Options{Directory: newPeople(), Boxes: b, Clock: c, Log: slog.New(slog.DiscardHandler)}), b, c
}

const text = "Subject: x\r\n\r\nhello\r\n"

// attempt is a delivery to the recipients.
func attempt(to ...string) *envelope.Attempt {
	e := &envelope.Envelope{
		ID:       envelope.ID{1, 2, 3},
		Received: start,
		From:     addr.MustParse("sender@remote.example"),
		Header:   []byte("Received: from a by b\r\n"),
	}
	a := &envelope.Attempt{Envelope: e, Body: envelope.MemoryBody([]byte(text))}
	for i, s := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(s)})
		a.Recipients = append(a.Recipients, i)
	}
	return a
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	l, b, _ := newLocal()
	outcomes := l.Deliver(t.Context(), attempt("user7@example.org"))
	if len(outcomes) != 1 || outcomes[0].Status != envelope.Delivered || outcomes[0].Err != nil {
		t.Fatalf("%+v", outcomes)
	}
	f := b.filed[0]
	const header = "Return-Path: <sender@remote.example>\r\nDelivered-To: user7@example.org\r\nReceived: from a by b\r\n"
	if string(f.Header) != header || b.bodies[0] != text {
		t.Errorf("header %q, body %q", f.Header, b.bodies[0])
	}
	if f.Account != 8 || f.Quota != 1000 || f.Folder != mailbox.Inbox || f.Recipient != "user7@example.org" ||
		f.ID != (envelope.ID{1, 2, 3}) || !f.Date.Equal(start) || f.Flags != 0 {
		t.Errorf("%+v", f)
	}
	a := attempt("user7@example.org")
	a.Envelope.From = addr.Address{}
	l.Deliver(t.Context(), a)
	if got := string(b.filed[1].Header); !strings.HasPrefix(got, "Return-Path: <>\r\n") {
		t.Errorf("null sender: %q", got)
	}
	if string(a.Envelope.Header) != "Received: from a by b\r\n" {
		t.Errorf("the envelope's header became %q", a.Envelope.Header)
	}
}

// The mark is gate's word: in the envelope it counts, in the message not.
func TestJunk(t *testing.T) {
	t.Parallel()
	l, b, _ := newLocal()
	a := attempt("user7@example.org")
	a.Body = envelope.MemoryBody([]byte(envelope.JunkField + ": no\r\n\r\n"))
	l.Deliver(t.Context(), a)
	a.Envelope.Header = append(a.Envelope.Header, envelope.JunkField+": it is not theirs\r\n"...)
	l.Deliver(t.Context(), a)
	if b.filed[0].Folder != mailbox.Inbox || b.filed[1].Folder != "Junk" {
		t.Errorf("%q, %q", b.filed[0].Folder, b.filed[1].Folder)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	l, b, _ := newLocal()
	b.fail = map[string]error{
		"user1@example.org": mailbox.ErrFiled,
		"user2@example.org": fmt.Errorf("wrapped: %w", mailbox.ErrQuota),
		"user3@example.org": fmt.Errorf("blob: %w", syscall.ENOSPC),
		"user4@example.org": errors.New("a secret path on the disk"),
		"user5@example.org": context.Canceled,
	}
	outcomes := l.Deliver(t.Context(), attempt("user0@example.org", "user1@example.org", "user2@example.org",
		"user3@example.org", "user4@example.org", "user5@example.org", "gone@example.org", "broken@example.org"))
	want := []string{"delivered", "delivered", "deferred 452 4.2.2", "deferred 452 4.3.1",
		"deferred 451 4.3.0", "deferred 451 4.3.0", "failed 550 5.1.1", "deferred 451 4.3.0"}
	for i, o := range outcomes {
		got := o.Status.String()
		if o.Err != nil {
			got += fmt.Sprintf(" %d %s", o.Err.Code, o.Err.Enhanced)
			if strings.Contains(o.Err.Text, "secret") || o.Err.Cause == nil {
				t.Errorf("outcome %d says %q, cause %v", i, o.Err.Text, o.Err.Cause)
			}
		}
		if got != want[i] || o.Destination || o.Host != "" {
			t.Errorf("outcome %d: %+v (%s), want %s", i, o, got, want[i])
		}
	}
	if len(outcomes) != len(want) {
		t.Errorf("%d outcomes", len(outcomes))
	}
}

// Only the recipients of the attempt are delivered to, and many of them at
// the same time, but not all.
func TestSomeRecipients(t *testing.T) {
	t.Parallel()
	l, b, _ := newLocal()
	b.hold = make(chan struct{})
	var to []string
	for i := range 100 {
		to = append(to, fmt.Sprintf("user%d@example.org", i))
	}
	a := attempt(to...)
	a.Recipients = a.Recipients[20:90]
	slices.Reverse(a.Recipients)
	b.fail["user50@example.org"] = mailbox.ErrQuota
	done := make(chan []envelope.Outcome)
	go func() { done <- l.Deliver(context.Background(), a) }()
	for range 70 {
		b.hold <- struct{}{}
	}
	outcomes := <-done
	if len(b.filed) != 69 || b.most.Load() < 2 || b.most.Load() > parallel {
		t.Errorf("%d filed, %d at once", len(b.filed), b.most.Load())
	}
	for i, o := range outcomes {
		if want := a.Recipients[i] != 50; (o.Status == envelope.Delivered) != want {
			t.Errorf("recipient %d: %s", a.Recipients[i], o.Status)
		}
	}
	for _, f := range b.filed {
		if !strings.Contains(string(f.Header), "\r\nDelivered-To: "+f.Recipient+"\r\n") {
			t.Errorf("%s got %q", f.Recipient, f.Header)
		}
	}
}

func TestCapture(t *testing.T) {
	t.Parallel()
	l, b, _ := newLocal()
	c := l.Capture(addr.MustParse("user3@example.org"))
	outcomes := c.Deliver(t.Context(), attempt("x@remote.example", "y@other.example"))
	for i, o := range outcomes {
		if o.Status != envelope.Delivered {
			t.Errorf("outcome %d: %+v", i, o)
		}
	}
	var got []string
	for _, f := range b.filed {
		if f.Account != 4 || f.Folder != "Captured" || f.ID != (envelope.ID{1, 2, 3}) {
			t.Errorf("%+v", f)
		}
		got = append(got, f.Recipient+" "+strings.Split(string(f.Header), "\r\n")[1])
	}
	slices.Sort(got)
	want := []string{
		"x@remote.example X-Gatepost-Captured: for x@remote.example, kept here and not sent",
		"y@other.example X-Gatepost-Captured: for y@other.example, kept here and not sent",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	l, b, c := newLocal()
	id := func(n byte) envelope.ID { return envelope.ID{n} }
	l.Settled(nil)
	if c.Pending() != 0 {
		t.Error("a timer without ids")
	}
	l.Settled([]envelope.ID{id(1), id(2)})
	c.Advance(forgetAfter / 2)
	l.Settled([]envelope.ID{id(3)})
	if len(b.forgot) != 0 {
		t.Error("forgotten at once")
	}
	c.Advance(forgetAfter)
	b.fail["forget"] = errors.New("no store")
	l.Settled([]envelope.ID{id(4)})
	c.Advance(forgetAfter)
	l.Settled([]envelope.ID{id(5)})
	l.Close()
	if c.Pending() != 0 {
		t.Error("a timer outlives Close")
	}
	l.Settled([]envelope.ID{id(6)})
	c.Advance(forgetAfter)
	want := [][]envelope.ID{{id(1), id(2), id(3)}, {id(4)}, {id(5)}}
	if !slices.EqualFunc(b.forgot, want, slices.Equal) {
		t.Errorf("forgot %v, want %v", b.forgot, want)
	}
}

// Ids that are not forgotten in time do not pile up.
func TestSettledIsBounded(t *testing.T) {
	t.Parallel()
	l, b, c := newLocal()
	ids := make([]envelope.ID, maxSettled/2+1)
	l.Settled(ids)
	l.Settled(ids)
	c.Advance(forgetAfter)
	if len(b.forgot) != 1 || len(b.forgot[0]) != len(ids) {
		t.Errorf("%d times", len(b.forgot))
	}
}

func TestHasRoom(t *testing.T) {
	t.Parallel()
	l, b, c := newLocal()
	b.used = 900
	user := addr.MustParse("user1@example.org")
	room := func(to addr.Address, size int64) bool {
		ok, err := l.HasRoom(t.Context(), to, size)
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	if !room(user, 0) || !room(user, 99) || room(user, 100) || room(user, 1<<62) {
		t.Error("100 octets are left")
	}
	b.used = 1000
	if c.Advance(roomAge - 1); !room(user, 0) || b.asked != 1 {
		t.Errorf("asked %d times within its age", b.asked)
	}
	if c.Advance(1); room(user, 0) || b.asked != 2 {
		t.Errorf("asked %d times after its age", b.asked)
	}
	b.used = 2000 // the quota was lowered
	if c.Advance(roomAge); room(user, 0) {
		t.Error("room in an overfull mailbox")
	}
	if !room(addr.MustParse("nobody@example.org"), 0) {
		t.Error("no room for nobody: delivery is to say it")
	}
	l.o.Directory.(people)["free@example.org"] = account.Account{ID: 1000}
	if !room(addr.MustParse("free@example.org"), 1<<62) {
		t.Error("no room without a quota")
	}
	b.fail["used"] = errors.New("no store")
	c.Advance(roomAge)
	for _, to := range []addr.Address{user, addr.MustParse("broken@example.org")} {
		if ok, err := l.HasRoom(t.Context(), to, 0); err == nil || ok {
			t.Errorf("%s: %v, %v", to, ok, err)
		}
	}
}

// readers reads reports, or fails to.
type readers map[string]error

func (r readers) Read(_ context.Context, to addr.Address, a *envelope.Attempt) error {
	err, there := r[to.String()]
	if !there {
		return errors.New("not asked for")
	}
	return err
}

// What comes for reports is read and not filed; what could not be counted is
// tried again.
func TestReports(t *testing.T) {
	t.Parallel()
	p, b := newPeople(), &boxes{}
	l := New(Options{
		Directory: reporting{p}, Boxes: b, Clock: clock.NewFake(start), Log: slog.New(slog.DiscardHandler),
		Reports: readers{"tls-reports@example.org": nil, "tls-reports+x@example.org": errors.New("the store is broken")},
	})
	e := &envelope.Envelope{}
	for _, to := range []string{"tls-reports@example.org", "tls-reports+x@example.org", "user1@example.org"} {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(to)})
	}
	got := l.Deliver(t.Context(), &envelope.Attempt{Envelope: e, Body: envelope.MemoryBody([]byte("A: b\r\n\r\n")), Recipients: []int{0, 1, 2}})
	if got[0].Status != envelope.Delivered || got[1].Status != envelope.Deferred || got[2].Status != envelope.Delivered || len(b.filed) != 1 {
		t.Errorf("%+v, %d filed", got, len(b.filed))
	}
	if room, err := l.HasRoom(t.Context(), e.Recipients[0].To, 1<<40); !room || err != nil {
		t.Error(room, err)
	}
}

// reporting is a directory with addresses for reports.
type reporting struct{ people }

func (r reporting) Find(ctx context.Context, to addr.Address) (account.Account, error) {
	if strings.HasPrefix(to.Local, "tls-reports") {
		return account.Account{}, account.ErrReports
	}
	return r.people.Find(ctx, to)
}

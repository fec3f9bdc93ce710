package mtasts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"gatepost/internal/clock"
	"gatepost/internal/resolve"
)

// shelf is a Shelf in memory.
type shelf struct {
	mu      sync.Mutex
	entries map[string]Entry
	err     error // of everything
}

func (s *shelf) Get(_ context.Context, domain string) (Entry, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[domain]
	return e, ok, s.err
}

func (s *shelf) Put(_ context.Context, e Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.entries[e.Domain] = e
	}
	return s.err
}

func (s *shelf) Due(_ context.Context, now time.Time, n int) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []Entry
	for _, e := range s.entries {
		if !e.Next.After(now) {
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b Entry) int { return a.Next.Compare(b.Next) })
	return due[:min(n, len(due))], s.err
}

func (s *shelf) Expire(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, e := range s.entries {
		if !e.Expires().After(now) {
			delete(s.entries, d)
		}
	}
	return s.err
}

// world is a cache with what it asks.
type world struct {
	*Cache
	zone  *resolve.Fake
	shelf *shelf
	clock *clock.Fake

	mu      sync.Mutex
	served  map[string]Policy // by domain; none: the fetch fails
	fetches []string
	hold    chan struct{} // fetches wait for it, if it is there
}

func newWorld() *world {
	w := &world{
		zone: resolve.NewFake(""), shelf: &shelf{entries: map[string]Entry{}},
		clock: clock.NewFake(time.Unix(1_800_000_000, 0)), served: map[string]Policy{},
	}
	w.restart()
	return w
}

// restart forgets what is in memory.
func (w *world) restart() {
	w.Cache = NewCache(Options{Shelf: w.shelf, Resolver: w.zone, Fetch: w.fetch, Clock: w.clock})
}

func (w *world) fetch(ctx context.Context, domain string) (Policy, error) {
	w.mu.Lock()
	w.fetches = append(w.fetches, domain)
	p, ok := w.served[domain]
	hold := w.hold
	w.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Policy{}, fmt.Errorf("%w: %w", ErrFetch, ctx.Err())
		}
	}
	if !ok {
		return Policy{}, ErrFetch
	}
	return p, nil
}

// fetched returns how many fetches there were since it was asked last.
func (w *world) fetched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.fetches)
	w.fetches = nil
	return n
}

// announce makes the domain's record say id; "" takes it away.
func (w *world) announce(id string) {
	w.zone.Remove("_mta-sts.d.example", dns.TypeTXT)
	if id != "" {
		w.zone.Add(`_mta-sts.d.example. TXT "v=STSv1; id=` + id + `;"`)
	}
}

func (w *world) serve(p Policy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served["d.example"] = p
}

func (w *world) unserve() {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.served, "d.example")
}

// want checks what d.example promises, and how many fetches that took.
func (w *world) want(t *testing.T, step string, mode Mode, problem error, fetches int) {
	t.Helper()
	s, err := w.Lookup(t.Context(), "d.example")
	if err != nil || s.Policy.Mode != mode || !errors.Is(s.Problem, problem) {
		t.Errorf("%s: %+v, %v", step, s, err)
	}
	if n := w.fetched(); n != fetches {
		t.Errorf("%s: %d fetches", step, n)
	}
}

var enforced = Policy{Enforce, []Pattern{"mx.d.example"}, 72 * time.Hour}

// TestCache follows one domain through what can happen to it.
func TestCache(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.want(t, "no record", None, nil, 0)
	w.announce("1")
	w.want(t, "not served", None, ErrFetch, 1)
	w.want(t, "asked again too soon", None, ErrFetch, 0)
	w.clock.Advance(fetchAgain)
	w.serve(enforced)
	w.want(t, "served", Enforce, nil, 1)
	w.want(t, "kept", Enforce, nil, 0)
	w.restart()
	w.want(t, "kept over a restart", Enforce, nil, 0)

	w.announce("")
	w.want(t, "the record is suppressed", Enforce, nil, 0)
	w.zone.Fail("_mta-sts.d.example", dns.TypeTXT, resolve.ErrTemporary)
	w.want(t, "the DNS is", Enforce, nil, 0)
	w.zone.Fail("_mta-sts.d.example", dns.TypeTXT, nil)
	w.announce("not an id")
	w.want(t, "the record is broken", Enforce, ErrRecord, 0)

	w.announce("2")
	w.unserve()
	w.want(t, "the new policy is not to be had", Enforce, ErrFetch, 1)
	w.clock.Advance(fetchAgain)
	w.serve(Policy{Testing, enforced.MX, time.Hour})
	w.want(t, "the new policy", Testing, nil, 1)
	w.announce("3")
	w.want(t, "a third too soon", Testing, nil, 0)
	w.unserve()
	w.clock.Advance(time.Hour)
	w.want(t, "expired", None, ErrFetch, 1)
	w.announce("")
	w.want(t, "and gone", None, nil, 0)

	w.announce("4")
	w.serve(Policy{Mode: None, MaxAge: 0})
	w.clock.Advance(fetchAgain)
	w.want(t, "removed", None, nil, 1)
	w.want(t, "removed, and remembered", None, nil, 0)
	if n := w.Counters.Fetches.Load(); n != 4 { // since the restart
		t.Errorf("%d fetches counted", n)
	}
	if n := w.Counters.Failed.Load(); n != 2 {
		t.Errorf("%d failures counted", n)
	}
}

// TestShelfFails: what cannot be known is not guessed, and what the disk
// will not take still holds.
func TestShelfFails(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.announce("1")
	w.serve(enforced)
	w.shelf.err = errors.New("disk")
	if s, err := w.Lookup(t.Context(), "d.example"); err != w.shelf.err || w.fetched() > 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := w.Refresh(t.Context()); !errors.Is(err, w.shelf.err) {
		t.Error(err)
	}
	w.shelf.err = nil
	w.announce("")
	w.want(t, "readable", None, nil, 0)
	w.announce("1")
	w.shelf.err = errors.New("disk")
	w.want(t, "not writable", Enforce, nil, 1)
	w.want(t, "kept in memory", Enforce, nil, 0)
	if w.Counters.Unkept.Load() != 1 {
		t.Error("nobody counts")
	}
}

// TestOneFetch: of many who ask one fetches, and when that one goes away
// another does.
func TestOneFetch(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.announce("1")
	w.serve(enforced)
	w.hold = make(chan struct{})
	first, giveUp := context.WithCancel(t.Context())
	left := make(chan Status)
	go func() {
		s, _ := w.Lookup(first, "d.example")
		left <- s
	}()
	wait(w, func() bool { return len(w.fetches) == 1 })
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if s, err := w.Lookup(t.Context(), "d.example"); s.Policy.Mode != Enforce || err != nil {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := w.Lookup(impatient, "d.example"); s.Policy.Mode != None || err != nil {
		t.Errorf("%+v, %v", s, err)
	}
	giveUp()
	if s := <-left; s.Policy.Mode != None {
		t.Errorf("%+v", s)
	}
	wait(w, func() bool { return len(w.fetches) == 2 })
	close(w.hold)
	all.Wait()
	if n := w.fetched(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// wait waits for a condition under w.mu.
func wait(w *world, ok func() bool) {
	for done := false; !done; {
		w.mu.Lock()
		done = ok()
		w.mu.Unlock()
	}
}

// TestRefresh: policies are fetched before they expire, kept when that
// fails, and fetched though nothing announces a change.
func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.announce("1")
	w.serve(enforced)
	w.want(t, "first", Enforce, nil, 1)
	refresh := func(step string, fetches int) {
		t.Helper()
		if err := w.Refresh(t.Context()); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if n := w.fetched(); n != fetches {
			t.Errorf("%s: %d fetches", step, n)
		}
	}
	refresh("too early", 0)
	w.clock.Advance(refreshAfter)
	w.unserve()
	refresh("the host is down", 1)
	w.want(t, "kept", Enforce, nil, 0)
	refresh("too early again", 0)
	w.clock.Advance(refreshAgain)
	w.serve(Policy{Enforce, []Pattern{"*.d.example"}, 72 * time.Hour})
	refresh("up again", 1)
	if s, _ := w.Lookup(t.Context(), "d.example"); !slices.Equal(s.Policy.MX, []Pattern{"*.d.example"}) {
		t.Errorf("%+v", s)
	}

	// An attacker who keeps the record away, while the host answers, never
	// sees the policy expire.
	w.announce("")
	for range 10 {
		w.clock.Advance(refreshAfter)
		refresh("a day", 1)
	}
	w.want(t, "a long time later", Enforce, nil, 0)
	w.unserve()
	for range 71 {
		w.clock.Advance(refreshAgain)
		if err := w.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.want(t, "at its end", Enforce, nil, w.fetchesSoFar())
	w.clock.Advance(refreshAgain)
	refresh("expired", 0)
	w.want(t, "over", None, nil, 0)
	if len(w.shelf.entries) > 0 {
		t.Error(w.shelf.entries)
	}
}

func (w *world) fetchesSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.fetches)
}

// TestRefreshMany: all that is due, in as many rounds as it takes; what
// promises nothing is left to expire.
func TestRefreshMany(t *testing.T) {
	t.Parallel()
	w := newWorld()
	start := w.clock.Now()
	for i := range 3*refreshBatch + 1 {
		d := fmt.Sprintf("d%d.example", i)
		w.served[d] = enforced
		w.shelf.entries[d] = Entry{Domain: d, ID: "1", Policy: enforced, Fetched: start, Next: start.Add(refreshAfter)}
	}
	w.served["none.example"] = Policy{Mode: None, MaxAge: 48 * time.Hour}
	w.zone.Add(`_mta-sts.none.example. TXT "v=STSv1; id=1"`)
	if _, err := w.Lookup(t.Context(), "none.example"); err != nil || w.fetched() != 1 {
		t.Fatal(err)
	}
	w.clock.Advance(refreshAfter)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Refresh(stopped); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.fetched(); n != 3*refreshBatch+1 {
		t.Errorf("%d fetches", n)
	}
	want := Entry{Domain: "d0.example", ID: "1", Policy: enforced, Fetched: w.clock.Now(), Next: w.clock.Now().Add(refreshAfter)}
	if d := cmp.Diff(want, w.shelf.entries["d0.example"]); d != "" {
		t.Error(d)
	}
}

// TestBoundedMemory: more domains than are known at once are all known, from
// the shelf.
func TestBoundedMemory(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.announce("1")
	w.serve(enforced)
	w.want(t, "first", Enforce, nil, 1)
	for i := range maxKnown + 10 {
		if _, err := w.Lookup(t.Context(), fmt.Sprintf("d%d.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.known); n > maxKnown {
		t.Errorf("%d domains in memory", n)
	}
	w.want(t, "later", Enforce, nil, 0)
}

func TestLookupRecord(t *testing.T) {
	t.Parallel()
	zone := resolve.NewFake(`_mta-sts.one.example. TXT "v=STSv1; " "id=1"
_mta-sts.one.example. TXT "v=spf1 -all"
_mta-sts.two.example. TXT "v=STSv1; id=1"
_mta-sts.two.example. TXT "v=STSv1; id=2"
_mta-sts.bad.example. TXT "v=STSv1; id=!"
_mta-sts.foreign.example. TXT "hello"
_mta-sts.alias.example. CNAME _mta-sts.one.example.`)
	zone.Fail(RecordName("lost.example"), dns.TypeTXT, resolve.ErrTemporary)
	for domain, want := range map[string]error{
		"one.example": nil, "alias.example": nil, "two.example": ErrRecord, "bad.example": ErrRecord,
		"foreign.example": ErrNoRecord, "none.example": ErrNoRecord, "lost.example": resolve.ErrTemporary,
	} {
		r, err := LookupRecord(t.Context(), zone, domain)
		if !errors.Is(err, want) || (r.ID == "1") != (want == nil) {
			t.Errorf("%s: %+v, %v", domain, r, err)
		}
	}
}

package protect

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mtasts"
	"gatepost/internal/proof"
	"gatepost/internal/reach"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

func open(t *testing.T) (*Protection, *clock.Fake, *[]string) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := clock.NewFake(time.Now())
	var mu sync.Mutex
	var dialled []string
	p := New(Options{
		Store: db, Clock: c, Log: slog.New(slog.DiscardHandler),
		Resolver: resolve.NewFake(`_mta-sts.d.example. TXT "v=STSv1; id=1"` + "\nmta-sts.d.example. A 10.0.0.1"),
		Dial: func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dialled = append(dialled, to.String())
			return nil, errors.New("refused")
		},
	})
	return p, c, &dialled
}

// TestSettings: a policy host in a private network is reached once the
// operator lists that network, and not before.
func TestSettings(t *testing.T) {
	t.Parallel()
	p, c, dialled := open(t)
	s, err := p.Policies.Lookup(t.Context(), "d.example")
	if err != nil || !errors.Is(s.Problem, reach.ErrForbidden) || len(*dialled) > 0 {
		t.Errorf("%+v, %v, dialled %v", s, err, *dialled)
	}
	p.Set(Settings{Private: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	c.Advance(time.Hour)
	s, err = p.Policies.Lookup(t.Context(), "d.example")
	if err != nil || !errors.Is(s.Problem, mtasts.ErrFetch) || len(*dialled) != 1 {
		t.Errorf("%+v, %v, dialled %v", s, err, *dialled)
	}
}

// TestTend: what is counted is written by the minute, what is due is fetched
// by the hour, what is old goes by the day, and all of it ends.
func TestTend(t *testing.T) {
	t.Parallel()
	p, c, dialled := open(t)
	p.Set(Settings{Private: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		p.Tend(ctx)
		close(ended)
	}()
	resting := func() { // until each chore waits for its next time
		for c.Pending() != 3 {
		}
	}
	resting()
	p.Tally.Count("d.example", tlsrpt.Policy{Kind: tlsrpt.NoPolicy, Domain: "d.example"}, tlsrpt.Failure{})
	now := c.Now()
	policy := mtasts.Policy{Mode: mtasts.Enforce, MX: []mtasts.Pattern{"mx.d.example"}, MaxAge: mtasts.MaxAge}
	if err := (proof.Policies{DB: p.o.Store}).Put(t.Context(), mtasts.Entry{Domain: "d.example", ID: "1", Policy: policy, Fetched: now, Next: now.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Minute)
	resting()
	if sums, err := (proof.Sums{DB: p.o.Store}).Of(t.Context(), tlsrpt.Day(now), "d.example"); len(sums) != 1 || err != nil {
		t.Errorf("%+v, %v", sums, err)
	}
	c.Advance(time.Hour)
	resting()
	if len(*dialled) != 1 {
		t.Errorf("dialled %v", *dialled)
	}
	cancel()
	<-ended
	if c.Pending() != 0 {
		t.Errorf("%d timers", c.Pending())
	}
}

// TestClose: what was not written yet is.
func TestClose(t *testing.T) {
	t.Parallel()
	p, c, _ := open(t)
	e := &envelope.Envelope{ID: envelope.ID{1}, Recipients: make([]envelope.Recipient, 1)}
	p.Book.Keep(e, []int{0}, &envelope.Proof{Host: "mx.d.example"})
	p.Tally.Count("d.example", tlsrpt.Policy{Kind: tlsrpt.NoPolicy, Domain: "d.example"}, tlsrpt.Failure{})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	fresh := proof.New(p.o.Store, c, slog.New(slog.DiscardHandler))
	if list, err := fresh.Of(t.Context(), e.ID); len(list) != 1 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	if domains, err := (proof.Sums{DB: p.o.Store}).Domains(t.Context(), tlsrpt.Day(c.Now())); len(domains) != 1 || err != nil {
		t.Errorf("%v, %v", domains, err)
	}
}

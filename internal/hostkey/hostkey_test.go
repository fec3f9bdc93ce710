package hostkey

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"gatepost/internal/clock"
	"gatepost/internal/dane"
	"gatepost/internal/keys"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ttl = 300 * time.Second // of the fake resolver's records

// site is a plan with what is around it.
type site struct {
	*Host
	t     *testing.T
	clock *clock.Fake
	names *resolve.Fake
	keys  *keys.Keys
	dir   string
	o     Options
	log   strings.Builder
}

func newSite(t *testing.T) *site {
	s := &site{t: t, clock: clock.NewFake(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)), names: resolve.NewFake("mx.example.org. A 192.0.2.1"), dir: t.TempDir()}
	s.names.Secure = true
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(s.dir, "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s.o = Options{
		Store: db, Resolver: s.names, Clock: s.clock, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Hostname: "mx.example.org", Ports: []uint16{25, 465},
	}
	s.restart()
	return s
}

// restart is what a start of the server finds.
func (s *site) restart() {
	s.t.Helper()
	var err error
	s.keys, err = keys.Open(filepath.Join(s.dir, "keys"), keys.Options{
		Clock: s.clock, Random: rand.Reader, Log: slog.New(slog.DiscardHandler), SelfSigned: true, Names: []string{"mx.example.org"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	o := s.o
	o.Keys = s.keys
	o.Shown = func(context.Context) ([]*x509.Certificate, error) { return s.keys.Chain(), nil }
	s.Host = New(o)
}

func (s *site) tend() time.Duration {
	s.t.Helper()
	wait, err := s.Tend(s.t.Context())
	if err != nil {
		s.t.Error(err)
	}
	return wait
}

// after lets time pass as a server does that runs.
func (s *site) after(d time.Duration) {
	s.t.Helper()
	for ; d > 0; d -= Every {
		s.clock.Advance(min(d, Every))
		s.tend()
	}
}

// record returns the record of the first key in a state, empty if there is
// none.
func (s *site) record(state State) string {
	s.t.Helper()
	p, err := s.Plan(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	i := slices.IndexFunc(p.Keys, func(k Key) bool { return k.State == state })
	if i < 0 {
		return ""
	}
	return p.Keys[i].Record.String()
}

// publish puts these records, and no others, at a port.
func (s *site) publish(port int, records ...string) {
	name := dane.Name("mx.example.org", uint16(port))
	s.names.Remove(name, dns.TypeTLSA)
	for _, r := range records {
		s.names.Add(fmt.Sprintf("%s. TLSA %s", name, r))
	}
}

// uses checks which key is in use.
func (s *site) uses(what, record string) {
	s.t.Helper()
	if got := s.record(InUse); got != record {
		s.t.Errorf("%s: the key in use is %s, not %s\n%s", what, got, record, s.log.String())
	}
}

// A key changes only when everybody can know the next one.
func TestChange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := s.record(InUse), s.record(Next)
	s.publish(25, first)
	s.tend()
	s.clock.Advance(Life)
	s.tend()
	s.uses("the next one is not in the DNS", first)
	if !strings.Contains(s.log.String(), "due to be replaced, and stays") {
		t.Errorf("nobody is told:\n%s", s.log.String())
	}

	s.publish(25, first, second)
	s.tend()
	s.uses("it has just been seen", first)
	s.names.Fail(dane.Name("mx.example.org", 25), dns.TypeTLSA, resolve.ErrTemporary)
	s.after(2 * Every)
	s.uses("the DNS does not answer", first)
	s.names.Fail(dane.Name("mx.example.org", 25), dns.TypeTLSA, nil)
	s.publish(465, first)
	s.after(4 * ttl)
	s.uses("another port lacks it", first)
	s.publish(465, first, second)
	if wait := s.tend(); wait != 2*ttl {
		t.Errorf("looks again in %v", wait)
	}
	s.clock.Advance(2*ttl - time.Second)
	s.tend()
	s.uses("a second too early", first)
	s.clock.Advance(time.Second)
	s.tend()
	s.uses("two TTLs later", second)
	third := s.record(Next)
	if third == first || third == second || s.record(Retired) != first {
		t.Errorf("next %s, retired %s", third, s.record(Retired))
	}
	if c := s.keys.Certificate(); !s.matches(c, second) {
		t.Error("the doors show another")
	}
	s.restart()
	s.uses("after a start", second)
	if s.record(Next) != third || s.record(Retired) != first {
		t.Error("something was forgotten")
	}
	s.after(2 * time.Hour)
	s.uses("a day later", second)
}

func (s *site) matches(c *x509.Certificate, record string) bool {
	r, err := dane.ForKey(c.PublicKey)
	return err == nil && r.String() == record
}

// What was seen before somebody stopped looking counts for nothing, and a
// record that goes begins anew.
func TestSeenWithoutABreak(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := s.record(InUse), s.record(Next)
	s.publish(25, first, second)
	if err := s.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.tend()
	s.clock.Advance(gap + time.Second)
	s.restart()
	s.tend()
	s.uses("nobody has looked for an hour", first)
	s.clock.Advance(ttl)
	s.publish(25, first)
	s.tend()
	if !strings.Contains(s.log.String(), "has gone from the DNS") {
		t.Error("nobody is told that it has gone")
	}
	s.publish(25, first, second)
	s.clock.Advance(ttl)
	s.tend()
	s.uses("it has come back", first)
	s.clock.Advance(2 * ttl)
	s.tend()
	s.uses("it has stayed", second)
}

// Without records nobody knows a key; the operator's word is enough.
func TestRoll(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := s.record(InUse), s.record(Next)
	s.tend()
	s.uses("nobody has asked for it", first)
	if err := s.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.restart() // the wish is kept
	s.tend()
	s.uses("asked for", second)
	s.tend()
	s.uses("once", second)
	s.after(Every)
	s.clock.Advance(Life)
	s.tend()
	if s.record(InUse) == second {
		t.Error("the key is older than it is to be")
	}
	s.clock.Advance(forget)
	s.tend()
	p, err := s.Plan(t.Context())
	if err != nil || slices.ContainsFunc(p.Keys, func(k Key) bool { return k.Record.String() == first }) {
		t.Errorf("the first is remembered for ever, or %v", err)
	}
}

// Records that are gone are still in somebody's memory, and that they are gone
// may be a lie.
func TestRecordsThatAreGone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.record(InUse)
	s.publish(25, first)
	s.tend()
	if err := s.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.publish(25)
	s.names.Unsign("mx.example.org")
	s.after(2 * time.Hour)
	s.uses("somebody says that there are none", first)

	s = newSite(t)
	first = s.record(InUse)
	s.publish(25, first)
	s.tend()
	s.Roll(t.Context())
	s.publish(25)
	s.clock.Advance(2*ttl - time.Second)
	s.tend()
	s.uses("they may still be known", first)
	s.clock.Advance(time.Second)
	s.tend()
	if s.record(InUse) == first {
		t.Error("the key stays although nobody can know it")
	}
}

// With an authority the certificate follows the key, and the old one is shown
// until it does.
func TestReissue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := s.record(InUse), s.record(Next)
	shown := s.keys.Chain()
	s.Host.o.Shown = func(context.Context) ([]*x509.Certificate, error) { return shown, nil }
	asked, refused := 0, errors.New("come back later")
	s.SetReissue(func(context.Context) error {
		asked++
		if refused == nil {
			shown = s.keys.Chain()
		}
		return refused
	})
	s.publish(25, first, second)
	s.tend()
	if asked != 0 {
		t.Error("a certificate is asked for although it is of the current key")
	}
	s.clock.Advance(2 * ttl)
	s.Roll(t.Context())
	if _, err := s.Tend(t.Context()); !errors.Is(err, refused) || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	s.uses("the authority refuses", first)
	if s.record(Wanted) != second || s.record(Next) == second {
		t.Error("the plan does not say what is being asked for")
	}
	s.clock.Advance(again - time.Second)
	s.tend()
	if asked != 1 {
		t.Errorf("asked %d times at once", asked)
	}
	refused = nil
	s.publish(25, first) // somebody takes it away meanwhile
	s.clock.Advance(time.Second)
	s.tend()
	if asked != 1 {
		t.Error("a certificate was issued that mail would break with")
	}
	s.publish(25, first, second, s.record(Next))
	s.tend()
	s.uses("the authority has issued it", second)
	if s.record(Wanted) != "" {
		t.Error("something is still asked for")
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.publish(25, "3 1 1 "+strings.Repeat("ab", 32))
	s.tend()
	if !strings.Contains(s.log.String(), "match no key in use") || s.Broken.Load() != 1 {
		t.Errorf("nobody is told:\n%s", s.log.String())
	}
	s.after(2 * Every)
	if n := strings.Count(s.log.String(), "match no key in use"); n != 1 {
		t.Errorf("told %d times within an hour", n)
	}
	s.after(2 * Every)
	if n := strings.Count(s.log.String(), "match no key in use"); n != 2 {
		t.Errorf("told %d times after it", n)
	}
	s.names.Fail(dane.Name("mx.example.org", 465), dns.TypeTLSA, resolve.ErrTemporary)
	s.names.Remove(dane.Name("mx.example.org", 25), dns.TypeTLSA)
	s.tend()
	if s.Broken.Load() != 1 {
		t.Error("where the DNS does not answer, all is well")
	}
	s.names.Fail(dane.Name("mx.example.org", 465), dns.TypeTLSA, nil)
	s.tend()
	if s.Broken.Load() != 0 {
		t.Error("it is broken without records")
	}
	// Records that can match nothing are no fault of the keys.
	s.publish(25, "1 1 1 "+strings.Repeat("ab", 32))
	s.tend()
	if s.Broken.Load() != 0 {
		t.Error("records that nobody can use break something")
	}
	if strings.Contains(s.log.String(), "ends soon") {
		t.Error("a certificate ends soon")
	}
	chain := s.keys.Chain()
	s.Host.o.Shown = func(context.Context) ([]*x509.Certificate, error) { return chain, nil }
	s.clock.Advance(chain[0].NotAfter.Sub(s.clock.Now()) - soon + time.Second)
	s.tend()
	if !strings.Contains(s.log.String(), "ends soon") {
		t.Error("nobody is told that the certificate ends")
	}
}

// A key in the operator's file is looked at, and never changed.
func TestFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	chain := s.keys.Chain()
	own, err := keys.Open(filepath.Join(s.dir, "other"), keys.Options{
		Clock: s.clock, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Certificate: filepath.Join(s.dir, "keys", "self-signed.pem"), Key: filepath.Join(s.dir, "keys", "host.pem"),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Host.o.Keys = own
	s.Host.o.Shown = func(context.Context) ([]*x509.Certificate, error) { return own.Chain(), nil }
	p, err := s.Plan(t.Context())
	if err != nil || !p.Files || len(p.Keys) != 1 || !s.matches(chain[0], p.Keys[0].Record.String()) || !p.Change.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
	if err := s.Roll(t.Context()); !errors.Is(err, errFiles) {
		t.Errorf("%v", err)
	}
	s.publish(25, "3 1 1 "+strings.Repeat("ab", 32))
	s.clock.Advance(chain[0].NotAfter.Sub(s.clock.Now()) - time.Hour)
	s.tend()
	for _, want := range []string{"match no key in use", "ends soon"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("not told that it %s:\n%s", want, s.log.String())
		}
	}
}

// Run looks at once when it is told to, and ends.
func TestRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	second := s.record(Next)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); s.Run(ctx) }()
	if err := s.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for tries := 0; s.record(InUse) != second; tries++ {
		if tries == 10000 {
			t.Fatal("the key did not change")
		}
		runtime.Gosched()
	}
	cancel()
	<-over
}

package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"gatepost/internal/clock"
	"gatepost/internal/dane"
	"gatepost/internal/mtasts"
	"gatepost/internal/resolve"
	"gatepost/internal/tlsrpt"
)

// world is an engine with what it asks and tells.
type world struct {
	*Engine
	zone  *resolve.Fake
	clock *clock.Fake
	tally *tlsrpt.Tally

	mu         sync.Mutex
	levels     map[string]Reached
	remembered int
	asked      int
	err        error
	sums       []tlsrpt.Sum
	policy     mtasts.Policy
}

func newWorld(zone string) *world {
	w := &world{zone: resolve.NewFake(zone), clock: clock.NewFake(time.Unix(1_800_000_000, 0)), levels: map[string]Reached{}}
	w.tally = tlsrpt.NewTally(w, w.clock)
	w.restart()
	return w
}

func (w *world) restart() {
	w.Engine = New(Options{
		Resolver: w.zone, Memory: w, Tally: w.tally, Clock: w.clock,
		Policies: mtasts.NewCache(mtasts.Options{Shelf: shelf{w}, Resolver: w.zone, Clock: w.clock, Fetch: func(context.Context, string) (mtasts.Policy, error) {
			return w.policy, nil
		}}),
	})
}

func (w *world) Level(_ context.Context, domain string) (Reached, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	return w.levels[domain], w.err
}

func (w *world) Remember(domain string, r Reached) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.levels[domain] = r
	w.remembered++
}

func (w *world) Add(_ context.Context, sums []tlsrpt.Sum) error {
	w.sums = append(w.sums, sums...)
	return nil
}

type shelf struct{ w *world }

func (s shelf) Get(context.Context, string) (mtasts.Entry, bool, error) {
	return mtasts.Entry{}, false, nil
}
func (s shelf) Put(context.Context, mtasts.Entry) error                     { return nil }
func (s shelf) Due(context.Context, time.Time, int) ([]mtasts.Entry, error) { return nil, nil }
func (s shelf) Expire(context.Context, time.Time) error                     { return nil }

// reported returns the sums so far, in order, and forgets them.
func (w *world) reported(t *testing.T) []string {
	t.Helper()
	if err := w.tally.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, s := range w.sums {
		f := s.Failure
		line := fmt.Sprintf("%s: %s %s %q %q %d", s.Domain, s.Policy.Kind, s.Policy.Domain, s.Policy.Text, s.Policy.MX, f.Count)
		if f.Result != "" {
			line += fmt.Sprintf(" %s (%s) %s>%s %s", f.Result, f.Reason, f.SendingIP, f.ReceivingIP, f.ReceivingMX)
		}
		list = append(list, line)
	}
	w.sums = nil
	slices.Sort(list)
	return list
}

// state is what a handshake with a certificate for names comes to, and the
// pool that vouches for it.
func (w *world) state(t testing.TB, names ...string) (*tls.ConnectionState, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: names,
		NotBefore: w.clock.Now().Add(-time.Hour), NotAfter: w.clock.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{c}}, pool
}

var hop = Hop{Domain: "d.example", Host: "mx.d.example", Port: 25}

// session is one connection to the hop that ends in a state, nil for none.
func (w *world) session(t *testing.T, h Hop, roots *x509.CertPool, s *tls.ConnectionState) (*Check, error) {
	t.Helper()
	c := NewChecker(w.clock, roots).Begin(w.Terms(t.Context(), h))
	defer func() { w.Learn(c, netip.MustParseAddr("192.0.2.99"), netip.MustParseAddr("192.0.2.1")) }()
	if s == nil {
		c.Missing()
		return c, nil
	}
	if err := c.Config(nil).VerifyConnection(*s); err != nil {
		c.Failed(err, Reason(err))
		return c, err
	}
	c.Made(s)
	return c, nil
}

// TestMemory follows what is remembered of a domain.
func TestMemory(t *testing.T) {
	t.Parallel()
	w := newWorld("")
	good, roots := w.state(t, "mx.d.example")
	bad, _ := w.state(t, "mx.d.example")
	step := func(name string, s *tls.ConnectionState, level Level, remembered int) {
		t.Helper()
		if got := w.Terms(t.Context(), hop); got.Level != level {
			t.Errorf("%s: %v is asked, not %v", name, got.Level, level)
		}
		if _, err := w.session(t, hop, roots, s); err != nil {
			t.Fatal(err)
		}
		if w.remembered != remembered {
			t.Errorf("%s: remembered %d times: %+v", name, w.remembered, w.levels)
		}
	}
	step("in the clear", nil, Opportunistic, 0)
	step("with anybody", bad, Opportunistic, 1)
	step("again", bad, Require, 1)
	step("verified", good, Require, 2)
	step("again", good, Verify, 2)
	w.clock.Advance(levelGrain)
	step("a day later", good, Verify, 3)
	w.restart()
	step("after a restart", good, Verify, 3)
	w.clock.Advance(levelLife - 1)
	if w.Terms(t.Context(), hop).Level != Verify {
		t.Error("forgotten too early")
	}
	w.clock.Advance(1)
	step("after its life", nil, Opportunistic, 3)
	step("worse than long ago", bad, Opportunistic, 4)

	if w.asked > 2 {
		t.Errorf("the memory was asked %d times", w.asked)
	}
	w.Forget("d.example")
	w.levels["d.example"] = Reached{}
	step("forgotten", nil, Opportunistic, 4)
	w.Forget("d.example")
	w.err = errors.New("disk")
	if got := w.Terms(t.Context(), hop); got.Refused == nil || !strings.Contains(got.Refused.Text, "offered before cannot be read") {
		t.Errorf("%+v", got)
	}
}

// TestMemoryAndDANE: where TLSA records say who the host is, nothing else is
// asked of it, and it may fall to what they say.
func TestMemoryAndDANE(t *testing.T) {
	t.Parallel()
	w := newWorld("mx.d.example. A 192.0.2.1")
	w.zone.Secure = true
	self, _ := w.state(t, "mx.d.example")
	ours, err := dane.ForKey(self.PeerCertificates[0].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	w.zone.Add("_25._tcp.mx.d.example. TLSA " + ours.String())
	w.levels["d.example"] = Reached{Verify, w.clock.Now()}
	signed := hop
	signed.Signed = true
	c, err := w.session(t, signed, nil, self)
	if err != nil || c.Basis != DANE || !c.Verified() || w.levels["d.example"].Level != Require {
		t.Errorf("%v, %+v, %+v", err, c.Terms, w.levels)
	}
	// An MX that is not signed could have named anybody.
	if got := w.Terms(t.Context(), hop); got.Basis != Remembered || got.TLSA != nil {
		t.Errorf("%+v", got)
	}
	w.zone.Remove("_25._tcp.mx.d.example", dns.TypeTLSA)
	if got := w.Terms(t.Context(), signed); got.Basis != Remembered || got.Level != Require {
		t.Errorf("%+v", got)
	}
}

// TestStrictest: what several policies come to together.
func TestStrictest(t *testing.T) {
	t.Parallel()
	const usable, unusable = "3 1 1 0d6fce02b9b3e1d2b3fd6f1b2f0f3fb4f0a6d1b7e7a1b0c4d7e8f90123456789", "1 1 1 0d6fce02b9b3e1d2b3fd6f1b2f0f3fb4f0a6d1b7e7a1b0c4d7e8f90123456789"
	sts := func(m mtasts.Mode, mx mtasts.Pattern) mtasts.Policy {
		return mtasts.Policy{Mode: m, MX: []mtasts.Pattern{mx}, MaxAge: time.Hour}
	}
	cases := []struct {
		name       string
		tlsa       string
		policy     mtasts.Policy
		remembered Level
		need       bool
		level      Level
		basis      Basis
		refused    string
	}{
		{"nothing", "", mtasts.Policy{}, None, false, Opportunistic, Chance, ""},
		{"DANE and enforce", usable, sts(mtasts.Enforce, "mx.d.example"), None, false, Verify, DANE, ""},
		{"DANE and enforce, not listed", usable, sts(mtasts.Enforce, "x.d.example"), None, false, Verify, DANE, "is not among the mail hosts"},
		{"DANE and testing, not listed", usable, sts(mtasts.Testing, "x.d.example"), None, false, Verify, DANE, ""},
		{"DANE and a memory", usable, mtasts.Policy{}, Verify, false, Verify, DANE, ""},
		{"unusable DANE and enforce", unusable, sts(mtasts.Enforce, "mx.d.example"), None, false, Verify, STS, ""},
		{"unusable DANE and testing", unusable, sts(mtasts.Testing, "mx.d.example"), None, false, Require, DANE, ""},
		{"unusable DANE and a memory", unusable, mtasts.Policy{}, Verify, false, Verify, Remembered, ""},
		{"unusable DANE and a weak memory", unusable, mtasts.Policy{}, Require, false, Require, DANE, ""},
		{"enforce and a memory", "", sts(mtasts.Enforce, "mx.d.example"), Verify, false, Verify, STS, ""},
		{"testing and a memory", "", sts(mtasts.Testing, "mx.d.example"), Verify, false, Verify, Remembered, ""},
		{"a mode of none", "", sts(mtasts.None, "mx.d.example"), None, false, Opportunistic, Chance, ""},
		{"REQUIRETLS and DANE", usable, mtasts.Policy{}, None, true, Verify, Requested, ""},
		{"REQUIRETLS and unusable DANE", unusable, mtasts.Policy{}, None, true, Verify, Requested, ""},
		{"REQUIRETLS and a signed MX", "", mtasts.Policy{}, None, true, Verify, Requested, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld("mx.d.example. A 192.0.2.1\n" + `_mta-sts.d.example. TXT "v=STSv1; id=1"`)
			w.zone.Secure = true
			if tc.tlsa != "" {
				w.zone.Add("_25._tcp.mx.d.example. TLSA " + tc.tlsa)
			}
			w.policy = tc.policy
			w.levels["d.example"] = Reached{tc.remembered, w.clock.Now()}
			h := hop
			h.Signed, h.RequireTLS = true, tc.need
			got := w.Terms(t.Context(), h)
			refused := ""
			if got.Refused != nil {
				refused = got.Refused.Text
			}
			if got.Level != tc.level || got.Basis != tc.basis || got.RequireTLS != tc.need || !strings.Contains(refused, tc.refused) || (refused == "") != (tc.refused == "") {
				t.Errorf("%v by %v, %q", got.Level, got.Basis, refused)
			}
		})
	}
}

// TestReport: what is counted of a session, under each policy.
func TestReport(t *testing.T) {
	t.Parallel()
	const tlsa = "3 1 1 0d6fce02b9b3e1d2b3fd6f1b2f0f3fb4f0a6d1b7e7a1b0c4d7e8f90123456789"
	const where = " 192.0.2.99>192.0.2.1 mx.d.example"
	w := newWorld("mx.d.example. A 192.0.2.1\n_25._tcp.mx.d.example. TLSA " + tlsa + "\n" + `_mta-sts.d.example. TXT "v=STSv1; id=1"`)
	w.zone.Secure = true
	w.policy = mtasts.Policy{Mode: mtasts.Testing, MX: []mtasts.Pattern{"*.d.example"}, MaxAge: time.Hour}
	other, _ := w.state(t, "x.example")
	signed := hop
	signed.Signed = true
	want := func(step string, lines ...string) {
		t.Helper()
		if d := cmp.Diff(lines, w.reported(t), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", step, d)
		}
	}
	const sts = `d.example: sts d.example ["version: STSv1" "mode: testing" "mx: *.d.example" "max_age: 3600"] ["*.d.example"] 1`
	if _, err := w.session(t, signed, nil, other); !errors.Is(err, dane.ErrNoMatch) {
		t.Error(err)
	}
	mismatch := `d.example: tlsa mx.d.example ["` + tlsa + `"] [] 1 validation-failure (tlsa-mismatch)` + where
	want("both fail", sts+" certificate-host-mismatch ()"+where, mismatch)
	sound, pool := w.state(t, "mx.d.example")
	if _, err := w.session(t, signed, pool, sound); !errors.Is(err, dane.ErrNoMatch) {
		t.Error(err)
	}
	want("only the records fail", mismatch)
	if _, err := w.session(t, hop, nil, other); err != nil {
		t.Error(err)
	}
	want("one is in force", sts+" certificate-host-mismatch ()"+where)
	w.session(t, hop, nil, nil)
	want("below what it reached", sts+" starttls-not-supported ()"+where)

	w.zone.Fail("_25._tcp.mx.d.example", dns.TypeTLSA, resolve.ErrBogus)
	c := NewChecker(w.clock, nil).Begin(w.Terms(t.Context(), signed))
	w.Learn(c, netip.Addr{}, netip.Addr{})
	want("refused", "d.example: tlsa mx.d.example [] [] 1 dnssec-invalid (tlsa-lookup-failed) > mx.d.example")

	plain := Hop{Domain: "e.example", Host: "mx.e.example", Port: 25}
	w.session(t, plain, nil, nil)
	w.session(t, plain, nil, nil)
	want("no policy", "e.example: no-policy-found e.example [] [] 2 starttls-not-supported () 192.0.2.99>192.0.2.1 mx.e.example")
	w.session(t, plain, nil, other)
	want("no policy, with anybody", "e.example: no-policy-found e.example [] [] 1")
	w.session(t, plain, nil, nil)
	want("fallen", "e.example: no-policy-found e.example [] [] 1 starttls-not-supported (below-remembered-level) 192.0.2.99>192.0.2.1 mx.e.example")

	c = NewChecker(w.clock, nil).Begin(w.Terms(t.Context(), plain))
	w.Learn(c, netip.Addr{}, netip.Addr{}) // nothing was learnt
	c = NewChecker(w.clock, nil).Begin(w.Terms(t.Context(), Hop{Domain: "[192.0.2.1]", Host: "[192.0.2.1]"}))
	c.Missing()
	w.Learn(c, netip.Addr{}, netip.Addr{}) // nobody to be told
	want("nothing")
}

// Of a message that waives TLS nothing is reported or remembered, whatever
// came of its session: so no TLS report is about the mail that brings one (RFC
// 8460, section 5.3.1).
func TestWaivedIsNotReported(t *testing.T) {
	t.Parallel()
	w := newWorld(`_mta-sts.d.example. TXT "v=STSv1; id=1"`)
	w.policy = mtasts.Policy{Mode: mtasts.Enforce, MX: []mtasts.Pattern{"other.example"}, MaxAge: time.Hour}
	foreign, _ := w.state(t, "x.example")
	for _, s := range []*tls.ConnectionState{nil, foreign} {
		k, err := w.session(t, Hop{Domain: "d.example", Host: "mx.d.example", Port: 25, Optional: true}, nil, s)
		if err != nil || k.Level != Opportunistic {
			t.Errorf("%v, %v", k.Level, err)
		}
	}
	if list := w.reported(t); len(list) > 0 {
		t.Errorf("%q", list)
	}
	if r, err := w.Level(t.Context(), "d.example"); err != nil || r != (Reached{}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestFailures: how a report calls each error.
func TestFailures(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}:    "certificate-host-mismatch ",
		x509.CertificateInvalidError{Reason: x509.Expired}:                 "certificate-expired ",
		x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}:    "validation-failure certificate-not-valid",
		x509.UnknownAuthorityError{}:                                       "certificate-not-trusted ",
		dane.ErrNoMatch:                                                    "validation-failure tlsa-mismatch",
		fmt.Errorf("%w: %w", dane.ErrAnchor, x509.UnknownAuthorityError{}): "certificate-not-trusted ",
		io.EOF: "validation-failure tls-handshake-failure",
		nil:    " ",
	} {
		f := failure(err)
		if got := string(f.Result) + " " + f.Reason; got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	for err, want := range map[error]string{
		x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}: "the certificate is for another name",
		x509.CertificateInvalidError{Reason: x509.Expired}:              "the certificate is not valid at this time",
		x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}: "the certificate is not valid",
		errNoChain:                   "the certificate is not valid",
		x509.UnknownAuthorityError{}: "nobody whom we trust vouches for the certificate",
		dane.ErrNoMatch:              "what it presents matches none of its TLSA records",
		io.EOF:                       "the handshake failed",
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// TestVerdicts: a chain is verified once for a name, and again when it may
// have become another matter.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(1_800_000_000, 0))
	w := newWorld("")
	s, roots := w.state(t, "mx.d.example")
	k := NewChecker(c, roots)
	judge := func(host string) error { return k.trusts(host, digest(s.PeerCertificates), s.PeerCertificates) }
	if judge("mx.d.example") != nil || judge("mx.e.example") == nil || judge("mx.d.example") != nil {
		t.Error("one name is taken for another")
	}
	if len(k.list) != 2 {
		t.Errorf("%d verdicts", len(k.list))
	}
	c.Advance(2000 * time.Hour)
	if judge("mx.d.example") == nil {
		t.Error("an old verdict about a certificate that has expired")
	}
	if err := k.trusts("x", digest(nil), nil); !errors.Is(err, errNoChain) {
		t.Error(err)
	}
	for i := range 2 * maxVerdicts {
		k.trusts(fmt.Sprint(i), digest(nil), s.PeerCertificates[:1])
	}
	if len(k.list) > maxVerdicts {
		t.Errorf("%d verdicts", len(k.list))
	}
}

// TestKey: terms that ask for different things have different keys.
func TestKey(t *testing.T) {
	t.Parallel()
	set := func(b byte) *dane.Set { return &dane.Set{Records: []dane.Record{{Usage: dane.EE, Data: []byte{b}}}} }
	anchor := func(names ...string) *dane.Set {
		return &dane.Set{Names: names, Records: []dane.Record{{Usage: dane.TA}}}
	}
	list := []*Terms{
		{}, {Level: Require}, {Level: Verify}, {Level: Verify, Name: "a"}, {Level: Verify, Name: "b"},
		{Level: Verify, Name: "a", RequireTLS: true}, {Level: Verify, Name: "a", TLSA: set(1)}, {Level: Verify, Name: "a", TLSA: set(2)},
		{Level: Verify, Name: "a", TLSA: anchor("a", "d.example")}, {Level: Verify, Name: "a", TLSA: anchor("a", "e.example")},
		{Level: Verify, Name: "a", Basis: STS, sts: mtasts.Policy{Mode: mtasts.Enforce}}, {Level: Verify, Name: "a", Basis: Remembered},
		{Basis: Chance, sts: mtasts.Policy{Mode: mtasts.Testing}}, {Basis: Chance},
	}
	seen := map[string]bool{}
	for _, terms := range list {
		if seen[terms.Key()] {
			t.Errorf("%+v has the key of another", terms)
		}
		seen[terms.Key()] = true
	}
}

func TestLevel(t *testing.T) {
	t.Parallel()
	for _, l := range []Level{None, Opportunistic, Require, Verify} {
		if got, err := ParseLevel(l.String()); got != l || err != nil {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	if _, err := ParseLevel("yes"); err == nil {
		t.Error("yes is no level")
	}
}

// TestBoundedLevels: more domains than are held are all known.
func TestBoundedLevels(t *testing.T) {
	t.Parallel()
	w := newWorld("")
	w.levels["d.example"] = Reached{Verify, w.clock.Now()}
	for i := range maxKnown + 1 {
		if _, err := w.level(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.known) > maxKnown {
		t.Errorf("%d domains", len(w.known))
	}
	if r, err := w.level(t.Context(), "d.example"); r.Level != Verify || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

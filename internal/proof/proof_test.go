package proof

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mtasts"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/transport"
)

// open opens the store of a test.
func open(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func newBook(t *testing.T) (*Book, *clock.Fake) {
	t.Helper()
	db := open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	c := clock.NewFake(time.Unix(1_800_000_000, 0).UTC())
	return New(db, c, slog.New(slog.DiscardHandler)), c
}

// count returns the rows of a table.
func count(t *testing.T, db *store.DB, query string) (n int) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(query).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

func message(id byte, to ...string) *envelope.Envelope {
	e := &envelope.Envelope{ID: envelope.ID{id}}
	for _, r := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(r)})
	}
	return e
}

var proof = envelope.Proof{
	At: time.Unix(1_799_999_999, 0).UTC(), Host: "mx.d.example", Addr: netip.MustParseAddr("2001:db8::1"),
	Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256, Group: tls.X25519MLKEM768, Chain: [32]byte{1, 2, 3},
	Policy: "DANE", Met: "the TLSA record 3 1 1 of mx.d.example matches", Verified: true, RequireTLS: true,
}

// TestProofs: what was kept is there, for as long as it should be.
func TestProofs(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	e := message(1, "b@d.example", `"c \" d"@d.example`, "e@d.example")
	b.Keep(e, []int{0, 1}, &proof)
	if n := count(t, b.db, `SELECT COUNT(*) FROM proof`); n != 0 {
		t.Errorf("%d rows at once", n)
	}
	c.Advance(writeDelay)
	if n := count(t, b.db, `SELECT COUNT(*) FROM proof`); n != 1 {
		t.Errorf("%d rows after a while", n)
	}
	plain := envelope.Proof{At: c.Now(), Host: "mx2.d.example", Addr: netip.MustParseAddr("192.0.2.1"), Policy: "none", Met: "no TLS was offered"}
	b.Keep(e, []int{2}, &plain)
	b.Keep(message(2, "f@d.example"), []int{0}, &plain)
	want := []Delivery{{[]string{"b@d.example", `"c \" d"@d.example`}, "", proof}, {[]string{"e@d.example"}, "", plain}}
	want[0].At = c.Now().Add(-writeDelay)
	got, err := b.Of(t.Context(), e.ID)
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" || err != nil {
		t.Error(err, d)
	}
	if want := "to mx.d.example (2001:db8::1) over TLS 1.3, TLS_AES_128_GCM_SHA256, X25519MLKEM768: the TLSA record 3 1 1 of mx.d.example matches; policy: DANE"; got[0].String() != want {
		t.Error(got[0].String())
	}
	if none, err := b.Of(t.Context(), envelope.ID{9}); len(none) != 0 || err != nil {
		t.Errorf("%v, %v", none, err)
	}

	// Delivered once more after a crash: the later one counts.
	c.Advance(time.Minute)
	b.Keep(e, []int{0, 1}, &plain)
	if got, err := b.Of(t.Context(), e.ID); len(got) != 2 || got[1].Host != "mx2.d.example" || err != nil {
		t.Errorf("%+v, %v", got, err)
	}

	if n := count(t, b.db, `SELECT COUNT(*) FROM hop`); n != 2 {
		t.Errorf("%d rows for two kinds of connections", n)
	}
	c.Advance(hopLife)
	b.Keep(message(3, "g@d.example"), []int{0}, &plain)
	b.Flush()
	if n := count(t, b.db, `SELECT COUNT(*) FROM hop`); n != 3 {
		t.Errorf("%d rows a day later", n)
	}
}

// messageAt is a message that arrived at a time.
func messageAt(t *testing.T, at time.Time, to ...string) *envelope.Envelope {
	t.Helper()
	e := message(0, to...)
	var err error
	if e.ID, err = envelope.NewID(at, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPruneProofs: a proof is there for 30 days after its delivery, however
// long that took, and goes some time later, with what described it.
func TestPruneProofs(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	young, old := messageAt(t, c.Now(), "b@d.example"), messageAt(t, c.Now().Add(-5*24*time.Hour), "b@d.example")
	for _, e := range []*envelope.Envelope{young, old} {
		b.Keep(e, []int{0}, &proof)
	}
	left := func(after time.Duration, proofs, hops int) {
		t.Helper()
		b.Flush()
		c.Advance(after)
		if err := b.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, m := count(t, b.db, `SELECT COUNT(*) FROM proof`), count(t, b.db, `SELECT COUNT(*) FROM hop`); n != proofs || m != hops {
			t.Errorf("%v later: %d proofs, %d hops", after, n, m)
		}
	}
	left(ProofLife, 2, 1)
	left(5*24*time.Hour+time.Minute, 1, 1)
	left(5*24*time.Hour, 0, 1)
	left(2*hopLife+time.Minute, 0, 0)
}

// TestPruneMuch: more than one batch.
func TestPruneMuch(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	for i := range 2*pruneBatch + 1 {
		b.Keep(messageAt(t, c.Now().Add(time.Duration(i)*time.Millisecond), "b@d.example"), []int{0}, &proof)
	}
	b.Flush()
	c.Advance(ProofLife + queueLife + time.Minute)
	b.Keep(messageAt(t, c.Now(), "b@d.example"), []int{0}, &proof)
	b.Flush()
	if err := b.Prune(t.Context()); err != nil || count(t, b.db, `SELECT COUNT(*) FROM proof`) != 1 {
		t.Error(err)
	}
}

// TestLevels: what a domain reached is known at once, and after a restart,
// until it is forgotten.
func TestLevels(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := open(t, dir)
	c := clock.NewFake(time.Unix(1_800_000_000, 0).UTC())
	b := New(db, c, slog.New(slog.DiscardHandler))
	want := func(step string, r transport.Reached) {
		t.Helper()
		if got, err := b.Level(t.Context(), "d.example"); got != r || err != nil {
			t.Errorf("%s: %+v, %v", step, got, err)
		}
	}
	require, verify := transport.Reached{Level: transport.Require, At: c.Now()}, transport.Reached{Level: transport.Verify, At: c.Now()}
	want("nothing", transport.Reached{})
	b.Remember("d.example", require)
	want("not written", require)
	c.Advance(writeDelay)
	want("written", require)
	b.Remember("d.example", verify)
	b.Flush()
	want("written again", verify)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir)
	defer func() { db.Close() }()
	b = New(db, c, slog.New(slog.DiscardHandler))
	want("after a restart", verify)

	for _, step := range []bool{true, false} {
		if found, err := b.Forget(t.Context(), "d.example"); found != step || err != nil {
			t.Errorf("%v, %v", found, err)
		}
		want("forgotten", transport.Reached{})
	}
	b.Remember("d.example", require)
	if found, err := b.Forget(t.Context(), "d.example"); !found || err != nil {
		t.Error(found, err)
	}
	b.Flush()
	want("forgotten before it was written", transport.Reached{})

	require.At = c.Now()
	b.Remember("d.example", require)
	b.Flush()
	c.Advance(levelLife)
	if err := b.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("as old as it may be", require)
	c.Advance(2 * time.Second)
	if err := b.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("pruned", transport.Reached{})
}

// TestBookIsBounded: what finds no room is counted, as is what the store
// refuses.
func TestBookIsBounded(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	var all sync.WaitGroup
	for part := range 4 {
		all.Go(func() {
			for i := range maxPending / 4 {
				e := message(0, "b@d.example")
				e.ID = envelope.ID{byte(part), byte(i >> 8), byte(i)}
				b.Keep(e, []int{0}, &proof)
			}
		})
	}
	all.Wait()
	b.Keep(message(99, "b@d.example"), []int{0}, &proof)
	b.Remember("d.example", transport.Reached{Level: transport.Require, At: c.Now()})
	if n := b.Dropped.Load(); n != 2 {
		t.Errorf("%d dropped", n)
	}
	b.db.Close()
	c.Advance(writeDelay)
	if n := b.Dropped.Load(); n != maxPending+2 {
		t.Errorf("%d dropped", n)
	}
	if c.Pending() != 0 {
		t.Error("a timer runs for nothing")
	}
	if _, err := b.Level(t.Context(), "d.example"); err == nil {
		t.Error("a level from a closed store")
	}
}

// TestPolicies is what mtasts.Shelf asks for.
func TestPolicies(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	var shelf mtasts.Shelf = Policies{b.db}
	entry := func(domain string, age, next time.Duration) mtasts.Entry {
		return mtasts.Entry{
			Domain: domain, ID: "1", Fetched: c.Now(), Next: c.Now().Add(next),
			Policy: mtasts.Policy{Mode: mtasts.Enforce, MX: []mtasts.Pattern{"*." + mtasts.Pattern(domain), "mx.example"}, MaxAge: age},
		}
	}
	get := func(domain string) *mtasts.Entry {
		t.Helper()
		e, ok, err := shelf.Get(t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return nil
		}
		return &e
	}
	if get("a.example") != nil {
		t.Error("there from the beginning")
	}
	a, z := entry("a.example", time.Hour, 30*time.Minute), entry("z.example", 2*time.Hour, 20*time.Minute)
	for _, e := range []mtasts.Entry{entry("a.example", 9*time.Hour, 9*time.Hour), a, z} {
		if err := shelf.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(&a, get("a.example")); d != "" {
		t.Error(d)
	}
	due := func(in time.Duration, n int, want ...mtasts.Entry) {
		t.Helper()
		got, err := shelf.Due(t.Context(), c.Now().Add(in), n)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || err != nil {
			t.Error(in, err, d)
		}
	}
	due(20*time.Minute-time.Second, 9)
	due(20*time.Minute, 9, z)
	due(30*time.Minute, 9, z, a)
	due(30*time.Minute, 1, z)
	for _, in := range []time.Duration{time.Hour - time.Second, time.Hour} {
		if err := shelf.Expire(t.Context(), c.Now().Add(in)); err != nil {
			t.Fatal(err)
		}
		if there := get("a.example") != nil; there != (in < time.Hour) || get("z.example") == nil {
			t.Errorf("after %v: %v", in, there)
		}
	}
	b.db.Close()
	if _, _, err := shelf.Get(t.Context(), "z.example"); err == nil {
		t.Error("a policy from a closed store")
	}
}

// TestSums is what tlsrpt.Sums asks for.
func TestSums(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	s := Sums{b.db}
	day := tlsrpt.Day(c.Now())
	sts := tlsrpt.Policy{Kind: tlsrpt.STS, Domain: "d.example", Text: []string{"version: STSv1"}, MX: []string{"*.d.example"}}
	bad := tlsrpt.Failure{Result: tlsrpt.Expired, ReceivingMX: "mx.d.example", Count: 2}
	sums := []tlsrpt.Sum{
		{Day: day, Domain: "d.example", Policy: sts, Failure: bad},
		{Day: day, Domain: "d.example", Policy: sts, Failure: tlsrpt.Failure{Count: 5}},
		{Day: day, Domain: "e.example", Policy: tlsrpt.Policy{Kind: tlsrpt.NoPolicy, Domain: "e.example"}, Failure: tlsrpt.Failure{Count: 1}},
		{Day: day.Add(-24 * time.Hour), Domain: "f.example", Policy: sts, Failure: bad},
	}
	for range 2 {
		if err := s.Add(t.Context(), sums); err != nil {
			t.Fatal(err)
		}
	}
	domains, err := s.Domains(t.Context(), day)
	if !slices.Equal(domains, []string{"d.example", "e.example"}) || err != nil {
		t.Errorf("%v, %v", domains, err)
	}
	got, err := s.Of(t.Context(), day, "d.example")
	bad.Count = 4
	want := []tlsrpt.Sum{sums[0], sums[1]}
	want[0].Failure.Count, want[1].Failure.Count = 4, 10
	byResult := cmpopts.SortSlices(func(a, b tlsrpt.Sum) bool { return a.Failure.Result > b.Failure.Result })
	if d := cmp.Diff(want, got, byResult); d != "" || err != nil {
		t.Error(err, d)
	}
	for in, left := range []int{4, 3, 0} {
		if err := b.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, b.db, `SELECT COUNT(*) FROM tls_sum`); n != left {
			t.Errorf("step %d: %d sums", in, n)
		}
		c.Advance(sumLife - c.Now().Sub(day) + time.Duration(in)*24*time.Hour)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for s, want := range map[string][]string{
		"a@b":                     {"a@b"},
		"a@b c@d":                 {"a@b", "c@d"},
		`"a b"@c "d\" e\\"@f g@h`: {`"a b"@c`, `"d\" e\\"@f`, "g@h"},
	} {
		if got := split(s); !slices.Equal(got, want) {
			t.Errorf("%s: %q", s, got)
		}
	}
}

// BenchmarkKeep is what a proof costs each delivery, with its part of the
// transaction.
func BenchmarkKeep(b *testing.B) {
	db, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	book := New(db, clock.NewFake(time.Now()), slog.New(slog.DiscardHandler))
	e := message(0, "b@d.example")
	for i := 0; b.Loop(); i++ {
		copy(e.ID[:], fmt.Sprintf("%016d", i))
		book.Keep(e, []int{0}, &proof)
		if i%1000 == 999 {
			book.Flush()
		}
	}
	book.Flush()
}

// What went on through an alias tells which.
func TestProofOfForwarded(t *testing.T) {
	t.Parallel()
	b, _ := newBook(t)
	e := message(1, "b@d.example", "c@d.example", "e@d.example")
	e.Recipients[0].Via, e.Recipients[1].Via = addr.MustParse("sales@example.org"), addr.MustParse("sales@example.org")
	b.Keep(e, []int{0, 1}, &proof)
	b.Keep(e, []int{2}, &proof)
	list, err := b.Of(t.Context(), e.ID)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, d := range list {
		if want := map[int]string{2: "sales@example.org", 1: ""}[len(d.Recipients)]; d.Alias != want {
			t.Errorf("%v through %q, want %q", d.Recipients, d.Alias, want)
		}
	}
}

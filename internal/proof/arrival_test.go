package proof

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatepost/internal/envelope"
)

// TestArrivals: a Message-ID finds every message that came with it, however
// it is written, and how each came.
func TestArrivals(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	secure := &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, CurveID: tls.X25519MLKEM768}
	first, second, third := messageAt(t, c.Now()), messageAt(t, c.Now().Add(time.Second)), messageAt(t, c.Now())
	first.Client, first.Received, first.RequireTLS = "192.0.2.1", c.Now(), true
	second.Client, second.Received = "192.0.2.2", c.Now()
	b.Arrived(&envelope.Peer{Helo: "mx.x.example", TLS: secure}, first, " <1@x> ")
	b.Arrived(&envelope.Peer{Helo: "[10.0.0.1]", Account: "anna@example.org"}, second, "1@x")
	b.Arrived(&envelope.Peer{Helo: "y"}, third, "<2@x>")
	for _, asked := range []string{"<1@x>", "1@x"} {
		if got, err := b.Find(t.Context(), asked); !slices.Equal(got, []envelope.ID{first.ID, second.ID}) || err != nil {
			t.Errorf("%s: %v, %v", asked, got, err)
		}
	}
	if got, err := b.Find(t.Context(), "<3@x>"); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, want := range []struct {
		arrival Arrival
		says    string
	}{
		{Arrival{
			ID: first.ID, At: c.Now(), Name: "mx.x.example", Client: "192.0.2.1", RequireTLS: true,
			Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256, Group: tls.X25519MLKEM768,
		}, "from mx.x.example (192.0.2.1) over TLS 1.3, TLS_AES_128_GCM_SHA256, X25519MLKEM768, to be protected on its whole way (REQUIRETLS)"},
		{Arrival{ID: second.ID, At: c.Now(), Name: "anna@example.org", Client: "192.0.2.2", SignedIn: true},
			"from anna@example.org (192.0.2.2) in the clear, signed in"},
	} {
		got, err := b.Arrival(t.Context(), want.arrival.ID)
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		if d := cmp.Diff(want.arrival, got[0], cmpopts.IgnoreUnexported(Arrival{})); d != "" || got[0].String() != want.says {
			t.Errorf("%s\n%s", d, got[0].String())
		}
	}

	// They go with the proofs of their time.
	c.Advance(ProofLife)
	if err := b.Prune(t.Context()); err != nil || count(t, b.db, `SELECT COUNT(*) FROM arrival`) != 3 {
		t.Errorf("gone too early: %v", err)
	}
	c.Advance(queueLife + time.Minute)
	if err := b.Prune(t.Context()); err != nil || count(t, b.db, `SELECT COUNT(*) FROM arrival`) != 0 {
		t.Errorf("still there: %v", err)
	}
}

// TestUnverified: what a default of "verify" would have stopped.
func TestUnverified(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	clear := envelope.Proof{Host: "mx.d.example", Policy: "none", Met: "no TLS was offered"}
	anybody := envelope.Proof{Host: "mx.d.example", Policy: "none", Met: "with whoever answered", Version: tls.VersionTLS13}
	route := envelope.Proof{Host: "smart.example", Policy: "route (require)", Met: "the certificate was not looked at", Version: tls.VersionTLS13}
	old := messageAt(t, c.Now(), "b@old.example")
	b.Keep(old, []int{0}, &clear)
	b.Flush()
	c.Advance(ProofLife + time.Second)
	e := messageAt(t, c.Now(), "b@d.example", "c@d.example", `"x@y z"@e.example`, "f@f.example")
	b.Keep(e, []int{0, 1, 2}, &clear)
	b.Keep(e, []int{3}, &proof)
	b.Keep(messageAt(t, c.Now(), "b@d.example"), []int{0}, &clear)
	b.Keep(messageAt(t, c.Now(), "b@d.example"), []int{0}, &anybody)
	b.Keep(messageAt(t, c.Now(), "b@g.example"), []int{0}, &route)
	want := []Unverified{
		{"d.example", "mx.d.example", false, "no TLS was offered", 2, c.Now()},
		{"d.example", "mx.d.example", true, "with whoever answered", 1, c.Now()},
		{"e.example", "mx.d.example", false, "no TLS was offered", 1, c.Now()},
	}
	got, more, err := b.Unverified(t.Context())
	if d := cmp.Diff(want, got); d != "" || more != 0 || err != nil {
		t.Error(d, more, err)
	}
}

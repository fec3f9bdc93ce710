package arc

import (
	"bytes"

	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

// hops are the servers that the messages of the tests pass; the keys are
// made once.
var hops = sync.OnceValue(func() []dkim.SigningKey {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	list := []dkim.SigningKey{{Domain: "one.example", Selector: "s", Signer: r}}
	for _, d := range []addr.Domain{"two.example", "three.example", "four.example"} {
		_, e, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		list = append(list, dkim.SigningKey{Domain: d, Selector: "s", Signer: e})
	}
	return list
})

func newZone() *resolve.Fake {
	f := resolve.NewFake("")
	for _, k := range hops() {
		text := "k=ed25519; p="
		if pub, ok := k.Signer.Public().(ed25519.PublicKey); ok {
			text += base64.StdEncoding.EncodeToString(pub)
		} else {
			der, err := x509.MarshalPKIXPublicKey(k.Signer.Public())
			if err != nil {
				panic(err)
			}
			text = "p=" + base64.StdEncoding.EncodeToString(der)
		}
		f.Add(txt(k.Selector+"._domainkey."+string(k.Domain), text))
	}
	return f
}

const original = "Received: by x\r\nDKIM-Signature: v=1; a=rsa-sha256; d=a.example\r\nFrom: joe@a.example\r\nTo: list@one.example\r\nSubject: Dinner\r\n\r\nIs it ready?\r\n"

// pass seals a message as a hop would, after it has verified it.
func pass(t testing.TB, k dkim.SigningKey, msg string) string {
	t.Helper()
	received := verify(t, newZone(), []byte(msg))
	header, body, _ := strings.Cut(msg, "\r\n\r\n")
	s, err := NewSealer([]byte(header+"\r\n"), k, received, authres.Results{ID: "mx." + string(k.Domain), Results: []authres.Result{received.Auth()}}, now)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, body)
	set, err := s.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if err := message.Check(set); err != nil {
		t.Fatalf("%v\n%s", err, set)
	}
	return string(set) + msg
}

func TestSealAndVerify(t *testing.T) {
	t.Parallel()
	msg := original
	for i, k := range hops() {
		msg = pass(t, k, msg)
		r := verify(t, newZone(), []byte(msg))
		if r.Status != Pass || len(r.Sets) != i+1 || r.OldestPass != 1 || r.Instances != i+1 || r.Err != nil {
			t.Fatalf("%d: %+v", i, r)
		}
		s := r.Sets[i]
		if s.Instance != i+1 || s.Sealer != k.Domain || s.Signer != k.Domain || s.Selector != "s" || !s.Time.Equal(now) || s.Results.ID != "mx."+string(k.Domain) {
			t.Errorf("%d: %+v", i, s)
		}
		if arc := s.Results.Find("arc"); len(arc) != 1 || arc[0].Value != map[bool]string{true: "none", false: "pass"}[i == 0] {
			t.Errorf("%d: %+v", i, s.Results)
		}
	}
	if r := verify(t, newZone(), []byte(msg)); r.Reason != "sealed by one.example, then two.example, then three.example, then four.example" || r.Auth().Get("header", "oldest-pass") != "1" {
		t.Errorf("%+v", r)
	}
}

func TestTampering(t *testing.T) {
	t.Parallel()
	signed := pass(t, hops()[1], pass(t, hops()[0], original))
	cut := func(from, to string) string {
		a := strings.Index(signed, from)
		b := a + strings.Index(signed[a:], to)
		return signed[:a] + signed[b:]
	}
	for name, msg := range map[string]string{
		"the body":             strings.Replace(signed, "ready", "eaten", 1),
		"more body":            signed + "More.\r\n",
		"Subject":              strings.Replace(signed, "Dinner", "Lunch", 1),
		"another From":         strings.Replace(signed, "From:", "From: x@b.example\r\nFrom:", 1),
		"what was found":       strings.Replace(signed, "arc=none", "arc=pass", 1),
		"the last seal gone":   cut("ARC-Seal: i=2", "ARC-Message"),
		"the first set gone":   signed[:strings.Index(signed, "ARC-Seal: i=1")] + original,
		"the author's seal":    strings.Replace(signed, "d=a.example", "d=b.example", 1),
		"cv of the first":      strings.Replace(signed, "cv=none", "cv=pass", 1),
		"cv of the second":     strings.Replace(signed, "cv=pass", "cv=none", 1),
		"an instance too many": strings.Replace(signed, "ARC-Seal: i=2", "ARC-Seal: i=51", 1),
		"an instance of zero":  "ARC-Seal: i=0; x=y\r\n" + signed,
		"a lone field":         "ARC-Seal: i=3; cv=pass; a=rsa-sha256; d=x.example; s=s; b=AAAA\r\n" + signed,
		"a second field":       "ARC-Authentication-Results: i=1; x; none\r\n" + signed,
		"no tags":              "ARC-Seal: moo\r\n" + signed,
		"a long field":         "ARC-Seal: i=3; z=" + strings.Repeat("x", maxField) + "\r\n" + signed,
	} {
		r := verify(t, newZone(), []byte(msg))
		if r.Status != Fail || r.Sets != nil || r.OldestPass != 0 || !strings.HasPrefix(r.Reason, "the chain fails: ") {
			t.Errorf("%s: %+v", name, r)
		}
		if a := r.Auth(); a.Value != "fail" || a.Reason != r.Reason {
			t.Errorf("%s: %+v", name, a)
		}
	}
	for name, msg := range map[string]string{
		"nothing":                signed,
		"a field on top":         "Received: by z\r\n" + signed,
		"folding":                strings.Replace(signed, "Subject: Dinner", "Subject:\r\n\tDinner", 1),
		"empty lines at the end": signed + "\r\n\r\n",
	} {
		if r := verify(t, newZone(), []byte(msg)); r.Status != Pass {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A list changes what it passes on: the first signature breaks, the seals
// stay good, and who is trusted decides how far back one may look.
func TestTrusted(t *testing.T) {
	t.Parallel()
	changed := strings.Replace(pass(t, hops()[0], original), "Subject: Dinner", "Subject: [list] Dinner", 1)
	r := verify(t, newZone(), []byte(changed))
	if r.Status != Fail {
		t.Fatalf("%+v", r)
	}
	good := changedAfter(t)
	if good.Status != Pass || good.OldestPass != 2 || len(good.Sets) != 3 {
		t.Fatalf("%+v", good)
	}
	for trusted, want := range map[string]int{
		"":                                      0,
		"one.example":                           0, // two.example changed it
		"two.example":                           2, // unchanged since
		"three.example":                         3,
		"two.example three.example":             2,
		"one.example three.example":             3,
		"one.example two.example":               2, // three.example could hide a change of its own from before
		"one.example two.example three.example": 1,
	} {
		s, ok := good.Trusted(func(d addr.Domain) bool { return strings.Contains(" "+trusted+" ", " "+string(d)+" ") })
		if ok != (want > 0) || s.Instance != want {
			t.Errorf("trusting %q: %d, want %d", trusted, s.Instance, want)
		}
	}
	if _, ok := r.Trusted(func(addr.Domain) bool { return true }); ok {
		t.Error("trusted a chain that fails")
	}
}

// changedAfter is a chain in which two.example changed the message between
// verifying it and sealing it, as lists do.
func changedAfter(t *testing.T) Result {
	msg := pass(t, hops()[0], original)
	received := verify(t, newZone(), []byte(msg))
	msg = strings.Replace(msg, "Subject: Dinner", "Subject: [list] Dinner", 1)
	header, body, _ := strings.Cut(msg, "\r\n\r\n")
	s, err := NewSealer([]byte(header+"\r\n"), hops()[1], received, authres.Results{ID: "mx.two.example"}, now)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, body)
	set, err := s.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return verify(t, newZone(), []byte(pass(t, hops()[2], string(set)+msg)))
}

// A chain that fails is sealed once more, over that set alone, and then not
// again: RFC 8617, section 5.1.2.
func TestSealingAFailure(t *testing.T) {
	t.Parallel()
	broken := strings.Replace(pass(t, hops()[0], original), "ready", "eaten", 1)
	sealed := pass(t, hops()[1], broken)
	if !strings.Contains(sealed, "cv=fail") || !strings.Contains(sealed, "i=2") {
		t.Fatal(sealed)
	}
	r := verify(t, newZone(), []byte(sealed))
	if r.Status != Fail || r.Reason != "the chain fails: the last seal says that it had failed before" {
		t.Errorf("%+v", r)
	}
	header, _, _ := strings.Cut(sealed, "\r\n\r\n")
	if _, err := NewSealer([]byte(header+"\r\n"), hops()[2], r, authres.Results{ID: "x"}, now); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
}

func TestSealerRefuses(t *testing.T) {
	t.Parallel()
	long := "ARC-Seal: i=50\r\n" + original
	if _, err := NewSealer([]byte(long), hops()[0], Result{Status: Fail, Instances: MaxSets}, authres.Results{ID: "x"}, now); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
	if _, err := NewSealer([]byte(pass(t, hops()[0], original)), hops()[1], Result{}, authres.Results{ID: "x"}, now); err == nil {
		t.Error("sealed a chain that was not verified")
	}
	if _, err := NewSealer([]byte(original), dkim.SigningKey{Domain: "", Selector: "s", Signer: hops()[0].Signer}, Result{}, authres.Results{ID: "x"}, now); err == nil {
		t.Error("sealed for nobody")
	}
}

func TestDNS(t *testing.T) {
	t.Parallel()
	msg := []byte(pass(t, hops()[1], pass(t, hops()[0], original)))
	zone := newZone()
	if r := verify(t, zone, msg); r.Status != Pass || zone.Queries.Load() != 2 {
		t.Errorf("%+v, %d questions for two keys", r, zone.Queries.Load())
	}
	zone.Fail("s._domainkey.one.example", dns.TypeTXT, resolve.ErrTemporary)
	if r := verify(t, zone, msg); r.Status != Fail || !errors.Is(r.Err, resolve.ErrTemporary) {
		t.Errorf("%+v", r)
	}
	zone.Fail("s._domainkey.one.example", dns.TypeTXT, resolve.ErrNotFound)
	if r := verify(t, zone, msg); r.Status != Fail || r.Err != nil {
		t.Errorf("%+v", r)
	}
	none := newZone()
	if r := verify(t, none, []byte(original)); r.Status != None || none.Queries.Load() != 0 || r.Auth().Value != "none" {
		t.Errorf("%+v", r)
	}
}

// What a signature does not cover, or no more, makes the chain fail.
func TestWeakSignatures(t *testing.T) {
	t.Parallel()
	k := hops()[0]
	for name, extra := range map[string]string{"x": fmt.Sprint(now.Unix() - 1), "l": "14"} {
		header, body, _ := strings.Cut(original, "\r\n\r\n")
		h := dkim.NewHeader([]byte(header + "\r\n"))
		var b dkim.Body
		sum := b.Hash(dkim.Relaxed, -1)
		io.WriteString(&b, body)
		b.Close()
		aar := authres.Results{ID: "x"}.AppendARC(nil, "1")
		ams := dkim.NewBuilder(fieldNames[signature])
		ams.Tag("i", "1")
		ams.Tag(name, extra)
		ams.Common(k, now.Add(-time.Hour), 0, []string{"From"}, sum.Sum())
		signed, err := ams.Sign(k, h.AppendSigned(nil, []string{"From"}))
		if err != nil {
			t.Fatal(err)
		}
		as := dkim.NewBuilder(fieldNames[seal])
		for _, tag := range []string{"i=1", "a=rsa-sha256", "cv=none", "d=one.example", "s=s"} {
			n, v, _ := strings.Cut(tag, "=")
			as.Tag(n, v)
		}
		sealed, err := as.Sign(k, appendSet(nil, [fields][]byte{results: aar, signature: signed}))
		if err != nil {
			t.Fatal(err)
		}
		r := verify(t, newZone(), []byte(string(sealed)+string(signed)+string(aar)+original))
		if r.Status != Fail || strings.Contains(r.Reason, "fit") {
			t.Errorf("%s=: %+v", name, r)
		}
	}
}

func TestSharedBody(t *testing.T) {
	t.Parallel()
	signer, err := dkim.NewSigner([]byte(original[:strings.Index(original, "\r\n\r\n")+2]), hops()[:1], now, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(signer, "Is it ready?\r\n")
	own, err := signer.Sign()
	if err != nil {
		t.Fatal(err)
	}
	msg := pass(t, hops()[1], string(own)+original)
	header, body, _ := strings.Cut(msg, "\r\n\r\n")
	d := dkim.NewVerifier([]byte(header + "\r\n"))
	a := ShareVerifier([]byte(header+"\r\n"), d.Body())
	w := io.MultiWriter(d, a)
	io.WriteString(w, body)
	signatures := d.Verify(t.Context(), newZone(), now)
	if len(signatures) != 2 || signatures[0].Status != dkim.Pass {
		t.Errorf("%+v", signatures)
	}
	if r := a.Verify(t.Context(), newZone(), now); r.Status != Pass {
		t.Errorf("%+v", r)
	}
}

// FuzzChain reads what a hostile header may hold of ARC.
func FuzzChain(f *testing.F) {
	b, err := os.ReadFile("testdata/arc-draft-validation-tests.json")
	if err != nil {
		f.Fatal(err)
	}
	for chunk := range strings.SplitSeq(string(b), `"message": "`) {
		text, _, _ := strings.Cut(chunk, `",`)
		f.Add([]byte(strings.ReplaceAll(text, `\n`, "\r\n")))
	}
	f.Add([]byte(pass(f, hops()[0], original)))
	zone := newZone()
	f.Fuzz(func(t *testing.T, msg []byte) {
		r := verify(t, zone, msg)
		if r.Instances > MaxSets || len(r.Sets) > r.Instances || (r.Status == Pass) != (len(r.Sets) > 0) || r.Reason == "" {
			t.Errorf("%+v", r)
		}
		if strings.ContainsAny(r.Reason, "\r\n\x00") {
			t.Errorf("%q", r.Reason)
		}
		r.Trusted(func(addr.Domain) bool { return true })
		header, _, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
		s, err := NewSealer(header, hops()[1], r, authres.Results{ID: "x"}, now)
		if err != nil {
			return
		}
		if set, err := s.Seal(); err != nil || message.Check(set) != nil {
			t.Errorf("%v\n%s", err, set)
		}
	})
}

// What was told of a chain when it came is as good as what was found then.
func TestTold(t *testing.T) {
	t.Parallel()
	once := pass(t, hops()[0], original)
	for _, c := range []struct {
		name, message, value string
		want                 Result
		ok                   bool
	}{
		{"none", original, "none", Result{}, true},
		{"nothing said, and none there", original, "", Result{}, true},
		{"pass", once, "pass", Result{Status: Pass, Instances: 1}, true},
		{"fail", once, "fail", Result{Status: Fail, Instances: 1}, true},
		{"nothing said", once, "", Result{Instances: 1}, false},
		{"something else said", once, "temperror", Result{Instances: 1}, false},
		{"none, and one is there", once, "none", Result{Instances: 1}, false},
		{"nothing said of a part of one", "ARC-Seal: x\r\n" + original, "", Result{}, false},
	} {
		said := authres.Results{ID: "x"}
		if c.value != "" {
			said.Results = append(said.Results, authres.Result{Method: "spf", Value: "pass"}, authres.Result{Method: "arc", Value: c.value})
		}
		header, _, _ := strings.Cut(c.message, "\r\n\r\n")
		got, ok := Told([]byte(header+"\r\n"), said)
		if got.Status != c.want.Status || got.Instances != c.want.Instances || ok != c.ok {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
	}
}

package dkim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/dkim/canon"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

const (
	someHeader = "Received: by mx\r\nFrom: Joe <joe@a.example>\r\nTo: ann@b.example\r\nSubject: Dinner\r\nSubject: Lunch\r\n"
	someBody   = "Is it ready?\r\n"
)

// recipe makes a signature field as a signer of another mind would: tags may
// be changed before it is signed.
type recipe struct {
	key  SigningKey
	tags []string // "name=value"; h= and bh= too
}

func newRecipe(k SigningKey) recipe {
	return recipe{k, []string{
		"v=1", "a=" + algorithmOf(k).String(), "c=relaxed/relaxed", "d=" + string(k.Domain), "s=" + k.Selector,
		"h=From:To:Subject:Subject", "bh=" + base64Text(sum(someBody)),
	}}
}

func algorithmOf(k SigningKey) Algorithm {
	a, err := k.Check()
	if err != nil {
		return RSASHA256
	}
	return a
}

// with returns the recipe with a tag set, or taken away if it has no "=".
func (r recipe) with(tag string) recipe {
	name, _, set := strings.Cut(tag, "=")
	tags := slices.Clone(r.tags)
	at := slices.IndexFunc(tags, func(t string) bool { return strings.HasPrefix(t, name+"=") })
	switch {
	case at >= 0 && set:
		tags[at] = tag
	case at >= 0:
		tags = slices.Delete(tags, at, at+1)
	default:
		tags = append(tags, tag)
	}
	r.tags = tags
	return r
}

// sign returns the signed message.
func (r recipe) sign(t testing.TB) []byte {
	field := "DKIM-Signature: " + strings.Join(r.tags, "; ") + "; b="
	names := []string{}
	for _, tag := range r.tags {
		if h, ok := strings.CutPrefix(tag, "h="); ok {
			names = items(h)
		}
	}
	value, err := r.key.Sign(NewHeader([]byte(someHeader)).Digest(names, canon.Relaxed, []byte(field), -1))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(field + base64Text(value) + "\r\n" + someHeader + "\r\n" + someBody)
}

func TestSignatureRules(t *testing.T) {
	t.Parallel()
	ed := newRecipe(testKeys()[1])
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	many := "h=From" + strings.Repeat(":x", MaxHeaders)
	for _, tt := range []struct{ tag, want string }{
		{"z=anything: goes", "pass: signed by a.example"},
		{"x_unknown=1", "pass: signed by a.example"},
		{"v", "permerror: not version 1"},
		{"v=2", "permerror: not version 1"},
		{"a", "permerror: tag a= is missing"},
		{"a=", "permerror: tag a= is missing"},
		{"a=rsa-sha512", "permerror: unknown algorithm"},
		{"a=rsa-sha1", "fail: rsa-sha1 is broken: anybody may have made it"},
		{"a=rsa-sha256", "permerror: no key of rsa-sha256 is published"},
		{"a=ED25519-SHA256", "permerror: unknown algorithm"},
		{"bh", "permerror: tag bh= is missing"},
		{"bh=!", "permerror: bh= is not base64"},
		{"bh=AAAA", "fail: the body is not the one that was signed"},
		{"c=relaxed", "fail: the body is not the one that was signed"}, // relaxed/simple; see below
		{"c=nofws", "permerror: unknown canonicalization"},
		{"c=relaxed/", "permerror: unknown canonicalization"},
		{"d", "permerror: tag d= is missing"},
		{"d=[192.0.2.1]", "permerror: d= is no domain"},
		{"d=a_b", "permerror: d= is no domain"},
		// Names that a resolver or a reader may end sooner ("Composition
		// Kills", section 4.2).
		{"d=a.example(.evil.example", "permerror: d= is no domain"},
		{"d=a.example'.evil.example", "permerror: d= is no domain"},
		{"d=a.example\x00.evil.example", "permerror: not a list of tags"},
		{"d=a.example.", "permerror: d= is no domain"},
		{"s=ed._domainkey.a.example.\x00", "permerror: not a list of tags"},
		{"s=ed._domainkey.a.example.", "permerror: s= is no selector"},
		{"d=b.example", "permerror: there is no key at ed._domainkey.b.example"},
		{"h", "permerror: tag h= is missing"},
		{"h=To:Subject", "permerror: From is not signed"},
		{"h=From::To", "permerror: h= is no list of fields"},
		{"h=fRoM : To", "pass: signed by a.example"},
		{many, "permerror: more than 200 signed fields"},
		{"i=@a.example", "pass: signed by a.example"},
		{"i=joe@sub.A.example", "pass: signed by a.example"},
		{"i=joe@nota.example", "permerror: i= is not within d="},
		{"i=@example", "permerror: i= is not within d="},
		{"i=a.example", "permerror: i= is not within d="},
		{"l=x", "permerror: l= is no number"},
		{"l=-1", "permerror: l= is no number"},
		{"l=15", "fail: the body is 1 octets shorter than what was signed"},
		{"l=" + strings.Repeat("9", 76), "fail: the body is 2305843009213693937 octets shorter than what was signed"},
		{"q=dns/txt", "pass: signed by a.example"},
		{"q=x/y : dns/txt", "pass: signed by a.example"},
		{"q=x/y", "permerror: the key is not in the DNS"},
		{"s", "permerror: tag s= is missing"},
		{"s=a..b", "permerror: s= is no selector"},
		{"s=a/b", "permerror: s= is no selector"},
		{"s=none", "permerror: there is no key at none._domainkey.a.example"},
		{"t=" + at(maxSkew), "pass: signed by a.example"},
		{"t=" + at(maxSkew+time.Second), "fail: the signature is from the future, 2026-11-03T09:00:01Z"},
		{"t=yesterday", "permerror: t= is no time"},
		{"x=" + at(0), "pass: signed by a.example"},
		{"x=" + at(-time.Second), "fail: the signature expired at 2026-11-03T07:59:59Z"},
		{"x=soon", "permerror: x= is no time"},
		{"d=a.example; d=a.example", "permerror: tag d= comes twice"},
		{"z=" + strings.Repeat("x", maxField), "permerror: a signature of more than 16384 octets"},
	} {
		got := verify(t, testZone(), ed.with(tt.tag).sign(t))
		if tt.tag == "c=relaxed" { // the body has nothing to relax
			tt.want = "pass: signed by a.example"
		}
		if len(got) != 1 || got[0].Status.String()+": "+got[0].Reason != tt.want {
			t.Errorf("%.40s: %+v; want %s", tt.tag, got, tt.want)
		}
	}
	got := verify(t, testZone(), ed.with("t="+at(0)).with("x="+at(0)).sign(t))
	if got[0].Reason != "x= is not later than t=" {
		t.Errorf("%+v", got)
	}
}

// Whoever broke a signature is told to be its maker, for reports.
func TestBrokenSignatureNamesItsSigner(t *testing.T) {
	t.Parallel()
	got := verify(t, testZone(), newRecipe(testKeys()[1]).with("v=3").sign(t))
	if got[0].Domain != "a.example" || got[0].Selector != "ed" || got[0].Signature != nil || got[0].Authenticates() {
		t.Errorf("%+v", got)
	}
}

// A field that somebody added, and that a reader may show in place of the
// signed one.
func TestDoubledFields(t *testing.T) {
	t.Parallel()
	ed := newRecipe(testKeys()[1])
	for h, doubled := range map[string]string{
		"From":                         "", // Subject is not signed at all
		"From:Subject":                 "Subject",
		"From:Subject:subject":         "",
		"From:Subject:Subject:Subject": "",
		"From:Received":                "",
	} {
		r := verify(t, testZone(), ed.with("h="+h).sign(t))[0]
		if r.Status != Pass || r.Doubled != doubled || r.Authenticates() != (doubled == "") {
			t.Errorf("%s: %+v", h, r)
		}
	}
	r := verify(t, testZone(), []byte(strings.Replace(string(ed.with("h=From").sign(t)), "Received", "From: b@b.example\r\nReceived", 1)))[0]
	if r.Doubled != "From" || r.Reason != "the signature is good, but not every From field is signed" || r.Auth().Value != "policy" {
		t.Errorf("%+v", r)
	}
}

// A part of the body that is not signed may say anything.
func TestLengthNeverAuthenticates(t *testing.T) {
	t.Parallel()
	ed := newRecipe(testKeys()[1])
	for l, reason := range map[string]string{
		"l=14": "the body is signed, but more may be added behind its 14 octets (l=)",
		"l=5":  "only the first 5 octets of the body are signed, 9 are not",
		"l=0":  "only the first 0 octets of the body are signed, 14 are not",
	} {
		var n int
		fmt.Sscanf(l, "l=%d", &n)
		r := verify(t, testZone(), ed.with(l).with("bh="+base64Text(sum(someBody[:n]))).sign(t))[0]
		if r.Status != Pass || r.Reason != reason || r.Authenticates() || r.Unsigned != int64(14-n) {
			t.Errorf("%s: %+v", l, r)
		}
		if a := r.Auth(); a.Value != "policy" || a.Reason != reason {
			t.Errorf("%s: %+v", l, a)
		}
	}
}

func TestKeyRules(t *testing.T) {
	t.Parallel()
	ed, rs := testKeys()[1], testKeys()[0]
	p := strings.TrimPrefix(publish(ed.Signer), "v=DKIM1; ")
	bare := "p=" + base64Text(x509.MarshalPKCS1PublicKey(rs.Signer.Public().(*rsa.PublicKey)))
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ecDER, _ := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	for _, tt := range []struct {
		key          SigningKey
		record, want string
	}{
		{ed, p, "pass: signed by a.example"},
		{ed, "v=DKIM1;" + p + " ; n=note", "pass: signed by a.example"},
		{ed, p + "; v=DKIM1", "permerror: the key record is not of DKIM1"},
		{ed, "v=DKIM2; " + p, "permerror: the key record is not of DKIM1"},
		{ed, p + "; h=sha1", "permerror: the key is not for SHA-256"},
		{ed, p + "; h=sha1 : sha256", "pass: signed by a.example"},
		{ed, p + "; s=tlsrpt", "permerror: the key is not for mail"},
		{ed, p + "; s=tlsrpt:email", "pass: signed by a.example"},
		{ed, p + "; s=*", "pass: signed by a.example"},
		{ed, p + "; t=s", "pass: signed by a.example"},
		{ed, p + "; t=y", "pass: the signature is good, but the domain only tests (t=y)"},
		{ed, p + "; t=x:y:s", "pass: the signature is good, but the domain only tests (t=y)"},
		{ed, "k=ed25519; p=", "permerror: the key has been revoked"},
		{ed, "k=ed25519", "permerror: the key record has no key"},
		{ed, "k=ed25519; p=AAAA", "permerror: an Ed25519 key of 3 octets"},
		{ed, "k=ed25519; p=!", "permerror: the key is not base64"},
		{ed, "k=x; p=AAAA", "permerror: unknown kind of key"},
		{ed, "p=AAAA", "permerror: not an RSA key"},
		{ed, "p=" + base64Text(ecDER), "permerror: not an RSA key"},
		{ed, "v=spf1 -all", "permerror: the key record is not of DKIM1"},
		{ed, "moo", "permerror: the key record is malformed"},
		{ed, p + "; n=" + strings.Repeat("x", maxRecord), "permerror: a key record of more than 8192 octets"},
		{ed, "k=ed25519; p=" + base64Text(make([]byte, 32)), "fail: the signature does not fit the signed fields and the key"},
		{rs, bare, "pass: signed by a.example"},
		{rs, publish(rs.Signer), "pass: signed by a.example"},
		{rs, p, "permerror: no key of rsa-sha256 is published"},
		{rs, publish(sizedKey(512)), "fail: an RSA key of 512 bits, which anybody can break"},
		{rs, publish(sizedKey(1016)), "fail: an RSA key of 1016 bits, which anybody can break"},
		{rs, publish(sizedKey(8192)), "permerror: an RSA key of 8192 bits, more than is useful"},
	} {
		zone := resolve.NewFake(txt(tt.key.Selector+"._domainkey.a.example", tt.record))
		r := verify(t, zone, newRecipe(tt.key).sign(t))[0]
		if got := r.Status.String() + ": " + r.Reason; got != tt.want {
			t.Errorf("%.60s: %s; want %s", tt.record, got, tt.want)
		}
		if testing := strings.Contains(tt.want, "t=y"); r.Testing != testing || r.Authenticates() != (r.Status == Pass && !testing) {
			t.Errorf("%.60s: %+v", tt.record, r)
		}
		if (r.Status == Pass) != (r.KeyBits > 0) {
			t.Errorf("%.60s: %d bits", tt.record, r.KeyBits)
		}
	}
	// t=s: the identity must be the domain itself.
	zone := resolve.NewFake(txt("ed._domainkey.a.example", p+"; t=s"))
	if r := verify(t, zone, newRecipe(ed).with("i=@x.a.example").sign(t))[0]; r.Status != Fail || r.Reason != "the key is not for identities below a.example" {
		t.Errorf("%+v", r)
	}
}

// sized is a key of a size that nobody should use. Nothing can be signed
// with it; its record is enough.
type sized struct{ rsa.PublicKey }

func (s sized) Public() crypto.PublicKey { return &s.PublicKey }

func (sized) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errBroken }

func sizedKey(bits int) sized {
	n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	return sized{rsa.PublicKey{N: n, E: 65537}}
}

func TestSeveralRecords(t *testing.T) {
	t.Parallel()
	ed := testKeys()[1]
	name := "ed._domainkey.a.example"
	other := txt(name, "k=ed25519; p="+base64Text(make([]byte, 32)))
	for _, tt := range []struct {
		zone   string
		status Status
	}{
		{other + txt(name, "v=spf1 -all") + txt(name, publish(ed.Signer)), Pass},
		{other + txt(name, publish(testKeys()[0].Signer)), Fail},
		{strings.Repeat(other, maxRecords) + txt(name, publish(ed.Signer)), Fail},
	} {
		if r := verify(t, resolve.NewFake(tt.zone), newRecipe(ed).sign(t))[0]; r.Status != tt.status {
			t.Errorf("%+v", r)
		}
	}
}

func TestTemporaryError(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{resolve.ErrTemporary, resolve.ErrBogus} {
		zone := resolve.NewFake("")
		zone.Fail("ed._domainkey.a.example", dns.TypeTXT, kind)
		r := verify(t, zone, newRecipe(testKeys()[1]).sign(t))[0]
		if r.Status != TempError || !errors.Is(r.Err, kind) || r.Auth().Value != "temperror" {
			t.Errorf("%+v", r)
		}
	}
}

// What cannot verify costs no look-up.
func TestNoLookupWithoutNeed(t *testing.T) {
	t.Parallel()
	zone := resolve.NewFake("")
	verify(t, zone, newRecipe(testKeys()[1]).with("bh=AAAA").sign(t))
	verify(t, zone, newRecipe(testKeys()[1]).with("a=rsa-sha1").sign(t))
	if n := zone.Queries.Load(); n != 0 {
		t.Errorf("%d questions", n)
	}
}

// TestTampering changes what was signed in ways that an attacker would.
func TestTampering(t *testing.T) {
	t.Parallel()
	keys := testKeys()[1:]
	s, err := NewSigner([]byte(someHeader), keys, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, someBody)
	fields, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	signed := string(fields) + someHeader + "\r\n" + someBody
	for _, tt := range []struct {
		what, from, to string
		status         Status
	}{
		{"nothing", "", "", Pass},
		{"a field that is not signed", "Received: by mx\r\n", "", Pass},
		{"folding", "From: Joe ", "From:\r\n\tJoe  ", Pass},
		{"a second From on top", "Received:", "From: boss@a.example\r\nReceived:", Fail},
		{"a second From below", "Subject: Lunch\r\n", "Subject: Lunch\r\nFrom: boss@a.example\r\n", Fail},
		{"a From before a space", "Received:", "From : boss@a.example\r\nReceived:", Fail},
		{"a Reply-To", "Received:", "Reply-To: x@b.example\r\nReceived:", Fail},
		{"a Content-Type", "Received:", "Content-Type: text/html\r\nReceived:", Fail},
		{"subjects in another order", "Subject: Dinner\r\nSubject: Lunch\r\n", "Subject: Lunch\r\nSubject: Dinner\r\n", Fail},
		{"a subject gone", "Subject: Dinner\r\n", "", Fail},
		{"a List-Id, which a list adds", "Received:", "List-Id: <x.b.example>\r\nReceived:", Pass},
		{"more lines", someBody, someBody + "Or not?\r\n", Fail},
		{"empty lines at the end", someBody, someBody + "\r\n \r\n", Pass},
		{"another lifetime", "x=1793", "x=1893", Fail},
		{"t=", "t=1793", "t=1693", Fail},
	} {
		msg := strings.Replace(signed, tt.from, tt.to, 1)
		if tt.from != "" && msg == signed {
			t.Fatalf("%s: nothing changed in\n%s", tt.what, signed)
		}
		if r := verify(t, testZone(), []byte(msg))[0]; r.Status != tt.status {
			t.Errorf("%s: %+v", tt.what, r)
		}
	}
}

func TestTooManySignatures(t *testing.T) {
	t.Parallel()
	good := newRecipe(testKeys()[1]).sign(t)
	field := good[:strings.Index(string(good), "\r\n")+2]
	junk := strings.Repeat("DKIM-Signature: v=1; a=rsa-sha256; d=list.example; s=x; h=From; bh=AAAA; b=AAAA\r\n", 7)
	broken := strings.Repeat("DKIM-Signature: moo\r\n", 3)
	msg := []byte(broken + junk + string(good))
	v := NewVerifier(msg[:strings.Index(string(msg), "\r\n\r\n")+2])
	io.WriteString(v, someBody)
	got := v.Verify(t.Context(), testZone(), now)
	if len(got) != MaxSignatures || v.Skipped != 6 {
		t.Fatalf("%d results, %d skipped", len(got), v.Skipped)
	}
	// The author's is the last of eleven, and is verified all the same.
	if r := got[MaxSignatures-1]; r.Status != Pass || r.Domain != "a.example" {
		t.Errorf("%+v", r)
	}
	none := NewVerifier([]byte(someHeader))
	if got := none.Verify(t.Context(), testZone(), now); len(got) != 0 || none.Skipped != 0 {
		t.Errorf("%+v", got)
	}
	if !strings.HasPrefix(string(field), "DKIM-Signature") {
		t.Errorf("%q", field)
	}
}

func TestSignatureField(t *testing.T) {
	t.Parallel()
	header := "From: Joe <joe@a.example>\r\nTo: a@b.example\r\nTo: c@b.example\r\nList-Id: <l.a.example>\r\nX-Other: 1\r\n"
	s, err := NewSigner([]byte(header), testKeys()[1:], time.Unix(1_700_000_000, 0), 7*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(fields)) {
		if len(line) > lineLength+2 {
			t.Errorf("%d octets: %s", len(line), line)
		}
	}
	f, _ := message.Find(fields, "DKIM-Signature")
	sig, err := ParseSignature(f)
	if err != nil {
		t.Fatal(err)
	}
	want := "from:from:reply-to:to:to:to:cc:subject:date:message-id:in-reply-to:references:mime-version:content-type:" +
		"content-transfer-encoding:content-disposition:list-id"
	if got := strings.Join(sig.Headers, ":"); got != want {
		t.Errorf("h=%s", got)
	}
	if sig.Time.Unix() != 1_700_000_000 || sig.Expires.Sub(sig.Time) != 7*24*time.Hour || sig.Length != -1 ||
		sig.HeaderCanon != canon.Relaxed || sig.BodyCanon != canon.Relaxed || sig.Identity != "@a.example" {
		t.Errorf("%+v", sig)
	}
	if string(sig.BodyHash) != string(sum("")) {
		t.Error("an empty body is nothing when relaxed: RFC 6376, section 3.4.4")
	}
}

func TestSignerRefuses(t *testing.T) {
	t.Parallel()
	rs, ed := testKeys()[0].Signer, testKeys()[1].Signer
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for _, k := range []SigningKey{
		{"", "s", ed}, {"[192.0.2.1]", "s", ed}, {"a.example", "", ed}, {"a.example", "a b", ed},
		{"a.example", "s", ec}, {"a.example", "s", sizedKey(512)}, {"a.example", "s", sizedKey(8192)},
	} {
		if _, err := NewSigner([]byte(someHeader), []SigningKey{{"a.example", "rsa", rs}, k}, now, 0); err == nil {
			t.Errorf("%s %s %T: no error", k.Domain, k.Selector, k.Signer)
		}
	}
	if _, err := NewSigner([]byte(strings.Repeat("To: x\r\n", MaxHeaders)), testKeys(), now, 0); err == nil {
		t.Error("signed more fields than anybody verifies")
	}
	s, err := NewSigner([]byte(someHeader), []SigningKey{{"a.example", "s", brokenKey{rs.(*rsa.PrivateKey)}}}, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

var errBroken = errors.New("the key is locked away")

type brokenKey struct{ *rsa.PrivateKey }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errBroken }

func TestAuth(t *testing.T) {
	t.Parallel()
	r := verify(t, testZone(), newRecipe(testKeys()[1]).sign(t))[0]
	a := r.Auth()
	if a.Method != "dkim" || a.Value != "pass" || a.Reason != "" || a.Get("header", "d") != "a.example" || a.Get("header", "i") != "@a.example" ||
		a.Get("header", "s") != "ed" || a.Get("header", "a") != "ed25519-sha256" || len(a.Get("header", "b")) != 8 {
		t.Errorf("%+v", a)
	}
	r = verify(t, testZone(), newRecipe(testKeys()[1]).with("bh=AAAA").sign(t))[0]
	if a := r.Auth(); a.Value != "fail" || a.Reason != r.Reason {
		t.Errorf("%+v", a)
	}
}

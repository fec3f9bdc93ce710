package account

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/account/clientcert"
	"gatepost/internal/account/record"
	"gatepost/internal/account/terms"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// request is one for a certificate, with a key of its own.
func request(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// external signs in with a certificate.
func (h *house) external(der []byte) (string, error) {
	h.t.Helper()
	p := h.session("192.0.2.1")
	c, err := x509.ParseCertificate(der)
	if err != nil {
		h.t.Fatal(err)
	}
	p.TLS.PeerCertificates = []*x509.Certificate{c}
	x, err := h.Start("EXTERNAL", p)
	if err != nil {
		return "", err
	}
	_, _, err = x.Next(ctx, []byte{})
	return x.Account(), err
}

// What a device may do is kept, over a restart too.
func TestTerms(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	henry := addr.MustParse("henry@example.org")
	want := Terms{Scope: terms.Send, Expires: start.Add(time.Hour), Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	dev, pw, err := h.AddDevice(ctx, henry, "scanner", want)
	if err != nil || !reflect.DeepEqual(dev.Terms, want) {
		t.Fatalf("%+v, %v", dev, err)
	}
	for _, c := range []struct{ expires time.Time }{{start}, {start.Add(-time.Hour)}} {
		_, _, err := h.AddDevice(ctx, henry, "late", Terms{Expires: c.expires})
		says(t, "what ends before it begins", err, "it would expire")
	}
	h.restart()
	list, err := h.Devices(ctx, henry)
	if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0].Terms, want) {
		t.Errorf("%+v, %v", list, err)
	}
	// The peer of this house comes in to read.
	if _, err := h.signIn("henry@example.org", pw, "192.0.2.1"); outcome("", err) != "535 5.7.8" {
		t.Errorf("it reads: %v", err)
	}
	_, both, err := h.AddDevice(ctx, henry, "phone", Terms{Expires: start.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.signIn("henry@example.org", both, "192.0.2.1"); got == "" {
		t.Error(err)
	}
	h.clock.Advance(time.Hour)
	if _, err := h.signIn("henry@example.org", both, "192.0.2.1"); outcome("", err) != "535 5.7.8" {
		t.Errorf("after its end: %v", err)
	}
	err = h.db.Update(ctx, func(tx *store.Tx) error {
		for i := range int64(maxDevices - 2) {
			if err := record.InsertCredential(tx, 1, &record.Credential{ID: 10_000 + i, Kind: record.Device, Set: start}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = h.AddDevice(ctx, henry, "one too many", Terms{})
	says(t, "one too many", err, "has 50 device passwords, which is the most")
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org", "anna@example.org")
	henry, anna := addr.MustParse("henry@example.org"), addr.MustParse("anna@example.org")
	if err := h.LoadAuthorities(ctx); err != nil {
		t.Fatal(err)
	}
	asked := &tls.Config{}
	h.AskCertificates(asked)
	if c, err := asked.GetConfigForClient(nil); c != nil || err != nil {
		t.Errorf("asked before there was one: %v, %v", c, err)
	}
	i, err := h.IssueCertificate(ctx, henry, "laptop", Terms{}, request(t))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := asked.GetConfigForClient(nil); c == nil || c.ClientAuth != tls.RequestClientCert || err != nil {
		t.Errorf("not asked: %v, %v", c, err)
	}
	leaf, err := x509.ParseCertificate(i.Certificate)
	if err != nil || !leaf.NotAfter.Equal(start.Add(clientcert.Life)) || i.Terms.Scope != terms.Both || !i.Terms.Expires.Equal(leaf.NotAfter) {
		t.Errorf("%+v, %v", i, err)
	}
	for what, c := range map[string]struct {
		whose   addr.Address
		terms   Terms
		request []byte
		want    string
	}{
		"nobody's":       {addr.MustParse("nobody@example.org"), Terms{}, request(t), "there is no account"},
		"no request":     {henry, Terms{}, []byte("x"), "no request"},
		"for too long":   {henry, Terms{Expires: start.Add(clientcert.MaxLife + time.Hour)}, request(t), "up to 732 days"},
		"for no time":    {henry, Terms{Expires: start}, request(t), "it would expire"},
		"without a name": {henry, Terms{}, nil, "a device needs a name"},
	} {
		name := "x"
		if c.request == nil {
			name = ""
		}
		_, err := h.IssueCertificate(ctx, c.whose, name, c.terms, c.request)
		says(t, what, err, c.want)
	}
	opens := func(what string, der []byte, want string) {
		t.Helper()
		if got, err := h.external(der); outcome(got, err) != want {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	opens("a fresh one", i.Certificate, "henry@example.org")
	h.restart()
	opens("before authorities are read", i.Certificate, "504 5.5.4")
	if err := h.LoadAuthorities(ctx); err != nil {
		t.Fatal(err)
	}
	opens("after a restart", i.Certificate, "henry@example.org")
	list, err := h.Certificates(ctx, henry)
	if err != nil || len(list) != 1 || list[0].Name != "laptop" || !bytes.Equal(list[0].SHA256, i.SHA256) {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := h.Devices(ctx, henry); err != nil || len(list) != 0 {
		t.Errorf("it is no password: %+v, %v", list, err)
	}
	second, err := h.IssueCertificate(ctx, anna, "laptop", Terms{}, request(t))
	if err != nil || !bytes.Equal(second.Authority, i.Authority) {
		t.Fatalf("another authority: %v", err)
	}
	says(t, "another's", h.RevokeCertificate(ctx, anna, i.ID), "has no certificate")
	says(t, "no password", h.RemoveDevice(ctx, henry, i.ID), "has no device password")
	if err := h.RevokeCertificate(ctx, henry, i.ID); err != nil {
		t.Fatal(err)
	}
	opens("revoked", i.Certificate, "535 5.7.8")
	opens("another's", second.Certificate, "anna@example.org")
	if err := h.SetPassword(ctx, anna, "another quite good one"); err != nil {
		t.Fatal(err)
	}
	opens("after a new password", second.Certificate, "anna@example.org")

	// An authority near its end gives way, and is believed to its end.
	h.clock.Advance(19 * 366 * 24 * time.Hour)
	third, err := h.IssueCertificate(ctx, anna, "phone", Terms{}, request(t))
	if err != nil || bytes.Equal(third.Authority, i.Authority) {
		t.Fatalf("the same authority: %v", err)
	}
	opens("of the new one", third.Certificate, "anna@example.org")
	opens("after its end", second.Certificate, "504 5.5.4")

	// One whose key is lost gives way too.
	if err := h.keys.DropSigner(h.authorities()[1].Key); err != nil {
		t.Fatal(err)
	}
	if err := h.LoadAuthorities(ctx); err != nil {
		t.Fatal(err)
	}
	opens("of one whose key is lost", third.Certificate, "anna@example.org")
	if _, err := h.IssueCertificate(ctx, anna, "tablet", Terms{}, request(t)); err != nil || len(h.authorities()) != 3 {
		t.Errorf("%v; %d authorities", err, len(h.authorities()))
	}
}

func (h *house) authorities() (list []record.Authority) {
	h.t.Helper()
	err := h.db.View(ctx, func(tx *store.Tx) (err error) {
		list, err = record.ReadAuthorities(tx)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// Whoever keeps sessions is told of all that ends, when it has: who is told
// and looks finds it refused.
func TestEnded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org", "anna@example.org")
	henry := addr.MustParse("Henry@example.org")
	folded := henry.Fold()
	var told []Ended
	open := map[int64]bool{} // the credentials of henry, when somebody was told
	h.OnEnd(func(e Ended) {
		told = append(told, e)
		clear(open)
		if _, p, err := (desk{h.Directory}).Login(ctx, "henry@example.org"); err == nil && p != nil && !p.Frozen {
			for _, c := range p.Credentials {
				open[c.ID] = true
			}
		}
	})
	dev, _, err := h.AddDevice(ctx, henry, "phone", Terms{})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := h.IssueCertificate(ctx, henry, "laptop", Terms{}, request(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		do   func() error
		want []Ended
	}{
		{func() error { return h.RemoveDevice(ctx, henry, dev.ID+1000) }, nil}, // which there is not
		{func() error { return h.SetPassword(ctx, henry, "another quite good one") }, []Ended{{folded, 1}}},
		{func() error { return h.RemoveDevice(ctx, henry, dev.ID) }, []Ended{{folded, dev.ID}}},
		{func() error { return h.RevokeCertificate(ctx, henry, cert.ID) }, []Ended{{folded, cert.ID}}},
		{func() error { return h.Freeze(ctx, henry) }, []Ended{{folded, 0}}},
		{func() error { return h.Release(ctx, henry) }, nil},
		{func() error { return h.RemoveAccount(ctx, henry) }, []Ended{{folded, 0}}},
		{func() error { return h.RemoveDomain(ctx, "example.org", true) }, []Ended{{addr.MustParse("anna@example.org"), 0}}},
	} {
		told = nil
		if err := step.do(); (err != nil) != (i == 0) || !slices.Equal(told, step.want) {
			t.Errorf("step %d: %v, %v; want %v", i, told, err, step.want)
		}
		for _, e := range told {
			if open[e.Credential] || e.Credential == 0 && len(open) > 0 {
				t.Errorf("step %d: it still opens: %v", i, open)
			}
		}
	}
}

// One signed in before, and is asked whether it holds.
func TestHoldsNoMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	henry := addr.MustParse("henry@example.org")
	dev, pw, err := h.AddDevice(ctx, henry, "phone", Terms{})
	if err != nil {
		t.Fatal(err)
	}
	p := h.session("192.0.2.1")
	p.Door = envelope.Submission
	x, err := h.Start("PLAIN", p)
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := x.Next(ctx, []byte("\x00henry@example.org\x00"+pw)); !done || err != nil {
		t.Fatal(err)
	}
	if id, until := x.Credential(); id != dev.ID || !until.IsZero() || !x.Holds(ctx) {
		t.Errorf("%d until %s", id, until)
	}
	if err := h.RemoveDevice(ctx, henry, dev.ID); err != nil {
		t.Fatal(err)
	}
	if x.Holds(ctx) || strings.Contains(h.log.String(), pw) {
		t.Error("it holds, or the log has it")
	}
}

// With a second factor, or the debt of one, the password opens no mail: what
// was signed in with it ends.
func TestFactorEndsSessions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org", "ben@example.org")
	anna, ben := addr.MustParse("anna@example.org"), addr.MustParse("ben@example.org")
	var told []Ended
	h.OnEnd(func(e Ended) { told = append(told, e) })
	p := h.session("192.0.2.1")
	x, err := h.Start("PLAIN", p)
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := x.Next(ctx, []byte("\x00anna@example.org\x00"+password)); !done || err != nil || !x.Holds(ctx) {
		t.Fatal(err)
	}
	h.enrol("anna@example.org")
	if want := []Ended{{anna, 1}}; !slices.Equal(told, want) || x.Holds(ctx) {
		t.Errorf("a factor: %v; holds: %v", told, x.Holds(ctx))
	}
	told = nil
	admin, user := Admin, User
	h.SetFactorRoles([]Role{Admin})
	for _, role := range []*Role{&admin, &admin, &user} {
		if err := h.SetAccount(ctx, ben, Settings{Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []Ended{{ben, 2}}; !slices.Equal(told, want) {
		t.Errorf("a role that owes one: %v", told)
	}
}

package clientcert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
)

var (
	now  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	anna = Subject{Address: addr.MustParse("anna@example.org"), Account: 12, Credential: 345}
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parse(t testing.TB, der []byte, err error) *x509.Certificate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newAuthority(t testing.TB, at time.Time) *Authority {
	t.Helper()
	key := newKey(t)
	der, err := NewAuthority(key, "mx.example.org", rand.Reader, at)
	return &Authority{parse(t, der, err), key}
}

// issue returns a certificate with its key.
func (a *Authority) issue(t testing.TB, s Subject, until time.Time) tls.Certificate {
	t.Helper()
	key := newKey(t)
	der, err := a.Issue(s, key.Public(), rand.Reader, now, until)
	leaf := parse(t, der, err)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// seen is a connection whose client showed a certificate.
func seen(list ...*x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13, PeerCertificates: list}
}

// What is issued is good for a client and for nothing else.
func TestIssue(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, now)
	c := a.issue(t, anna, now.Add(Life)).Leaf
	if c.IsCA || c.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) ||
		!slices.Equal(c.EmailAddresses, []string{"anna@example.org"}) || c.DNSNames != nil || c.IPAddresses != nil ||
		!c.NotAfter.Equal(now.Add(Life)) || c.SerialNumber.Sign() != 1 || c.Subject.CommonName != "anna@example.org" || c.Subject.SerialNumber != "12-345" {
		t.Errorf("%+v", c)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots(a), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("it is good for a server")
	}
	key := newKey(t)
	for _, until := range []time.Time{now, now.Add(-time.Hour), now.Add(MaxLife + time.Second)} {
		if _, err := a.Issue(anna, key.Public(), rand.Reader, now, until); err == nil {
			t.Errorf("good until %s", until)
		}
	}
	if _, err := a.Issue(anna, key.Public(), strings.NewReader("few"), now, now.Add(Life)); err == nil {
		t.Error("without randomness")
	}
	if _, err := NewAuthority(key, "x", strings.NewReader("few"), now); err == nil {
		t.Error("an authority without randomness")
	}
	if !a.Lasts(now) || a.Lasts(now.Add(authorityLife-MaxLife)) {
		t.Error("how long it lasts")
	}
}

func roots(list ...*Authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range list {
		p.AddCert(a.Certificate)
	}
	return p
}

// self returns a certificate that its own key signed, as template says.
func self(t *testing.T, template x509.Certificate) *x509.Certificate {
	t.Helper()
	key := newKey(t)
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	return parse(t, der, err)
}

func TestShown(t *testing.T) {
	t.Parallel()
	a, older, foreign := newAuthority(t, now), newAuthority(t, now.Add(-authorityLife/2)), newAuthority(t, now)
	var trusted Trusted
	if _, ok := trusted.Shown(seen(a.issue(t, anna, now.Add(Life)).Leaf), now); ok {
		t.Error("nobody is trusted")
	}
	trusted.Set([]*x509.Certificate{older.Certificate, a.Certificate})
	sub := &Authority{} // signed by a certificate that was not given the right to
	user := a.issue(t, anna, now.Add(Life))
	sub.Certificate, sub.Key = user.Leaf, user.PrivateKey.(crypto.Signer)
	tamper := *user.Leaf
	tamper.Signature = slices.Clone(tamper.Signature)
	tamper.Signature[len(tamper.Signature)-1] ^= 1
	unnamed := func(serial, name string) *x509.Certificate {
		key := newKey(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(5), Subject: pkix.Name{CommonName: name, SerialNumber: serial}, NotBefore: now, NotAfter: now.Add(Life), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.Key)
		return parse(t, der, err)
	}
	forServers := func() *x509.Certificate {
		key := newKey(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(5), Subject: user.Leaf.Subject, NotBefore: now, NotAfter: now.Add(Life), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.Key)
		return parse(t, der, err)
	}
	for name, c := range map[string]struct {
		state *tls.ConnectionState
		at    time.Time
		ok    bool
	}{
		"ours":                      {seen(user.Leaf), now, true},
		"ours with its issuer":      {seen(user.Leaf, a.Certificate), now, true},
		"of the one before":         {seen(older.issue(t, anna, now.Add(Life)).Leaf), now, true},
		"at its end":                {seen(user.Leaf), now.Add(Life + time.Second), false},
		"before its time":           {seen(user.Leaf), now.Add(-2 * time.Hour), false},
		"a foreign one":             {seen(foreign.issue(t, anna, now.Add(Life)).Leaf), now, false},
		"a foreign one, then ours":  {seen(foreign.issue(t, anna, now.Add(Life)).Leaf, user.Leaf), now, false},
		"its own":                   {seen(self(t, x509.Certificate{Subject: user.Leaf.Subject, NotBefore: now, NotAfter: now.Add(Life)})), now, false},
		"its own in our name":       {seen(self(t, x509.Certificate{Subject: a.Certificate.Subject, NotBefore: now, NotAfter: now.Add(Life)})), now, false},
		"of a user, who may not":    {seen(sub.issue(t, anna, now.Add(Life)).Leaf, user.Leaf), now, false},
		"changed":                   {seen(&tamper), now, false},
		"for servers":               {seen(forServers()), now, false},
		"the authority's own":       {seen(a.Certificate), now, false},
		"without a number":          {seen(unnamed("", "anna@example.org")), now, false},
		"with half a number":        {seen(unnamed("12", "anna@example.org")), now, false},
		"with a number of three":    {seen(unnamed("12-3-4", "anna@example.org")), now, false},
		"with a number with a plus": {seen(unnamed("+12-3", "anna@example.org")), now, false},
		"with a negative number":    {seen(unnamed("12--3", "anna@example.org")), now, false},
		"without a name":            {seen(unnamed("12-345", "anna")), now, false},
		"none":                      {seen(), now, false},
		"no TLS":                    {nil, now, false},
		"a handshake that goes on":  {&tls.ConnectionState{PeerCertificates: seen(user.Leaf).PeerCertificates}, now, false},
	} {
		s, ok := trusted.Shown(c.state, c.at)
		if ok != c.ok || ok && (s.Subject != anna || !bytes.Equal(s.Sum, Sum(c.state.PeerCertificates[0].Raw))) || !ok && s.Account != 0 {
			t.Errorf("%s: %v, %+v", name, ok, s)
		}
	}
	trusted.Set(nil)
	if _, ok := trusted.Shown(seen(user.Leaf), now); ok {
		t.Error("nobody is trusted any more")
	}
	unicode := Subject{Address: addr.MustParse("жанна@пример.example"), Account: 1, Credential: 2}
	trusted.Set([]*x509.Certificate{a.Certificate})
	if s, ok := trusted.Shown(seen(a.issue(t, unicode, now.Add(Life)).Leaf), now); !ok || s.Subject != unicode {
		t.Errorf("%+v, %v", s, ok)
	}
}

// door is a server that asks, and what it saw of its last client.
type door struct {
	t       testing.TB
	trusted Trusted
	config  *tls.Config
}

func newDoor(t testing.TB) *door {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.test"}, NotBefore: now.AddDate(-20, 0, 0), NotAfter: now.AddDate(20, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, config: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	d.trusted.Ask(d.config)
	return d
}

// meet does a handshake, and lets the client read a ticket.
func (d *door) meet(client *tls.Config) (server, own tls.ConnectionState, err error) {
	d.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		s := tls.Server(conn, d.config)
		_, err = s.Write([]byte("x"))
		server = s.ConnectionState()
		done <- err
	}()
	client.InsecureSkipVerify, client.ServerName = true, "mx.test"
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		<-done
		return server, own, err
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	if late := <-done; late != nil {
		err = late
	}
	return server, c.ConnectionState(), err
}

// A handshake asks once something was issued; clients without a certificate,
// or with others, do not mind; sessions are resumed all along, and a resumed
// one still knows whose it was.
func TestAsk(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		d := newDoor(t)
		a, foreign := newAuthority(t, now), newAuthority(t, now)
		real := func(a *Authority) tls.Certificate { // in its time by the clock of the handshake
			key := newKey(t)
			der, err := a.Issue(anna, key.Public(), rand.Reader, time.Now(), time.Now().Add(Life))
			leaf := parse(t, der, err)
			return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
		}
		asked := 0
		client := func(c *tls.Certificate) *tls.Config {
			return &tls.Config{
				MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4),
				GetClientCertificate: func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
					asked++
					if c == nil {
						return &tls.Certificate{}, nil
					}
					if len(i.AcceptableCAs) != 1 || !bytes.Equal(i.AcceptableCAs[0], a.Certificate.RawSubject) {
						t.Errorf("asked for %q", i.AcceptableCAs)
					}
					return c, nil
				},
			}
		}
		handshake := func(what string, c *tls.Config, shown, resumed bool, asks int) {
			t.Helper()
			asked = 0
			server, own, err := d.meet(c)
			_, ok := d.trusted.Shown(&server, time.Now())
			if err != nil || ok != shown || own.DidResume != resumed || server.DidResume != resumed || asked != asks {
				t.Errorf("%s, %s: %v; shown %v, resumed %v, asked %d times", tls.VersionName(version), what, err, ok, own.DidResume, asked)
			}
		}
		mine, theirs := real(a), real(foreign)
		with, without, other := client(&mine), client(nil), client(&theirs)
		handshake("before anything was issued", without, false, false, 0)
		handshake("and again", without, false, true, 0)
		d.trusted.Set([]*x509.Certificate{a.Certificate})
		handshake("begun before, resumed after", without, false, true, 0)
		handshake("with ours", with, true, false, 1)
		handshake("with ours, resumed", with, true, true, 0)
		handshake("with a foreign one", other, false, false, 1)
		handshake("with a foreign one, resumed", other, false, true, 0)
		fresh := client(nil)
		handshake("without", fresh, false, false, 1)
		handshake("without, resumed", fresh, false, true, 0)
		many := mine
		many.Certificate = slices.Repeat(mine.Certificate, maxShownNumber+1)
		if _, _, err := d.meet(client(&many)); err == nil {
			t.Errorf("%s: more than anybody needs", tls.VersionName(version))
		}
		d.trusted.Set(nil)
		handshake("when nobody is trusted any more", with, false, false, 0)
	}
	if bounded([][]byte{make([]byte, maxShown)}, nil) != nil || bounded([][]byte{make([]byte, maxShown), {1}}, nil) == nil {
		t.Error("the bound of what is shown")
	}
}

func request(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "root@example.org"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParseRequest(t *testing.T) {
	t.Parallel()
	p256 := newKey(t)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := request(t, p256)
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		b    []byte
		want string // of the error; empty: none
	}{
		"P-256":      {good, ""},
		"in PEM":     {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good}), ""},
		"Ed25519":    {request(t, ed), ""},
		"RSA":        {request(t, large), ""},
		"P-224":      {request(t, p224), "the key of a certificate is"},
		"nothing":    {nil, "no request"},
		"text":       {[]byte("hello"), "no request"},
		"forged":     {forged, "not signed with its own key"},
		"more after": {append(slices.Clone(good), 0), "no request"},
		"too long":   {make([]byte, MaxRequest+1), "longer than"},
	} {
		key, err := ParseRequest(c.b)
		if c.want == "" && (err != nil || key == nil) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || key != nil) {
			t.Errorf("%s: %v, %v", name, key, err)
		}
	}
	for bits, ok := range map[int]bool{1024: false, 2048: true, 4096: true, 8192: false} {
		if err := checkKey(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), uint(bits-1)), E: 65537}); (err == nil) != ok {
			t.Errorf("RSA of %d bits: %v", bits, err)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	good := request(f, newKey(f))
	f.Add(good)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := ParseRequest(b); (key == nil) != (err != nil) {
			t.Errorf("%v, %v", key, err)
		}
	})
}

func FuzzParseSubject(f *testing.F) {
	f.Add("12-345", "anna@example.org")
	f.Add("-", "")
	f.Add("9223372036854775808-1", "a@b")
	f.Fuzz(func(t *testing.T, serial, name string) {
		s, err := parseSubject(pkix.Name{CommonName: name, SerialNumber: serial})
		if err == nil && (s.Account <= 0 || s.Credential <= 0 || s.Address.IsNull()) {
			t.Errorf("%+v", s)
		}
	})
}

package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
)

const directory = "https://acme.example/dir"

// issue makes a key and a certificate by another, or by itself.
func issue(t *testing.T, name string, by *x509.Certificate, with *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: by == nil, BasicConstraintsValid: true,
	}
	if by == nil {
		by, with = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), with)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func encoded(t *testing.T, key *ecdsa.PrivateKey, chain ...*x509.Certificate) []byte {
	t.Helper()
	var b bytes.Buffer
	if key != nil {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		pem.Encode(&b, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	}
	for _, c := range chain {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

// What cannot be shown is told of, with the reason, and removed at a start so
// that another is issued.
func TestKept(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	ca, caKey := issue(t, "authority", nil, nil)
	other, _ := issue(t, "authority", nil, nil)
	good, key := issue(t, "good.example", ca, caKey)
	_, another := issue(t, "x.example", ca, caKey)
	put := func(name string, certificate, key []byte) {
		t.Helper()
		base := place(directory) + "/" + name + "/" + name
		for suffix, value := range map[string][]byte{".crt": certificate, ".key": key, ".json": []byte("{}")} {
			if value == nil {
				continue
			}
			if err := s.Store(t.Context(), base+suffix, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("good.example", encoded(t, nil, good, ca), encoded(t, key))
	put("alone.example", encoded(t, nil, good), nil)
	put("crashed.example", encoded(t, nil, good, ca), encoded(t, another))
	put("unlinked.example", encoded(t, nil, good, other), encoded(t, key))
	put("misnamed.example", encoded(t, nil, good, ca), encoded(t, key))
	put("garbage.example", []byte("garbage"), encoded(t, key))
	if err := s.Store(t.Context(), "certificates/former.example-dir/x/x.crt", []byte("of another authority")); err != nil {
		t.Fatal(err)
	}
	view := func(f func(*store.Tx) error) error { return s.db.View(t.Context(), f) }
	faults := map[string]string{
		"good.example": "", "alone.example": "alone.example.key", "crashed.example": "private key does not match",
		"unlinked.example": "does not vouch", "misnamed.example": "misnamed.example", "garbage.example": "PEM",
	}
	list, err := List(view, s.keys, directory)
	if err != nil || len(list) != len(faults) {
		t.Fatalf("%v, %v", list, err)
	}
	for _, kept := range list {
		want := faults[kept.Name]
		if (kept.Fault == nil) != (want == "") || kept.Fault != nil && !strings.Contains(kept.Fault.Error(), want) {
			t.Errorf("%s: %v", kept.Name, kept.Fault)
		}
		if kept.Fault == nil && (len(kept.Chain) != 2 || !kept.Chain[0].Equal(good)) {
			t.Errorf("%s: %d certificates", kept.Name, len(kept.Chain))
		}
	}
	found := 0
	if err := Check(view, s.keys, directory, func(f audit.Finding) {
		if found++; f.Level != audit.Failure || f.Fix == "" || strings.Contains(f.Text, "good.example cannot") {
			t.Errorf("%+v", f)
		}
	}); err != nil || found != len(faults)-1 {
		t.Errorf("%d findings, %v", found, err)
	}

	r := resolve.NewFake("good.example. A 192.0.2.1\nmta-sts.example.org. A 192.0.2.9")
	c := New(Options{
		Directory: directory, Hostname: "good.example", DB: s.db, Keys: s.keys, Clock: s.clock, Log: slog.New(slog.DiscardHandler), Resolver: r,
		Domains: func(context.Context) ([]addr.Domain, error) { return []addr.Domain{"example.org"}, nil },
		Addrs:   func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
	})
	defer c.Close()
	if err := c.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.Queries.Load() != 0 {
		t.Error("to show what is there, the DNS was asked")
	}
	if in := c.Current(); len(in) != 1 || !in[0].Equal(good) || len(c.HostChain()) != 2 {
		t.Errorf("in use: %d, chain of %d", len(in), len(c.HostChain()))
	}
	// Also a renewal asks only for what leads here.
	for name, here := range map[string]bool{"good.example": true, "mta-sts.example.org": false} {
		if err := c.onEvent(t.Context(), "cert_obtaining", map[string]any{"identifier": name}); (err == nil) != here {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err = List(view, s.keys, directory); err != nil || len(list) != 1 || list[0].Name != "good.example" {
		t.Errorf("left: %v, %v", list, err)
	}
	if !s.Exists(t.Context(), "certificates/former.example-dir/x/x.crt") || s.Exists(t.Context(), place(directory)+"/crashed.example") {
		t.Error("too much or too little is gone")
	}
}

// The host's certificate is for the key that others may know from the DNS;
// those of other names have keys of their own.
func TestKeySources(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	_, key := issue(t, "x.example", nil, nil)
	c := New(Options{
		Directory: directory, Hostname: "mx.example.org", DB: s.db, Keys: s.keys, Clock: s.clock, Log: slog.New(slog.DiscardHandler),
		HostKey: func() crypto.Signer { return key },
	})
	defer c.Close()
	host, err := c.config("mx.example.org").KeySource.GenerateKey()
	if err != nil || host != crypto.PrivateKey(key) {
		t.Errorf("%v", err)
	}
	// certmagic keeps it in PEM.
	if _, err := certmagic.PEMEncodePrivateKey(host); err != nil {
		t.Error(err)
	}
	if other, err := c.config("mta-sts.example.org").KeySource.GenerateKey(); err != nil || key.Equal(other) {
		t.Errorf("the host's key for another name, or %v", err)
	}
	for _, name := range []string{"mx.example.org", "mta-sts.example.org"} {
		if c.config(name).DisableARI || c.config(name).ReusePrivateKeys {
			t.Errorf("%s: renewal information is not asked for, or keys stay for ever", name)
		}
	}
	if err := c.Reissue(context.Background()); err == nil {
		t.Error("issued again what was not issued")
	}
}

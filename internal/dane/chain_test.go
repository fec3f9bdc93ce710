package dane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

var now = time.Unix(1_800_000_000, 0)

// party is a certificate with its key.
type party struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate signed by an authority, or by itself without
// one. It is one of an authority unless it has names.
func issue(t testing.TB, by *party, key crypto.Signer, subject string, change ...func(*x509.Certificate)) *party {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: subject},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	for _, f := range change {
		f(c)
	}
	if by == nil {
		by = &party{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.Certificate, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{made, key}
}

// names makes a certificate that of a host.
func names(list ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.IsCA, c.DNSNames = false, list }
}

func life(from, to time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(to) }
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edKey(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// tlsa makes the record of a certificate.
func tlsa(u Usage, s Selector, m Matching, c *x509.Certificate) Record {
	data := c.Raw
	if s == SPKI {
		data = c.RawSubjectPublicKeyInfo
	}
	switch m {
	case SHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case SHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return Record{u, s, m, data}
}

func chain(list ...*party) []*x509.Certificate {
	var certs []*x509.Certificate
	for _, p := range list {
		certs = append(certs, p.Certificate)
	}
	return certs
}

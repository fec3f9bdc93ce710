package dane

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of Verify. What the x509 package found wrong with a chain is wrapped
// beside ErrAnchor.
var (
	// ErrNoMatch: the host presents nothing that its records name.
	ErrNoMatch = errors.New("no TLSA record matches what the host presents")
	// ErrAnchor: an authority is named, and does not vouch for the host.
	ErrAnchor = errors.New("the authority that the TLSA records name does not vouch for the host")
	// ErrUnusable: there is nothing to compare with.
	ErrUnusable = errors.New("no TLSA record is usable")
)

// Verify checks what a host presents, its own certificate first, and returns
// the record by which it is known. The handshake has proved that it has the
// key of that certificate.
func (s *Set) Verify(chain []*x509.Certificate, now time.Time) (Record, error) {
	if len(s.Records) == 0 {
		return Record{}, ErrUnusable
	}
	if len(chain) == 0 {
		return Record{}, ErrNoMatch
	}
	// RFC 7672, section 3.1.1: the key itself was named, so neither the
	// certificate's names nor its dates mean anything.
	for _, r := range s.Records {
		if r.Usage == EE && r.matches(chain[0]) {
			return r, nil
		}
	}
	return s.anchored(chain[:min(len(chain), maxChain)], now)
}

// anchored checks a chain below the trust anchors: RFC 7672, section 3.1.2.
// It is verified once under all of them: each alone would let a host that
// names many keep one of our processors busy.
func (s *Set) anchored(chain []*x509.Certificate, now time.Time) (Record, error) {
	roots, rest := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range chain[1:] {
		rest.AddCert(c)
	}
	by := map[string]Record{} // the record that made a certificate an anchor
	for _, r := range s.Records {
		for _, anchor := range r.anchors(chain) {
			roots.AddCert(anchor)
			by[string(anchor.Raw)] = r
		}
	}
	if len(by) == 0 {
		return Record{}, ErrNoMatch
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: rest, CurrentTime: now})
	if err == nil {
		err = s.named(chain[0])
	}
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrAnchor, err)
	}
	path := paths[0]
	return by[string(path[len(path)-1].Raw)], nil
}

// anchors returns the certificates that a record makes trust anchors: those
// of the chain that match it, and what it holds itself in full, which need
// not be sent (RFC 7672, section 3.1.2). The host's own certificate is no
// authority.
func (r Record) anchors(chain []*x509.Certificate) []*x509.Certificate {
	if r.Usage != TA {
		return nil
	}
	var list []*x509.Certificate
	for _, c := range chain[1:] {
		if r.matches(c) && !c.Equal(chain[0]) {
			list = append(list, c)
		}
	}
	if r.Matching != Full || len(list) > 0 {
		return list
	}
	if r.Selector == Cert {
		if c, err := x509.ParseCertificate(r.Data); err == nil && !c.Equal(chain[0]) {
			list = append(list, c)
		}
		return list
	}
	if key, err := x509.ParsePKIXPublicKey(r.Data); err == nil {
		for _, c := range chain {
			list = append(list, bareKey(key, r.Data, c))
		}
	}
	return list
}

// bareKey returns a public key in the form of the authority that issued c,
// for a trust anchor that is only a key. Whether it really signed c is what
// the verification finds out.
func bareKey(key any, spki []byte, c *x509.Certificate) *x509.Certificate {
	name := sha256.Sum256(slices.Concat(spki, c.RawIssuer))
	return &x509.Certificate{
		Raw: name[:], RawSubject: c.RawIssuer, RawSubjectPublicKeyInfo: spki,
		PublicKey: key, PublicKeyAlgorithm: algorithm(key),
		Version: 3, IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, // a key has no dates of its own
	}
}

// algorithm returns what x509 calls the kind of a key.
func algorithm(key any) x509.PublicKeyAlgorithm {
	switch key.(type) {
	case *rsa.PublicKey:
		return x509.RSA
	case *ecdsa.PublicKey:
		return x509.ECDSA
	case ed25519.PublicKey:
		return x509.Ed25519
	}
	return x509.UnknownPublicKeyAlgorithm
}

// named checks that a certificate bears one of the names that it may. The
// error is about the first of them.
func (s *Set) named(leaf *x509.Certificate) error {
	var failed error
	for _, name := range s.Names {
		err := leaf.VerifyHostname(name)
		if err == nil {
			return nil
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}

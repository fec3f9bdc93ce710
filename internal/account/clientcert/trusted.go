package clientcert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"
)

// Bounds of what a client may show: a session holds it as long as it lasts,
// and thousands may wait at a time.
const (
	maxShown       = 16 << 10 // octets
	maxShownNumber = 10
)

// Trusted are the authorities whose certificates are recognized. The zero
// value recognizes nothing. Its methods may be called from any goroutine.
type Trusted struct{ pool atomic.Pointer[x509.CertPool] }

// Set says who is trusted from now on.
func (t *Trusted) Set(list []*x509.Certificate) {
	if len(list) == 0 {
		t.pool.Store(nil)
		return
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	t.pool.Store(pool)
}

// Shown is a certificate of ours that a client showed.
type Shown struct {
	Subject
	Sum []byte
}

// Shown returns the certificate that the client of a connection has shown that
// it has the key of, if it is one of ours and in its time. Whether it was
// revoked is not known here.
func (t *Trusted) Shown(state *tls.ConnectionState, now time.Time) (s Shown, ok bool) {
	pool := t.pool.Load()
	if pool == nil || state == nil || !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return s, false
	}
	leaf := state.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		// Without it the system's own would be looked into.
		Intermediates: x509.NewCertPool(),
	})
	if err != nil {
		return s, false
	}
	if s.Subject, err = parseSubject(leaf.Subject); err != nil {
		return Shown{}, false
	}
	s.Sum = Sum(leaf.Raw)
	return s, true
}

// Ask makes a door ask its clients for a certificate, as soon as one was ever
// issued; before, handshakes are as they were. None is needed, and one of
// somebody else does no harm: a program that has a certificate for other
// purposes must not be kept from its mail. The names of our authorities are
// sent, so that programs do not ask their users which one to show.
//
// Tickets of sessions stay those of c, with or without certificates.
func (t *Trusted) Ask(c *tls.Config) {
	type asking struct {
		pool   *x509.CertPool
		config *tls.Config
	}
	var last atomic.Pointer[asking]
	plain := c.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool := t.pool.Load()
		if pool == nil {
			return nil, nil
		}
		if a := last.Load(); a != nil && a.pool == pool {
			return a.config, nil
		}
		a := &asking{pool, plain.Clone()}
		a.config.ClientAuth, a.config.ClientCAs, a.config.VerifyPeerCertificate = tls.RequestClientCert, pool, bounded
		last.Store(a)
		return a.config, nil
	}
}

var errShown = errors.New("the client shows more certificates than anybody needs")

// bounded ends a handshake in which a client shows too much.
func bounded(raw [][]byte, _ [][]*x509.Certificate) error {
	n := 0
	for _, b := range raw {
		n += len(b)
	}
	if n > maxShown || len(raw) > maxShownNumber {
		return errShown
	}
	return nil
}

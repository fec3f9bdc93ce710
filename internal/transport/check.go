package transport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"sync"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/dane"
	"gatepost/internal/envelope"
)

// Checker makes checks. Its methods may be called from any goroutine.
type Checker struct {
	clock clock.Clock
	roots *x509.CertPool // who may vouch for a host; nil means the system's

	mu   sync.Mutex
	list map[[sha256.Size]byte]verdict // by name and chain
}

// verdict is whether a chain is trusted for a name.
type verdict struct {
	err error
	at  time.Time
}

// Bounds of remembering verdicts: to verify the chain of each opportunistic
// handshake would cost as much as the handshake.
const (
	verdictLife = 10 * time.Minute
	maxVerdicts = 4096
)

// NewChecker returns a checker.
func NewChecker(c clock.Clock, roots *x509.CertPool) *Checker {
	return &Checker{clock: c, roots: roots, list: map[[sha256.Size]byte]verdict{}}
}

// Check is one connection under terms. It verifies the handshake, and knows
// afterwards what was proved. It is used by one goroutine at a time.
type Check struct {
	*Terms
	by *Checker

	classical bool
	record    dane.Record // of the terms' TLSA, by which the host is known
	trust     error       // why nobody vouches for the host's name; nil if somebody does
	chain     [sha256.Size]byte
	seen      bool                 // it is known whether there is TLS
	state     *tls.ConnectionState // nil without TLS
	failed    error                // why TLS could not be made
	why       string               // the same in public
}

// Begin returns the check of a connection that is about to be made.
func (k *Checker) Begin(t *Terms) *Check { return &Check{Terms: t, by: k} }

// Config returns the TLS that the terms ask for. What the handshake proves is
// noted in c, also where it need not prove anything.
func (c *Check) Config(sessions tls.ClientSessionCache) *tls.Config {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12, // RFC 8996
		ServerName:         c.Name,
		RootCAs:            c.by.roots,
		Time:               c.by.clock.Now,
		ClientSessionCache: sessions,
		// Who answers an opportunistic connection need not prove anything:
		// the alternative is no encryption at all. Whom TLSA records name is
		// compared with them, below, and with nothing else. Verification
		// runs for resumed sessions too.
		InsecureSkipVerify: c.Level != Verify || c.named(),
		VerifyConnection:   c.verify,
	}
	if c.classical {
		config.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	}
	return config
}

// Classical makes the next Config do without ML-KEM: its large ClientHello
// makes some middleboxes reset the connection. Everything else stays.
func (c *Check) Classical() { c.classical = true }

// IsClassical reports whether Classical was called.
func (c *Check) IsClassical() bool { return c.classical }

// verify judges what the host presents, before anything is said to it.
func (c *Check) verify(s tls.ConnectionState) error {
	c.chain = digest(s.PeerCertificates)
	c.trust = nil
	if len(s.VerifiedChains) == 0 && c.Basis != Route {
		c.trust = c.by.trusts(c.host, c.chain, s.PeerCertificates)
	}
	if !c.named() {
		return nil
	}
	var err error
	c.record, err = c.TLSA.Verify(s.PeerCertificates, c.by.clock.Now())
	return err
}

// digest returns the SHA-256 of certificates in their order.
func digest(chain []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw)
	}
	return [sha256.Size]byte(h.Sum(sum[:0]))
}

// errNoChain says that a host presents nothing that could be trusted.
var errNoChain = errors.New("no certificate")

// trusts returns why a chain is not trusted for a host, nil if it is.
func (k *Checker) trusts(host string, sum [sha256.Size]byte, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errNoChain
	}
	now := k.clock.Now()
	key := sha256.Sum256(append(sum[:], host...))
	k.mu.Lock()
	v, there := k.list[key]
	k.mu.Unlock()
	if there && now.Sub(v.at) < verdictLife {
		return v.err
	}
	rest := x509.NewCertPool()
	for _, c := range chain[1:] {
		rest.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: k.roots, Intermediates: rest, CurrentTime: now})
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) >= maxVerdicts {
		clear(k.list)
	}
	k.list[key] = verdict{err, now}
	return err
}

// Made notes that TLS was made.
func (c *Check) Made(s *tls.ConnectionState) { c.seen, c.state, c.failed = true, s, nil }

// Missing notes that the host does not offer TLS.
func (c *Check) Missing() { c.seen = true }

// Failed notes that TLS could not be made, and why, also as a public phrase.
func (c *Check) Failed(err error, why string) {
	c.seen, c.failed, c.why = true, err, why
}

// Verified reports whether the host proved who it is, as far as that was
// asked or could be told.
func (c *Check) Verified() bool {
	return c.state != nil && (c.named() || len(c.state.VerifiedChains) > 0 || c.Basis != Route && c.trust == nil)
}

// Proof returns what a connection to an address of the host got.
func (c *Check) Proof(host string, to netip.Addr) *envelope.Proof {
	p := &envelope.Proof{
		At: c.by.clock.Now(), Host: host, Addr: to,
		Policy: c.policy(), Met: c.met(), Verified: c.Verified(), RequireTLS: c.RequireTLS,
	}
	if c.state != nil {
		p.Version, p.Cipher, p.Group, p.Chain = c.state.Version, c.state.CipherSuite, c.state.CurveID, c.chain
	}
	return p
}

// met says how the host met it.
func (c *Check) met() string {
	switch {
	case c.state == nil && c.Level == None:
		return "TLS was not asked for"
	case c.state == nil && c.failed != nil:
		return "TLS was offered, and " + c.why
	case c.state == nil:
		return "no TLS was offered"
	case c.named():
		return "the TLSA record " + c.record.String()[:len("3 1 1")] + " of " + c.TLSA.Base + " matches"
	case c.Verified():
		return "the certificate is verified for " + c.Name
	case c.Basis == Route:
		return "the certificate was not looked at"
	}
	return "with whoever answered, since " + Reason(c.trust)
}

// Reason says in public why TLS failed, or a certificate is not trusted.
func Reason(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return "the certificate is for another name"
	case errors.As(err, &authority):
		return "nobody whom we trust vouches for the certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid at this time"
	case errors.As(err, &invalid), errors.Is(err, errNoChain):
		return "the certificate is not valid"
	case errors.Is(err, dane.ErrNoMatch):
		return "what it presents matches none of its TLSA records"
	}
	return "the handshake failed"
}

// Package acme has the server's certificates issued and renewed by an
// authority that speaks ACME (RFC 8555), through certmagic.
//
// # Place in the path
//
// Beside it. keys asks Choose at every handshake and falls back to a
// certificate of its own making; web asks Challenge (HTTP-01), the https door
// ChallengeTLS (TLS-ALPN-01, RFC 8737), and records go to the DNS through
// dnsupdate (DNS-01) where that is configured, instead of the other two.
//
// # Which names
//
// The server's own, and mta-sts.DOMAIN of each domain, each with a
// certificate of its own, and only while the DNS leads it here: an authority
// that is asked for what it cannot verify soon answers nothing more.
//
// # What is kept
//
// Accounts, keys and certificates are rows of the store, sealed with a key
// that is not in it (keys), each bound to its path. Keys are ECDSA P-256,
// new for each certificate.
//
// # Trust and limits
//
// The authority may issue what it likes, but only what is good for our names
// is shown. When to renew is certmagic's to decide, by the authority's word
// (ARI, RFC 9773) or at a third of the life that is left, and with its own
// clock: docs/decisions/0007. At most maxNames names are asked for.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
)

// Bounds, and how often is looked.
const (
	maxNames = 1000
	round    = time.Hour
	// soon is how long before its end a certificate becomes an alert: every
	// renewal before has failed.
	soon = 7 * 24 * time.Hour
	// mostAnswer bounds what a challenge is answered, in octets.
	mostAnswer = 4096
)

// Options configure the certificates. All are required but DNS, Resolvers,
// Roots and Email.
type Options struct {
	Directory string         // of the authority
	Roots     *x509.CertPool // who vouches for the authority; nil: the system's
	Email     string
	Hostname  addr.Domain
	Domains   func(context.Context) ([]addr.Domain, error)
	Addrs     func() []netip.Addr // of this machine
	Resolver  resolve.Resolver

	DNS       certmagic.DNSProvider // proves names by DNS-01; nil: the doors do
	Resolvers []string              // host:port, asked whether a record is there
	Host      string                // that the doors of HTTP listen on
	HTTP      int                   // port of the door http; 0: shut
	HTTPS     int                   // likewise

	DB    *store.DB
	Keys  Sealer
	Clock clock.Clock
	Log   *slog.Logger
}

// Certificates are those that an authority issues. Its methods may be called
// from any goroutine.
type Certificates struct {
	o      Options
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer

	mu    sync.Mutex
	asked []string // names that are managed
}

// New returns the certificates; nothing is asked of anybody before Tend.
func New(o Options) *Certificates {
	c := &Certificates{o: o}
	log := zap.New(core{log: o.Log})
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return c.magic, nil },
		Logger:           log,
	})
	c.magic = certmagic.New(c.cache, certmagic.Config{
		Storage:           &shelf{db: o.DB, keys: o.Keys, clock: o.Clock, locks: map[string]chan struct{}{}},
		KeySource:         certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		DefaultServerName: string(o.Hostname), FallbackServerName: string(o.Hostname),
		// Authorities give up OCSP, and no mail server looks.
		OCSP:   certmagic.OCSPConfig{DisableStapling: true},
		Logger: log,
	})
	template := certmagic.ACMEIssuer{
		CA: o.Directory, Email: o.Email, Agreed: true, TrustedRoots: o.Roots, Logger: log,
		ListenHost: o.Host, AltHTTPPort: o.HTTP, AltTLSALPNPort: o.HTTPS,
		DisableHTTPChallenge: o.HTTP == 0, DisableTLSALPNChallenge: o.HTTPS == 0,
	}
	if len(o.Resolvers) > 0 {
		template.Resolver = o.Resolvers[0]
	}
	if o.DNS != nil {
		template.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
			DNSProvider: o.DNS, Resolvers: o.Resolvers, Logger: log,
		}}
	}
	c.issuer = certmagic.NewACMEIssuer(c.magic, template)
	c.magic.Issuers = []certmagic.Issuer{c.issuer}
	return c
}

// Close ends what goes on beside.
func (c *Certificates) Close() error {
	c.cache.Stop()
	return nil
}

// Tend has certificates issued and renewed until ctx ends, and looks again
// every hour, and when poke says so, which names are to have one.
func (c *Certificates) Tend(ctx context.Context, poke <-chan struct{}) {
	for ctx.Err() == nil {
		if err := c.look(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Error("cannot see to the certificates", "error", err)
		}
		over := make(chan struct{})
		timer := c.o.Clock.AfterFunc(round, func() { close(over) })
		select {
		case <-ctx.Done():
		case <-poke:
		case <-over:
		}
		timer.Stop()
	}
}

// look does one round.
func (c *Certificates) look(ctx context.Context) error {
	names, err := c.names(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(c.asked, n) })
	c.mu.Unlock()
	if len(fresh) > 0 {
		c.o.Log.Info("certificates are seen to", "names", fresh)
		if err := c.magic.ManageAsync(ctx, fresh); err != nil {
			return err
		}
		c.mu.Lock()
		c.asked = append(c.asked, fresh...)
		c.mu.Unlock()
	}
	c.alert()
	return nil
}

// alert tells of certificates that end soon.
func (c *Certificates) alert() {
	for _, leaf := range c.Current() {
		if left := leaf.NotAfter.Sub(c.o.Clock.Now()); left < soon {
			c.o.Log.Error("a certificate ends soon and could not be renewed", "names", leaf.DNSNames, "until", leaf.NotAfter.UTC())
		}
	}
}

// names returns the names that lead here.
func (c *Certificates) names(ctx context.Context) ([]string, error) {
	domains, err := c.o.Domains(ctx)
	if err != nil {
		return nil, err
	}
	own, err := resolve.Addrs(ctx, c.o.Resolver, string(c.o.Hostname), true)
	if err != nil {
		return nil, err
	}
	if !c.here(own) {
		c.o.Log.Warn("no certificate is asked for: the DNS leads the host name elsewhere", "hostname", c.o.Hostname, "addresses", own)
		return nil, nil
	}
	names := []string{string(c.o.Hostname)}
	for _, d := range domains {
		if len(names) == maxNames {
			c.o.Log.Warn("there are more names than certificates are asked for", "most", maxNames)
			break
		}
		name := "mta-sts." + string(d)
		switch list, err := resolve.Addrs(ctx, c.o.Resolver, name, true); {
		case err != nil && !errors.Is(err, resolve.ErrNotFound):
			c.o.Log.Info("the DNS does not say where a name leads", "name", name, "error", err)
		case err == nil && len(list) > 0 && !slices.ContainsFunc(list, func(a netip.Addr) bool { return !slices.Contains(own, a) }):
			names = append(names, name)
		}
	}
	return names, nil
}

// here reports whether the host name leads to this machine. One that has
// only private addresses is behind a router, which only the operator knows.
func (c *Certificates) here(own []netip.Addr) bool {
	public := false
	for _, a := range c.o.Addrs() {
		if slices.Contains(own, a) {
			return true
		}
		public = public || a.IsGlobalUnicast() && !a.IsPrivate()
	}
	return !public && len(own) > 0
}

// Protocol is that of TLS-ALPN-01: RFC 8737, section 6.2.
const Protocol = "acme-tls/1"

// IsChallenge reports whether it is an ACME server that asks.
func IsChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == Protocol
}

// Choose returns the certificate for a handshake, nil if there is none. A
// name that is not ours gets the host's.
func (c *Certificates) Choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	if IsChallenge(hello) {
		return nil // only the https door answers that
	}
	if cert, err := c.magic.GetCertificate(hello); err == nil && cert != nil && len(cert.Certificate) > 0 {
		return cert
	}
	return nil
}

// ChallengeTLS returns the certificate that answers a challenge of
// TLS-ALPN-01.
func (c *Certificates) ChallengeTLS(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.magic.GetCertificate(hello)
}

// Challenge returns the answer to a challenge of HTTP-01.
func (c *Certificates) Challenge(ctx context.Context, host, token string) (string, bool) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/.well-known/acme-challenge/"+token, nil)
	if err != nil {
		return "", false
	}
	w := httptest.NewRecorder()
	if !c.issuer.HandleHTTPChallenge(w, r) || w.Code != http.StatusOK || w.Body.Len() > mostAnswer {
		return "", false
	}
	return w.Body.String(), true
}

// Current returns the certificates in use.
func (c *Certificates) Current() []*x509.Certificate {
	c.mu.Lock()
	asked := slices.Clone(c.asked)
	c.mu.Unlock()
	var list []*x509.Certificate
	for _, name := range asked {
		for _, cert := range c.cache.AllMatchingCertificates(name) {
			list = append(list, cert.Leaf)
		}
	}
	return list
}

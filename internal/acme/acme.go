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
// The server's own, and of each domain those that start with a prefix below
// (its policy's host, and the names that mail clients try when they are set
// up), each with a certificate of its own, and only while the DNS leads it
// here: an authority that is asked for what it cannot verify soon answers
// nothing more.
//
// # What is kept
//
// Accounts, keys and certificates are rows of the store, sealed with a key
// that is not in it (keys), each bound to its path. Keys are ECDSA P-256. The
// host's is the one that keys has, which others may know from the DNS
// (hostkey plans when it changes); the others are new for each certificate.
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
	"crypto"
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
	"gatepost/internal/keys"
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

// prefixes begin the names of a domain that lead here if its owner likes:
// RFC 8461, section 3.3, and what mail clients try by custom.
var prefixes = []string{"mta-sts.", "autoconfig.", "autodiscover."}

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
	// HostKey returns the key that the host's next certificate is for.
	HostKey func() crypto.Signer

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
	kept   *shelf
	cache  *certmagic.Cache
	host   *certmagic.Config // of the host's name
	others *certmagic.Config
	issuer *certmagic.ACMEIssuer // of the others, and for the challenges of all

	mu    sync.Mutex
	asked []string // names that are managed
}

// New returns the certificates; nothing is asked of anybody before Tend.
func New(o Options) *Certificates {
	c := &Certificates{o: o, kept: &shelf{db: o.DB, keys: o.Keys, clock: o.Clock, locks: map[string]chan struct{}{}}}
	log := zap.New(core{log: o.Log})
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(cert certmagic.Certificate) (*certmagic.Config, error) {
			if len(cert.Names) == 0 { // as one for a challenge
				return c.others, nil
			}
			return c.config(cert.Names[0]), nil
		},
		Logger: log,
	})
	c.others, c.issuer = c.newConfig(certmagic.StandardKeyGenerator{KeyType: certmagic.P256}, log)
	c.host, _ = c.newConfig(source(o.HostKey), log)
	return c
}

// source gives certmagic a key when it wants to generate one.
type source func() crypto.Signer

// GenerateKey implements certmagic.KeyGenerator.
func (s source) GenerateKey() (crypto.PrivateKey, error) { return s(), nil }

// newConfig returns how names with keys of a source are seen to.
func (c *Certificates) newConfig(keys certmagic.KeyGenerator, log *zap.Logger) (*certmagic.Config, *certmagic.ACMEIssuer) {
	o := c.o
	magic := certmagic.New(c.cache, certmagic.Config{
		Storage: c.kept, KeySource: keys, OnEvent: c.onEvent,
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
	issuer := certmagic.NewACMEIssuer(magic, template)
	magic.Issuers = []certmagic.Issuer{issuer}
	return magic, issuer
}

// config returns how a name is seen to.
func (c *Certificates) config(name string) *certmagic.Config {
	if name == string(c.o.Hostname) {
		return c.host
	}
	return c.others
}

// Close ends what goes on beside.
func (c *Certificates) Close() error {
	c.cache.Stop()
	return nil
}

// Load makes ready what the store has for our names, without asking anybody:
// the doors show it from the first connection on, also while the DNS is down.
// What cannot be shown is removed, so that another is issued.
func (c *Certificates) Load(ctx context.Context) error {
	domains, err := c.o.Domains(ctx)
	if err != nil {
		return err
	}
	ours := map[string]bool{string(c.o.Hostname): true}
	for _, d := range domains {
		for _, prefix := range prefixes {
			ours[prefix+string(d)] = true
		}
	}
	list, err := c.clear(ctx)
	for _, kept := range list {
		if !ours[kept.Name] {
			continue
		}
		if _, failed := c.config(kept.Name).CacheManagedCertificate(ctx, kept.Name); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		c.mu.Lock()
		c.asked = append(c.asked, kept.Name)
		c.mu.Unlock()
	}
	return err
}

// onEvent hears what certmagic is about to do. A name that the DNS leads
// elsewhere meanwhile is not asked for any more.
func (c *Certificates) onEvent(ctx context.Context, event string, data map[string]any) error {
	name, ok := data["identifier"].(string)
	if event != "cert_obtaining" || !ok {
		return nil
	}
	own, err := resolve.Addrs(ctx, c.o.Resolver, string(c.o.Hostname), true)
	if err != nil {
		return err
	}
	if !c.here(own) || !c.leadsTo(ctx, name, own) {
		return errors.New("the DNS leads the name elsewhere")
	}
	return nil
}

// Tend has certificates issued and renewed until ctx ends, and looks again
// every hour, and when poke says so, which names are to have one and which
// are due.
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
		for _, name := range fresh {
			if err := c.config(name).ManageAsync(ctx, []string{name}); err != nil {
				return err
			}
		}
		c.mu.Lock()
		c.asked = append(c.asked, fresh...)
		c.mu.Unlock()
	}
	c.alert()
	return c.cache.RenewManagedCertificates(ctx)
}

// alert tells of certificates that end soon.
func (c *Certificates) alert() {
	for _, leaf := range c.Current() {
		if keys.EndsSoon(leaf, soon, c.o.Clock.Now()) {
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
		for _, prefix := range prefixes {
			if len(names) == maxNames {
				c.o.Log.Warn("there are more names than certificates are asked for", "most", maxNames)
				return names, nil
			}
			if name := prefix + string(d); c.leadsTo(ctx, name, own) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// leadsTo reports whether the DNS leads a name to these addresses, and to no
// others: which of them an authority asks, nobody knows.
func (c *Certificates) leadsTo(ctx context.Context, name string, own []netip.Addr) bool {
	list, err := resolve.Addrs(ctx, c.o.Resolver, name, true)
	if err != nil && !errors.Is(err, resolve.ErrNotFound) {
		c.o.Log.Info("the DNS does not say where a name leads", "name", name, "error", err)
	}
	return err == nil && len(list) > 0 && !slices.ContainsFunc(list, func(a netip.Addr) bool { return !slices.Contains(own, a) })
}

// here reports whether the host name leads to this machine. One that has
// only private addresses is behind a router, which only the operator knows:
// docs/decisions/0012.
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
	if cert, err := c.others.GetCertificate(hello); err == nil && cert != nil && len(cert.Certificate) > 0 {
		return cert
	}
	return nil
}

// ChallengeTLS returns the certificate that answers a challenge of
// TLS-ALPN-01.
func (c *Certificates) ChallengeTLS(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.others.GetCertificate(hello)
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

// HostChain returns the host's certificate in use and what vouches for it, its
// own first; nil if none is issued yet.
func (c *Certificates) HostChain() []*x509.Certificate {
	for _, cert := range c.cache.AllMatchingCertificates(string(c.o.Hostname)) {
		return chain(cert.Certificate.Certificate)
	}
	return nil
}

// chain parses certificates that TLS could parse.
func chain(list [][]byte) (out []*x509.Certificate) {
	for _, der := range list {
		if c, err := x509.ParseCertificate(der); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// reissueTime bounds one attempt to have the host's certificate issued for
// another key.
const reissueTime = 10 * time.Minute

// Reissue has the host's certificate issued again, for the key that HostKey
// returns now, and shows it. Until it returns without an error the old one is
// shown; sessions notice nothing.
func (c *Certificates) Reissue(ctx context.Context) error {
	name := string(c.o.Hostname)
	old := c.cache.AllMatchingCertificates(name)
	if len(old) == 0 {
		return errors.New("acme: no certificate of the host is in use yet")
	}
	ctx, cancel := context.WithTimeout(ctx, reissueTime)
	defer cancel()
	if err := c.host.RenewCertAsync(ctx, name, true); err != nil {
		return err
	}
	fresh, err := c.host.CacheManagedCertificate(ctx, name)
	if err != nil {
		return err
	}
	var gone []string
	for _, cert := range old {
		if cert.Hash() != fresh.Hash() {
			gone = append(gone, cert.Hash())
		}
	}
	c.cache.Remove(gone)
	return nil
}

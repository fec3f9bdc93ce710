package daemon

import (
	"context"
	"crypto/x509"

	"gatepost/internal/acme"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/hostkey"
	"gatepost/internal/store"
)

// openHostKey makes the plan by which the key of the host's certificate
// changes.
func (p *parts) openHostKey(context.Context) error {
	p.host = hostkey.New(hostkey.Options{
		Store: p.db, Keys: p.keys, Resolver: p.resolver, Clock: p.clock, Log: p.log,
		Hostname: p.hostname(), Ports: settings.TLSPorts(p.cfg), Shown: p.chain,
	})
	return nil
}

// chain returns the certificate that the doors show for the host and what
// vouches for it.
func (p *parts) chain(ctx context.Context) ([]*x509.Certificate, error) {
	if p.issued != nil {
		if c := p.issued(); len(c) > 0 {
			return c, nil
		}
	}
	list, err := p.kept(ctx)
	if c := acme.ChainOf(list, p.cfg.Hostname); c != nil {
		return c, err
	}
	return p.keys.Chain(), err
}

// kept returns the certificates that an authority issued and that are kept.
func (p *parts) kept(ctx context.Context) ([]acme.Kept, error) {
	if p.cfg.TLS.ACME == "" {
		return nil, nil
	}
	return acme.List(func(f func(*store.Tx) error) error { return p.db.View(ctx, f) }, p.keys, p.cfg.TLS.ACME)
}

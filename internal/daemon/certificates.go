package daemon

import (
	"context"
	"crypto"
	"crypto/x509"
	"time"

	"gatepost/internal/acme"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/dnsupdate"
)

// openCertificates has certificates come from an authority, if the
// configuration names one.
func (s *Server) openCertificates(ctx context.Context) error {
	s.poke = make(chan struct{}, 1)
	if s.cfg.TLS.ACME == "" {
		return nil
	}
	authority, err := settings.Roots(s.cfg.Path(s.cfg.TLS.ACMERoots))
	if err != nil {
		return err
	}
	o := acme.Options{
		Directory: s.cfg.TLS.ACME, Roots: authority, Email: s.cfg.TLS.Email,
		Hostname: s.parts.hostname(), Domains: s.parts.sendingDomains, Addrs: settings.MachineAddrs, Resolver: s.parts.resolver,
		Resolvers: s.cfg.DNS.Resolvers, HTTP: settings.WebPort(s.cfg.Listen.HTTP, 80), HTTPS: settings.WebPort(s.cfg.Listen.HTTPS, 443),
		HostKey: func() crypto.Signer { current, _ := s.parts.keys.HostKeys(); return current },
		Host:    settings.WebHost(s.cfg.Listen.HTTP, s.cfg.Listen.HTTPS),
		DB:      s.parts.db, Keys: s.parts.keys, Clock: s.parts.clock, Log: s.log,
	}
	updater, err := settings.Updater(s.cfg)
	if err != nil {
		return err
	}
	if updater != nil {
		o.DNS = dnsupdate.Provider{Client: updater}
	}
	s.certs = acme.New(o)
	if err := s.certs.Load(ctx); err != nil {
		s.log.Error("not all certificates can be shown", "error", err)
	}
	s.parts.keys.SetIssued(s.certs.Choose)
	s.parts.issued = s.certs.HostChain
	s.parts.host.SetReissue(s.certs.Reissue)
	return nil
}

func (s *Server) tendCertificates() {
	s.chores.Go(func() { s.parts.host.Run(s.background) })
	if s.certs != nil {
		s.chores.Go(func() { s.certs.Tend(s.background, s.poke) })
	}
}

// Certificate returns what the doors show for the host, as long as an
// authority issues nothing.
func (s *Server) Certificate() *x509.Certificate { return s.parts.keys.Certificate() }

// certificateLeft returns how long the first certificate in use is good.
func (s *Server) certificateLeft() time.Duration {
	var list []*x509.Certificate
	if s.certs != nil {
		list = s.certs.Current()
	}
	if c := s.parts.keys.Certificate(); len(list) == 0 && c != nil {
		list = append(list, c)
	}
	left := time.Duration(0)
	for i, c := range list {
		if d := c.NotAfter.Sub(s.parts.clock.Now()); i == 0 || d < left {
			left = d
		}
	}
	return left
}

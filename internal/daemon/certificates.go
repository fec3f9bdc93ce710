package daemon

import (
	"context"
	"crypto"
	"crypto/x509"
	"net"
	"time"

	"gatepost/internal/acme"
	"gatepost/internal/dnsupdate"
)

// openCertificates has certificates come from an authority, if the
// configuration names one.
func (s *Server) openCertificates(ctx context.Context) error {
	s.poke = make(chan struct{}, 1)
	if s.cfg.TLS.ACME == "" {
		return nil
	}
	authority, err := roots(s.cfg.Path(s.cfg.TLS.ACMERoots))
	if err != nil {
		return err
	}
	o := acme.Options{
		Directory: s.cfg.TLS.ACME, Roots: authority, Email: s.cfg.TLS.Email,
		Hostname: s.parts.hostname(), Domains: s.parts.sendingDomains, Addrs: machineAddrs, Resolver: s.parts.resolver,
		Resolvers: s.cfg.DNS.Resolvers, HTTP: webPort(s.cfg.Listen.HTTP, 80), HTTPS: webPort(s.cfg.Listen.HTTPS, 443),
		HostKey: func() crypto.Signer { current, _ := s.parts.keys.HostKeys(); return current },
		Host:    webHost(s.cfg.Listen.HTTP, s.cfg.Listen.HTTPS),
		DB:      s.parts.db, Keys: s.parts.keys, Clock: s.parts.clock, Log: s.log,
	}
	updater, err := Updater(s.cfg)
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

// webPort returns the port of a door of HTTP, 0 if it is shut. One of
// systemd's is taken to be where everybody looks.
func webPort(list []string, usual int) int {
	if len(list) == 0 {
		return 0
	}
	if p := port(list); p != 0 {
		return p
	}
	return usual
}

// webHost returns the host that the doors of HTTP listen on.
func webHost(lists ...[]string) string {
	for _, list := range lists {
		for _, a := range list {
			if host, _, err := net.SplitHostPort(a); err == nil {
				return host
			}
		}
	}
	return ""
}

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

package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/listen"
	"gatepost/internal/mtasts"
	"gatepost/internal/web"
)

// webDoor is one of the doors of HTTP.
type webDoor struct {
	key       string // in [listen]
	secure    bool
	addresses []string
}

func (s *Server) webDoors() []webDoor {
	return []webDoor{{"https", true, s.cfg.Listen.HTTPS}, {"http", false, s.cfg.Listen.HTTP}}
}

// promise returns the policy of a domain that publishes this mode: its mail
// comes to this host and no other.
func (p *parts) promise(mode mtasts.Mode) mtasts.Policy {
	return mtasts.Ours(mode, mtasts.Pattern(p.hostname()))
}

// policy returns the policy of a domain, if it is ours.
func (p *parts) policy(ctx context.Context, domain addr.Domain) (mtasts.Policy, bool, error) {
	mode, ours, err := p.directory.Promise(ctx, domain)
	return p.promise(mode), ours, err
}

// site returns what the doors of HTTP answer.
func (s *Server) site() *web.Site {
	https := port(s.cfg.Listen.HTTPS)
	if https == 0 && len(s.cfg.Listen.HTTPS) > 0 {
		https = 443 // a socket of systemd's
	}
	return &web.Site{
		Hostname: s.parts.hostname(), Policy: s.parts.policy, HTTPSPort: https, Log: s.log,
		Challenge: func(context.Context, string, string) (string, bool) { return "", false },
	}
}

// webDoor returns how one door of HTTP is opened.
func (s *Server) webDoor(ctx context.Context, d webDoor) (listen.Options, error) {
	listeners, err := s.sockets.Open(ctx, d.addresses)
	if err != nil {
		return listen.Options{}, fmt.Errorf("cannot listen for %s: %w", d.key, err)
	}
	handler := s.site().Plain()
	if d.secure {
		handler = s.site().Secure()
	}
	server := web.New(handler, s.log)
	s.pages = append(s.pages, server)
	o := listen.Options{
		Name: d.key, Listeners: listeners, Serve: func(conn net.Conn) { server.ServeConn(conn) },
		HandshakeTimeout: time.Duration(s.cfg.Limits.HandshakeTimeout),
		Bounds:           s.bounds,
		Clock:            s.parts.clock, Log: s.log,
	}
	if d.secure {
		o.TLS = secureWeb(s.parts.keys.ServerTLS())
	}
	return o, nil
}

// secureWeb returns TLS for HTTP. It speaks HTTP/1.1: there is nothing here
// that would be quicker with more.
func secureWeb(t *tls.Config) *tls.Config {
	t.NextProtos = []string{"http/1.1"}
	return t
}

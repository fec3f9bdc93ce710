package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"gatepost/internal/acme"
	"gatepost/internal/addr"
	"gatepost/internal/console"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/listen"
	"gatepost/internal/lock"
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
	return &web.Site{
		Hostname: s.parts.hostname(), Console: s.console, Policy: s.parts.policy, HTTPSPort: settings.WebPort(s.cfg.Listen.HTTPS, 443), Log: s.log,
		Challenge: func(ctx context.Context, host, token string) (string, bool) {
			if s.certs == nil {
				return "", false
			}
			return s.certs.Challenge(ctx, host, token)
		},
	}
}

// openConsole makes the pages that stand behind the door https.
func (s *Server) openConsole(context.Context) error {
	s.console = console.New(console.Options{
		Directory: s.parts.directory, Activity: s.parts.guard.Book, Store: s.parts.db, Hostname: s.parts.hostname(),
		Clock: s.parts.clock, Random: rand.Reader, Log: s.log,
	})
	s.console.Handle(lock.Path, s.parts.guard.LockPage(s.console.Titled))
	return nil
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
		o.TLS = s.secureWeb()
	}
	return o, nil
}

// secureWeb returns TLS for HTTP. It speaks HTTP/1.1, since there is nothing
// here that would be quicker with more, and to an ACME server what that asks.
func (s *Server) secureWeb() *tls.Config {
	t := s.parts.keys.ServerTLS()
	t.NextProtos = []string{"http/1.1"}
	if s.certs != nil {
		t.NextProtos = append(t.NextProtos, acme.Protocol)
		ours := t.GetCertificate
		t.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if acme.IsChallenge(hello) {
				return s.certs.ChallengeTLS(hello)
			}
			return ours(hello)
		}
	}
	return t
}

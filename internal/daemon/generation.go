package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"reflect"
	"sync/atomic"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/config"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/envelope"
	"gatepost/internal/gate"
	"gatepost/internal/listen"
	"gatepost/internal/smtpd"
	"gatepost/internal/spool"
	"gatepost/internal/verdict"
)

// generation is what SIGHUP replaces: the servers behind the doors of SMTP,
// made from one reading of the configuration. Sessions end with the one that
// they began with.
type generation struct {
	servers map[string]*smtpd.Server // by key of the door
}

// newGeneration makes the servers of a configuration.
func (s *Server) newGeneration(cfg *config.Config) (*generation, error) {
	g := &generation{servers: map[string]*smtpd.Server{}}
	var seen gate.Witness // a nil pointer in it would not be nil
	if cfg.Reports.DMARC {
		seen = s.parts.witness
	}
	policy := gate.New(gate.Options{
		Hostname: s.parts.hostname(), Relay: cfg.Relay.Networks,
		Directory: s.parts.directory, Mailboxes: s.parts.local, Returns: s.parts.returns,
		Checker: s.checker(cfg), Signer: s.parts.signing, Witness: seen,
		Clock: s.parts.clock, Log: s.log, Random: rand.Reader,
	})
	for _, d := range settings.Doors {
		o := smtpd.Options{
			Name:     d.Key,
			Hostname: cfg.Hostname, Door: d.Door, Policy: doorPolicy{policy}, Spool: doorSpool{s.parts.spool},
			Book:    s.parts.protection.Book,
			TLS:     s.doorTLS(d.Door),
			XClient: cfg.Front.XClient,
			Limits:  sessionLimits(cfg.Limits),
			Clock:   s.parts.clock, Random: rand.Reader, Log: s.log,
		}
		if d.Door == envelope.Submission {
			o.Auth = signIn{s.parts.directory}
		}
		g.servers[d.Key] = smtpd.New(o)
	}
	return g, nil
}

// checker verifies mail from the world as a configuration wants it.
func (s *Server) checker(cfg *config.Config) *verdict.Checker {
	c := &verdict.Checker{
		Resolver: s.parts.resolver, Now: s.parts.clock.Now, IsOwn: s.parts.directory.IsLocal,
		Choices: map[addr.Domain]verdict.Action{},
	}
	for _, f := range cfg.Trusted.Forwarders {
		c.Trusted = append(c.Trusted, addr.Domain(f))
	}
	actions := map[string]verdict.Action{
		config.FailureAccept: verdict.Accept, config.FailureJunk: verdict.Junk, config.FailureReject: verdict.Reject,
	}
	for _, choice := range cfg.Sender {
		c.Choices[addr.Domain(choice.Domain)] = actions[choice.Failure]
	}
	return c
}

// adopt makes g the one that new sessions begin with.
func (s *Server) adopt(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, g)
	s.now.Store(g)
}

// door returns how one door is opened.
func (s *Server) door(ctx context.Context, d settings.Door) (listen.Options, error) {
	listeners, err := s.sockets.Open(ctx, d.Addresses(&s.cfg.Listen))
	if err != nil {
		return listen.Options{}, fmt.Errorf("cannot listen for %s: %w", d.Key, err)
	}
	o := listen.Options{
		Name: d.Key, Listeners: listeners,
		Serve:            func(conn net.Conn) { s.now.Load().servers[d.Key].Serve(conn) },
		HandshakeTimeout: time.Duration(s.cfg.Limits.HandshakeTimeout),
		Bounds:           s.bounds,
		Refusal:          "421 4.7.0 " + s.cfg.Hostname + " too many connections; come back later\r\n",
		Clock:            s.parts.clock, Log: s.log,
	}
	if d.Implicit {
		o.TLS = s.doorTLS(d.Door)
	}
	return o, nil
}

// doorTLS returns the TLS settings of a door. Where people sign in they may
// do so with a certificate; other servers are asked for none.
func (s *Server) doorTLS(door envelope.Door) *tls.Config {
	c := smtpd.DoorTLS(s.parts.keys.ServerTLS(), door)
	if door == envelope.Submission {
		s.parts.directory.AskCertificates(c)
	}
	return c
}

// endSessions ends those that were signed in with what has ended.
func (s *Server) endSessions(e account.Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.history {
		for _, server := range g.servers {
			server.End(e.Account.String(), e.Credential)
		}
	}
}

// sum adds up a counter of a door over all generations.
func (s *Server) sum(d settings.Door, of func(*smtpd.Counters) *atomic.Int64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, g := range s.history {
		n += of(&g.servers[d.Key].Counters).Load()
	}
	return float64(n)
}

// reload reads the configuration and the certificates again. Sessions and
// deliveries that run are not touched. After an error everything stays as it
// was.
func (s *Server) reload() {
	cfg, err := config.Read(s.cfg.File())
	if err != nil {
		s.log.Error("the configuration is not taken over", "error", err)
		return
	}
	for key, same := range map[string]bool{
		"hostname": cfg.Hostname == s.cfg.Hostname,
		"data":     cfg.DataDir() == s.cfg.DataDir(),
		"listen":   reflect.DeepEqual(cfg.Listen, s.cfg.Listen),
		"tls":      cfg.TLS == s.cfg.TLS,
		"dns":      reflect.DeepEqual(cfg.DNS, s.cfg.DNS),
		"oauth":    cfg.OAuth == s.cfg.OAuth,
	} {
		if !same {
			s.log.Warn("this change takes effect at the next start", "setting", key)
		}
	}
	if err := s.parts.keys.Reload(); err != nil {
		s.log.Error("the certificate is not taken over", "error", err)
	}
	s.parts.directory.SetPolicy(settings.Passwords(cfg))
	s.parts.directory.SetFactorRoles(settings.FactorRoles(cfg))
	s.parts.resolver.Reload()
	select {
	case s.poke <- struct{}{}: // after the DNS may have changed
	default:
	}
	s.parts.host.Look()
	if err := s.parts.setRemote(cfg); err != nil {
		s.log.Error("the routes are not taken over", "error", err)
	} else {
		s.parts.queue.Reroute()
	}
	g, err := s.newGeneration(cfg)
	if err != nil {
		s.log.Error("the configuration is not taken over", "error", err)
		return
	}
	s.parts.setReports(cfg)
	s.parts.setHooks(cfg)
	s.adopt(g)
	s.bounds.Set(connectionLimits(cfg))
	s.parts.guard.Set(guardSettings(cfg))
	s.log.Info("configuration and certificates were read again")
}

func connectionLimits(cfg *config.Config) listen.Limits {
	return listen.Limits{
		Connections: cfg.Limits.Connections,
		PerAddress:  cfg.Limits.ConnectionsPerAddress,
		PerNetwork:  cfg.Limits.ConnectionsPerNetwork,
		Exempt:      cfg.Relay.Networks,
		Proxies:     cfg.Front.Proxies,
	}
}

func sessionLimits(l config.Limits) smtpd.Limits {
	return smtpd.Limits{
		MessageSize: int64(l.MessageSize), HeaderSize: int(l.HeaderSize), Recipients: l.Recipients,
		Messages: l.SessionMessages, Commands: l.SessionCommands, Errors: l.SessionErrors, AuthFailures: l.SessionAuthFailures,
		SessionTime: time.Duration(l.SessionTime), CommandTimeout: time.Duration(l.CommandTimeout),
		DataTimeout: time.Duration(l.DataTimeout), HandshakeTimeout: time.Duration(l.HandshakeTimeout),
		DataRate: int64(l.DataRate),
	}
}

// doorPolicy is the gate as a session wants it.
type doorPolicy struct{ *gate.Gate }

func (p doorPolicy) Watch(peer *envelope.Peer, e *envelope.Envelope, header []byte) smtpd.Watcher {
	if w := p.Gate.Watch(peer, e, header); w != nil {
		return w
	}
	return nil
}

func (p doorPolicy) Sign(peer *envelope.Peer, e *envelope.Envelope, header []byte) (smtpd.Watcher, error) {
	s, err := p.Gate.Sign(peer, e, header)
	if s == nil {
		return nil, err
	}
	return s, err
}

// doorSpool is the spool as a session wants it.
type doorSpool struct{ spool *spool.Spool }

func (s doorSpool) Create() smtpd.Draft { return s.spool.Create() }

// signIn is the directory as a session wants it.
type signIn struct{ directory *account.Directory }

func (a signIn) Mechanisms(t *tls.ConnectionState) []string { return a.directory.Mechanisms(t) }

func (a signIn) Start(mechanism string, p *envelope.Peer) (smtpd.Exchange, error) {
	return a.directory.Start(mechanism, p)
}

package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"gatepost/internal/addr"
)

// Level is how much a connection must be protected before a message goes
// over it.
type Level uint8

// The levels, each stricter than the one before.
const (
	None          Level = iota // TLS is not even tried
	Opportunistic              // TLS if the host offers it and it works
	Require                    // TLS, with whoever answers
	Verify                     // TLS, and the host proves its name
)

var levelNames = [...]string{"none", "opportunistic", "require", "verify"}

func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a level as a [[route]] names it.
func ParseLevel(s string) (Level, error) {
	for i, name := range levelNames {
		if s == name {
			return Level(i), nil
		}
	}
	return 0, fmt.Errorf("%q is not a level of TLS", s)
}

// Need is what a host must offer. Needs are compared: connections are only
// used again for the same one.
type Need struct {
	Level Level
	Name  string         // with Verify: the name in the host's certificate
	Roots *x509.CertPool // with Verify: who may vouch for it; nil means the system's
}

// Hop is a host about to be used for a destination.
type Hop struct {
	Destination string // a domain or address literal
	Host        string // the name of the host, as MX gives it
}

// Policy says what a host must offer. It is asked for each connection, also
// before a kept one is used again, and may look things up, which should be
// remembered. An error keeps the message back from this host.
type Policy func(context.Context, Hop) (Need, error)

// OpportunisticTLS is the Policy of a world without policies: whatever the host
// offers is better than nothing (RFC 7435).
func OpportunisticTLS(context.Context, Hop) (Need, error) {
	return Need{Level: Opportunistic}, nil
}

// Route is a configured way around MX.
type Route struct {
	Name string // a destination of "route:" and this name goes here
	Via  string // a host or address, with or without port
	TLS  Level
	// TLSName is the name in its certificate if that is not the host of Via.
	TLSName string
	User    string // to sign in as; empty: no signing in
	// Password returns the password of User, each time it is needed.
	Password func() (string, error)

	target target // its one host
}

// parse makes the target out of Via.
func (r *Route) parse(port uint16) error {
	name := r.Via
	if h, p, err := net.SplitHostPort(r.Via); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("route %s: %q has no valid port", r.Name, r.Via)
		}
		name, port = h, uint16(n)
	}
	h := host{port: port}
	if ip, err := netip.ParseAddr(name); err == nil {
		h.ip = ip
	} else if d, err := addr.ParseDomain(name); err != nil {
		return fmt.Errorf("route %s: %q is not a host or address", r.Name, r.Via)
	} else if ip, ok := d.IP(); ok {
		h.ip = ip
	} else {
		h.name = string(d)
	}
	if r.TLSName == "" {
		r.TLSName = h.name
		if h.ip.IsValid() {
			r.TLSName = h.ip.String()
		}
	}
	r.target = target{destination: "route:" + r.Name, route: r, groups: [][]host{{h}}}
	return nil
}

// need returns what a host of t must offer.
func (s *Sender) need(ctx context.Context, t *target, h host) (Need, error) {
	if r := t.route; r != nil {
		return Need{r.TLS, r.TLSName, s.o.Roots}, nil
	}
	n, err := s.o.Policy(ctx, Hop{t.destination, h.String()})
	if err != nil {
		return n, later(h.String(), err, 451, "4.7.0", "what "+h.String()+" must offer is not known at the moment")
	}
	return n, nil
}

// config returns the TLS that a need asks for.
func (s *Sender) config(n Need, h host) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12, // RFC 8996
		ServerName:         h.name,
		Time:               s.o.Clock.Now,
		ClientSessionCache: s.sessions,
		// Who answers an opportunistic connection need not prove anything:
		// the alternative is no encryption at all.
		InsecureSkipVerify: n.Level != Verify,
	}
	if n.Level == Verify {
		c.ServerName, c.RootCAs = n.Name, n.Roots
	}
	// crypto/tls resumes a session for a stricter need only if it was
	// verified, but does not ask under which roots.
	if n.Level == Verify && n.Roots != s.o.Roots {
		c.ClientSessionCache = nil
	}
	return c
}

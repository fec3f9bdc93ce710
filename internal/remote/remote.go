// Package remote delivers messages to other servers.
//
// # Place in the path
//
// queue hands it one message, a destination and the recipients there, and
// gets an outcome for each. It finds the hosts of the destination (mx.go),
// gets a connection to one of them, kept or new (connect.go, pool.go), makes
// it as safe as transport says (policy.go), and hands the message over in as
// few transactions as the host takes (transact.go). The dialogue itself is
// smtpclient's.
//
// # Standards
//
// RFC 5321, section 5 (MX, fallback, loops), RFC 7505 (null MX), RFC 7504
// (hosts that take no mail), RFC 1870 (SIZE), RFC 6152, section 3 and RFC
// 6531, section 3.2 (what a hop does not take), RFC 3461, section 5.2.2
// (hops without DSN), RFC 9422 (LIMITS), RFC 3207 (STARTTLS), RFC 8689
// (REQUIRETLS).
//
// # What a failure says
//
// What a host answers to MAIL, RCPT or the content is about this message or
// recipient, and no other host is asked. What comes before (DNS, connecting,
// greeting, TLS, signing in) is about the host: the next one is tried, and
// when there is none the whole destination waits (Outcome.Destination). So
// does it after 421. A connection that is lost after the end of the content
// leaves its fate unknown: it is deferred, and may arrive twice (RFC 5321,
// section 4.5.4.1 prefers that).
//
// # What it trusts
//
// Neither DNS nor hosts. A destination could be made to point into our own
// network (SSRF), so the address that is dialled is checked, each time, and
// private ones are refused unless Options.Private lists them, also for
// configured routes. Credentials leave only over verified TLS.
//
// # Limits
//
// Hosts, addresses and time of an attempt; transactions of 100 recipients;
// kept connections in number and time. Lines over 998 octets go out as they
// came in: breaking them would break signatures, and a host that minds says
// so.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/reach"
	"gatepost/internal/remote/avoid"
	"gatepost/internal/resolve"
	"gatepost/internal/transport"
)

// Options of a Sender. All are required, but for the lists.
type Options struct {
	Hostname string // how we introduce ourselves
	Resolver resolve.Resolver
	Clock    clock.Clock
	Log      *slog.Logger
	// Dial opens a TCP connection to an address, which has been checked, from
	// a source address of ours; any if that is not valid.
	Dial func(ctx context.Context, source netip.Addr, to netip.AddrPort) (net.Conn, error)
	// Pick returns a number in [0, n) at random: which of several equal hosts
	// comes first.
	Pick func(n int) int

	Routes []Route
	Policy Policy         // what hosts must offer
	Proofs Proofs         // where it is kept what they did
	Roots  *x509.CertPool // who may vouch for a host; nil means the system's
	Port   uint16         // of SMTP: 25

	// Private lists networks that may be connected to although they are
	// private, loopback or the like.
	Private  []netip.Prefix
	Sources  []netip.Addr // own addresses to send from; none leaves it to the system
	IPv6     bool
	OwnNames []string // ours as mail hosts, in lower case
	OwnAddrs []netip.Addr

	ConnectTimeout time.Duration // for one address
	FindTimeout    time.Duration // after which no further address is tried
	Patience       time.Duration // shortens each step of the dialogue; 0 leaves the RFC's

	IdleTime           time.Duration // how long an unused connection is kept
	IdlePerDestination int           // kept connections to one host
	IdleTotal          int           // and in all
}

// Counters of a Sender.
type Counters struct {
	Connects        atomic.Int64 // connections made
	ConnectFailures atomic.Int64 // addresses that could not be connected to
	Refused         atomic.Int64 // addresses that may not be connected to
	Reused          atomic.Int64 // deliveries over a kept connection
	Lost            atomic.Int64 // kept connections that proved dead in use
	Handshakes      atomic.Int64 // TLS handshakes that succeeded
	Plain           atomic.Int64 // connections ready without TLS
	HandshakeFailed atomic.Int64
	Transactions    atomic.Int64
	Delivered       atomic.Int64 // recipients taken by their host
	Deferred        atomic.Int64 // recipients to be tried again
	Failed          atomic.Int64 // recipients refused for good
}

// Sender delivers to other servers. Its methods may be called from any
// goroutine.
type Sender struct {
	Counters Counters

	o        Options
	routes   map[string]*Route
	guard    reach.Guard
	pool     *pool
	avoid    avoid.List
	checker  *transport.Checker
	sessions tls.ClientSessionCache
	nextFrom atomic.Uint32 // turns the sources round
}

// sessionCache is the number of TLS sessions remembered for resumption.
const sessionCache = 4096

// New returns a Sender. It fails when a route cannot be used.
func New(o Options) (*Sender, error) {
	s := &Sender{
		o:        o,
		routes:   make(map[string]*Route, len(o.Routes)),
		guard:    reach.Guard{Private: o.Private},
		pool:     newPool(o.Clock, o.IdleTime, o.IdlePerDestination, o.IdleTotal),
		checker:  transport.NewChecker(o.Clock, o.Roots),
		sessions: tls.NewLRUClientSessionCache(sessionCache),
	}
	for i := range o.Routes {
		r := o.Routes[i]
		if err := r.parse(o.Port); err != nil {
			return nil, err
		}
		s.routes[r.Name] = &r
	}
	return s, nil
}

// Close closes the kept connections; those in use are closed by whoever uses
// them.
func (s *Sender) Close() { s.pool.close() }

// Deliver tries once to hand a message to the recipients of one destination:
// a domain, an address literal, or "route:" and a name. It returns an outcome
// for each of a.Recipients, in their order. When ctx ends, what is not
// decided is deferred.
func (s *Sender) Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome {
	d := newDelivery(s, a)
	t, err := s.target(ctx, a.Destination)
	for err == nil && len(d.pending) > 0 {
		var c *connection
		if c, err = s.connection(ctx, t, d.retry, a.Envelope); err == nil {
			err = d.over(c)
			s.done(c)
		}
	}
	d.rest(err)
	d.prove()
	s.count(d.outcomes)
	return d.outcomes
}

// count adds outcomes up.
func (s *Sender) count(outcomes []envelope.Outcome) {
	var sum [envelope.Dropped + 1]int64
	for i := range outcomes {
		sum[outcomes[i].Status]++
	}
	s.Counters.Delivered.Add(sum[envelope.Delivered] + sum[envelope.Relayed])
	s.Counters.Deferred.Add(sum[envelope.Deferred])
	s.Counters.Failed.Add(sum[envelope.Failed])
}

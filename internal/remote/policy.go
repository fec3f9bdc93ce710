package remote

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/transport"
)

// Policy decides what a host must offer, and learns what it did. It is not
// asked about routes, which have their own terms.
type Policy interface {
	// Terms returns the terms for a host. It is asked once an attempt for
	// each host that comes into question, also before a kept connection is
	// used again, and may look things up, which should be remembered.
	Terms(ctx context.Context, h transport.Hop) *transport.Terms
	// Learn is called with what came of a host under its terms: once for each
	// connection that got as far as TLS, or was refused it, and once for a
	// host that its terms refuse; then the addresses are not valid.
	Learn(c *transport.Check, local, remote netip.Addr)
}

// Proofs keeps what protection messages got.
type Proofs interface {
	// Keep is called when recipients of a message, by their index, were
	// taken by a host. It must not wait for the disk.
	Keep(e *envelope.Envelope, recipients []int, p *envelope.Proof)
}

// Route is a configured way around MX.
type Route struct {
	Name string // a destination of "route:" and this name goes here
	Via  string // a host or address, with or without port
	TLS  transport.Level
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

// asked is what is known of a host during one search.
type asked struct {
	*transport.Terms
	told bool // that they refuse the host
}

// terms returns what a host must offer.
func (f *search) terms(ctx context.Context, h host) *asked {
	if t := f.asked[h]; t != nil {
		return t
	}
	t := &asked{}
	if r := f.target.route; r != nil {
		t.Terms = transport.RouteTerms(r.TLS, r.TLSName, f.envelope.RequireTLS)
	} else {
		t.Terms = f.o.Policy.Terms(ctx, transport.Hop{
			Domain: f.target.destination, Host: h.String(), Port: h.port, IPv6: f.o.IPv6,
			Signed: f.target.signed, RequireTLS: f.envelope.RequireTLS, Optional: f.envelope.TLSOptional,
		})
	}
	f.asked[h] = t
	return t
}

// refused returns why a host must not be used at all, if that is so.
func (f *search) refused(ctx context.Context, h host) error {
	t := f.terms(ctx, h)
	if t.Refused == nil {
		return nil
	}
	if !t.told {
		f.learn(f.checker.Begin(t.Terms), netip.Addr{}, netip.Addr{})
	}
	t.told = true
	return unmet(h.String(), t.Refused)
}

// learn tells the policy what came of a host.
func (f *search) learn(k *transport.Check, local, remote netip.Addr) {
	if f.target.route == nil {
		f.o.Policy.Learn(k, local, remote)
	}
}

// prove hands over what those got whose message was taken.
func (d *delivery) prove() {
	var proved []*envelope.Proof
	for i := range d.outcomes {
		p := d.outcomes[i].Proof
		if p == nil || slices.Contains(proved, p) {
			continue
		}
		proved = append(proved, p) // one for each connection, so hardly ever several
		var taken []int
		for n, o := range d.outcomes {
			if o.Proof == p && (o.Status == envelope.Delivered || o.Status == envelope.Relayed) {
				taken = append(taken, d.Recipients[n])
			}
		}
		if len(taken) > 0 {
			d.o.Proofs.Keep(d.Envelope, taken, p)
		}
	}
}

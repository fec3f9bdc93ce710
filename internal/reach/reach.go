// Package reach says which addresses may be connected to on somebody else's
// word, and connects to them.
//
// # Place in the path
//
// Ground. remote asks it before it dials a mail host; whoever fetches
// something over HTTPS because a message or a domain said so (an MTA-STS
// policy, say) dials through a Dialer.
//
// # What it trusts
//
// Nobody's names. A domain could be made to point into our own network, at a
// database or the metadata service of a cloud (SSRF), so the address is
// checked when it is dialled, not when the name is looked up: a name that
// changes in between (DNS rebinding) gains nothing.
//
// # Limits
//
// A Dialer tries at most maxAddrs addresses of a name, within the caller's
// context.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"gatepost/internal/resolve"
)

// inside are networks that are not the Internet, beside those that
// net/netip tells (private, loopback, link-local, multicast, unspecified).
var inside = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // RFC 1122: this network
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598: carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),   // RFC 6890: protocol assignments
	netip.MustParsePrefix("240.0.0.0/4"),    // RFC 1112, and broadcast
	netip.MustParsePrefix("::/96"),          // RFC 4291: IPv4-compatible
	netip.MustParsePrefix("fec0::/10"),      // RFC 3879: site-local
	netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215: NAT64 of one's own
	netip.MustParsePrefix("2001::/32"),      // RFC 4380: Teredo, to anywhere
}

// carrying are networks of IPv6 whose addresses hold an IPv4 address, at an
// octet, that a gateway would send our connection to.
var carrying = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // RFC 6052: NAT64
	{netip.MustParsePrefix("2002::/16"), 2},     // RFC 3056: 6to4
}

// Guard knows which addresses may be connected to: those of the Internet,
// and the private or loopback networks that the operator listed.
type Guard struct{ Private []netip.Prefix }

// Lists reports whether an address is in a network that the operator listed.
func (g Guard) Lists(ip netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	return slices.ContainsFunc(g.Private, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Permits reports whether an address may be connected to.
func (g Guard) Permits(ip netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	if g.Lists(ip) {
		return true
	}
	for _, p := range inside {
		if p.Contains(ip) {
			return false
		}
	}
	for _, c := range carrying {
		if c.prefix.Contains(ip) {
			b := ip.As16()
			return g.Permits(netip.AddrFrom4([4]byte(b[c.at : c.at+4])))
		}
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// maxAddrs is how many addresses of a name are tried.
const maxAddrs = 4

// ErrForbidden says that a name has no address that may be connected to.
var ErrForbidden = errors.New("the address is not on the Internet ([remote] private)")

// Dialer connects to names, but only where its Guard permits. All fields are
// required.
type Dialer struct {
	Guard    Guard
	Resolver resolve.Resolver
	IPv6     bool
	// Dial opens a TCP connection to an address, which has been checked.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// DialContext connects to a host and port over TCP, as an http.Transport
// wants it. The error of the last address that was tried is returned.
func (d *Dialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	ips, err := d.addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips[:min(len(ips), maxAddrs)] {
		if !d.Guard.Permits(ip) {
			err = fmt.Errorf("%s: %w", ip, ErrForbidden)
			continue
		}
		var c net.Conn
		if c, err = d.Dial(ctx, netip.AddrPortFrom(ip, uint16(n))); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// addrs looks a host up, unless it is an address.
func (d *Dialer) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	return resolve.Addrs(ctx, d.Resolver, host, d.IPv6)
}

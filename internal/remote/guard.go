package remote

import (
	"net/netip"
	"sync"
	"time"
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

// permitted reports whether an address may be connected to. Without this a
// domain, or whoever can set a route, could make us talk to what only we can
// reach (SSRF).
func (s *Sender) permitted(ip netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	for _, p := range s.o.Private {
		if p.Contains(ip) {
			return true
		}
	}
	for _, p := range inside {
		if p.Contains(ip) {
			return false
		}
	}
	for _, c := range carrying {
		if c.prefix.Contains(ip) {
			b := ip.As16()
			return s.permitted(netip.AddrFrom4([4]byte(b[c.at : c.at+4])))
		}
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// Bounds of remembering what does not answer.
const (
	avoidFor = time.Minute
	avoidMax = 4096 // addresses
)

// avoided remembers addresses that could not be connected to, so that not
// each message waits for the same dead host, or for a family that does not
// work, while another way is open.
type avoided struct {
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

// add remembers a failure.
func (a *avoided) add(to netip.AddrPort, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.until) >= avoidMax {
		clear(a.until) // all are tried again: nothing worse than waiting
	}
	a.until[to] = now.Add(avoidFor)
}

// has reports whether an address failed a short time ago.
func (a *avoided) has(to netip.AddrPort, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.until[to]
	if ok && !now.Before(until) {
		delete(a.until, to)
		return false
	}
	return ok
}

package remote

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// Bounds of what is tried.
const (
	maxHosts = 10 // hosts of a destination that are considered
	maxAddrs = 4  // addresses of a host
	maxTries = 10 // addresses that one attempt dials
)

// target is where a destination's mail goes.
type target struct {
	destination string
	route       *Route // nil where MX decides
	signed      bool   // DNSSEC vouches for the names of the hosts
	// groups are the hosts, those of equal preference together and the most
	// preferred first.
	groups [][]host
}

// host is one server of a target.
type host struct {
	name string     // to be looked up
	ip   netip.Addr // instead of a name
	port uint16
}

// String returns the host as people read it.
func (h host) String() string {
	if h.ip.IsValid() {
		return string(addr.Literal(h.ip))
	}
	return h.name
}

// target finds the hosts of a destination.
func (s *Sender) target(ctx context.Context, destination string) (*target, error) {
	if name, ok := strings.CutPrefix(destination, "route:"); ok {
		if r := s.routes[name]; r != nil {
			return &r.target, nil
		}
		return nil, later("", nil, 451, "4.3.5", "the route "+name+" is not configured")
	}
	t := &target{destination: destination}
	if ip, ok := addr.Domain(destination).IP(); ok {
		t.groups = [][]host{{{ip: ip, port: s.o.Port}}}
		return t, nil
	}
	watched := &resolve.Watcher{Resolver: s.o.Resolver}
	list, err := s.exchanges(ctx, watched, destination)
	if err != nil {
		return nil, err
	}
	t.groups, t.signed = s.group(list), watched.Secure()
	if len(t.groups) == 0 {
		return nil, loop(destination)
	}
	return t, nil
}

// exchanges looks up the MX of a domain; a domain that has none is its own
// (RFC 5321, section 5.1).
func (s *Sender) exchanges(ctx context.Context, r resolve.Resolver, domain string) ([]resolve.Exchange, error) {
	list, err := resolve.MX(ctx, r, domain)
	switch {
	case err == nil:
		return list, nil
	case errors.Is(err, resolve.ErrNullMX): // RFC 7505, section 4.1
		return nil, never("", nil, 556, "5.1.10", "the domain "+domain+" does not take mail")
	case resolve.NXDomain(err):
		return nil, never("", nil, 550, "5.1.2", "the domain "+domain+" does not exist")
	case errors.Is(err, resolve.ErrNotFound):
		return []resolve.Exchange{{Host: domain}}, nil
	}
	return nil, dnsLater(domain, err)
}

// group puts hosts in order of preference, equal ones in random order to
// spread the load (RFC 5321, section 5.1). It leaves out ourselves and all
// that are no more preferred: they would only bring the mail back to us.
func (s *Sender) group(list []resolve.Exchange) [][]host {
	for i := len(list) - 1; i > 0; i-- {
		j := s.o.Pick(i + 1)
		list[i], list[j] = list[j], list[i]
	}
	slices.SortStableFunc(list, func(a, b resolve.Exchange) int { return int(a.Preference) - int(b.Preference) })
	for i := range list {
		if slices.Contains(s.o.OwnNames, list[i].Host) {
			list = slices.DeleteFunc(list, func(e resolve.Exchange) bool { return e.Preference >= list[i].Preference })
			break
		}
	}
	list = list[:min(len(list), maxHosts)]
	hosts := make([]host, len(list))
	var groups [][]host
	for i, start := 0, 0; i < len(list); i++ {
		hosts[i] = host{name: list[i].Host, port: s.o.Port}
		if i+1 == len(list) || list[i+1].Preference != list[start].Preference {
			groups = append(groups, hosts[start:i+1])
			start = i + 1
		}
	}
	return groups
}

// address is one address of one host.
type address struct {
	host host
	to   netip.AddrPort
}

// addresses looks up one group of hosts. An error says why there is none;
// errLoop that one of the hosts is ourselves, so that it and its equals, and
// all that are less preferred, are no way to go.
func (f *search) addresses(ctx context.Context, group []host) ([]address, error) {
	list := make([]address, 0, 2*len(group))
	var failed error
	for _, h := range group {
		if failed != nil && f.late() {
			break
		}
		ips, err := f.lookup(ctx, h)
		if err != nil {
			failed = worst(failed, err)
			continue
		}
		if f.target.route == nil && slices.ContainsFunc(ips, f.ours) {
			return nil, errLoop
		}
		for _, ip := range alternate(ips) {
			list = append(list, address{h, netip.AddrPortFrom(ip, h.port)})
		}
	}
	if len(list) == 0 {
		return nil, failed
	}
	return list, nil
}

// errLoop says that a host is ourselves.
var errLoop = errors.New("the host is this server")

func (s *Sender) ours(ip netip.Addr) bool { return slices.Contains(s.o.OwnAddrs, ip) }

// lookup returns the addresses of a host.
func (s *Sender) lookup(ctx context.Context, h host) ([]netip.Addr, error) {
	if h.ip.Is6() && !h.ip.Is4In6() && !s.o.IPv6 {
		return nil, never(h.String(), nil, 550, "5.4.4", "IPv6 is switched off here, and "+h.String()+" needs it")
	}
	if h.ip.IsValid() {
		return []netip.Addr{h.ip.Unmap()}, nil
	}
	ips, err := resolve.Addrs(ctx, s.o.Resolver, h.name, s.o.IPv6)
	switch {
	case err == nil:
		return ips, nil
	case errors.Is(err, resolve.ErrNotFound):
		return nil, never(h.name, nil, 550, "5.4.4", "the mail host "+h.name+" has no address")
	}
	return nil, dnsLater(h.name, err)
}

// alternate orders addresses so that each family gets its turn, IPv6 first:
// where one does not work the other is next.
func alternate(ips []netip.Addr) []netip.Addr {
	n := max(0, slices.IndexFunc(ips, netip.Addr.Is4)) // those of IPv6 come first
	six, four := ips[:n], ips[n:]
	mixed := make([]netip.Addr, 0, len(ips))
	for len(mixed) < len(ips) {
		if len(six) > 0 {
			mixed, six = append(mixed, six[0]), six[1:]
		}
		if len(four) > 0 {
			mixed, four = append(mixed, four[0]), four[1:]
		}
	}
	return mixed[:min(len(mixed), maxAddrs)]
}

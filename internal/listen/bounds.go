package listen

import (
	"net/netip"
	"slices"
	"sync"
)

// Limits bound the connections of all doors together.
type Limits struct {
	Connections int // in all
	PerAddress  int
	PerNetwork  int // of a /24 or /64
	// Exempt are networks that only Connections bounds: clients in [relay]
	// networks, which are ours.
	Exempt []netip.Prefix
	// Proxies pass on connections of others, and say whose they are: each is
	// counted for whom it is.
	Proxies []netip.Prefix
}

// Bounds counts connections against Limits. Its methods may be called from
// any goroutine.
type Bounds struct {
	mu        sync.Mutex
	limits    Limits
	all       int
	addresses map[netip.Addr]int
	networks  map[netip.Prefix]int
}

// NewBounds returns bounds that nobody has touched yet.
func NewBounds(l Limits) *Bounds {
	return &Bounds{limits: l, addresses: map[netip.Addr]int{}, networks: map[netip.Prefix]int{}}
}

// Set changes the limits. Connections that exceed the new ones stay.
func (b *Bounds) Set(l Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = l
}

// Enter counts a connection in, unless it is one too many. Whoever was let in
// calls Leave once.
func (b *Bounds) Enter(from netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all >= b.limits.Connections || !b.fits(from) {
		return false
	}
	b.enter(from)
	return true
}

// Move counts a connection that a proxy began for its client instead, unless
// that is one too many of the client's; then it stays the proxy's.
func (b *Bounds) Move(proxy, client netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(client) {
		return false
	}
	b.leave(proxy)
	b.enter(client)
	return true
}

// fits reports whether an address and its network may have one more.
func (b *Bounds) fits(from netip.Addr) bool {
	return b.addresses[from] < b.limits.PerAddress && b.networks[networkOf(from)] < b.limits.PerNetwork ||
		contains(b.limits.Exempt, from) || contains(b.limits.Proxies, from)
}

func (b *Bounds) enter(from netip.Addr) {
	b.all++
	b.addresses[from]++
	b.networks[networkOf(from)]++
}

// Leave counts a connection out.
func (b *Bounds) Leave(from netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leave(from)
}

func (b *Bounds) leave(from netip.Addr) {
	b.all--
	release(b.addresses, from)
	release(b.networks, networkOf(from))
}

// IsProxy reports whether connections from an address are passed on.
func (b *Bounds) IsProxy(from netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return contains(b.limits.Proxies, from)
}

// Open returns the number of connections.
func (b *Bounds) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// release keeps no entry for who is not there.
func release[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// networkOf returns the network that one client is likely to own.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits) // the zero prefix for the zero address
	return p
}

package listen

import (
	"net/netip"
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
	net := networkOf(from)
	if b.all >= b.limits.Connections {
		return false
	}
	if (b.addresses[from] >= b.limits.PerAddress || b.networks[net] >= b.limits.PerNetwork) && !b.exempt(from) {
		return false
	}
	b.all++
	b.addresses[from]++
	b.networks[net]++
	return true
}

// Leave counts a connection out.
func (b *Bounds) Leave(from netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	release(b.addresses, from)
	release(b.networks, networkOf(from))
}

// Open returns the number of connections.
func (b *Bounds) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

func (b *Bounds) exempt(from netip.Addr) bool {
	for _, p := range b.limits.Exempt {
		if p.Contains(from) {
			return true
		}
	}
	return false
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

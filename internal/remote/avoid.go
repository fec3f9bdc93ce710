package remote

import (
	"net/netip"
	"sync"
	"time"
)

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

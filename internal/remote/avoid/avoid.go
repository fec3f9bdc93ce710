// Package avoid remembers addresses that could not be connected to, so that
// not each message waits for the same dead host, or for a family that does
// not work, while another way is open. It belongs to remote.
package avoid

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of remembering.
const (
	life = time.Minute
	most = 4096 // addresses
)

// List is what is remembered. The zero value is ready, and may be used from
// any goroutine.
type List struct {
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

// Add remembers a failure.
func (l *List) Add(to netip.AddrPort, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == nil || len(l.until) >= most {
		l.until = map[netip.AddrPort]time.Time{} // all are tried again: nothing worse than waiting
	}
	l.until[to] = now.Add(life)
}

// Has reports whether an address failed a short time ago.
func (l *List) Has(to netip.AddrPort, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.until[to]
	if ok && !now.Before(until) {
		delete(l.until, to)
		return false
	}
	return ok
}

package remote

import (
	"net/netip"
	"sync"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/smtpclient"
)

// maxAge is how long one connection is used, so that the load moves on when
// a host's address does.
const maxAge = 5 * time.Minute

// key tells which kept connections are as good as a new one: to the same
// address, with the same promises, signed in the same way.
type key struct {
	to    netip.AddrPort
	route string // by its name, since its user may be signed in
	terms string // that it met
}

// connection is a connection that is ready for a message.
type connection struct {
	*smtpclient.Conn
	host   string // as people read it
	local  netip.Addr
	key    key
	proof  *envelope.Proof // what it got
	opened time.Time

	release func() bool // ends its bond with the delivery's context
	reused  bool        // it has been kept, so it may be dead
	idle    time.Time   // since when it is kept
}

// pool keeps connections for the next message. A timer runs only while it
// keeps any.
type pool struct {
	clock    clock.Clock
	idleTime time.Duration
	each     int // connections of one key
	total    int

	mu     sync.Mutex
	kept   map[key][]*connection // used last at the end
	count  int
	timer  clock.Timer // nil while nothing is kept
	closed bool
}

func newPool(c clock.Clock, idleTime time.Duration, each, total int) *pool {
	return &pool{clock: c, idleTime: idleTime, each: each, total: total, kept: map[key][]*connection{}}
}

// put keeps a connection, or says goodbye to it if there are enough.
func (p *pool) put(c *connection) {
	if !p.tryPut(c) {
		c.Quit()
	}
}

func (p *pool) tryPut(c *connection) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.idle = p.clock.Now()
	if p.closed || p.count >= p.total || len(p.kept[c.key]) >= p.each || c.idle.Sub(c.opened) > maxAge {
		return false
	}
	p.kept[c.key] = append(p.kept[c.key], c)
	p.count++
	if p.timer == nil {
		p.timer = p.clock.AfterFunc(p.idleTime, p.sweep)
	}
	return true
}

// take returns a kept connection that is alive, nil if there is none.
func (p *pool) take(k key) *connection {
	for {
		c := p.pop(k)
		if c == nil {
			return nil
		}
		if c.Alive() {
			c.reused = true
			return c
		}
		c.Quit()
	}
}

// pop removes the connection that was used last: the others may then grow
// old and be closed.
func (p *pool) pop(k key) *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.kept[k]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	p.kept[k] = list[:len(list)-1]
	p.count--
	return c
}

// sweep closes what has been idle for too long.
func (p *pool) sweep() {
	for _, c := range p.expired(p.clock.Now()) {
		c.Quit()
	}
}

// expired removes what is too old, and sets the timer for what is left.
func (p *pool) expired(now time.Time) []*connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	var old []*connection
	next := p.idleTime
	for k, list := range p.kept {
		n := 0
		for n < len(list) && (p.closed || now.Sub(list[n].idle) >= p.idleTime) {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(p.kept, k)
			continue
		}
		p.kept[k] = append([]*connection(nil), list[n:]...)
		next = min(next, p.idleTime-now.Sub(list[n].idle))
	}
	p.count -= len(old)
	switch {
	case p.timer == nil:
	case len(p.kept) == 0:
		p.timer.Stop()
		p.timer = nil
	default:
		p.timer.Reset(next)
	}
	return old
}

// close closes all that is kept, and keeps nothing any more.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.sweep()
}

package daemon

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/smtpd"
)

const (
	// lull is how long nothing must have happened for a server to be quiet.
	lull = 10 * time.Second
	// warmUp is how long after a start its garbage is given back, quiet or not.
	warmUp = time.Second
)

// calm gives memory back to the system once a server has started, and each
// time it has become quiet. What a start or a burst took, garbage and the
// grown stacks of sessions that now only wait, would stay with the process
// until the next burst.
type calm struct {
	clock clock.Clock
	work  func() int64 // how much has happened since the start
	free  func()

	mu    sync.Mutex
	warm  bool // it is past its warm-up
	seen  int64
	freed bool // since anything happened
	timer clock.Timer
	ended bool
}

// watch begins to look, after the warm-up and then every lull, until the function it returns is called.
func (c *calm) watch() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = c.clock.AfterFunc(warmUp, c.look)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
		c.timer.Stop()
	}
}

func (c *calm) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	switch n := c.work(); {
	case !c.warm:
		c.free()
		c.warm, c.seen = true, n
	case n != c.seen:
		c.seen, c.freed = n, false
	case !c.freed:
		c.free()
		c.freed = true
	}
	c.timer.Reset(lull)
}

// work counts what happens in a server.
func (s *Server) work() int64 {
	n := s.parts.spool.Counters.Batches.Load()
	for _, d := range settings.Doors {
		n += int64(s.sum(d, func(c *smtpd.Counters) *atomic.Int64 { return &c.Sessions }))
	}
	return n
}

// freeMemory collects garbage twice, since a stack shrinks by half each time.
func freeMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}

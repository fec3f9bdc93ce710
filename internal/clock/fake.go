package clock

import (
	"sync"
	"time"
)

// Fake is a Clock for tests that stands still until it is told to move.
type Fake struct {
	mu      sync.Mutex
	now     time.Time
	pending map[*fakeTimer]bool
}

// NewFake returns a clock that shows now.
func NewFake(now time.Time) *Fake {
	return &Fake{now: now, pending: map[*fakeTimer]bool{}}
}

// Now returns the time that the clock was last set to.
func (c *Fake) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc registers f to be called by the Advance that reaches d from now.
func (c *Fake) AfterFunc(d time.Duration, f func()) Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{clock: c, at: c.now.Add(d), f: f}
	c.pending[t] = true
	return t
}

// Advance moves the clock by d, stopping at each timer on the way in order
// of time. Unlike the system's clock it calls them one after the other in
// the caller's goroutine, so that a test knows they are done.
func (c *Fake) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for {
		next := c.due(end)
		if next == nil {
			break
		}
		delete(c.pending, next)
		if next.at.After(c.now) {
			c.now = next.at
		}
		c.mu.Unlock()
		next.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

// Jump sets the wall clock without any time passing: no timer fires, as
// when an operator or NTP steps the clock.
func (c *Fake) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.pending {
		t.at = t.at.Add(d)
	}
}

// Pending returns how many calls have not happened yet.
func (c *Fake) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// due returns the earliest timer that is not after end.
func (c *Fake) due(end time.Time) *fakeTimer {
	var next *fakeTimer
	for t := range c.pending {
		if !t.at.After(end) && (next == nil || t.at.Before(next.at)) {
			next = t
		}
	}
	return next
}

type fakeTimer struct {
	clock *Fake
	at    time.Time
	f     func()
}

func (t *fakeTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.clock.pending[t]
	delete(t.clock.pending, t)
	return was
}

func (t *fakeTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.clock.pending[t]
	t.at = t.clock.now.Add(d)
	t.clock.pending[t] = true
	return was
}

package signin

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/internal/clock"
)

// However many codes are tried at the same time, so many are looked at in an
// hour, of each account.
func TestGuesses(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	g := newGuesses(c)
	in := func() int64 {
		var n atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if g.enter(7) {
					n.Add(1)
				}
			})
		}
		all.Wait()
		return n.Load()
	}
	if n := in(); n != maxGuesses {
		t.Errorf("%d are looked at", n)
	}
	if !g.enter(8) {
		t.Error("another account has no room")
	}
	g.right(7)
	if n := in(); n != 1 {
		t.Errorf("%d after one was right", n)
	}
	c.Advance(guessTime - time.Second)
	if g.enter(7) {
		t.Error("before the hour is over")
	}
	c.Advance(time.Second)
	if n := in(); n != maxGuesses {
		t.Errorf("%d in the next hour", n)
	}
}

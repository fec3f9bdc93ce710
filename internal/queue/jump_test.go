package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
)

// jumpy is the clock of a machine whose wall clock can be set: what it shows
// jumps, the time that passes does not. In a bubble time.Now has no monotonic
// reading, so all times descend from one that was taken outside.
type jumpy struct {
	clock.Clock
	began time.Time // by the bubble
	base  time.Time // the same moment, with a monotonic reading
	off   time.Duration
}

func newJumpy(outside time.Time) *jumpy {
	began := time.Now()
	outside = outside.Add(time.Duration(began.Nanosecond() - outside.Nanosecond()))
	return &jumpy{Clock: clock.System, began: began, base: jumped(outside, began.Sub(outside.Round(0)))}
}

func (c *jumpy) Now() time.Time { return jumped(c.base.Add(time.Since(c.began)), c.off) }

// jumped moves the wall clock's part of a time and leaves the monotonic one,
// which package time lets nobody do: 33 bits of seconds above 30 of
// nanoseconds, beside a flag (the comment at time.Time).
func jumped(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(d/time.Second) << 30
	return t
}

// The clock that jumps does what the tests below believe.
func TestJumpy(t *testing.T) {
	t.Parallel()
	outside := time.Now()
	synctest.Test(t, func(t *testing.T) {
		c := newJumpy(outside)
		for _, d := range jumps {
			before := c.Now()
			if !before.Round(0).Equal(time.Now().Add(c.off)) {
				t.Errorf("it shows %v when it is %v", before, time.Now().Add(c.off))
			}
			c.off += d
			time.Sleep(time.Second)
			after := c.Now()
			if wall, passed := after.Round(0).Sub(before.Round(0)), after.Sub(before); wall != d+time.Second || passed != time.Second {
				t.Errorf("%v: the wall clock moved by %v and the other by %v", d, wall, passed)
			}
		}
	})
}

// jumps are by how much the wall clock is set, in the tests below.
var jumps = []time.Duration{24 * time.Hour, -24 * time.Hour, 100 * 24 * time.Hour, -100 * 24 * time.Hour}

// inJumpyWorld runs a test for each jump.
func inJumpyWorld(t *testing.T, f func(t *testing.T, w *world, jump func())) {
	t.Parallel()
	for _, d := range jumps {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			t.Parallel()
			outside := time.Now()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := newJumpy(outside)
				w.o.Clock = c
				w.start()
				f(t, w, func() {
					w.q.mu.Lock()
					defer w.q.mu.Unlock()
					c.off += d
				})
				w.q.Stop(t.Context())
			})
		})
	}
}

// When the wall clock jumps, attempts go on as if it had not: none at once,
// none left out, and nothing is given up.
func TestWallClockJumps(t *testing.T) {
	inJumpyWorld(t, func(t *testing.T, w *world, jump func()) {
		w.remote.set("grey.example", greylist, 0)
		w.remote.set("dead.example", noAnswer, 0)
		id := w.send(mail("bob@grey.example", "carl@dead.example"))
		w.pass(10 * time.Minute) // at 0, 0:30, 2:30, 7:30; the next is near 22:30
		before := len(w.remote.to("grey.example"))
		jump()
		w.pass(8 * time.Minute)
		if n := len(w.remote.to("grey.example")); before != 4 || n != before {
			t.Errorf("%d attempts before the jump and %d after it, want 4 and none", before, n-before)
		}
		w.pass(10 * time.Minute)
		if n := len(w.remote.to("grey.example")); n != before+1 {
			t.Errorf("%d attempts when one was due", n-before)
		}
		w.pass(3 * time.Hour)
		w.want(id, envelope.Deferred, envelope.Deferred)
		w.remote.set("grey.example", delivered, 0)
		w.remote.set("dead.example", delivered, 0)
		w.pass(longest)
		w.want(id, envelope.Delivered, envelope.Delivered)
	})
}

// It jumps between two starts: what is left is tried within the longest of
// all waits, and not given up.
func TestWallClockJumpsBetweenStarts(t *testing.T) {
	inJumpyWorld(t, func(t *testing.T, w *world, jump func()) {
		w.remote.set("grey.example", greylist, 0)
		id := w.send(mail("bob@grey.example"))
		w.pass(time.Hour)
		jump()
		w.restart(time.Minute)
		w.pass(50 * time.Minute)
		w.want(id, envelope.Deferred)
		w.remote.set("grey.example", delivered, 0)
		w.pass(longest)
		w.want(id, envelope.Delivered)
	})
}

// What can never be delivered is given up after its lifetime: not before,
// and later by no more than the wall clock was set back.
func TestWallClockJumpsAndMailIsOld(t *testing.T) {
	inJumpyWorld(t, func(t *testing.T, w *world, jump func()) {
		w.remote.set("grey.example", greylist, 0)
		id := w.send(mail("bob@grey.example"))
		w.pass(time.Hour)
		c := w.o.Clock.(*jumpy)
		jump()
		w.pass(w.o.Lifetime - time.Hour - time.Minute)
		w.want(id, envelope.Deferred)
		w.pass(max(0, -c.off) + longest)
		w.want(id, envelope.Failed)
	})
}

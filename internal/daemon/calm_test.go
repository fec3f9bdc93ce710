package daemon

import (
	"testing"
	"time"

	"gatepost/internal/clock"
)

// Memory is given back after the start and once in each lull, and not while
// anything happens.
func TestCalm(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(1e9, 0))
	var work int64
	freed := 0
	calm := &calm{clock: c, work: func() int64 { return work }, free: func() { freed++ }}
	end := calm.watch()
	work = 1
	c.Advance(warmUp)
	if freed != 1 {
		t.Errorf("freed %d times after the start", freed)
	}
	freed = 0
	for i, step := range []struct {
		work int64
		want int
	}{{5, 0}, {9, 0}, {9, 1}, {9, 1}, {10, 1}, {10, 2}, {10, 2}} {
		work = step.work
		c.Advance(lull)
		if freed != step.want {
			t.Errorf("step %d: freed %d times, want %d", i, freed, step.want)
		}
	}
	end()
	work = 11
	c.Advance(5 * lull)
	if freed != 2 {
		t.Error("it looks on after its end")
	}
}

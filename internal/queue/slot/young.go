package slot

import (
	"slices"
	"time"
)

// Young bounds the slots that were given a moment ago. What their holders do
// first (look up, connect, greet) takes processors, here and on the hosts that
// they talk to; where these are the bound, more at once finish no sooner and
// everybody's takes the longer, also that of a single message to somebody else.
// Whoever takes longer than Age waits for the network and counts no more: those
// are bounded by the pool.
type Young struct {
	Max int // 0: any number
	Age time.Duration

	since []time.Duration // when each of them was given, in order
}

// full reports whether no further slot may be given.
func (y *Young) full() bool { return y.Max > 0 && len(y.since) >= y.Max }

// grow forgets those that are not young any more.
func (y *Young) grow(now time.Duration) {
	n := 0
	for n < len(y.since) && now-y.since[n] >= y.Age {
		n++
	}
	y.since = slices.Delete(y.since, 0, n)
}

func (y *Young) add(now time.Duration) {
	if y.Max > 0 {
		y.since = append(y.since, now)
	}
}

// remove forgets one that was given at a time, if it is young still.
func (y *Young) remove(given time.Duration) {
	if i := slices.Index(y.since, given); i >= 0 {
		y.since = slices.Delete(y.since, i, i+1)
	}
}

package spool

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/envelope"
)

// The wall clock jumps between messages: all are there after a start, each
// under an id of its own and with the time of its next attempt as it was
// given.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		w.mustOpen()
		want := map[envelope.ID]bool{}
		for _, jump := range []time.Duration{0, day, -2 * day, day, -30 * 365 * day, 60 * 365 * day, -30 * 365 * day} {
			w.clock.Jump(jump)
			for range 3 {
				tr := w.commit(2, 2000)
				w.change(tr, 0, promise{status: envelope.Deferred, attempts: 1, next: w.clock.Now().Add(time.Hour).Truncate(time.Second), reason: "later"})
				want[tr.id] = true
			}
			w.still()
		}
		for range 2 { // replayed, and then from what the first start left
			if err := w.s.Close(); err != nil {
				t.Fatal(err)
			}
			w.mustOpen()
			w.check("after a start")
			got := map[envelope.ID]bool{}
			w.s.Each(func(e *envelope.Envelope) bool {
				got[e.ID] = true
				return true
			})
			if len(want) != 21 || !maps.Equal(got, want) {
				t.Errorf("there are %v, want %v", got, want)
			}
			w.clock.Jump(-day)
		}
		w.s.Close()
	})
}

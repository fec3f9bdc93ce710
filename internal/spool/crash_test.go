package spool

import (
	"fmt"
	"testing"
	"testing/synctest"

	"gatepost/internal/envelope"
)

// TestRestart checks that nothing changes over restarts without a crash,
// and that the disk stays in its bound.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 42)
		w.mustOpen()
		for i := range 1500 {
			w.step()
			if i%100 == 99 {
				w.still()
				w.check(fmt.Sprint("step ", i))
				w.checkDisk()
				if err := w.s.Close(); err != nil {
					t.Fatal(err)
				}
				w.mustOpen()
				w.check(fmt.Sprint("restart after step ", i))
				if w.report.Scanned != 0 || w.report.Torn != 0 || w.report.Orphans != 0 {
					t.Fatalf("a clean start found %+v", w.report)
				}
			}
		}
		t.Logf("moved %d, reclaimed %d, live %d", w.s.Counters.Moved.Load(), w.s.Counters.Reclaimed.Load(), w.s.Counters.Live.Load())
		for _, tr := range w.truths {
			for k := range tr.env.Recipients {
				w.change(tr, k, promise{status: envelope.Dropped})
			}
		}
		w.still()
		w.check("all done")
		w.checkDisk()
		w.s.Close()
	})
}

// checkDisk holds the bound of the disk.
func (w *world) checkDisk() {
	w.t.Helper()
	w.s.mu.Lock()
	live := w.s.l.Live
	w.s.mu.Unlock()
	if disk := w.fs.Used(spoolDir); disk >= 2*live+4*w.size+1 {
		w.t.Errorf("%d octets on disk for %d live ones", disk, live)
	}
}

package spool

import (
	"fmt"
	"testing"
	"testing/synctest"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// stopAt makes the machine stop at its nth operation; what makes things
// durable then does not happen, anything else is left unsynced.
func stopAt(fs *crashfs.FS, n int) *int {
	count := new(int)
	fs.Hook = func(op crashfs.Op) error {
		switch op.Kind {
		case crashfs.Read, crashfs.List, crashfs.Open:
			return nil
		}
		if *count++; *count == n {
			return crashfs.ErrStopped
		}
		return nil
	}
	return count
}

// TestCrashEverywhere stops the machine at every operation of a workload and
// lets it start again with each of several fates of what was not synced.
// Whatever the spool has promised must hold then, and once more after a
// second crash that loses all that the recovery has not made durable.
func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	for seed := range uint64(crashSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			cases := 0
			for n, more := 1, true; more; n++ {
				synctest.Test(t, func(t *testing.T) { more = crashAt(t, seed, n, &cases) })
			}
			t.Logf("%d cases", cases)
		})
	}
}

const (
	crashSeeds = 3
	crashSteps = 150
)

// crashAt reports whether the machine was stopped at its nth operation before
// the workload was over.
func crashAt(t *testing.T, seed uint64, n int, cases *int) bool {
	w := newWorld(t, seed)
	count := stopAt(w.fs, n)
	if w.open() == nil {
		for range crashSteps {
			w.step()
			w.still()
			if *count >= n {
				break
			}
		}
		if *count < n {
			t.Logf("%d operations: moved %d, reclaimed %d", *count, w.s.Counters.Moved.Load(), w.s.Counters.Reclaimed.Load())
		}
		w.fs.Stop()
		w.s.Close()
	}
	w.fs.Hook = nil
	for _, fate := range fates(seed + uint64(n)) {
		*cases++
		w.after(fate, fmt.Sprintf("stopped at operation %d, %s", n, fate.name))
	}
	return *count >= n
}

// after starts the spool again on what a crash has left, lets it work for a
// while, and crashes it once more with nothing left that was not synced.
func (w *world) after(fate fate, context string) {
	w.t.Helper()
	w = w.clone()
	w.fs = fate.left(w.fs)
	w.mustOpen()
	w.check(context)
	for range crashSteps / 10 {
		w.step()
	}
	w.still()
	w.check(context + ", and worked on")
	w.fs.Stop()
	w.s.Close()
	w.fs = w.fs.Crash(func(int) int { return 0 })
	w.mustOpen()
	w.check(context + ", and crashed again")
	w.s.Close()
	w.mustOpen()
	w.check(context + ", and closed")
	if w.report.Scanned > 0 {
		w.fatalf("%s: %d segments were closed without an index", context, w.report.Scanned)
	}
	w.s.Close()
}

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
	if disk := w.fs.Used("/spool"); disk >= 2*live+4*w.size+1 {
		w.t.Errorf("%d octets on disk for %d live ones", disk, live)
	}
}

package spool

import (
	"flag"
	"fmt"
	"math/rand/v2"

	"sync"
	"testing"
	"testing/synctest"

	"gatepost/internal/blob/crashfs"
)

// cases is how many distinct cases the explorer tries. A case is a workload,
// the operation of it at which the machine stops, and what is then on the
// disk. A few hundred are part of every run; for a long one:
//
//	go test ./internal/spool -run TestCrashEverywhere -cases 100000 -timeout 60m -v
var cases = flag.Int("cases", 400, "distinct cases that TestCrashEverywhere tries")

// Sizes of a workload: steps in all, until the spool is started again, and
// after a crash.
const (
	crashSteps = 160
	lifeSteps  = 40
	afterSteps = 15
)

// explorer stops the machine in a workload and looks at what is left.
type explorer struct {
	t     *testing.T
	seed  uint64 // of the workload
	ways  int    // how many ways, at most, to lose what was not synced
	hunt  bool
	skip  string // the place whose syncs are left out
	mu    sync.Mutex
	sites map[string]bool // places that have synced; nil: nobody wants to know
	tried int
}

// stopAt runs the workload, stops the machine at its nth operation that
// changes something, and starts it again in several ways. What makes things
// durable at n does not happen; anything else is done and not synced. It
// reports whether the workload was long enough.
func (x *explorer) stopAt(n int) (stopped bool, found error) {
	synctest.Test(x.t, func(t *testing.T) {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case violation:
				found = fmt.Errorf("workload %d, stopped at operation %d: %s", x.seed, n, p)
			default:
				panic(p)
			}
		}()
		w := newWorld(t, x.seed)
		w.hunt = x.hunt
		count := 0
		w.hook = func(op crashfs.Op) error {
			if changes(op) {
				if count++; count == n {
					stopped = true
					return crashfs.ErrStopped
				}
			}
			return x.leaveOut(op)
		}
		w.work(&stopped)
		w.hook = x.leaveOut
		if stopped {
			x.startAgain(w, n)
		}
	})
	return stopped, found
}

// changes reports whether an operation changes something on the disk.
func changes(op crashfs.Op) bool {
	switch op.Kind {
	case crashfs.Read, crashfs.List, crashfs.Open, crashfs.Size:
		return false
	}
	return true
}

// leaveOut skips the syncs of one place.
func (x *explorer) leaveOut(op crashfs.Op) error {
	if x.sites == nil || op.Kind != crashfs.Sync && op.Kind != crashfs.SyncDir {
		return nil
	}
	site := crashfs.Site()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sites[site] = true
	if site == x.skip {
		return crashfs.ErrSkipped
	}
	return nil
}

// work is the workload: what a mail server does, with restarts of every
// kind, until the machine has stopped.
func (w *world) work(stopped *bool) {
	if w.open() != nil {
		return
	}
	for i := range crashSteps {
		if i%lifeSteps == lifeSteps-1 {
			if !w.restart(stopped) {
				break
			}
			w.check(fmt.Sprintf("restart at step %d", i))
			w.learn()
		} else {
			w.step()
		}
		w.still()
		if *stopped {
			break
		}
	}
	w.fs.Stop()
	w.s.Close()
}

// restart ends the spool in good order, by the death of the process, or by
// the loss of power, and opens it again.
func (w *world) restart(stopped *bool) bool {
	kind := w.rng.IntN(3)
	if w.stray = kind > 0; w.stray {
		w.fs.Stop()
	}
	w.s.Close()
	switch {
	case *stopped:
		return false
	case kind == 1:
		w.fs.Revive()
	case kind == 2:
		w.fs = w.fs.Crash(w.rng.IntN)
	}
	return w.open() == nil && !*stopped
}

// startAgain starts the machine with each of several fates of what was not
// synced, if none before it left the same on the disk.
func (x *explorer) startAgain(w *world, n int) {
	seen := map[uint64]bool{}
	seed := x.seed<<32 + uint64(n)
	w.stray = true
	for i := range x.ways {
		name, disk := "only the process died", w.fs
		if i < x.ways-1 {
			name, disk = fmt.Sprintf("power loss %d", i), w.fs.Crash(chooser(seed, i))
			print := disk.Fingerprint()
			if seen[print] {
				continue
			}
			seen[print] = true
		} else {
			disk.Revive() // the last, since it goes on with the same disk
		}
		x.mu.Lock()
		x.tried++
		x.mu.Unlock()
		c := w.clone()
		c.fs, c.hook = disk, w.hook
		c.sow(seed + uint64(i)<<16)
		c.after(fmt.Sprintf("stopped at operation %d, %s", n, name))
	}
}

// chooser returns the ith way to choose: all lost, all kept, or any.
func chooser(seed uint64, i int) crashfs.Choose {
	if i < 2 {
		return func(int) int { return i }
	}
	return rand.New(rand.NewPCG(seed, uint64(i))).IntN
}

// after starts the spool on what a crash has left and lets it work for a
// while. Then the machine stops once more: half of the time at rest, with
// nothing left that was not synced, else at any operation, the start's own
// too, with anything left.
func (w *world) after(context string) {
	w.t.Helper()
	second, lost := w.hook, func(int) int { return 0 }
	if w.rng.IntN(2) == 0 {
		left := w.rng.IntN(80)
		lost = w.rng.IntN
		w.hook = func(op crashfs.Op) error {
			if changes(op) {
				if left--; left == 0 {
					return crashfs.ErrStopped
				}
			}
			return second(op)
		}
	}
	if w.open() == nil {
		w.still()
		if !w.fs.Stopped() {
			w.check(context)
			w.learn()
		}
		for i := 0; i < afterSteps && !w.fs.Stopped(); i++ {
			w.step()
			w.still()
		}
		if !w.fs.Stopped() {
			w.check(context + ", and worked on")
		}
		w.fs.Stop()
		w.s.Close()
	}
	w.stray, w.hook = true, second
	w.fs = w.fs.Crash(lost)
	w.mustOpen()
	w.check(context + ", and stopped again")
	w.learn()
	w.s.Close()
	w.mustOpen()
	w.check(context + ", and closed")
	if w.report.Scanned > 0 {
		w.fatalf("%s: %d segments were closed without an index", context, w.report.Scanned)
	}
	w.s.Close()
}

// TestCrashEverywhere stops the machine at the operations of many workloads
// and starts it again with each of several fates of what was not synced.
// Whatever the spool has promised must hold then, and once more after a
// second crash that loses all that the recovery has not made durable.
//
// In a short run each workload is stopped at operations some way apart; in a
// long one at every operation.
func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	const perStop, workers = 5, 4
	stride := max(1, workers*4*crashSteps*perStop / *cases)
	total := 0
	for seed := uint64(0); total < *cases; seed += workers {
		explorers := make([]*explorer, workers)
		t.Run(fmt.Sprint("from ", seed), func(t *testing.T) {
			for i := range explorers {
				x := &explorer{seed: seed + uint64(i), ways: 10}
				if explorers[i] = x; stride > 1 {
					x.ways = perStop
				}
				t.Run(fmt.Sprint(x.seed), func(t *testing.T) {
					t.Parallel()
					x.t = t
					for n, more := 1+int(x.seed)*stride/workers, true; more; n += stride {
						more, _ = x.stopAt(n)
					}
				})
			}
		})
		for _, x := range explorers {
			total += x.tried
		}
		if t.Failed() {
			break
		}
		if stride == 1 {
			t.Logf("%d cases", total)
		}
	}
	t.Logf("%d distinct cases", total)
}

package spool

import (
	"errors"
	"flag"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"

	"gatepost/internal/blob/crashfs"
)

var allFaults = flag.Bool("faults", false, "TestFaults fails every operation of its workloads, not a part of them")

// fault is one way in which a disk fails: from the nth operation of a kind
// on, once or until it is cleared.
type fault struct {
	kind crashfs.Kind // of which operations; empty: all
	n    int
	err  error
	long bool
}

func (f fault) String() string {
	how := "once"
	if f.long {
		how = "until it is cleared"
	}
	kind := f.kind
	if kind == "" {
		kind = "any"
	}
	return fmt.Sprintf("%v at operation %d (%s), %s", f.err, f.n, kind, how)
}

// TestFaults lets every operation of a workload fail, once or until the fault
// is cleared a while later. Whatever fails, nothing that was acknowledged is
// lost; when the fault is over, mail is taken at once, and everything is
// there after another start.
func TestFaults(t *testing.T) {
	t.Parallel()
	kinds := []crashfs.Kind{
		crashfs.Create, crashfs.Open, crashfs.Read, crashfs.Write, crashfs.Push, crashfs.Sync, crashfs.Rename,
		crashfs.Remove, crashfs.Mkdir, crashfs.List, crashfs.Size, crashfs.SyncDir, "",
	}
	for i, kind := range kinds {
		t.Run(fmt.Sprint("every ", kind), func(t *testing.T) {
			t.Parallel()
			tried := 0
			for k, err := range []error{syscall.EIO, syscall.ENOSPC} {
				for _, long := range []bool{false, true} {
					tried += failEach(t, uint64(i), 1+k, fault{kind: kind, err: err, long: long})
				}
			}
			t.Logf("%d faults", tried)
			if tried < 4 {
				t.Errorf("only %d faults", tried)
			}
		})
	}
}

// failEach lets f happen at every operation of its kind, or at one of some.
func failEach(t *testing.T, seed uint64, first int, f fault) (tried int) {
	stride := 1
	for f.n = first; ; f.n += stride {
		var happened bool
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			w.bulky = f.kind == crashfs.Remove
			happened = w.suffer(f)
		})
		if !happened {
			return tried
		}
		if tried++; !*allFaults {
			stride += 1 + stride/2 // the first ones are the most different
		}
	}
}

// suffer runs a workload in which f happens. It reports whether it did.
func (w *world) suffer(f fault) bool {
	count, over := 0, false
	w.fault = f.err
	w.hook = func(op crashfs.Op) error {
		if f.kind != "" && f.kind != op.Kind {
			return nil
		}
		if count++; count == f.n || count > f.n && f.long && !over {
			return f.err
		}
		return nil
	}
	const steps, later = 100, 12
	begun := 0
	for i := 0; i < steps && begun < later; i++ {
		if i%20 == 19 || w.s == nil {
			w.startAnew(f)
		} else {
			w.step()
		}
		w.still()
		if count >= f.n {
			begun++
		}
		if begun > 0 || i%5 == 0 {
			w.tolerate(f.String())
		}
	}
	over, w.fault = true, nil
	if count < f.n {
		w.end()
		return false
	}
	if w.s == nil {
		w.mustOpen()
	}
	// It recovers by itself: the first message is taken, and the changes
	// that could not be written go with it.
	if tr := w.commit(1, 500); tr.refused {
		w.fatalf("%v: it is over, and the spool refuses mail", f)
	}
	w.still()
	w.tolerate(fmt.Sprint(f, ", and over"))
	for i, tr := range w.truths {
		for k, list := range tr.states {
			if tr.life[k] == w.lives && tr.sure[k] != len(list)-1 {
				w.fatalf("%v: it is over, and a change of message %d is not durable", f, i)
			}
		}
	}
	w.endings(f)
	return true
}

// startAnew closes the spool, in good order or not, and tries to open it.
func (w *world) startAnew(f fault) {
	if w.s != nil {
		if w.rng.IntN(2) == 0 {
			w.fs.Stop()
			w.stray = true
		}
		if w.s.Close() != nil {
			w.stray = true
		}
		w.fs.Revive()
		w.s = nil
	}
	err := w.open()
	switch {
	case err == nil && len(w.report.Findings) == 0:
		w.tolerate(fmt.Sprint(f, ", started anew"))
		w.learn()
	case err != nil && !errors.Is(err, f.err):
		w.fatalf("%v: the start fails with %v", f, err)
	case err != nil:
		w.s, w.stray = nil, true
	}
}

// end closes the spool.
func (w *world) end() {
	if w.s != nil {
		w.s.Close()
	}
}

// tolerate is check in the presence of faults: what cannot be read is told.
// Where a start has met the fault, messages may be missing until the next.
func (w *world) tolerate(context string) {
	if w.s == nil {
		return
	}
	if len(w.report.Findings) > 0 {
		w.stray = true
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, tr := range w.truths {
			if !tr.id.IsZero() && tr.acked && !tr.over() && !w.there(tr) && !w.s.Live(tr.id) {
				w.fatalf("%s: message %d cannot be read and passes for done", context, i)
			}
		}
		return
	}
	w.check(context)
}

// endings ends the life after a fault in several ways, each of which must
// find all that was promised.
func (w *world) endings(f fault) {
	disks := map[string]*crashfs.FS{
		"all was lost that could be": w.fs.Crash(func(int) int { return 0 }),
		"something was lost":         w.fs.Crash(w.rng.IntN),
		"the process died":           w.fs,
	}
	w.fs.Stop()
	w.s.Close()
	w.fs.Revive()
	for way, disk := range disks {
		c := w.clone()
		c.fs, c.stray = disk, true
		c.mustOpen()
		c.check(fmt.Sprintf("%v, then %s", f, way))
		c.learn()
		for range 5 {
			c.step()
			c.still()
		}
		if err := c.s.Close(); err != nil {
			c.fatalf("%v: %v", f, err)
		}
		c.mustOpen()
		c.check(fmt.Sprintf("%v, then %s, then closed", f, way))
		c.s.Close()
	}
}

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"gatepost/internal/envelope"
)

// TestDecay flips bits of a disk at rest. No message is handed out other
// than it came; what cannot be had any more is told, at every start as long
// as nobody has seen to it, and everything else is there.
func TestDecay(t *testing.T) {
	t.Parallel()
	const workloads, flips = 4, 150
	for seed := range uint64(workloads) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { decay(t, 300+seed, flips) })
		})
	}
}

func decay(t *testing.T, seed uint64, flips int) {
	w := newWorld(t, seed)
	w.mustOpen()
	for range 120 {
		w.step()
	}
	w.still()
	// What comes after a batch shows that it was durable. The last one could
	// have been cut short by a crash: it holds one message and nothing else.
	var last *truth
	for alone := false; !alone; {
		before := w.s.Counters.Batches.Load()
		last = w.commit(1, 100)
		w.still()
		alone = w.s.Counters.Batches.Load() == before+1
	}
	closed := seed%2 == 0
	if closed {
		if err := w.s.Close(); err != nil {
			t.Error(err)
		}
	} else {
		w.fs.Stop()
		w.s.Close()
	}
	told, quiet := 0, 0
	for i := range flips {
		c := w.clone()
		c.fs = w.fs.Crash(func(int) int { return 1 })
		where := c.flip()
		if i%4 == 3 {
			where += ", " + c.flip()
		}
		if c.decayed(where, last, closed) {
			told++
		} else {
			quiet++
		}
	}
	t.Logf("%d flips told, %d without consequence", told, quiet)
	if told == 0 || quiet == 0 {
		t.Error("all flips are alike")
	}
}

// flip inverts a bit of a file, most often where it holds something.
func (w *world) flip() string {
	var files []string
	for _, dir := range []string{spoolDir, blobDir} {
		files = append(files, w.files(dir)...)
	}
	path := files[w.rng.IntN(len(files))]
	h, err := w.fs.Open(path)
	if err != nil {
		w.fatalf("%v", err)
	}
	size, err := h.Size()
	if err != nil {
		w.fatalf("%v", err)
	}
	var at int64
	for range 30 {
		at = w.rng.Int64N(size)
		var b [1]byte
		if _, err := h.ReadAt(b[:], at); err == nil && b[0] != 0 {
			break
		}
	}
	w.fs.Flip(path, 8*at+w.rng.Int64N(8))
	return fmt.Sprintf("%s at %d", path, at)
}

// files returns the paths of all files below a directory that hold anything.
func (w *world) files(dir string) (list []string) {
	names, err := w.fs.List(dir)
	if err != nil {
		w.fatalf("%v", err)
	}
	for _, name := range names {
		path := dir + "/" + name
		if h, err := w.fs.Open(path); err != nil {
			list = append(list, w.files(path)...)
		} else if size, err := h.Size(); err == nil && size > 0 {
			list = append(list, path)
		}
	}
	return list
}

// decayed starts the spool on a disk with flipped bits. strict says that a
// torn batch is no excuse for the last message. It reports whether anything
// was told.
func (w *world) decayed(where string, last *truth, strict bool) (told bool) {
	looked := w.look(where)
	w.mustOpen()
	findings := len(w.report.Findings)
	defer func() {
		if told && len(looked) == 0 {
			w.fatalf("%s: a deep check finds nothing", where)
		}
	}()
	told = findings > 0
	for i, tr := range w.truths {
		switch {
		case tr.id.IsZero() || !tr.acked || tr.over():
		case !w.there(tr):
			excused := tr == w.copyOf(last) && !strict && w.report.Torn > 0
			if findings == 0 && !excused {
				w.fatalf("%s: message %d was acknowledged, is gone, and nothing is reported", where, i)
			}
		case w.spoiled(where, i, tr):
			told = true
		}
		if w.there(tr) && tr.surely() && findings == 0 {
			w.fatalf("%s: message %d was durably done, is back, and nothing is reported", where, i)
		}
	}
	if !told && w.report.Torn == 0 {
		w.check(where)
	}
	for range 20 {
		w.step()
		w.still()
	}
	if err := w.s.Close(); err != nil {
		w.fatalf("%s: %v", where, err)
	}
	w.mustOpen()
	if findings > 0 && len(w.report.Findings) == 0 {
		w.fatalf("%s: what was damaged is not reported any more", where)
	}
	w.s.Close()
	return told
}

// copyOf returns the truth of this world that a clone made of another's.
func (w *world) copyOf(of *truth) *truth {
	for _, tr := range w.truths {
		if tr.id == of.id {
			return tr
		}
	}
	return nil
}

// spoiled reads a message: it is as it came, or an error says so.
func (w *world) spoiled(where string, i int, tr *truth) bool {
	b, err := w.s.Body(tr.id)
	var told *envelope.Error
	if errors.As(err, &told) && (told.Code == 554 || told.Code == 451) && w.s.Counters.Damaged.Load() > 0 {
		return true
	}
	if err != nil {
		w.fatalf("%s: message %d: %v", where, i, err)
	}
	defer b.Close()
	if err := w.same(b, tr.body); err != nil {
		w.fatalf("%s: message %d is handed out otherwise than it came: %v", where, i, err)
	}
	w.s.View(tr.id, func(e *envelope.Envelope) {
		if e.From != tr.env.From || !bytes.Equal(e.Header, tr.env.Header) || len(e.Recipients) != len(tr.env.Recipients) {
			w.fatalf("%s: message %d has another envelope", where, i)
		}
	})
	return false
}

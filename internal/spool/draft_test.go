package spool

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// A body of Inline octets is in the log, one of more in a blob, and so is
// what the budget of all drafts has no room for.
func TestWhereBodiesGo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		isBlob := func(id envelope.ID) bool {
			f, err := w.s.o.Blobs.Open(id.String())
			if err != nil {
				return false
			}
			f.Close()
			return true
		}
		for _, size := range []int{0, 1, firstBuffer, testInline - 1, testInline} {
			if id := w.mustSend(letter(1), strings.Repeat("x", size)); isBlob(id) {
				t.Errorf("%d octets are in a blob", size)
			}
		}
		for _, size := range []int{testInline + 1, 10 * testInline} {
			body := strings.Repeat("0123456789", size/10+1)[:size]
			id := w.mustSend(letter(1), body)
			b, err := w.s.Body(id)
			if err != nil || !isBlob(id) || b.Blob != id.String() || b.Size() != int64(size) {
				t.Errorf("%d octets: %+v, %v", size, b, err)
			}
			b.Close()
			if got, err := w.body(id); got != body || err != nil {
				t.Errorf("%d octets are not whole: %v", size, err)
			}
		}
		// The first two drafts fill the budget.
		w.s.o.DraftBudget = 2 * firstBuffer
		var drafts []*Draft
		for range 3 {
			d := w.s.Create()
			if _, err := io.WriteString(d, "small"); err != nil {
				t.Fatal(err)
			}
			drafts = append(drafts, d)
		}
		for i, d := range drafts {
			e := letter(1)
			if err := d.Commit(e); err != nil {
				t.Error(err)
			}
			if isBlob(e.ID) != (i == 2) {
				t.Errorf("draft %d is in a blob: %v", i, isBlob(e.ID))
			}
			if got, err := w.body(e.ID); got != "small" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
		if n := w.s.drafts.Load(); n != 0 {
			t.Errorf("%d octets of drafts are counted still", n)
		}
		if n := w.s.Counters.Spilled.Load(); n != 3 {
			t.Errorf("%d spilled", n)
		}
	})
}

// The budget counts what is arriving, however it ends.
func TestDraftBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		d := w.s.Create()
		if _, err := io.WriteString(d, strings.Repeat("x", testInline)); err != nil {
			t.Fatal(err)
		}
		if n := w.s.drafts.Load(); n < testInline || n > 4*testInline {
			t.Errorf("%d octets", n)
		}
		if _, err := io.WriteString(d, "y"); err != nil {
			t.Fatal(err)
		}
		if n := w.s.drafts.Load(); n != 0 {
			t.Errorf("%d octets of what is in a blob", n)
		}
		d.Discard()
		d.Discard()
		if names, err := w.fs.List(blobDir + "/tmp"); err != nil || len(names) != 0 {
			t.Errorf("left %q, %v", names, err)
		}
		d = w.s.Create()
		if _, err := io.WriteString(d, "x"); err != nil {
			t.Fatal(err)
		}
		d.Discard()
		if n := w.s.drafts.Load(); n != 0 {
			t.Errorf("%d octets after Discard", n)
		}
		if w.s.Create().Discard(); w.s.drafts.Load() != 0 {
			t.Error("an empty draft counts")
		}
	})
}

// A draft is used up by Commit and by Discard; what it was given is not kept.
func TestDraftEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		d := w.s.Create()
		p := []byte("content")
		if n, err := d.Write(p); n != len(p) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		copy(p, "XXXXXXX")
		e := letter(1)
		if err := d.Commit(e); err != nil {
			t.Fatal(err)
		}
		is(t, "a second Commit", d.Commit(letter(1)), 451, "4.3.0")
		_, err := d.Write(p)
		is(t, "Write after Commit", err, 451, "4.3.0")
		d.Discard()
		if got, err := w.body(e.ID); got != "content" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		d = w.s.Create()
		d.Discard()
		is(t, "Commit after Discard", d.Commit(letter(1)), 451, "4.3.0")
	})
}

// A large message that could not be written once is not the whole: it is
// refused to its end, though the disk works again.
func TestSpillFails(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Sync, crashfs.Rename, crashfs.SyncDir} {
		t.Run(string(kind), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.mustSend(letter(1), "x") // so that the log has its segments
				w.still()
				d := w.watch()
				d.setOnce(syscall.ENOSPC, kind)
				draft := w.s.Create()
				var failed error
				for range 4 {
					if _, err := draft.Write(make([]byte, testInline)); err != nil {
						failed = err
						is(t, "Write", err, 452, "4.3.1")
					}
				}
				early := kind == crashfs.Create || kind == crashfs.Write
				if (failed != nil) != early {
					t.Errorf("Write: %v", failed)
				}
				e := letter(1)
				is(t, "Commit", draft.Commit(e), 452, "4.3.1")
				w.still()
				if w.s.Counters.Live.Load() != 1 || w.s.drafts.Load() != 0 || w.s.Counters.Faults.Load() != 1 {
					t.Errorf("live %d, drafts %d, faults %d", w.s.Counters.Live.Load(), w.s.drafts.Load(), w.s.Counters.Faults.Load())
				}
				if _, err := w.s.o.Blobs.Open(e.ID.String()); !e.ID.IsZero() && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("its blob is left: %v", err)
				}
				w.mustSend(letter(1), strings.Repeat("y", 2*testInline))
			})
		})
	}
}

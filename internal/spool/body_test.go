package spool

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// Damage is 554, what may pass is 451, and both are told the operator.
// Nothing of a damaged body is handed out.
func TestBody(t *testing.T) {
	const small, large = testInline / 2, 3 * testInline
	blobOf := func(w *world, id envelope.ID) string {
		for _, path := range w.files(blobDir) {
			if strings.HasSuffix(path, id.String()) {
				return path
			}
		}
		w.fatalf("no blob of %v", id)
		return ""
	}
	flipInline := func(w *world, id envelope.ID) {
		e := w.s.l.Entries[id]
		w.fs.Flip(e.At.Path, 8*(e.Off+100))
	}
	for _, tt := range []struct {
		name string
		size int
		do   func(w *world, id envelope.ID)
		code int
	}{
		{"inline", small, func(*world, envelope.ID) {}, 0},
		{"blob", large, func(*world, envelope.ID) {}, 0},
		{"inline, a bit flipped", small, flipInline, 554},
		{"blob, a bit flipped", large, func(w *world, id envelope.ID) { w.fs.Flip(blobOf(w, id), 999) }, 554},
		{"blob of another size", large, func(w *world, id envelope.ID) {
			h, err := w.fs.Open(blobOf(w, id))
			if err == nil {
				_, err = h.WriteAt([]byte("x"), large)
			}
			if err != nil {
				w.fatalf("%v", err)
			}
		}, 554},
		{"blob missing", large, func(w *world, id envelope.ID) {
			if err := w.fs.Remove(blobOf(w, id)); err != nil {
				w.fatalf("%v", err)
			}
		}, 451},
		{"inline, reads fail", small, func(w *world, _ envelope.ID) { w.watch().set(syscall.EIO, crashfs.Read) }, 451},
		{"blob, reads fail", large, func(w *world, _ envelope.ID) { w.watch().set(syscall.EIO, crashfs.Read) }, 451},
		{"blob, it does not open", large, func(w *world, _ envelope.ID) { w.watch().set(syscall.EMFILE, crashfs.Open) }, 451},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				var log bytes.Buffer
				w.s.o.Log = slog.New(slog.NewTextHandler(&log, nil))
				content := strings.Repeat("0123456789abcdef", tt.size/16)
				id := w.mustSend(letter(1), content)
				other := w.mustSend(letter(1), "other")
				w.s.Release(id)
				tt.do(w, id)
				got, err := w.body(id)
				want := map[int]string{0: "", 451: "4.3.0", 554: "5.3.0"}[tt.code]
				is(t, tt.name, err, tt.code, want)
				if tt.code == 0 && got != content || tt.code > 0 && got != "" {
					t.Errorf("handed out %d octets of %d", len(got), len(content))
				}
				if told := strings.Contains(log.String(), id.String()); told != (tt.code > 0) || w.s.Counters.Damaged.Load() > 0 != told {
					t.Errorf("told %v, counted %d: %s", told, w.s.Counters.Damaged.Load(), log.String())
				}
				var e *envelope.Error
				if errors.As(err, &e) && (e.Cause == nil || strings.Contains(e.Text, e.Cause.Error())) {
					t.Errorf("the cause is lost, or told: %v", e)
				}
				if w.state(id) == nil {
					t.Error("the message was dropped")
				}
				w.hook, w.fs.Hook = nil, nil
				if got, err := w.body(other); got != "other" || err != nil {
					t.Errorf("the other message: %q, %v", got, err)
				}
				if tt.code == 451 && tt.name != "blob missing" {
					if got, err := w.body(id); got != content || err != nil {
						t.Errorf("when the fault is over: %d octets, %v", len(got), err)
					}
				}
			})
		})
	}
	t.Run("of nobody", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			_, err := w.s.Body(envelope.ID{1})
			is(t, "of nobody", err, 550, "5.3.0")
		})
	})
}

// Fresh bodies are in memory until their first attempt is over, within one
// budget; then, and after a restart, they come from the disk.
func TestFresh(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		d := w.watch()
		read := func(id envelope.ID) int {
			t.Helper()
			d.count(crashfs.Read, "")
			if _, err := w.body(id); err != nil {
				t.Error(err)
			}
			return d.count(crashfs.Read, "")
		}
		var ids []envelope.ID
		body := strings.Repeat("x", testInline-100)
		for range 12 { // the budget is 64 KiB
			ids = append(ids, w.mustSend(letter(1), body))
		}
		w.still()
		inMemory := 0
		for _, id := range ids {
			if read(id) == 0 {
				inMemory++
			}
		}
		if inMemory < 4 || inMemory > 8 || w.s.l.Fresh > w.s.o.FreshBudget {
			t.Errorf("%d in memory, %d octets of %d", inMemory, w.s.l.Fresh, w.s.o.FreshBudget)
		}
		if read(ids[0]) != 0 {
			t.Error("the first is not in memory")
		}
		w.s.Release(ids[0])
		w.s.Release(ids[0])
		w.s.Release(envelope.ID{1})
		if read(ids[0]) == 0 {
			t.Error("it is in memory after its first attempt")
		}
		for _, id := range ids[1:] {
			w.s.Change([]envelope.Change{{ID: id, Status: envelope.Delivered}}, nil)
		}
		if w.s.l.Fresh != 0 {
			t.Errorf("%d octets of what is done", w.s.l.Fresh)
		}
		held := w.mustSend(letter(1), "held")
		w.anew()
		if read(held) == 0 {
			t.Error("a body is in memory after a restart")
		}
	})
}

// The blob of a message stays until its end is durable, then goes.
func TestBlobGoes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.gate = &gate{}
		w.anew()
		id := w.mustSend(letter(1), strings.Repeat("x", 2*testInline))
		w.gate.shut()
		w.s.Change([]envelope.Change{{ID: id, Status: envelope.Delivered}}, nil)
		w.still()
		if len(w.files(blobDir)) != 1 {
			t.Error("the blob is gone before the end is durable")
		}
		w.gate.open()
		w.still()
		if files := w.files(blobDir); len(files) != 0 {
			t.Errorf("left %q", files)
		}
	})
}

// A body that is read while its segment is to be freed is read to its end.
func TestBodyWhileFreed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.s.o.FreshBudget = 0
		read := make(chan int)
		ids := make(chan envelope.ID, 100)
		go func() {
			n := 0
			for id := range ids {
				for range 3 {
					if got, err := w.body(id); err != nil || !strings.HasPrefix(got, id.String()) {
						t.Errorf("%.30q, %v", got, err)
					}
					n++
				}
				w.s.Change([]envelope.Change{{ID: id, Status: envelope.Delivered}}, nil)
			}
			read <- n
		}()
		for i := range 200 {
			e := letter(1)
			id, err := envelope.NewID(w.clock.Now(), w.random)
			if err != nil {
				t.Fatal(err)
			}
			e.ID = id
			w.mustSend(e, id.String()+strings.Repeat("x", i*31%4000))
			ids <- id
		}
		close(ids)
		if n := <-read; n != 600 {
			t.Errorf("read %d times", n)
		}
		w.still()
		if w.s.Counters.Reclaimed.Load() < 3 {
			t.Errorf("%d segments freed", w.s.Counters.Reclaimed.Load())
		}
	})
}

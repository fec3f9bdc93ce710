package spool

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// What is committed is there, as it was, also after a restart; the spool
// fills in what it knows, keeps what it is told, and keeps a copy.
func TestCommit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		e := letter(2)
		e.Held, e.Recipients[1].Reason = true, strings.Repeat("é", 300)
		id := w.mustSend(e, "hello\r\n")
		if id.IsZero() || !e.Received.Equal(w.clock.Now()) || e.Size != int64(len("hello\r\n")+len(e.Header)) {
			t.Errorf("%+v", e)
		}
		given := letter(1)
		given.ID, given.Received, given.Size = envelope.ID{9}, time.Unix(5, 0).UTC(), 77
		w.mustSend(given, "")
		e.Recipients[0].Status, e.Header[0] = envelope.Failed, 'X'
		for range 2 {
			w.s.View(id, func(got *envelope.Envelope) {
				if !got.Held || string(got.Header) != "Received: x\r\n" || got.Recipients[0].Status != envelope.Pending {
					t.Errorf("%+v", got)
				}
				if r := got.Recipients[1].Reason; len(r) > 512 || strings.Trim(r, "é") != "" || r == "" {
					t.Errorf("reason of %d octets: %q", len(r), r)
				}
			})
			w.s.View(given.ID, func(got *envelope.Envelope) {
				if got.Size != 77 || !got.Received.Equal(time.Unix(5, 0)) {
					t.Errorf("%+v", got)
				}
			})
			if b, err := w.body(id); b != "hello\r\n" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			w.anew()
		}
	})
}

// What cannot be a message is refused, and nothing of it is left.
func TestRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		done := letter(1)
		done.Recipients[0].Status = envelope.Delivered
		is(t, "nobody waits", w.send(done, "x"), 451, "4.3.0")
		is(t, "no recipient", w.send(letter(0), "x"), 451, "4.3.0")

		first := letter(1)
		id := w.mustSend(first, "first")
		again := letter(1)
		again.ID = id
		is(t, "an id that is taken", w.send(again, strings.Repeat("second ", 5000)), 451, "4.3.0")
		if b, err := w.body(id); b != "first" || err != nil {
			t.Errorf("%q, %v", b, err)
		}

		huge := letter(1)
		huge.Header = make([]byte, testSegment)
		is(t, "a header of a segment's size", w.send(huge, "x"), 452, "4.5.3")
		is(t, "a thousand recipients", w.send(letter(1000), "x"), 452, "4.5.3")
		fits := letter(1)
		fits.Header = make([]byte, testSegment/4-200)
		is(t, "what fits", w.send(fits, "x"), 0, "")
		fits = letter(1)
		fits.Header = make([]byte, testSegment/4-200)
		is(t, "what fits, but not with its changes", w.send(fits, "x", envelope.Change{ID: id}), 452, "4.5.3")

		w.s.o.Random = strings.NewReader("")
		is(t, "without randomness", w.send(letter(1), "x"), 451, "4.3.0")
		if n := w.s.Counters.Live.Load(); n != 2 || w.s.drafts.Load() != 0 {
			t.Errorf("%d messages, %d octets of drafts", n, w.s.drafts.Load())
		}
		if names, err := w.fs.List(blobDir + "/tmp"); err != nil || len(names) > 0 {
			t.Errorf("left %q, %v", names, err)
		}
	})
}

// When the disk is full or fails, Commit says 452 and the message does not
// exist, now or after a restart; when it works again, so does Commit.
func TestFullDisk(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		kinds []crashfs.Kind
	}{
		{"full", syscall.ENOSPC, []crashfs.Kind{crashfs.Write, crashfs.Create}},
		{"writes fail", syscall.EIO, []crashfs.Kind{crashfs.Write}},
		{"syncs fail", syscall.EIO, []crashfs.Kind{crashfs.Sync}},
		{"read-only", syscall.EROFS, []crashfs.Kind{crashfs.Write, crashfs.Create, crashfs.Rename, crashfs.Remove, crashfs.Sync, crashfs.SyncDir}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				var log strings.Builder
				w.log = &log
				w.anew()
				d := w.watch()
				there := []envelope.ID{w.mustSend(letter(1), "before")}
				w.still()
				var refused []envelope.ID
				d.set(tt.err, tt.kinds...)
				for i := range 5 {
					e := letter(1)
					err := w.send(e, strings.Repeat("x", 1+i*5000)) // the last ones are large
					is(t, tt.name, err, 452, "4.3.1")
					if !errors.Is(err, tt.err) || strings.Contains(err.(*envelope.Error).Text, tt.err.Error()) {
						t.Errorf("the cause is lost, or told to the client: %v", err)
					}
					if !e.ID.IsZero() {
						refused = append(refused, e.ID)
					}
				}
				d.set(nil)
				for i := range 3 {
					there = append(there, w.mustSend(letter(1), strings.Repeat("x", i*5000)))
				}
				w.still()
				for text, want := range map[string]int{"refuses mail until": 1, "the spool can write again": 1, "goes on in another file": 2} {
					if n := strings.Count(log.String(), text); n > want || n == 0 && want == 1 {
						t.Errorf("the log says %d times %q:\n%s", n, text, log.String())
					}
				}
				if files := w.files(blobDir); len(files) != 1 { // of the last that is there
					t.Errorf("what was refused leaves %q", files)
				}
				for range 2 {
					w.still()
					for _, id := range there {
						if _, err := w.body(id); err != nil {
							t.Error(err)
						}
					}
					for _, id := range refused {
						if w.state(id) != nil {
							t.Error("what was refused is there")
						}
					}
					w.anew()
					if len(w.report.Findings) > 0 || w.report.Messages != len(there) {
						t.Errorf("%+v", w.report)
					}
				}
				if n := w.s.drafts.Load(); n != 0 {
					t.Errorf("%d octets of drafts", n)
				}
			})
		})
	}
}

// After a failed sync nothing is written to the segment any more, and it is
// not synced again: the batch goes to another one, and so does all that
// follows. Those who wait notice nothing.
func TestSyncFailsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		d := w.watch()
		w.mustSend(letter(1), "before")
		w.still()
		bad := path.Base(w.s.active.Path)
		d.setOnce(syscall.EIO, crashfs.Sync)
		id := w.mustSend(letter(1), "the one")
		w.still()
		if path.Base(w.s.active.Path) == bad {
			t.Fatal("it goes on in the same segment")
		}
		d.count(crashfs.Sync, "")
		for i := range 20 {
			w.mustSend(letter(1), fmt.Sprint("after ", i))
		}
		w.still()
		d.mu.Lock()
		for _, op := range d.seen {
			if path.Base(op.Path) == bad && (op.Kind == crashfs.Write || op.Kind == crashfs.Sync) {
				t.Errorf("%v", op)
			}
		}
		d.mu.Unlock()
		if w.s.Counters.Faults.Load() != 1 {
			t.Errorf("%d faults", w.s.Counters.Faults.Load())
		}
		// What the failed sync let go of is lost: nothing depends on it.
		w.fs.Stop()
		w.s.Close()
		w.fs = w.fs.Crash(func(int) int { return 0 })
		w.hook = nil
		w.mustOpen()
		if b, err := w.body(id); b != "the one" || err != nil || w.report.Messages != 22 || len(w.report.Findings) > 0 {
			t.Errorf("%q, %v, %+v", b, err, w.report)
		}
	})
}

// Messages that arrive during a sync share the next one, and each is offered
// before its Commit returns, once.
func TestGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.gate = &gate{}
		w.anew()
		var mu sync.Mutex
		offered := map[envelope.ID]int{}
		w.s.mu.Lock()
		w.s.offer = func(e *envelope.Envelope) {
			mu.Lock()
			defer mu.Unlock()
			offered[e.ID]++
		}
		w.s.mu.Unlock()
		records := 0
		w.s.o.Observe = func(n int, _ time.Duration) { records += n }
		w.gate.shut()
		var all sync.WaitGroup
		commit := func() {
			e := letter(1)
			if err := w.send(e, "x"); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if offered[e.ID] != 1 {
				t.Errorf("offered %d times before Commit returned", offered[e.ID])
			}
		}
		all.Go(commit)
		synctest.Wait()
		const more = 50
		for range more {
			all.Go(commit)
		}
		synctest.Wait()
		w.gate.open()
		all.Wait()
		w.still()
		if n := w.s.Counters.Batches.Load(); n != 2 || records != 1+more || len(offered) != 1+more {
			t.Errorf("%d batches of %d records, %d offered", n, records, len(offered))
		}
	})
}

// Serve offers what was there, oldest first, and all that comes later, each
// message once; not what is done.
func TestServe(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var want []envelope.ID
		for range 10 {
			w.clock.Advance(time.Second)
			want = append(want, w.mustSend(letter(1), "x"))
		}
		w.s.Change([]envelope.Change{{ID: want[3], Status: envelope.Delivered}}, nil)
		want = slices.Delete(want, 3, 4)
		if err := w.s.Close(); err != nil {
			t.Error(err)
		}
		o, err := w.options()
		if err != nil {
			t.Fatal(err)
		}
		if w.s, _, err = Open(o); err != nil {
			t.Fatal(err)
		}
		want = append(want, w.mustSend(letter(1), "between Open and Serve"))
		var got []envelope.ID
		w.s.Serve(func(e *envelope.Envelope) { got = append(got, e.ID) })
		want = append(want, w.mustSend(letter(1), "after Serve"))
		if !slices.Equal(got, want) {
			t.Errorf("offered %v, want %v", got, want)
		}
		var seen []envelope.ID
		w.s.Each(func(e *envelope.Envelope) bool { seen = append(seen, e.ID); return len(seen) < 4 })
		if !slices.Equal(seen, want[:4]) {
			t.Errorf("Each shows %v", seen)
		}
	})
}

// From the beginning of Close on, Commit is refused and Change ignored; what
// was under way is written.
func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.gate = &gate{}
		w.anew()
		id := w.mustSend(letter(2), "x")
		w.gate.shut()
		errs := make(chan error, 2)
		go func() { errs <- w.send(letter(1), "under way") }()
		synctest.Wait()
		w.s.Change([]envelope.Change{{ID: id, Recipient: 0, Status: envelope.Delivered}}, nil)
		closed := make(chan error)
		go func() { closed <- w.s.Close() }()
		synctest.Wait()
		is(t, "Commit after Close", w.send(letter(1), "late"), 451, "4.3.2")
		w.s.Change([]envelope.Change{{ID: id, Recipient: 1, Status: envelope.Delivered}}, func() { t.Error("it was not ignored") })
		w.gate.open()
		if err := errors.Join(<-closed, <-errs, w.s.Close()); err != nil {
			t.Error(err)
		}
		w.mustOpen()
		if list := w.state(id); len(list) != 2 || list[0].Status != envelope.Delivered || list[1].Status != envelope.Pending {
			t.Errorf("%+v", list)
		}
		if w.report.Messages != 2 || w.report.Scanned != 0 {
			t.Errorf("%+v", w.report)
		}
	})
}

// Close says when changes could not be written; they are made again.
func TestCloseOfADeadDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := w.mustSend(letter(1), "x")
		d := w.watch()
		d.set(syscall.EIO, crashfs.Write)
		w.s.Change([]envelope.Change{{ID: id, Status: envelope.Delivered}}, nil)
		if err := w.s.Close(); err == nil {
			t.Error("it closes as if all was well")
		}
		w.hook = nil
		w.fs = w.fs.Crash(func(int) int { return 0 })
		w.mustOpen()
		if w.state(id) == nil {
			t.Error("the message is gone, and its outcome was not written")
		}
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		segment int64
		inline  int
		want    bool
	}{
		{64 << 10, 16 << 10, true}, {64 << 10, 16<<10 + 1, false}, {64 << 10, -1, false},
		{60 << 10, 0, false}, {64<<10 + 1, 0, false}, {1 << 30, 0, true}, {1<<30 + 4096, 0, false},
	} {
		o := Options{SegmentSize: tt.segment, Inline: tt.inline}
		if err := o.check(); (err == nil) != tt.want {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

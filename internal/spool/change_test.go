package spool

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// A change holds for everyone when Change returns, and is told once it is
// durable; what means nothing is ignored, and told all the same.
func TestChange(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := w.mustSend(letter(2), "x")
		next := time.Unix(2e9, 5).UTC()
		told := 0
		tell := func() { told++ }
		w.s.Change([]envelope.Change{
			{ID: id, Recipient: 0, Status: envelope.Deferred, Attempts: 3, Next: next, Reason: "451 later"},
			{ID: id, Recipient: -1, Held: true, Delayed: true},
		}, tell)
		look := func(when string) {
			t.Helper()
			w.s.View(id, func(e *envelope.Envelope) {
				want := envelope.Recipient{To: e.Recipients[0].To, Status: envelope.Deferred, Attempts: 3, Next: next, Reason: "451 later"}
				if e.Recipients[0] != want || !e.Held || !e.Delayed {
					t.Errorf("%s: %+v", when, e)
				}
			})
		}
		look("at once")
		w.still()
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		before := w.s.Counters.Changes.Load()
		w.s.Change([]envelope.Change{{ID: envelope.ID{1}}, {ID: id, Recipient: 7}, {ID: id, Recipient: -2}}, tell)
		w.s.Change(nil, tell)
		w.s.Change(nil, nil)
		w.still()
		if told != 3 || w.s.Counters.Changes.Load() != before {
			t.Errorf("told %d times, %d changes of nothing", told, w.s.Counters.Changes.Load()-before)
		}
		w.anew()
		look("after a restart")
		w.fs.Stop()
		w.s.Close()
		w.fs = w.fs.Crash(func(int) int { return 0 })
		w.mustOpen()
		look("after a power loss")
	})
}

// What is settled stays, whoever comes later; when all are, the message ends.
func TestSettled(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := w.mustSend(letter(2), "x")
		change := func(recipient int, s envelope.Status) {
			w.s.Change([]envelope.Change{{ID: id, Recipient: recipient, Status: s}}, nil)
		}
		change(0, envelope.Delivered)
		change(0, envelope.Deferred)
		change(0, envelope.Failed)
		if list := w.state(id); list[0].Status != envelope.Delivered || list[1].Status != envelope.Pending {
			t.Errorf("%+v", list)
		}
		change(1, envelope.Kept)
		if list := w.state(id); list == nil || list[1].Status != envelope.Kept {
			t.Errorf("a failure that is kept: %+v", list)
		}
		change(1, envelope.Dropped)
		if w.state(id) != nil || w.s.Live(id) {
			t.Error("it is there though all are settled")
		}
		_, err := w.s.Body(id)
		is(t, "its body", err, 550, "5.3.0")
		w.still()
		if n := w.s.Counters.Live.Load(); n != 0 {
			t.Errorf("%d live", n)
		}
		w.anew()
		if w.report.Messages != 0 {
			t.Error("it is back")
		}
	})
}

// While nothing can be written, changes hold in memory; they are written in
// their order when the disk works, with whatever is written first.
func TestChangesAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := w.mustSend(letter(2), strings.Repeat("x", 2*testInline))
		d := w.watch()
		d.set(syscall.ENOSPC, crashfs.Write, crashfs.Create, crashfs.Sync)
		var told []int
		var mu sync.Mutex
		for i := range 4 {
			c := envelope.Change{ID: id, Recipient: 0, Status: envelope.Deferred, Attempts: uint16(i + 1)}
			w.s.Change([]envelope.Change{c}, func() {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, i)
			})
			w.still()
		}
		w.s.Change([]envelope.Change{{ID: id, Recipient: 1, Status: envelope.Delivered}}, nil)
		is(t, "Commit", w.send(letter(1), "x"), 452, "4.3.1")
		if list := w.state(id); list[0].Attempts != 4 || list[1].Status != envelope.Delivered || len(told) != 0 {
			t.Errorf("%+v, told %v", list, told)
		}
		d.set(nil)
		w.mustSend(letter(1), "x")
		w.still()
		if len(told) != 4 {
			t.Errorf("told %v", told)
		}
		w.fs.Stop()
		w.s.Close()
		w.hook = nil
		w.fs = w.fs.Crash(func(int) int { return 0 })
		w.mustOpen()
		if list := w.state(id); len(list) != 2 || list[0].Attempts != 4 || list[1].Status != envelope.Delivered {
			t.Errorf("after a power loss: %+v", list)
		}
	})
}

// Who is told of a change may use the spool.
func TestToldMayCallBack(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := w.mustSend(letter(2), "x")
		rounds := 0
		var again func()
		again = func() {
			if rounds++; rounds < 10 {
				w.s.Change([]envelope.Change{{ID: id, Status: envelope.Deferred, Attempts: uint16(rounds)}}, again)
				if err := w.send(letter(1), "y"); err != nil {
					t.Error(err)
				}
			}
		}
		w.s.Change([]envelope.Change{{ID: id, Status: envelope.Deferred}}, again)
		w.still()
		if rounds != 10 {
			t.Errorf("%d rounds", rounds)
		}
	})
}

// Long reasons are cut, many changes are several records, and nothing of that
// shows.
func TestLargeChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := w.mustSend(letter(150), "x")
		var list []envelope.Change
		for i := range 150 {
			list = append(list, envelope.Change{ID: id, Recipient: i, Status: envelope.Deferred, Attempts: uint16(i), Reason: strings.Repeat("é", 2000)})
		}
		told := false
		w.s.Change(list, func() { told = true })
		w.still()
		if !told {
			t.Error("nobody was told")
		}
		for range 2 {
			// With its reasons it is larger than a segment: it is not moved.
			for i := range 100 {
				other := w.mustSend(letter(1), strings.Repeat("y", i*77))
				w.s.Change([]envelope.Change{{ID: other, Status: envelope.Delivered}}, nil)
			}
			w.still()
			for i, r := range w.state(id) {
				if r.Attempts != uint16(i) || len(r.Reason) > 512 || len(r.Reason) < 500 || strings.Trim(r.Reason, "é") != "" {
					t.Fatalf("start %d, recipient %d: %+v", w.lives, i, r)
				}
			}
			w.anew()
		}
	})
}

// Changes that ride with a message happen when it is durable: not before,
// and not if it is refused.
func TestRiders(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.gate = &gate{}
		w.anew()
		failed := w.mustSend(letter(2), "fails")
		other := w.mustSend(letter(1), "other")
		ride := []envelope.Change{
			{ID: failed, Recipient: 0, Status: envelope.Failed, Reason: "550"},
			{ID: failed, Recipient: 1, Status: envelope.Failed, Reason: "550"},
			{ID: other, Recipient: 0, Status: envelope.Deferred, Attempts: 1},
			{ID: envelope.ID{1}, Recipient: 0, Status: envelope.Failed}, // nobody
		}
		d := w.watch()
		d.set(syscall.ENOSPC, crashfs.Write, crashfs.Create)
		is(t, "the bounce", w.send(letter(1), "bounce", ride...), 452, "4.3.1")
		if a, b := w.state(failed), w.state(other); len(a) != 2 || a[0].Status != envelope.Pending || b[0].Attempts != 0 {
			t.Errorf("it was refused, and its riders happened: %+v, %+v", a, b)
		}
		d.set(nil)
		w.anew()

		w.gate.shut()
		done := make(chan error)
		go func() { done <- w.send(letter(1), "bounce", ride...) }()
		w.still()
		if a := w.state(failed); a[0].Status != envelope.Pending {
			t.Errorf("it is not durable, and a rider happened: %+v", a)
		}
		// Another change comes first: it counts, the rider comes too late.
		w.s.Change([]envelope.Change{{ID: other, Recipient: 0, Status: envelope.Delivered}}, nil)
		w.gate.open()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if w.state(failed) != nil || w.state(other) != nil {
			t.Errorf("%+v, %+v", w.state(failed), w.state(other))
		}
		w.still()
		w.anew()
		if w.report.Messages != 1 || len(w.report.Findings) > 0 {
			t.Errorf("%+v", w.report)
		}
	})
}

// When some recipients are settled by riders and the last by a change of its
// own meanwhile, the message ends for good.
func TestRiderIsTheLast(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.gate = &gate{}
		w.anew()
		id := w.mustSend(letter(2), "x")
		w.gate.shut()
		done := make(chan error)
		go func() {
			done <- w.send(letter(1), "bounce", envelope.Change{ID: id, Recipient: 0, Status: envelope.Failed})
		}()
		w.still()
		w.s.Change([]envelope.Change{{ID: id, Recipient: 1, Status: envelope.Delivered}}, nil)
		if w.state(id) == nil {
			t.Error("it ended before the bounce was durable")
		}
		w.gate.open()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		w.still()
		if w.state(id) != nil {
			t.Error("it does not end")
		}
		w.fs.Stop()
		w.s.Close()
		w.fs = w.fs.Crash(func(int) int { return 0 })
		w.mustOpen()
		if w.state(id) != nil || w.report.Messages != 1 {
			t.Errorf("it is back: %+v", w.report)
		}
	})
}

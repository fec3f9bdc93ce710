package spool

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// churn lets messages come and go until segments were freed.
func (w *world) churn(messages int) {
	w.t.Helper()
	for i := range messages {
		id := w.mustSend(letter(1), strings.Repeat("y", 1000+i*31%5000))
		w.s.Change([]envelope.Change{{ID: id, Status: envelope.Delivered}}, nil)
	}
	w.still()
}

// Messages that linger are moved, with all that was said of them, and their
// segments freed; the disk stays in its bound.
func TestReclaim(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var ids []envelope.ID
		for i := range 20 {
			id := w.mustSend(letter(2), fmt.Sprint("lingers ", i))
			ids = append(ids, id)
			w.churn(15)
			w.s.Change([]envelope.Change{{ID: id, Recipient: 1, Status: envelope.Deferred, Attempts: uint16(i), Reason: "later"}}, nil)
		}
		w.churn(100)
		if w.s.Counters.Moved.Load() < 20 || w.s.Counters.Reclaimed.Load() < 10 {
			t.Errorf("moved %d, freed %d", w.s.Counters.Moved.Load(), w.s.Counters.Reclaimed.Load())
		}
		for range 2 {
			w.checkDisk()
			for i, id := range ids {
				if got, err := w.body(id); got != fmt.Sprint("lingers ", i) || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				if r := w.state(id)[1]; r.Status != envelope.Deferred || r.Attempts != uint16(i) || r.Reason != "later" {
					t.Errorf("message %d: %+v", i, r)
				}
			}
			w.anew()
		}
	})
}

// What was refused stays so when the segment that says it is freed, for as
// long as one is left that may hold it.
func TestVoidsAreMoved(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for range 5 { // they hold on to the first segment
			w.mustSend(letter(1), strings.Repeat("x", testInline-100))
		}
		first := w.s.active
		d := w.watch()
		d.set(syscall.EIO, crashfs.Sync)
		refused := letter(1)
		is(t, "refused", w.send(refused, "x"), 452, "4.3.1")
		d.set(nil)
		w.churn(1)
		speaks := w.s.active
		w.churn(100)
		if !speaks.Freed || first.Freed {
			t.Fatalf("the segments were not freed as this test needs: %v, %v", speaks.Freed, first.Freed)
		}
		w.anew()
		if w.state(refused.ID) != nil {
			t.Error("a refused message is back")
		}
		if w.report.Messages != 5 || len(w.report.Findings) > 0 {
			t.Errorf("%+v", w.report)
		}
	})
}

// While a change of a message is on its way in the record of another, its
// state is not copied: the copy would undo the change.
func TestRidersAreNotOvertaken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.gate = &gate{}
		w.anew()
		id := w.mustSend(letter(2), "x")
		w.s.Change([]envelope.Change{{ID: id, Recipient: 1, Status: envelope.Deferred}}, nil)
		w.still()
		g := w.s.l.Entries[id].At
		w.gate.shut()
		done := make(chan error)
		go func() {
			done <- w.send(letter(1), "bounce", envelope.Change{ID: id, Recipient: 0, Status: envelope.Failed})
		}()
		w.still()
		if r, err := w.s.moveMessage(g, id); r != nil || !errors.Is(err, errBusy) {
			t.Errorf("it is moved: %v", err)
		}
		none := map[envelope.ID]bool{}
		if r, err := w.s.repeat(g, []envelope.ID{id}, none, none); len(r) > 0 || !errors.Is(err, errBusy) {
			t.Errorf("its state is said again: %v", err)
		}
		w.gate.open()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if r, err := w.s.moveMessage(g, id); r == nil || err != nil {
			t.Errorf("it is not moved: %v", err)
		}
	})
}

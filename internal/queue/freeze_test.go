package queue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatepost/internal/envelope"
)

const ann = "ann@home.example"

// from makes an envelope from another account of ours.
func from(account string, to ...string) *envelope.Envelope {
	e := mail(to...)
	e.Account = account
	return e
}

// What a frozen account has sent waits, whatever it waited for before, and so
// does what it hands over later; others, and mail to it, go on. Released, it
// all leaves, but for what an operator held.
func TestFreeze(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		w.remote.set("b.example", noAnswer, 0)
		deferred, behind := w.send(mail("bob@a.example")), w.send(mail("bob@b.example"))
		w.pass(time.Second)
		ready, held := w.send(mail("carl@b.example")), w.send(mail("dave@b.example"))
		if err := w.q.Hold(held); err != nil {
			t.Fatal(err)
		}
		other := w.send(from("eve@home.example", "bob@b.example"))
		w.pass(time.Second)
		w.q.Freeze(ann)
		w.q.Freeze("nobody@home.example")
		if n, busy := w.q.Of(ann); n != 4 || busy != 0 {
			t.Errorf("%d wait, %d busy", n, busy)
		}
		before := w.remote.count()
		w.remote.set("a.example", delivered, 0)
		w.remote.set("b.example", delivered, 0)
		late := w.send(mail("bob@c.example"))
		incoming := w.send(&envelope.Envelope{Origin: envelope.Remote, Received: time.Now(), Recipients: mail(ann).Recipients})
		w.pass(0)
		if n := w.q.RetryDestination(""); n != 6 { // nothing of what is frozen comes of it
			t.Errorf("%d retried", n)
		}
		w.pass(24 * time.Hour)
		for _, id := range []envelope.ID{deferred, behind, ready, held, late} {
			if s := w.spool.state(id, 0).Status; s.Final() {
				t.Errorf("%v is %v", id, s)
			}
		}
		w.want(other, envelope.Delivered)
		w.want(incoming, envelope.Delivered)
		if n := w.remote.count() - before; n != 1 {
			t.Errorf("%d attempts", n)
		}
		if n := len(w.spool.own(byReport)); n != 0 {
			t.Errorf("%d reports", n)
		}
		for _, m := range w.q.List(Filter{Held: true}) {
			if !m.Held || !strings.Contains(m.Recipients[0].Reason, "its account is frozen") {
				t.Errorf("listed as %+v", m)
			}
		}
		if n := len(w.q.List(Filter{Held: true})); n != 5 {
			t.Errorf("%d are listed as held", n)
		}
		for _, err := range []error{w.q.Retry(late), w.q.Release(late)} {
			if !errors.Is(err, ErrFrozen) {
				t.Errorf("on a message that is frozen: %v", err)
			}
		}
		w.q.Thaw(ann)
		w.pass(time.Second)
		for _, id := range []envelope.ID{deferred, behind, ready, late} {
			w.want(id, envelope.Delivered)
		}
		w.want(held, envelope.Pending)
		if err := w.q.Release(held); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.want(held, envelope.Delivered)
		if n, _ := w.q.Of(ann); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// An attempt under way ends as it ends; what it leaves waits for the account.
func TestFreezeDuringAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.script("a.example", func(a *envelope.Attempt) []envelope.Outcome {
			time.Sleep(time.Minute)
			return []envelope.Outcome{delivered, greylist}
		})
		id := w.send(mail("bob@a.example", "carl@a.example"))
		w.pass(time.Second)
		w.q.Freeze(ann)
		if n, busy := w.q.Of(ann); n != 1 || busy != 1 {
			t.Errorf("%d wait, %d busy", n, busy)
		}
		w.pass(24 * time.Hour)
		w.want(id, envelope.Delivered, envelope.Deferred)
		if n := w.remote.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		w.q.Thaw(ann)
		w.pass(2 * time.Minute)
		if n := w.remote.count(); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

// After a restart all follows from who is frozen then; and of an account that
// was removed while it was frozen nothing leaves by itself.
func TestFrozenAcrossRestarts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.q.Freeze(ann)
		id := w.send(mail("bob@a.example"))
		again := func() {
			w.q.Stop(t.Context())
			w.q = New(w.o)
			w.q.Freeze(ann)
			w.spool.serve(w.q.Offer)
			w.q.Start()
			w.pass(time.Hour)
		}
		again()
		w.want(id, envelope.Pending)
		w.q.Orphan(ann)
		later := w.send(mail("bob@a.example"))
		w.pass(time.Hour)
		w.want(id, envelope.Pending)
		w.want(later, envelope.Delivered)
		w.restart(time.Second)
		w.pass(time.Hour)
		w.want(id, envelope.Pending)
		if err := w.q.Release(id); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.want(id, envelope.Delivered)
	})
}

// Lines keep their order and lose nothing when some of their jobs are taken
// out; dropped messages are gone.
func TestFreezeThins(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", noAnswer, 0)
		w.send(from("first@home.example", "x@a.example"))
		w.pass(time.Second)
		var frozen, free []envelope.ID
		for i := range 20 {
			who, list := ann, &frozen
			if i%3 == 1 {
				who, list = "eve@home.example", &free
			}
			*list = append(*list, w.send(from(who, fmt.Sprintf("x%d@a.example", i))))
		}
		w.q.Freeze(ann)
		if err := w.q.Drop(frozen[0]); err != nil {
			t.Fatal(err)
		}
		w.remote.set("a.example", delivered, 0)
		w.q.RetryDestination("a.example")
		w.pass(time.Second)
		for _, id := range free {
			w.want(id, envelope.Delivered)
		}
		w.want(frozen[1], envelope.Pending)
		w.q.Thaw(ann)
		w.pass(time.Second)
		w.want(frozen[0], envelope.Dropped)
		for _, id := range frozen[1:] {
			w.want(id, envelope.Delivered)
		}
	})
}

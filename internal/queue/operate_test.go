package queue

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

func TestHoldAndRelease(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		id := w.send(mail("bob@a.example"))
		w.pass(time.Second)
		if err := w.q.Hold(id); err != nil {
			t.Fatal(err)
		}
		w.remote.set("a.example", delivered, 0)
		w.pass(10 * 24 * time.Hour) // nor does it expire, or is its delay told
		w.want(id, envelope.Deferred)
		if n := w.remote.count(); n != 1 {
			t.Errorf("%d attempts of a message that is held", n)
		}
		if n := len(w.spool.own(byReport)); n != 0 {
			t.Errorf("%d reports", n)
		}
		if err := w.q.Retry(id); !errors.Is(err, ErrHeld) {
			t.Errorf("Retry of a held message: %v", err)
		}
		if list := w.q.List(Filter{Held: true}); len(list) != 1 || !list[0].Held || !strings.Contains(list[0].Recipients[0].Reason, "held") {
			t.Errorf("listed as %+v", list)
		}
		w.restart(time.Second)
		w.pass(time.Hour)
		w.want(id, envelope.Deferred)
		if err := w.q.Release(id); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.want(id, envelope.Delivered)
		if list := w.q.List(Filter{}); len(list) != 0 {
			t.Errorf("listed: %+v", list)
		}
		// What was signed before it was held is signed anew, and nothing else.
		if list := w.remote.attempts; len(list) != 2 || list[0].afresh || !list[1].afresh {
			t.Errorf("attempted as %+v", list)
		}
	})
}

// The list names the alias that somebody gets a message through.
func TestListNamesAliases(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		e := mail("bob@a.example", "carl@a.example")
		e.Recipients[0].Via = addr.MustParse("sales@example.org")
		w.send(e)
		w.pass(time.Second)
		list := w.q.List(Filter{})
		if len(list) != 1 || list[0].Recipients[0].Alias != "sales@example.org" || list[0].Recipients[1].Alias != "" {
			t.Errorf("listed as %+v", list)
		}
	})
}

// An attempt under way goes on when its message is held; what it leaves is
// held then.
func TestHoldDuringAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.script("a.example", func(a *envelope.Attempt) []envelope.Outcome {
			time.Sleep(time.Minute)
			return []envelope.Outcome{delivered, greylist}
		})
		id := w.send(mail("bob@a.example", "carl@a.example"))
		w.pass(time.Second)
		if err := w.q.Hold(id); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		w.want(id, envelope.Delivered, envelope.Deferred)
		if n := w.remote.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		if n := w.q.ReleaseAll(); n != 1 {
			t.Errorf("%d released", n)
		}
		w.pass(2 * time.Minute)
		if n := w.remote.count(); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestRetry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		w.remote.set("b.example", noAnswer, 0)
		a := w.send(mail("bob@a.example"))
		b := w.send(mail("bob@b.example"))
		w.pass(3 * time.Hour)
		b2 := w.send(mail("bob@b.example"))
		w.pass(0)
		before := w.remote.count()
		if err := w.q.Retry(a); err != nil {
			t.Fatal(err)
		}
		if n := w.q.RetryDestination("b.example"); n != 2 {
			t.Errorf("%d messages are retried", n)
		}
		w.pass(0)
		if n := w.remote.count() - before; n != 2 { // b is still dead: one of its messages shows that
			t.Errorf("%d attempts at once", n)
		}
		w.remote.set("a.example", delivered, 0)
		w.remote.set("b.example", delivered, 0)
		if n := w.q.RetryDestination(""); n != 3 {
			t.Errorf("%d messages are retried", n)
		}
		w.pass(time.Second)
		w.want(a, envelope.Delivered)
		w.want(b, envelope.Delivered)
		w.want(b2, envelope.Delivered)
		if err := w.q.Retry(a); !errors.Is(err, ErrUnknown) {
			t.Errorf("Retry of a message that is done: %v", err)
		}
	})
}

// Operators think in domains, also where several share a route.
func TestRetryOfRoutedDomain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("route:smart", greylist, 0)
		a := w.send(mail("bob@a.smart.example", "bob@b.smart.example"))
		b := w.send(mail("bob@b.smart.example"))
		w.pass(time.Second)
		w.remote.set("route:smart", delivered, 0)
		if n := w.q.RetryDestination("a.smart.example"); n != 1 {
			t.Errorf("%d messages are retried", n)
		}
		w.pass(0)
		w.want(a, envelope.Delivered, envelope.Delivered)
		w.want(b, envelope.Deferred)
		if n := w.q.RetryDestination("route:smart"); n != 1 {
			t.Errorf("%d messages are retried", n)
		}
		w.pass(0)
		w.want(b, envelope.Delivered)
	})
}

// A route that was changed takes with it what waits for it: in a held line,
// for its own time, and in an attempt that is under way.
func TestReroute(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("route:smart", noAnswer, time.Minute)
		w.remote.set("a.example", greylist, 0)
		stuck := w.send(mail("bob@smart.example", "ann@home.example", "bob@a.example", "carl@x.smart.example"))
		held := w.send(mail("bob@smart.example"))
		w.pass(2 * time.Minute) // and one that fails
		if err := w.q.Hold(held); err != nil {
			t.Fatal(err)
		}
		w.remote.set("route:smart", noAnswer, time.Hour)
		under := w.send(mail("bob@smart.example"))
		w.pass(10 * time.Minute)
		attempts := len(w.remote.to("a.example"))

		w.router.smart.Store("route:new")
		w.q.Reroute()
		w.pass(0)
		w.want(held, envelope.Deferred)
		if err := w.q.Release(held); err != nil {
			t.Fatal(err)
		}
		w.pass(0)
		w.want(held, envelope.Delivered)
		w.pass(time.Hour)
		w.want(stuck, envelope.Delivered, envelope.Delivered, envelope.Deferred, envelope.Delivered)
		w.want(under, envelope.Delivered)
		if n := len(w.remote.to("a.example")); n > attempts+2 {
			t.Errorf("a destination that keeps its route was attempted %d times more", n-attempts)
		}
		w.remote.set("a.example", delivered, 0)
		w.q.RetryDestination("")
		w.pass(0)
		w.want(stuck, envelope.Delivered, envelope.Delivered, envelope.Delivered, envelope.Delivered)
		if n := w.q.Depth(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// What failed and is kept can be tried again by an operator.
func TestRetryOfKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", refused, 0)
		e := mail("bob@a.example", "carl@a.example", "dora@home.example")
		e.Origin = envelope.Remote
		id := w.send(e)
		w.pass(time.Hour)
		w.want(id, envelope.Kept, envelope.Kept, envelope.Delivered)
		w.restart(time.Hour)
		w.pass(0)
		w.remote.set("a.example", delivered, 0)
		before := w.remote.count()
		if err := w.q.Retry(id); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.want(id, envelope.Delivered, envelope.Delivered, envelope.Delivered)
		if n := w.remote.count() - before; n != 1 {
			t.Errorf("%d attempts, want one for both", n)
		}
		if n := len(w.q.messages) + len(w.q.kept); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

// Without Start the verbs work on what is in the spool: a command does so
// when no server runs.
func TestVerbsWithoutStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		a, b := w.send(mail("bob@a.example")), w.send(mail("bob@a.example"))
		w.pass(2 * time.Hour)
		w.q.Stop(t.Context())
		before := w.remote.count()
		w.q = New(w.o)
		w.spool.serve(w.q.Offer)
		if err := w.q.Retry(a); err != nil {
			t.Fatal(err)
		}
		if err := w.q.Drop(b); err != nil {
			t.Fatal(err)
		}
		if list := w.q.List(Filter{}); len(list) != 1 || list[0].ID != a {
			t.Errorf("listed: %+v", list)
		}
		w.q.Stop(t.Context())
		w.pass(time.Second)
		if n := w.remote.count() - before; n != 0 {
			t.Errorf("%d attempts without Start", n)
		}
		w.start()
		w.pass(0)
		if n := w.remote.count() - before; n != 1 {
			t.Errorf("%d attempts at the next start, want one at once", n)
		}
		w.want(b, envelope.Dropped)
	})
}

func TestDrop(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		w.remote.set("b.example", refused, 0)
		e := mail("bob@a.example", "carl@a.example", "x@b.example", "dora@home.example")
		e.Origin = envelope.Remote
		id := w.send(e)
		w.pass(time.Second)
		w.want(id, envelope.Deferred, envelope.Deferred, envelope.Kept, envelope.Delivered)
		if err := w.q.Drop(id, addr.MustParse("nobody@a.example")); !errors.Is(err, ErrRecipient) {
			t.Errorf("drop of a stranger: %v", err)
		}
		if err := w.q.Drop(id, addr.MustParse("carl@a.example")); err != nil {
			t.Fatal(err)
		}
		w.want(id, envelope.Deferred, envelope.Dropped, envelope.Kept, envelope.Delivered)
		w.pass(time.Minute)
		if list := w.remote.to("a.example"); list[len(list)-1].recipients != 1 {
			t.Error("a recipient was attempted after it was dropped")
		}
		if err := w.q.Drop(id); err != nil {
			t.Fatal(err)
		}
		w.want(id, envelope.Dropped, envelope.Dropped, envelope.Dropped, envelope.Delivered)
		w.pass(6 * 24 * time.Hour)
		if n := len(w.spool.own(byReport)); n != 0 {
			t.Errorf("%d reports", n)
		}
		if n := len(w.q.messages) + len(w.q.kept) + len(w.q.doomed); n != 0 {
			t.Errorf("%d entries are left", n)
		}
		if err := w.q.Drop(id); !errors.Is(err, ErrUnknown) {
			t.Errorf("drop of what is gone: %v", err)
		}
	})
}

// To drop one recipient leaves the wait of a kept one as it is.
func TestDropBesideKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", refused, 0)
		e := mail("bob@a.example", "carl@a.example")
		e.Origin = envelope.Remote
		id := w.send(e)
		w.pass(time.Second)
		if err := w.q.Drop(id, addr.MustParse("carl@a.example")); err != nil {
			t.Fatal(err)
		}
		w.want(id, envelope.Kept, envelope.Dropped)
		w.pass(w.o.KeptFor - time.Hour)
		w.want(id, envelope.Kept, envelope.Dropped)
		w.pass(2 * time.Hour)
		w.want(id, envelope.Dropped, envelope.Dropped)
	})
}

// Who is dropped during an attempt is dropped unless it succeeds.
func TestDropDuringAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.script("a.example", func(a *envelope.Attempt) []envelope.Outcome {
			time.Sleep(time.Minute)
			return []envelope.Outcome{delivered, greylist, refused}
		})
		id := w.send(mail("r0@a.example", "r1@a.example", "r2@a.example"))
		w.pass(time.Second)
		if err := w.q.Drop(id); err != nil {
			t.Fatal(err)
		}
		w.want(id, envelope.Pending, envelope.Pending, envelope.Pending)
		w.pass(time.Hour)
		w.want(id, envelope.Delivered, envelope.Dropped, envelope.Dropped)
		if n := w.remote.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		if n := len(w.spool.own(byReport)); n != 0 {
			t.Errorf("%d bounces", n)
		}
	})
}

func TestList(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		w.remote.set("b.example", noAnswer, 0)
		w.remote.set("c.example", delivered, time.Hour)
		first := mail("bob@a.example", "carl@b.example", "dora@home.example")
		w.send(first)
		w.pass(time.Second)
		second := mail("eve@b.example", "fred@c.example")
		w.send(second)
		w.pass(time.Second)

		list := w.q.List(Filter{})
		if len(list) != 2 || list[0].ID != first.ID || len(list[0].Recipients) != 2 {
			t.Fatalf("listed: %+v", list)
		}
		a, b, waits, now := list[0].Recipients[0], list[0].Recipients[1], list[1].Recipients[0], list[1].Recipients[1]
		for got, want := range map[string][]string{
			a.Reason:     {"mx.a.example answered 451 4.7.1 greylisted.", "come back a little later", "It is tried again at ", " UTC on "},
			b.Reason:     {"mx.a.example answered 451 4.4.1 no answer.", "did not answer"},
			waits.Reason: {"Nothing reaches b.example (mx.a.example answered 451 4.4.1 no answer. The server did not answer.); it is tried again at "},
			now.Reason:   {"It is being delivered now."},
		} {
			for _, s := range want {
				if !strings.Contains(got, s) {
					t.Errorf("%q does not say %q", got, s)
				}
			}
		}
		if a.Attempts != 1 || a.Status != "deferred" || a.Destination != "a.example" || a.Next.Before(time.Now()) || waits.Next.IsZero() || !now.Next.IsZero() {
			t.Errorf("%+v\n%+v", a, now)
		}
		if list := w.q.List(Filter{Domain: "a.example"}); len(list) != 1 || len(list[0].Recipients) != 1 {
			t.Errorf("of one domain: %+v", list)
		}
		if list := w.q.List(Filter{Failed: true}); len(list) != 0 {
			t.Errorf("failed: %+v", list)
		}
		if list := w.q.List(Filter{Held: true}); len(list) != 0 {
			t.Errorf("held: %+v", list)
		}
		one, err := w.q.Show(second.ID)
		if diff := cmp.Diff(list[1], one); err != nil || diff != "" {
			t.Errorf("Show: %v %s", err, diff)
		}
		if _, err := w.q.Show(envelope.ID{1}); !errors.Is(err, ErrUnknown) {
			t.Errorf("Show of a stranger: %v", err)
		}
		if d, age := w.q.Depth(), w.q.OldestAge(); d != 2 || age != 2*time.Second {
			t.Errorf("depth %d, oldest %v", d, age)
		}
		w.pass(2 * time.Hour)
	})
}

func TestJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 3, 4, 5, 6, 0, time.UTC)
	got, err := json.Marshal(Message{From: "a@b.example", Origin: "user", Size: 7, Received: at,
		Recipients: []Recipient{{To: "c@d.example", Status: "deferred", Attempts: 2, Next: at, Reason: "why"}, {To: "e@d.example", Status: "pending"}}})
	want := `{"id":"00000000000000000000000000","from":"a@b.example","origin":"user","size":7,"received":"2026-11-03T04:05:06Z","held":false,` +
		`"recipients":[{"to":"c@d.example","status":"deferred","attempts":2,"next":"2026-11-03T04:05:06Z","reason":"why"},` +
		`{"to":"e@d.example","status":"pending","attempts":0,"reason":""}]}`
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

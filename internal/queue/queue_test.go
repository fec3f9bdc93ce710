package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/envelope"
)

func TestDeliversAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.send(mail("bob@a.example", "eve@home.example", "carl@a.example", "x@one.smart.example", "y@two.smart.example"))
		w.pass(0)
		d := envelope.Delivered
		w.want(id, d, d, d, d, d)
		if got := w.remote.to("a.example"); len(got) != 1 || got[0].recipients != 2 {
			t.Errorf("a.example: %+v, want one attempt for two recipients", got)
		}
		if got := w.remote.to("route:smart"); len(got) != 1 || got[0].recipients != 2 {
			t.Errorf("domains of one route: %+v, want one attempt for two recipients", got)
		}
		if got := w.local.to("home.example"); len(got) != 1 {
			t.Errorf("home.example: %+v", got)
		}
		if n := w.q.Depth(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
		if c := &w.q.Counters; c.Delivered.Load() != 5 || c.Attempts.Load() != 3 {
			t.Errorf("counted %d delivered in %d attempts", c.Delivered.Load(), c.Attempts.Load())
		}
	})
}

// near reports whether an interval is one of a table, give or take jitter.
func near(got, want time.Duration) bool {
	return got >= want-want/jitterPart && got <= want+want/jitterPart
}

func gaps(list []tried) (d []time.Duration) {
	for i := 1; i < len(list); i++ {
		d = append(d, list[i].at.Sub(list[i-1].at))
	}
	return d
}

func TestSchedule(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, time.Second)
		id := w.send(mail("bob@a.example"))
		began := time.Now()
		w.pass(w.o.Lifetime - time.Minute)
		w.want(id, envelope.Deferred)
		got := gaps(w.remote.to("a.example"))
		for i, d := range got {
			if want := schedule[min(i, len(schedule)-1)]; !near(d-time.Second, want) {
				t.Errorf("interval %d is %v, want about %v", i, d, want)
			}
		}
		if len(got) < 30 {
			t.Errorf("only %d attempts in 5 days", len(got))
		}
		w.pass(2 * time.Minute)
		w.want(id, envelope.Failed)
		list := w.remote.to("a.example")
		if last := list[len(list)-1].at.Sub(began); last < w.o.Lifetime || last > w.o.Lifetime+time.Minute {
			t.Errorf("the last attempt is after %v, want one at the very end", last)
		}
		reports := w.spool.own(byReport)
		body := string(reports[len(reports)-1].body)
		for _, s := range []string{"Status: 4.4.7", "tried for 5 days", "451 4.7.1 greylisted", "Action: failed"} {
			if !strings.Contains(body, s) {
				t.Errorf("the bounce does not say %q:\n%s", s, body)
			}
		}
		w.pass(24 * time.Hour)
		if n := len(w.remote.to("a.example")); n != len(list) {
			t.Errorf("%d attempts after the end", n-len(list))
		}
	})
}

func TestJitter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := New(w.o)
	least, most := time.Duration(never), time.Duration(0)
	for range 2000 {
		d := q.interval(schedule, 3)
		if !near(d, schedule[3]) {
			t.Fatalf("%v is not near %v", d, schedule[3])
		}
		least, most = min(least, d), max(most, d)
	}
	if spread := most - least; spread < schedule[3]/jitterPart {
		t.Errorf("2,000 intervals spread over %v only", spread)
	}
}

// A destination that does not answer is probed with one attempt at growing
// intervals, and the messages that wait for it cost nothing.
func TestDestinationBackoff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", noAnswer, time.Second)
		const n = 1000
		var ids []envelope.ID
		for range n {
			ids = append(ids, w.send(mail("bob@a.example")))
		}
		w.pass(3*time.Hour + 30*time.Minute)
		list := w.remote.to("a.example")
		for i, d := range gaps(list) {
			if want := backoff[min(i, len(backoff)-1)]; !near(d-time.Second, want) {
				t.Errorf("interval %d is %v, want about %v", i, d, want)
			}
		}
		if len(list) < 10 || len(list) > 14 || w.remote.most["a.example"] != 1 {
			t.Errorf("%d attempts, %d at once", len(list), w.remote.most["a.example"])
		}
		if w.spool.written > len(list) {
			t.Errorf("%d changes for %d attempts", w.spool.written, len(list))
		}
		if n := len(w.spool.released); n != len(ids) {
			t.Errorf("%d messages were released from memory, want all", n)
		}
		w.remote.set("a.example", delivered, time.Second)
		w.pass(40 * time.Minute)
		for _, id := range ids {
			if s := w.spool.state(id, 0).Status; s != envelope.Delivered {
				t.Fatalf("a message is %s after the destination is back", s)
			}
		}
		if w.remote.most["a.example"] != w.o.PerDestination {
			t.Errorf("%d attempts at once, want %d", w.remote.most["a.example"], w.o.PerDestination)
		}
		// A success clears the past: the next failure is the first again.
		w.remote.set("a.example", noAnswer, time.Second)
		before := len(w.remote.to("a.example"))
		w.send(mail("bob@a.example"))
		w.pass(45 * time.Second)
		if n := len(w.remote.to("a.example")) - before; n != 2 {
			t.Errorf("%d attempts in the first 45 s after a new failure, want 2", n)
		}
	})
}

// Twenty attempts that fail together are one failure of the destination.
func TestFailuresSideBySideCountOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range 100 { // open the window
			w.send(mail("bob@a.example"))
		}
		w.pass(0)
		w.remote.set("a.example", noAnswer, 10*time.Second)
		for range 100 {
			w.send(mail("bob@a.example"))
		}
		w.pass(10 * time.Second)
		if n := len(w.remote.to("a.example")) - 100; n != w.o.PerDestination {
			t.Fatalf("%d attempts", n)
		}
		w.q.mu.Lock()
		l := w.q.line(lineName{name: "a.example"})
		if l.failures != 1 || l.slots.Window != 1 || !near(l.hold.At-w.q.now(), backoff[0]) {
			t.Errorf("%d failures, window %d, hold %v", l.failures, l.slots.Window, l.hold.At-w.q.now())
		}
		w.q.mu.Unlock()
	})
}

// One that fails while others succeed must not make a loop.
func TestFlappingDestinationIsNotHammered(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bad := w.send(mail("bad@a.example"))
		w.remote.script("a.example", func(a *envelope.Attempt) []envelope.Outcome {
			time.Sleep(10 * time.Millisecond)
			if a.Envelope.ID == bad {
				return same(1, noAnswer)
			}
			return same(1, delivered)
		})
		id := w.send(mail("bad@a.example"))
		bad = id
		for range 2000 {
			w.send(mail("bob@a.example"))
		}
		w.pass(20 * time.Second)
		n := 0
		for _, a := range w.remote.to("a.example") {
			if a.id == id {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d attempts at the one that fails in 20 s", n)
		}
		if n := w.q.Depth(); n != 1 {
			t.Errorf("%d messages wait, although the destination answers", n)
		}
	})
}

func TestBounds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 40 {
			d := fmt.Sprintf("d%d.example", i)
			w.remote.set(d, delivered, time.Second)
			for range 100 {
				w.send(mail("bob@" + d))
			}
		}
		w.local.set("home.example", delivered, time.Second)
		for range 500 {
			w.send(mail("bob@home.example"))
		}
		w.pass(time.Hour)
		if n := w.q.Depth(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
		for d, n := range w.remote.most {
			if n > w.o.PerDestination {
				t.Errorf("%d attempts at once at %s", n, d)
			}
		}
		if w.remote.mostAll > w.o.RemoteWorkers || w.remote.mostAll < w.o.RemoteWorkers/2 {
			t.Errorf("%d attempts at once at other servers", w.remote.mostAll)
		}
		if w.local.mostAll != w.o.LocalWorkers {
			t.Errorf("%d attempts at once at our mailboxes", w.local.mostAll)
		}
	})
}

// With one destination in ten dead and one in ten slow, mail to the others
// must arrive as if those were not there.
func TestDeadDestinationsDoNotDelayOthers(t *testing.T) {
	t.Parallel()
	run := func(faulty bool) (worst time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.o.RemoteWorkers = 2000
			w.start()
			const destinations = 10_000
			sent := time.Now()
			for i := range destinations {
				d := fmt.Sprintf("d%d.example", i)
				switch {
				case faulty && i%20 == 0:
					w.remote.set(d, noAnswer, 30*time.Second)
				case faulty && i%20 == 1:
					w.remote.set(d, delivered, 20*time.Second)
				default:
					w.remote.set(d, delivered, 50*time.Millisecond)
				}
			}
			for range 3 {
				for i := range destinations {
					w.send(mail(fmt.Sprintf("bob@d%d.example", i)))
				}
			}
			w.pass(10 * time.Minute)
			for _, a := range w.remote.attempts {
				var i int
				fmt.Sscanf(a.destination, "d%d.", &i)
				if i%20 > 1 {
					worst = max(worst, a.at.Sub(sent))
				}
			}
			w.q.Stop(t.Context())
		})
		return worst
	}
	alone, beside := run(false), run(true)
	t.Logf("the last healthy attempt begins after %v, with dead and slow ones beside it after %v", alone, beside)
	if beside > 3*alone {
		t.Errorf("%v became %v", alone, beside)
	}
}

// A slow destination with much mail must leave slots for the others.
func TestSlowDestinationsLeaveSlots(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 50 {
			d := fmt.Sprintf("slow%d.example", i)
			w.remote.set(d, delivered, time.Minute)
			for range 200 {
				w.send(mail("bob@" + d))
			}
		}
		w.pass(30 * time.Minute)
		if n := w.remote.underWay(); n > w.o.RemoteWorkers/2 {
			t.Errorf("slow destinations hold %d slots of %d", n, w.o.RemoteWorkers)
		}
		at := time.Now()
		id := w.send(mail("bob@quick.example"))
		w.pass(time.Second)
		w.want(id, envelope.Delivered)
		if got := w.remote.to("quick.example"); got[0].at.Sub(at) > youth {
			t.Errorf("it began after %v", got[0].at.Sub(at))
		}
	})
}

// Few attempts begin at once, so that they do not wait for each other's
// processor time; what goes to who was waiting for nothing does not wait, either.
func TestFewAreYoung(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.o.RemoteYoung = 2
		w.start()
		w.send(mail("bob@known.example"))
		w.pass(time.Minute)
		for i := range 7 {
			d := fmt.Sprintf("d%d.example", i)
			w.remote.set(d, delivered, time.Second)
			w.send(mail("bob@" + d))
		}
		began := time.Now()
		w.pass(0)
		w.send(mail("bob@known.example"))
		w.pass(time.Minute)
		var after []time.Duration
		for _, a := range w.remote.attempts[1:] {
			after = append(after, a.at.Sub(began))
		}
		if want := []time.Duration{0, 0, 0, youth, youth, 2 * youth, 2 * youth, 3 * youth}; !slices.Equal(after, want) || w.remote.to("known.example")[1].at != began {
			t.Errorf("attempts begin after %v", after)
		}
		w.q.Stop(t.Context())
	})
}

// Lines take turns: mail for a second destination does not wait behind all
// of the first.
func TestLinesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.o.RemoteWorkers = 1
		w.start()
		for _, d := range []string{"a.example", "b.example", "c.example"} {
			w.remote.set(d, delivered, time.Second)
		}
		for range 30 {
			w.send(mail("bob@a.example"))
		}
		for range 3 {
			w.send(mail("bob@b.example"))
			w.send(mail("bob@c.example"))
		}
		w.pass(12 * time.Second)
		if b, c := len(w.remote.to("b.example")), len(w.remote.to("c.example")); b != 3 || c != 3 {
			t.Errorf("after 12 attempts, %d at b and %d at c", b, c)
		}
		w.pass(time.Hour)
		w.q.Stop(t.Context())
	})
}

func TestRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", greylist, 0)
		id := w.send(mail("bob@a.example", "carl@b.example"))
		w.pass(10 * time.Minute) // attempts at 0, 0:30, 2:30, 7:30
		w.want(id, envelope.Deferred, envelope.Delivered)
		next := w.spool.state(id, 0).Next
		before := w.remote.count()
		w.restart(time.Second)
		w.pass(time.Until(next) - 2*time.Second)
		if n := w.remote.count() - before; n != 0 {
			t.Errorf("%d attempts before it was due", n)
		}
		w.remote.set("a.example", delivered, 0)
		w.pass(4 * time.Second)
		w.want(id, envelope.Delivered, envelope.Delivered)
		if n := w.remote.count() - before; n != 1 {
			t.Errorf("%d attempts, want one for the recipient that was left", n)
		}
	})
}

// The wall clock was wrong before or is wrong after a restart: nothing is
// given up without a fair chance, nothing waits for years.
func TestWallClockOffAcrossRestart(t *testing.T) {
	for name, tt := range map[string]struct {
		received, next time.Duration // from now
	}{
		"received in the future":      {1000 * time.Hour, time.Minute},
		"received 30 years ago":       {-30 * 365 * 24 * time.Hour, -time.Hour},
		"to be tried in 30 years":     {-time.Hour, 30 * 365 * 24 * time.Hour},
		"received long ago, deferred": {-30 * 365 * 24 * time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := mail("bob@a.example")
				e.Received = time.Now().Add(tt.received)
				r := &e.Recipients[0]
				r.Status, r.Attempts, r.Next = envelope.Deferred, 3, time.Now().Add(tt.next)
				w.remote.set("a.example", greylist, 0)
				id := w.send(e)
				w.start()
				w.pass(50 * time.Minute)
				w.want(id, envelope.Deferred)
				w.remote.set("a.example", delivered, 0)
				w.pass(longest)
				w.want(id, envelope.Delivered)
				w.q.Stop(t.Context())
			})
		})
	}
}

func TestStopWaitsForAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.remote.set("a.example", delivered, 10*time.Second)
		var ids []envelope.ID
		for range 50 {
			ids = append(ids, w.send(mail("bob@a.example")))
		}
		w.pass(time.Second)
		w.q.Stop(context.Background())
		n := 0
		for _, id := range ids {
			if w.spool.state(id, 0).Status == envelope.Delivered {
				n++
			}
		}
		if n != w.remote.count() || n == 0 || n == 50 {
			t.Errorf("%d delivered in %d attempts", n, w.remote.count())
		}
		w.send(mail("bob@b.example")) // offered too late, and for the next start
		w.pass(time.Hour)
		if len(w.remote.to("b.example")) != 0 {
			t.Error("an attempt after Stop")
		}
		w.start()
		w.pass(time.Hour)
		for _, id := range ids {
			w.want(id, envelope.Delivered)
		}
		w.q.Stop(t.Context())
	})
}

func TestStopCancels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.remote.set("a.example", delivered, time.Hour)
		id := w.send(mail("bob@a.example"))
		w.pass(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		w.q.Stop(ctx)
		if d := time.Since(began); d != 15*time.Second {
			t.Errorf("Stop took %v", d)
		}
		w.want(id, envelope.Pending) // what we cut short says nothing about it
		if w.spool.written != 0 {
			t.Errorf("%d changes were written", w.spool.written)
		}
		time.Sleep(time.Hour) // for the fake's own goroutine to end
	})
}

// The deliverer may forget a message only when all its local recipients are
// settled and durably so.
func TestSettled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.spool.slow = true
		full := envelope.Outcome{Status: envelope.Deferred, Err: envelope.Refuse(452, "4.2.2", "full")}
		w.local.set("two.home.example", full, 0)
		id := w.send(mail("a@home.example", "b@two.home.example", "c@x.example"))
		only := w.send(mail("d@x.example"))
		settle := func() {
			w.spool.mu.Lock()
			list := w.spool.pending
			w.spool.pending = nil
			w.spool.mu.Unlock()
			for _, f := range list {
				f()
			}
		}
		w.pass(time.Second)
		settle()
		if len(w.local.settled) != 0 {
			t.Error("settled while a local recipient waits")
		}
		w.local.set("two.home.example", delivered, 0)
		w.pass(time.Minute)
		w.want(id, envelope.Delivered, envelope.Delivered, envelope.Delivered)
		if len(w.local.settled) != 0 {
			t.Error("settled before the outcome is durable")
		}
		settle()
		if !slices.Equal(w.local.settled, []envelope.ID{id}) || slices.Contains(w.local.settled, only) {
			t.Errorf("settled: %v", w.local.settled)
		}
	})
}

// A body that cannot be read is our fault: it is tried again, the line goes
// on, and in the end the sender hears of it without the body.
func TestDamagedBody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.spool.full = false
		e := mail("bob@a.example")
		w.spool.offer = nil
		id := w.send(e)
		w.spool.damaged[id] = true
		w.spool.offer = w.q.Offer
		w.q.Offer(e)
		w.pass(time.Minute)
		w.want(id, envelope.Deferred)
		other := w.send(mail("bob@a.example"))
		w.pass(time.Second)
		w.want(other, envelope.Delivered)
		w.pass(w.o.Lifetime)
		w.want(id, envelope.Failed)
		if n := len(w.spool.own(byReport)); n != 2 { // the delay and the failure
			t.Errorf("%d reports", n)
		}
	})
}

// Damage says nothing about the destination either way.
func TestDamagedBodyIsNoSignOfLife(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", noAnswer, 0)
		id := w.send(mail("bob@a.example"))
		w.pass(10 * time.Minute)
		w.spool.mu.Lock()
		w.spool.damaged[id] = true
		w.spool.mu.Unlock()
		w.pass(time.Hour)
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		if l := w.q.line(lineName{name: "a.example"}); l.failures < 3 || l.slots.Window != 1 {
			t.Errorf("%d failures, window %d", l.failures, l.slots.Window)
		}
	})
}

// A message is old only if the wall clock and our own watch both say so.
func TestOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		q := New(w.o)
		time.Sleep(6 * 24 * time.Hour)
		for _, tt := range []struct {
			watch, wall time.Duration // ages
			want        bool
		}{
			{6, 6, true}, {6, 4, false}, {4, 6, false}, {4, 10_000, false}, {5, 5, true},
		} {
			e := mail("bob@a.example")
			e.Received = time.Now().Add(-tt.wall * 24 * time.Hour)
			if got := q.old(&queued{env: e, born: q.now() - tt.watch*24*time.Hour}); got != tt.want {
				t.Errorf("%d days by our watch, %d by the wall clock: %v", tt.watch, tt.wall, got)
			}
		}
	})
}

// The spool promises to offer a message once. If it did not, nobody should
// get it twice.
func TestOfferedTwice(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", delivered, time.Second)
		e := mail("bob@a.example")
		w.send(e)
		w.q.Offer(e)
		w.pass(time.Minute)
		if n := w.remote.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// However many destinations hang, one that is known to answer gets a slot.
func TestHangingDestinationsLeaveSlots(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.send(mail("bob@quick.example"))
		w.pass(time.Second)
		for i := range 2 * w.o.RemoteWorkers {
			d := fmt.Sprintf("hangs%d.example", i)
			w.remote.set(d, noAnswer, time.Hour)
			w.send(mail("bob@" + d))
		}
		w.pass(time.Second)
		if n := w.remote.underWay(); n != w.o.RemoteWorkers*3/4 {
			t.Errorf("%d slots are taken by the hanging ones", n)
		}
		id := w.send(mail("bob@quick.example"))
		w.pass(0)
		w.want(id, envelope.Delivered)
		w.pass(24 * time.Hour)
	})
}

// What is known of destinations without mail is bounded.
func TestEmptyLinesAreForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("waits.example", greylist, 0)
		w.send(mail("bob@waits.example"))
		for i := range 2*maxIdle + 100 {
			w.send(mail(fmt.Sprintf("bob@d%d.example", i)))
		}
		w.pass(time.Second)
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		if n := len(w.q.lines); n > maxIdle+1 || n != w.q.idle+1 {
			t.Errorf("%d lines, %d of them idle", n, w.q.idle)
		}
		if w.q.lines[lineName{name: "waits.example"}] == nil {
			t.Error("a line was forgotten whose job waits")
		}
	})
}

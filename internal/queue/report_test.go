package queue

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// The matrix of who is told what: NOTIFY, outcome and origin.
func TestWhoIsTold(t *testing.T) {
	const (
		nobody    = ""
		failed    = "failed"
		relayedTo = "relayed"
		inBox     = "delivered"
		kept      = "kept"
	)
	type expect struct{ fails, relays, delivers, files string }
	notify := map[string]envelope.Notify{
		"none given":      0,
		"never":           envelope.NotifyNever,
		"success":         envelope.NotifySuccess,
		"failure":         envelope.NotifyFailure,
		"success,failure": envelope.NotifySuccess | envelope.NotifyFailure,
		"delay":           envelope.NotifyDelay,
	}
	verified := map[string]expect{
		"none given":      {failed, nobody, nobody, nobody},
		"never":           {nobody, nobody, nobody, nobody},
		"success":         {nobody, relayedTo, nobody, inBox},
		"failure":         {failed, nobody, nobody, nobody},
		"success,failure": {failed, relayedTo, nobody, inBox},
		"delay":           {nobody, nobody, nobody, nobody},
	}
	unverified := map[string]expect{
		"none given": {fails: kept}, "never": {}, "success": {}, "failure": {fails: kept},
		"success,failure": {fails: kept}, "delay": {},
	}
	senders := map[string]struct {
		origin envelope.Origin
		from   string
		want   map[string]expect
	}{
		"user":             {envelope.User, "ann@home.example", verified},
		"relay":            {envelope.Relay, "host@else.example", verified},
		"ourselves":        {envelope.Self, "alerts@home.example", verified},
		"proven":           {envelope.Proven, "host@else.example", verified},
		"remote":           {envelope.Remote, "forged@else.example", unverified},
		"null sender":      {envelope.Remote, "", unverified},
		"user's null":      {envelope.User, "", unverified},
		"our own bounce":   {envelope.Self, "", unverified},
		"null from relays": {envelope.Relay, "", unverified},
	}
	for who, sender := range senders {
		for asked, n := range notify {
			t.Run(who+" "+asked, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.remote.set("fails.example", refused, 0)
					w.remote.set("relays.example", relayed, 0)
					check := func(to, want string, status envelope.Status) {
						t.Helper()
						e := mail(to)
						e.Origin, e.From = sender.origin, addr.Address{}
						if sender.from != "" {
							e.From = addr.MustParse(sender.from)
						}
						e.Recipients[0].Notify = n
						reports := len(w.spool.own(byReport))
						id := w.send(e)
						w.pass(0)
						if want == kept {
							w.want(id, envelope.Kept)
							want = nobody
						} else {
							w.want(id, status)
						}
						list := w.spool.own(byReport)[reports:]
						switch {
						case want == nobody && len(list) > 0:
							t.Errorf("%s: somebody is told:\n%s", to, list[0].body)
						case want == nobody:
						case len(list) != 1:
							t.Errorf("%s: %d reports, want one", to, len(list))
						case !strings.Contains(string(list[0].body), "\r\nAction: "+want+"\r\n"):
							t.Errorf("%s: not %s:\n%s", to, want, list[0].body)
						case list[0].env.Recipients[0].To.String() != sender.from || !list[0].env.From.IsNull():
							t.Errorf("%s: the report goes from %q to %s", to, list[0].env.From, list[0].env.Recipients[0].To)
						}
					}
					want := sender.want[asked]
					check("bob@fails.example", want.fails, envelope.Failed)
					check("bob@relays.example", want.relays, envelope.Relayed)
					check("bob@delivers.example", want.delivers, envelope.Delivered)
					check("bob@home.example", want.files, envelope.Delivered)
				})
			})
		}
	}
}

// All that fail in one attempt share a bounce; it is filed at once.
func TestOneBounceForAnAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.script("a.example", func(a *envelope.Attempt) (list []envelope.Outcome) {
			for _, i := range a.Recipients {
				list = append(list, [...]envelope.Outcome{refused, delivered, greylist}[i%3])
			}
			return list
		})
		e := mail("r0@a.example", "r1@a.example", "r2@a.example", "r3@a.example")
		e.EnvID, e.Ret = "id+2B1", envelope.RetFull
		e.Recipients[3].ORcpt = "rfc822;alias@home.example"
		id := w.send(e)
		w.pass(0)
		w.want(id, envelope.Failed, envelope.Delivered, envelope.Deferred, envelope.Failed)
		list := w.spool.own(byReport)
		if len(list) != 1 {
			t.Fatalf("%d bounces", len(list))
		}
		body := string(list[0].body)
		for _, s := range []string{
			"Final-Recipient: rfc822; r0@a.example", "Final-Recipient: rfc822; r3@a.example",
			"Original-Recipient: rfc822; alias@home.example", "Original-Envelope-Id: id+1",
			"Remote-MTA: dns; mx.a.example", "Diagnostic-Code: smtp; 550 5.1.1 no such user",
			"Received: from client\r\n", "message/rfc822", "\r\n\r\nHello\r\n",
		} {
			if !strings.Contains(body, s) {
				t.Errorf("the bounce lacks %q:\n%s", s, body)
			}
		}
		if strings.Contains(body, "r1@") || strings.Contains(body, "r2@") {
			t.Errorf("the bounce tells of others:\n%s", body)
		}
		w.want(list[0].env.ID, envelope.Delivered)
		if got := w.local.to("home.example"); len(got) != 1 || got[0].id != list[0].env.ID {
			t.Errorf("the bounce was not filed at once: %+v", got)
		}
		// Those that wait make a second one later, and only for themselves.
		w.remote.set("a.example", refused, 0)
		w.pass(time.Hour)
		if list = w.spool.own(byReport); len(list) != 2 || strings.Contains(string(list[1].body), "r0@") {
			t.Errorf("%d bounces", len(list))
		}
	})
}

// A bounce to an alias goes to whoever is behind it.
func TestOwnMailIsExpanded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		err := w.q.Submit(t.Context(), &envelope.Envelope{
			Client: "test", Recipients: []envelope.Recipient{
				{To: addr.MustParse("postmaster@home.example")}, {To: addr.MustParse("root@home.example")}, {To: addr.MustParse("x@a.example")},
			},
		}, func(out io.Writer) error {
			_, err := io.WriteString(out, "Subject: \xc3\xbc\r\n\r\n.\xc3\xbc"+strings.Repeat("x", 998)+"\r\n")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		w.pass(0)
		e := w.spool.own("test")[0].env
		if len(e.Recipients) != 2 || e.Recipients[0].To.String() != "root@home.example" {
			t.Errorf("recipients: %v", e.Recipients)
		}
		if want := envelope.EightBit | envelope.HeaderUTF8 | envelope.LeadingDot | envelope.LongLine; e.Form != want {
			t.Errorf("form %b, want %b", e.Form, want)
		}
		if e.Origin != envelope.Self || e.Received.IsZero() {
			t.Errorf("%+v", e)
		}
		broken := fmt.Errorf("broken")
		if err := w.q.Submit(t.Context(), &envelope.Envelope{}, func(io.Writer) error { return broken }); err != broken {
			t.Errorf("got %v", err)
		}
	})
}

// If the bounce cannot be written, the failure has not happened either.
func TestFailureAndBounceAreOne(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", refused, time.Second)
		id := w.send(mail("bob@a.example"))
		w.spool.mu.Lock()
		w.spool.full = true
		w.spool.mu.Unlock()
		w.pass(again - time.Minute)
		w.want(id, envelope.Pending)
		if n := w.remote.count(); n != 1 {
			t.Errorf("%d attempts while our disk is full", n)
		}
		w.spool.mu.Lock()
		w.spool.full = false
		w.spool.mu.Unlock()
		w.pass(2 * time.Minute)
		w.want(id, envelope.Failed)
		if n := len(w.spool.own(byReport)); n != 1 {
			t.Errorf("%d bounces", n)
		}
	})
}

// A delivery is not repeated because the report of it could not be written.
func TestSuccessWithoutReport(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.local.set("home.example", delivered, time.Second)
		e := mail("bob@home.example")
		e.Recipients[0].Notify = envelope.NotifySuccess
		id := w.send(e)
		w.spool.mu.Lock()
		w.spool.full = true
		w.spool.mu.Unlock()
		w.pass(time.Minute)
		w.want(id, envelope.Delivered)
		if n := w.local.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		if len(w.local.settled) != 1 {
			t.Error("the deliverer was not told")
		}
	})
}

func TestPostmasterIsToldSeldom(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", refused, 0)
		forge := func() envelope.ID {
			e := mail("bob@a.example")
			e.Origin = envelope.Remote
			return w.send(e)
		}
		var ids []envelope.ID
		for range 150 {
			ids = append(ids, forge())
		}
		w.pass(2 * gather)
		list := w.spool.own(byNotice)
		if len(list) != 1 {
			t.Fatalf("%d notices", len(list))
		}
		body := string(list[0].body)
		for _, s := range []string{"returned: 150\r\n", ids[0].String(), "550 5.1.1 no such user", "And 50 more.", "To: <postmaster@home.example>", "kept for 30 days"} {
			if !strings.Contains(body, s) {
				t.Errorf("the notice lacks %q:\n%s", s, body)
			}
		}
		if to := list[0].env.Recipients[0].To.String(); to != "root@home.example" || !list[0].env.From.IsNull() {
			t.Errorf("from %q to %s", list[0].env.From, to)
		}
		for range 100 { // for 5 hours
			forge()
			w.pass(3 * time.Minute)
		}
		if n := len(w.spool.own(byNotice)); n < 5 || n > 6 {
			t.Errorf("%d notices in 5 hours", n)
		}
		if list := w.q.List(Filter{Failed: true}); len(list) != 250 || list[0].ID != ids[0] {
			t.Errorf("%d listed", len(list))
		}
		if w.q.Depth() != 0 {
			t.Errorf("depth %d: what is kept does not wait for delivery", w.q.Depth())
		}
		w.pass(w.o.KeptFor)
		w.want(ids[0], envelope.Dropped)
		if n := len(w.q.messages); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// Whatever happens to notices and bounces, none makes another for ever.
func TestNoLoops(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		gone := envelope.Outcome{Status: envelope.Failed, Err: envelope.Refuse(550, "5.1.1", "gone")}
		w.local.set("home.example", gone, 0)
		w.remote.set("a.example", refused, 0)
		id := w.send(mail("bob@a.example"))
		w.pass(24 * time.Hour)
		w.want(id, envelope.Failed)
		bounces, notices := w.spool.own(byReport), w.spool.own(byNotice)
		if len(bounces) != 1 || len(notices) != 1 {
			t.Fatalf("%d bounces, %d notices", len(bounces), len(notices))
		}
		w.want(bounces[0].env.ID, envelope.Kept)
		w.want(notices[0].env.ID, envelope.Kept)
		if !strings.Contains(string(notices[0].body), "(a report or bounce)") {
			t.Errorf("the notice does not tell of the bounce:\n%s", notices[0].body)
		}
	})
}

// What has gathered for postmaster is not forgotten when we stop.
func TestStopTellsPostmaster(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", refused, 0)
		e := mail("bob@a.example")
		e.Origin = envelope.Remote
		w.send(e)
		w.pass(time.Second)
		w.q.Stop(context.Background())
		if n := len(w.spool.own(byNotice)); n != 1 {
			t.Errorf("%d notices", n)
		}
	})
}

func TestDelayNotice(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*envelope.Envelope)
		answer envelope.Outcome
		want   int
	}{
		"greylisted":     {func(*envelope.Envelope) {}, greylist, 1},
		"no answer":      {func(*envelope.Envelope) {}, noAnswer, 1},
		"asked for":      {func(e *envelope.Envelope) { e.Recipients[0].Notify = envelope.NotifyDelay }, greylist, 1},
		"not asked for":  {func(e *envelope.Envelope) { e.Recipients[0].Notify = envelope.NotifyFailure }, greylist, 0},
		"never":          {func(e *envelope.Envelope) { e.Recipients[0].Notify = envelope.NotifyNever }, greylist, 0},
		"not verified":   {func(e *envelope.Envelope) { e.Origin = envelope.Remote }, greylist, 0},
		"null sender":    {func(e *envelope.Envelope) { e.From = addr.Address{} }, greylist, 0},
		"was told":       {func(e *envelope.Envelope) { e.Delayed = true }, greylist, 0},
		"already inside": {func(*envelope.Envelope) {}, delivered, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.remote.set("a.example", tt.answer, 0)
				e := mail("bob@a.example")
				tt.change(e)
				w.send(e)
				w.pass(4*time.Hour - time.Second)
				if n := len(w.spool.own(byReport)); n != 0 {
					t.Fatalf("%d reports before 4 hours", n)
				}
				w.pass(2 * time.Second)
				list := w.spool.own(byReport)
				if len(list) != tt.want {
					t.Fatalf("%d notices, want %d", len(list), tt.want)
				}
				w.restart(time.Hour)
				w.pass(3 * 24 * time.Hour)
				if n := len(w.spool.own(byReport)); n != tt.want {
					t.Errorf("%d notices in the end", n)
				}
				for _, m := range list {
					for _, s := range []string{"Action: delayed", "Will-Retry-Until: ", tt.answer.Err.Text} {
						if !strings.Contains(string(m.body), s) {
							t.Errorf("the notice lacks %q:\n%s", s, m.body)
						}
					}
				}
			})
		})
	}
}

// Messages that wait behind a dead destination and were never attempted
// themselves hear of the delay and the end like those that were.
func TestWaitingBehindADeadDestination(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("a.example", noAnswer, 0)
		first := w.send(mail("bob@a.example"))
		w.pass(time.Second)
		var ids []envelope.ID
		for range 50 {
			ids = append(ids, w.send(mail("carl@a.example")))
		}
		w.pass(4*time.Hour + time.Minute)
		if n := len(w.spool.own(byReport)); n != 51 {
			t.Errorf("%d notices of delay, want 51", n)
		}
		w.pass(5 * 24 * time.Hour)
		w.want(first, envelope.Failed)
		for _, id := range ids {
			w.want(id, envelope.Failed)
		}
		list := w.spool.own(byReport)
		if len(list) != 102 {
			t.Errorf("%d reports, want 51 of delay and 51 of failure", len(list))
		}
		body := string(list[101].body)
		for _, s := range []string{"Status: 4.4.7", "no answer", "mx.a.example"} {
			if !strings.Contains(body, s) {
				t.Errorf("the bounce lacks %q:\n%s", s, body)
			}
		}
		if n := len(w.q.messages); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// After a long stop, a message that only waited for us is delivered without
// a word about delay.
func TestOurOwnDelayIsNotReported(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.q.Stop(context.Background())
		id := w.send(mail("bob@a.example"))
		time.Sleep(10 * time.Hour)
		w.remote.set("a.example", delivered, time.Second)
		w.start()
		w.pass(time.Hour)
		w.want(id, envelope.Delivered)
		if n := len(w.spool.own(byReport)); n != 0 {
			t.Errorf("%d reports", n)
		}
	})
}

// A deliverer that answers for too few recipients loses nobody.
func TestMissingOutcomes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.script("a.example", func(a *envelope.Attempt) []envelope.Outcome { return same(1, delivered) })
		id := w.send(mail("bob@a.example", "carl@a.example"))
		w.pass(time.Hour)
		w.want(id, envelope.Delivered, envelope.Delivered)
		if n := len(w.remote.to("a.example")); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

// A bounce tells of what it is about: it must stay protected where that had
// to, and brings the header alone, whatever was asked for.
func TestBounceOfRequireTLS(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.remote.set("fails.example", refused, 0)
		for i, need := range []bool{false, true} {
			e := mail("bob@fails.example")
			e.Ret, e.RequireTLS = envelope.RetFull, need
			w.send(e)
			w.pass(0)
			list := w.spool.own(byReport)
			if len(list) != i+1 {
				t.Fatalf("%d reports", len(list))
			}
			whole := strings.Contains(string(list[i].body), "\r\n\r\nHello\r\n")
			if list[i].env.RequireTLS != need || whole == need {
				t.Errorf("REQUIRETLS %v: the bounce asks for it: %v, brings all: %v", need, list[i].env.RequireTLS, whole)
			}
		}
	})
}

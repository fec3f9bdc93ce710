package queue

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
)

// signed makes the queue sign with some key.
func (w *world) signed() {
	key := dkim.SigningKey{Domain: "home.example", Selector: "s", Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	w.q.o.Begin = func(section []byte) (*dkim.Signer, error) {
		return dkim.NewSigner(section, []dkim.SigningKey{key}, w.q.o.Clock.Now(), time.Hour)
	}
}

// errand submits a report to another domain.
func (w *world) errand(to string) (*envelope.Envelope, error) {
	e := &envelope.Envelope{
		Client: envelope.ByCourier, TLSOptional: true,
		Recipients: []envelope.Recipient{{To: addr.MustParse(to), Notify: envelope.NotifyNever}},
	}
	return e, w.q.SubmitSigned(w.t.Context(), e, func(out io.Writer) error {
		_, err := io.WriteString(out, "From: a@home.example\r\n\r\nreport\r\n")
		return err
	})
}

// A report to another domain goes signed or not at all.
func TestErrandIsSigned(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		if _, err := w.errand("x@a.example"); !errors.Is(err, envelope.ErrUnsigned) {
			t.Errorf("got %v", err)
		}
		w.signed()
		e, err := w.errand("x@a.example")
		if err != nil || len(e.Header) == 0 {
			t.Fatalf("%q, %v", e.Header, err)
		}
		w.pass(time.Second)
		if n := len(w.remote.to("a.example")); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// Of a report that does not arrive nobody is told but who asked to; it is
// tried for a day.
func TestErrandsEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.signed()
		var mu sync.Mutex
		ended := map[string]int{}
		w.q.o.Ended = func(e *envelope.Envelope, c envelope.Change) {
			mu.Lock()
			defer mu.Unlock()
			ended[fmt.Sprintf("%s %s %v", e.Recipients[c.Recipient].To.Domain, c.Status, c.Reason != "")]++
		}
		want := func(ends ...string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			for _, e := range ends {
				if ended[e] != 1 {
					t.Errorf("%q: %d times", e, ended[e])
				}
			}
			if len(ended) != len(ends) {
				t.Errorf("%v", ended)
			}
		}
		w.remote.set("gone.example", refused, 0)
		w.remote.set("dead.example", noAnswer, 0)
		late := w.send(mail("bob@dead.example"))
		for _, to := range []string{"x@a.example", "x@gone.example", "x@dead.example"} {
			if _, err := w.errand(to); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(errandLife - time.Hour)
		early := []string{"a.example delivered false", "gone.example failed true"}
		want(early...)
		w.pass(2 * time.Hour)
		want(append(early, "dead.example failed true")...)
		e, err := w.errand("x@dead.example")
		if err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		if err := w.q.Drop(e.ID); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		want(append(early, "dead.example failed true", "dead.example dropped true")...)
		w.want(late, envelope.Deferred)
		if n := len(w.spool.own(byNotice)); n != 0 {
			t.Errorf("postmaster was told %d times", n)
		}
		if n := len(w.spool.own(byReport)); n != 1 { // of the delay of the other message
			t.Errorf("%d reports", n)
		}
	})
}

// A destination whose TLS is broken holds back what asks for TLS, and nothing
// else: the report that says so arrives.
func TestErrandPassesBrokenTLS(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.signed()
		w.remote.script("a.example", func(a *envelope.Attempt) []envelope.Outcome {
			if a.Envelope.TLSOptional {
				return same(1, delivered)
			}
			return same(1, noAnswer)
		})
		stuck := w.send(mail("bob@a.example"))
		w.pass(time.Hour)
		e, err := w.errand("x@a.example")
		if err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.want(e.ID, envelope.Delivered)
		w.want(stuck, envelope.Deferred)
	})
}

package witness

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/aggregate"
	"gatepost/internal/clock"
	"gatepost/internal/store"
	"gatepost/internal/store/storetest"
	"gatepost/internal/tlsrpt"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) (*Witness, *clock.Fake) {
	t.Helper()
	db := storetest.Open(t)
	c := clock.NewFake(now)
	return New(Options{DB: db, Clock: c, Log: slog.New(slog.DiscardHandler)}), c
}

var policy = aggregate.Published{Domain: "a.example", Policy: "none", Testing: true}

// row is one of a message that failed, from the nth address.
func row(n int) aggregate.Row {
	return aggregate.Row{
		IP: netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), Count: 1, Disposition: "none", From: "b.a.example", EnvelopeFrom: "c.example", EnvelopeTo: "ours.example",
		Overrides:  []aggregate.Override{{Type: "other"}},
		Signatures: []aggregate.Signature{{Domain: "x.example", Selector: "s", Result: "fail"}, {Domain: "y.example", Selector: "s", Result: "pass"}},
		Senders:    []aggregate.Sender{{Domain: "c.example", Scope: "mfrom", Result: "fail"}},
	}
}

func of(t *testing.T, w *Witness, day time.Time, domain string) Seen {
	t.Helper()
	s, err := w.Of(t.Context(), day, domain)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is alike adds up, over flushes and restarts, day by day; the policy is
// that found last, and no recipient is kept.
func TestSums(t *testing.T) {
	t.Parallel()
	w, c := open(t)
	flush := func() {
		t.Helper()
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.Saw(policy, row(1))
	w.Saw(policy, row(1))
	flush()
	c.Advance(time.Minute)
	stricter := policy
	stricter.Policy = "reject"
	w.Saw(stricter, row(2))
	w.Saw(policy, row(3))
	c.Advance(time.Minute)
	w.Saw(stricter, row(2))
	flush()
	flush()
	c.Advance(24 * time.Hour)
	w = New(w.o)
	w.Saw(aggregate.Published{Domain: "b.example"}, row(1))
	w.Saw(policy, row(1))
	flush()
	day := tlsrpt.Day(now)
	want := Seen{Policy: stricter}
	for _, r := range []aggregate.Row{row(1), row(3), row(2)} {
		r.EnvelopeTo = ""
		want.Rows = append(want.Rows, r)
	}
	want.Rows[0].Count, want.Rows[2].Count = 2, 2
	if d := cmp.Diff(want, of(t, w, day, "a.example"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	for day, want := range map[time.Time]string{day: "[a.example]", day.Add(24 * time.Hour): "[a.example b.example]", day.Add(48 * time.Hour): "[]"} {
		if list, err := w.Domains(t.Context(), day); fmt.Sprint(list) != want || err != nil {
			t.Errorf("%v: %v, %v", day, list, err)
		}
	}
}

// A sender who looks otherwise with each message fills neither memory nor
// the store, and is told of as far as there is room. The bounds are a 50th of
// ours, so that it takes no time.
func TestFlood(t *testing.T) {
	t.Parallel()
	w, _ := open(t)
	w.most = limits{most.pending / 50, most.rows / 50, most.few / 50, most.day / 50}
	for i := range w.most.pending + 10 {
		w.Saw(policy, row(int(i)))
	}
	if int64(len(w.pending)) != w.most.pending || w.Dropped.Load() != 10 {
		t.Fatalf("%d, %d", len(w.pending), w.Dropped.Load())
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := of(t, w, tlsrpt.Day(now), "a.example")
	simple := int64(0)
	for _, r := range s.Rows {
		if len(r.Signatures) == 1 && r.EnvelopeFrom == "" && len(r.Senders) == 0 && r.From == "a.example" {
			simple++
		}
	}
	if int64(len(s.Rows)) != w.most.rows || s.More != w.most.pending-w.most.rows || simple != w.most.rows/2 {
		t.Errorf("%d rows, %d of them simple, %d more", len(s.Rows), simple, s.More)
	}
}

// Where a day is full, nobody takes what is left alone, and then nobody gets
// any more.
func TestFullDay(t *testing.T) {
	t.Parallel()
	w, _ := open(t)
	w.most = limits{1000, 100, 10, 200}
	fill := func(n int64) {
		t.Helper()
		err := w.o.DB.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
				INSERT INTO mail_sum (day, domain, detail, messages, latest) SELECT ?, 'x' || ? || '-' || i || '.example', '', 1, 0 FROM n`,
				n, tlsrpt.Day(now).Unix(), n)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(w.most.day / 2)
	for i := range 20 {
		w.Saw(policy, row(i))
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := of(t, w, tlsrpt.Day(now), "a.example"); len(s.Rows) != 10 || s.More != 10 {
		t.Errorf("%d rows, %d more", len(s.Rows), s.More)
	}
	fill(w.most.day/2 - 11)
	w.Saw(aggregate.Published{Domain: "late.example"}, row(1))
	if err := w.Flush(t.Context()); err != nil || w.Dropped.Load() != 1 {
		t.Errorf("%v, %d", err, w.Dropped.Load())
	}
}

// What the store does not take is not lost.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	w, _ := open(t)
	w.Saw(policy, row(1))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Flush(ended); err == nil {
		t.Fatal("written")
	}
	w.Saw(policy, row(1))
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := of(t, w, tlsrpt.Day(now), "a.example"); len(s.Rows) != 1 || s.Rows[0].Count != 2 {
		t.Errorf("%+v", s)
	}
}

// Tend writes by the minute, removes what is old, and ends.
func TestTend(t *testing.T) {
	t.Parallel()
	w, c := open(t)
	w.Saw(policy, row(1))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		w.Tend(ctx)
		close(ended)
	}()
	resting := func() {
		for c.Pending() != 1 {
			runtime.Gosched()
		}
	}
	resting()
	if len(of(t, w, tlsrpt.Day(now), "a.example").Rows) != 1 {
		t.Error("not written")
	}
	c.Advance(life + 24*time.Hour)
	for len(of(t, w, tlsrpt.Day(now), "a.example").Rows) > 0 {
		runtime.Gosched()
	}
	cancel()
	<-ended
}

// To see a message costs little, and nothing that waits for the store.
func BenchmarkSaw(b *testing.B) {
	w := New(Options{Clock: clock.NewFake(now)})
	r := row(1)
	for b.Loop() {
		w.Saw(policy, r)
	}
}

package tlsrpt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/clock"
)

// ledger is Sums in memory.
type ledger struct {
	kept map[string]Sum
	err  error
}

func (l *ledger) Add(_ context.Context, sums []Sum) error {
	if l.err != nil {
		return l.err
	}
	for _, s := range sums {
		key := s.key()
		s.Failure.Count += l.kept[key].Failure.Count
		l.kept[key] = s
	}
	return nil
}

// list returns what is kept of a day.
func (l *ledger) list(day time.Time) []Sum {
	var list []Sum
	for _, s := range l.kept {
		if s.Day.Equal(day) {
			list = append(list, s)
		}
	}
	return list
}

// TestTally counts two days of sessions with a ledger that fails in between,
// and reports one of them.
func TestTally(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Date(2027, 1, 15, 23, 0, 0, 0, time.UTC))
	l := &ledger{kept: map[string]Sum{}}
	tally := NewTally(l, c)
	sts := Policy{STS, []string{"version: STSv1", "mode: testing"}, "d.example", []string{"mx.d.example"}}
	tlsa := Policy{TLSA, []string{"3 1 1 00"}, "mx.d.example", nil}
	bad := Failure{Result: HostMismatch, ReceivingMX: "mx.d.example"}
	flush := func(want error) {
		t.Helper()
		if err := tally.Flush(t.Context()); !errors.Is(err, want) {
			t.Error(err)
		}
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { tally.Count("d.example", sts, Failure{}) })
	}
	all.Wait()
	tally.Count("d.example", sts, bad)
	flush(nil)
	l.err = errors.New("disk")
	tally.Count("d.example", sts, bad)
	tally.Count("d.example", sts, Failure{})
	flush(l.err)
	tally.Count("d.example", sts, bad)
	l.err = nil
	flush(nil)
	flush(nil)
	tally.Count("d.example", tlsa, Failure{Result: Expired})
	c.Advance(time.Hour)
	tally.Count("d.example", sts, Failure{})
	flush(nil)

	got := Compose(Report{Organization: "us", Contact: "c", ID: "1"}, Day(c.Now().Add(-time.Second)), l.list(Day(c.Now().Add(-time.Second))))
	want := &Report{
		"us", Range{time.Date(2027, 1, 15, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 15, 23, 59, 59, 0, time.UTC)}, "c", "1",
		[]Outcome{
			{sts, Summary{11, 3}, []Failure{{Result: HostMismatch, ReceivingMX: "mx.d.example", Count: 3}}},
			{tlsa, Summary{0, 1}, []Failure{{Result: Expired, Count: 1}}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(l.list(Day(c.Now()))); n != 1 {
		t.Errorf("%d sums of the second day", n)
	}
}

// TestTallyIsBounded: what finds no room is counted as such, what has a place
// goes on.
func TestTallyIsBounded(t *testing.T) {
	t.Parallel()
	l := &ledger{kept: map[string]Sum{}}
	tally := NewTally(l, clock.NewFake(time.Unix(1_800_000_000, 0)))
	for i := range maxPending + 5 {
		tally.Count("d.example", Policy{Kind: NoPolicy, Domain: fmt.Sprintf("d%d.example", i)}, Failure{})
	}
	tally.Count("d.example", Policy{Kind: NoPolicy, Domain: "d0.example"}, Failure{})
	if n := tally.Dropped.Load(); n != 5 {
		t.Errorf("%d dropped", n)
	}
	if err := tally.Flush(t.Context()); err != nil || len(l.kept) != maxPending {
		t.Errorf("%d kept, %v", len(l.kept), err)
	}
	if s := l.kept[(&Sum{Day: Day(time.Unix(1_800_000_000, 0)), Domain: "d.example", Policy: Policy{Kind: NoPolicy, Domain: "d0.example"}}).key()]; s.Failure.Count != 2 {
		t.Errorf("%+v", s)
	}
	tally.Count("d.example", Policy{Kind: NoPolicy, Domain: "late.example"}, Failure{})
	if tally.Dropped.Load() != 5 {
		t.Error("no room after a flush")
	}
}

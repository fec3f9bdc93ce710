package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gatepost/internal/clock"
)

var (
	attacker = Network(netip.MustParseAddr("192.0.2.7"))
	home     = Network(netip.MustParseAddr("198.51.100.7"))
)

func newFake() (*Throttle, *clock.Fake) {
	c := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	return New(c), c
}

func TestDelayGrowsToItsBound(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	want := []time.Duration{0, 0, 0, 500, 1000, 2000, 4000, 8000, 10000, 10000}
	for i, w := range want {
		if got := th.Delay("a", attacker); got != w*time.Millisecond {
			t.Errorf("after %d failures: %v, want %v", i, got, w*time.Millisecond)
		}
		th.Failed("a", attacker)
	}
	for range 1000 {
		th.Failed("a", attacker)
	}
	if got := th.Delay("a", attacker); got != maxDelay {
		t.Errorf("after very many failures: %v", got)
	}
}

// The owner at home is not slowed, nor are others beside the attacker at
// first; at last the attacker's network is, whatever name it tries.
func TestWhoIsSlowed(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	for range 5 {
		th.Failed("owner", attacker)
	}
	if d := th.Delay("owner", home); d != 0 {
		t.Errorf("the owner at home: %v", d)
	}
	if d := th.Delay("neighbour", attacker); d != 0 {
		t.Errorf("a neighbour of the attacker: %v", d)
	}
	for i := range 20 {
		th.Failed(fmt.Sprint("name", i), attacker)
	}
	if d := th.Delay("fresh name", attacker); d != maxDelay {
		t.Errorf("another name from the attacker: %v", d)
	}
	if d := th.Delay("owner", home); d != 0 {
		t.Errorf("the owner at home, later: %v", d)
	}
}

func TestDelayFallsWithTime(t *testing.T) {
	t.Parallel()
	th, c := newFake()
	for range 1000 {
		th.Failed("a", attacker)
	}
	last := th.Delay("a", attacker)
	for range 6 {
		c.Advance(halfLife)
		d := th.Delay("a", attacker)
		if d > last {
			t.Errorf("grew from %v to %v", last, d)
		}
		last = d
	}
	if last != 0 {
		t.Errorf("after an hour: %v", last)
	}
	th.Failed("a", attacker)
	c.Jump(-24 * time.Hour) // a clock that is set back forgets nothing and adds nothing
	if d := th.Delay("a", attacker); d != 0 {
		t.Errorf("after the clock was set back: %v", d)
	}
}

func TestPassedForgetsThePairOnly(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	for range 6 {
		th.Failed("a", home)
	}
	th.Passed("a", home)
	if d := th.Delay("a", home); d != 0 {
		t.Errorf("after success: %v", d)
	}
	for i := range 30 {
		th.Failed(fmt.Sprint("victim", i), attacker)
	}
	th.Passed("attacker's own account", attacker)
	if d := th.Delay("victim", attacker); d != maxDelay {
		t.Errorf("an attacker with an account wiped out the delay: %v", d)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	th, c := newFake()
	ctx, cancel := context.WithCancel(context.Background())
	if err := th.Wait(ctx, "a", attacker); err != nil || c.Pending() != 0 {
		t.Errorf("nothing to wait for: %v, %d timers", err, c.Pending())
	}
	for range 4 {
		th.Failed("a", attacker)
	}
	done := make(chan error, 1)
	go func() { done <- th.Wait(ctx, "a", attacker) }()
	for c.Pending() == 0 {
		time.Sleep(time.Millisecond)
	}
	c.Advance(999 * time.Millisecond)
	select {
	case err := <-done:
		t.Fatalf("waited too short: %v", err)
	default:
	}
	c.Advance(time.Millisecond)
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() { done <- th.Wait(ctx, "a", attacker) }()
	for c.Pending() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || c.Pending() != 0 {
		t.Errorf("cancelled: %v, %d timers", err, c.Pending())
	}
}

func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	th, c := newFake()
	for range 10 {
		th.Failed("a", attacker)
	}
	done := make(chan error, maxWaiting)
	for range maxWaiting {
		go func() { done <- th.Wait(context.Background(), "a", attacker) }()
	}
	for c.Pending() < maxWaiting {
		time.Sleep(time.Millisecond)
	}
	if err := th.Wait(context.Background(), "a", attacker); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	if err := th.Wait(context.Background(), "owner", home); err != nil {
		t.Errorf("the owner, who need not wait: %v", err)
	}
	c.Advance(maxDelay)
	for range maxWaiting {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := th.waiting.Load(); n != 0 {
		t.Errorf("%d still count as waiting", n)
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.77":              "192.0.2.0/24",
		"::ffff:192.0.2.77":       "192.0.2.0/24",
		"2001:db8:1:2:3:4:5:6":    "2001:db8:1:2::/64",
		"fe80::1%eth0":            "fe80::/64",
		"2001:db8:1:2:ffff:4:5:6": "2001:db8:1:2::/64",
	} {
		if got := Network(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if got := Network(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("no address: %v", got)
	}
}

func BenchmarkDelay(b *testing.B) {
	th, _ := newFake()
	b.ReportAllocs()
	for b.Loop() {
		th.Delay("example.org henry", home)
	}
}

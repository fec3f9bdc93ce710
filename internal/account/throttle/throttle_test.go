package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gatepost/internal/clock"
)

const (
	owner    = 1
	laptop   = "laptop"
	phone    = "phone"
	attacker = "192.0.2.7"
	house    = "198.51.100.7"
)

func newFake() (*Throttle, *clock.Fake) {
	c := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	return New(c), c
}

// as is an attempt as the owner, from an address.
func as(name, ip, device string) Attempt {
	a := Attempt{Name: name, Source: From(netip.MustParseAddr(ip), device)}
	if name == "owner" {
		a.Owner = owner
	}
	return a
}

func guess(th *Throttle, n int, a Attempt) {
	for range n {
		th.Failed(a)
	}
}

func TestDelayGrowsToItsBound(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	want := []time.Duration{0, 0, 0, 500, 1000, 2000, 4000, 8000, 10000, 10000}
	a := as("a", attacker, "")
	for i, w := range want {
		if got := th.Delay(a); got != w*time.Millisecond {
			t.Errorf("after %d failures: %v, want %v", i, got, w*time.Millisecond)
		}
		th.Failed(a)
	}
	guess(th, 1000, a)
	if got := th.Delay(a); got != maxDelay {
		t.Errorf("after very many failures: %v", got)
	}
}

// Each count slows what it is of, and nothing else.
func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                       string
		failures                   func(i int) Attempt
		n                          int
		pair, address, net, anyone time.Duration // delays of: the name from the network; another from the address; from the network; the name from elsewhere
	}{
		{"typing errors", func(int) Attempt { return as("owner", attacker, "") }, 2, 0, 0, 0, 0},
		{"a name from a network", func(i int) Attempt { return as("owner", fmt.Sprint("192.0.2.", i), "") }, 8, maxDelay, 0, 0, 0},
		{"an address", func(i int) Attempt { return as(fmt.Sprint("name", i), attacker, "") }, 15, maxDelay, maxDelay, 0, 0},
		{"a network", func(i int) Attempt { return as(fmt.Sprint("name", i), fmt.Sprint("192.0.2.", i), "") }, 45, maxDelay, maxDelay, maxDelay, 0},
		{"a name from everywhere", func(i int) Attempt { return as("owner", fmt.Sprintf("10.0.%d.1", i), "") }, 35, accountDelay, 0, 0, accountDelay},
	} {
		th, _ := newFake()
		for i := range tt.n {
			th.Failed(tt.failures(i))
		}
		for what, c := range map[string]struct {
			a    Attempt
			want time.Duration
		}{
			"the name": {as("owner", attacker, ""), tt.pair}, "the address": {as("fresh", attacker, ""), tt.address},
			"the network": {as("fresh", "192.0.2.200", ""), tt.net}, "elsewhere": {as("owner", house, ""), tt.anyone},
			"who has nothing to do with it": {as("fresh", house, ""), 0},
		} {
			if d := th.Delay(c.a); d != c.want {
				t.Errorf("%s: %s: %v, want %v", tt.name, what, d, c.want)
			}
		}
	}
}

// With IPv6 a client has a /64, and moves in a /48.
func TestIPv6(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	for i := range 15 {
		th.Failed(as(fmt.Sprint("name", i), fmt.Sprintf("2001:db8:1:1::%d", i), ""))
	}
	if d := th.Delay(as("x", "2001:db8:1:1::99", "")); d != maxDelay {
		t.Errorf("the /64: %v", d)
	}
	if d := th.Delay(as("x", "2001:db8:1:2::99", "")); d != 0 {
		t.Errorf("another /64: %v", d)
	}
	for i := range 45 {
		th.Failed(as(fmt.Sprint("name", i), fmt.Sprintf("2001:db8:1:%d::1", 1000+i), ""))
	}
	if d := th.Delay(as("x", "2001:db8:1:2::99", "")); d != maxDelay {
		t.Errorf("the /48: %v", d)
	}
	if d := th.Delay(as("x", "2001:db8:2::1", "")); d != 0 {
		t.Errorf("another /48: %v", d)
	}
}

// An owner is not slowed by what others do where the account is known.
func TestKnownPlaces(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	th.Passed(as("owner", house, laptop))
	for i := range 60 { // from everywhere, from beside the owner, and from the house itself
		th.Failed(as("owner", fmt.Sprintf("10.0.%d.1", i), laptop))
		th.Failed(as("owner", fmt.Sprint("198.51.100.", 10+i), laptop))
		th.Failed(as("owner", house, phone))
		th.Failed(as(fmt.Sprint("name", i), house, laptop))
	}
	for what, c := range map[string]struct {
		a    Attempt
		want time.Duration
	}{
		"at home": {as("owner", house, laptop), 0}, "at home with another program": {as("owner", house, phone), maxDelay},
		"beside": {as("owner", "198.51.100.8", laptop), maxDelay}, "elsewhere": {as("owner", "203.0.113.1", laptop), accountDelay},
		"another there": {as("other", house, laptop), maxDelay},
	} {
		if d := th.Delay(c.a); d != c.want {
			t.Errorf("%s: %v, want %v", what, d, c.want)
		}
		if known := th.Known(c.a); known != (c.a.Owner == owner && what != "elsewhere") {
			t.Errorf("%s: known: %v", what, known)
		}
	}
	// A name alone slows nobody in a network that the account knows.
	th, _ = newFake()
	th.Passed(as("owner", house, laptop))
	for i := range 60 {
		th.Failed(as("owner", fmt.Sprintf("10.0.%d.1", i), laptop))
	}
	if d := th.Delay(as("owner", "198.51.100.8", phone)); d != 0 {
		t.Errorf("beside: %v", d)
	}
	// At home too what fails there is slowed.
	guess(th, 8, as("owner", house, laptop))
	if d := th.Delay(as("owner", house, laptop)); d != maxDelay {
		t.Errorf("after failures at home: %v", d)
	}
	th.Passed(as("owner", house, laptop))
	if d := th.Delay(as("owner", house, laptop)); d != 0 {
		t.Errorf("after success at home: %v", d)
	}
}

// What was known before is known after a start, and takes the place of nothing
// that is newer.
func TestRecall(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	th.Places.Recall(owner, From(netip.MustParseAddr(house), ""))
	if a := as("owner", house, laptop); !th.Known(a) || th.Places.known(&a) != near {
		t.Error("the network is not known, or the program is")
	}
	th.Places.Recall(owner, From(netip.Addr{}, laptop))
	if a := as("owner", house, laptop); th.Places.known(&a) != home {
		t.Error("the program is not known")
	}
	if a := as("owner", "203.0.113.1", laptop); th.Known(a) {
		t.Error("a program alone is known")
	}
	if a := as("other", house, laptop); th.Known(a) {
		t.Error("it is known to everybody")
	}
	for i := range maxMarks {
		th.Places.Recall(owner, From(netip.Addr{}, fmt.Sprint("device", i)))
	}
	if n := len(th.Places.of[owner]); n != maxMarks {
		t.Errorf("%d are known", n)
	}
	if a := as("owner", house, laptop); th.Places.known(&a) != home {
		t.Error("what was seen longest ago took the place of what came later")
	}
}

// Places of an account are bounded, and only its owner adds to them.
func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	th.Passed(as("owner", house, laptop))
	for i := range 10_000 {
		th.Failed(as("owner", fmt.Sprintf("10.%d.%d.1", i/250, i%250), laptop))
	}
	if n := len(th.Places.of[owner]); n != 3 {
		t.Errorf("%d marks after failures", n)
	}
	for i := range 1000 {
		th.Passed(as("owner", fmt.Sprintf("10.%d.%d.1", i/250, i%250), laptop))
	}
	marks := th.Places.of[owner]
	if len(marks) != maxMarks || cap(marks) > maxMarks+3 || len(slices.Compact(slices.Sorted(slices.Values(marks)))) != maxMarks {
		t.Errorf("%d marks in %d", len(marks), cap(marks))
	}
	if th.Known(as("owner", house, laptop)) || !th.Known(as("owner", "10.3.249.1", laptop)) {
		t.Error("it is not what was seen last that is known")
	}
	if len(th.Places.of) != 1 {
		t.Errorf("%d accounts", len(th.Places.of))
	}
}

func TestDelayFallsWithTime(t *testing.T) {
	t.Parallel()
	th, c := newFake()
	a := as("a", attacker, "")
	guess(th, 1000, a)
	last := th.Delay(a)
	for range 6 {
		c.Advance(halfLife)
		d := th.Delay(a)
		if d > last {
			t.Errorf("grew from %v to %v", last, d)
		}
		last = d
	}
	if last != 0 {
		t.Errorf("after an hour: %v", last)
	}
	th.Failed(a)
	c.Jump(-24 * time.Hour) // a clock that is set back forgets nothing and adds nothing
	if d := th.Delay(a); d != 0 {
		t.Errorf("after the clock was set back: %v", d)
	}
}

func TestPassedForgetsThePairOnly(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	a := as("owner", house, laptop)
	guess(th, 6, a)
	th.Passed(a)
	if d := th.Delay(a); d != 0 {
		t.Errorf("after success: %v", d)
	}
	for i := range 30 {
		th.Failed(as(fmt.Sprint("victim", i), attacker, ""))
	}
	th.Passed(as("owner", attacker, ""))
	if d := th.Delay(as("victim", attacker, "")); d != maxDelay {
		t.Errorf("an attacker with an account wiped out the delay: %v", d)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	th, c := newFake()
	a := as("a", attacker, "")
	ctx, cancel := context.WithCancel(context.Background())
	if err := th.Wait(ctx, a); err != nil || c.Pending() != 0 {
		t.Errorf("nothing to wait for: %v, %d timers", err, c.Pending())
	}
	guess(th, 4, a)
	done := make(chan error, 1)
	go func() { done <- th.Wait(ctx, a) }()
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
	go func() { done <- th.Wait(ctx, a) }()
	for c.Pending() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || c.Pending() != 0 {
		t.Errorf("cancelled: %v, %d timers", err, c.Pending())
	}
	if th.queue.count != 0 || len(th.queue.each) != 0 {
		t.Errorf("%d still count as waiting, of %d networks", th.queue.count, len(th.queue.each))
	}
}

// No more wait than are bounded, of a network and of all; and whoever guessed
// much goes for who did not.
func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	th, c := newFake()
	networks := maxWaiting / waitingEach
	from := func(i int) Attempt { return as("owner", fmt.Sprintf("10.0.%d.1", i), "") }
	for i := range networks + 1 {
		guess(th, 10, from(i))
	}
	away := make(chan error, maxWaiting)
	for i := range networks {
		for range waitingEach {
			go func() { away <- th.Wait(context.Background(), from(i)) }()
		}
		for c.Pending() < (i+1)*waitingEach {
			time.Sleep(time.Millisecond)
		}
		if err := th.Wait(context.Background(), from(i)); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many of a network: %v", err)
		}
	}
	if err := th.Wait(context.Background(), from(networks)); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	// The owner, from nowhere known, is slowed by what others did, but less.
	let := make(chan error, 1)
	go func() { let <- th.Wait(context.Background(), as("owner", house, "")) }()
	if err := <-away; !errors.Is(err, ErrBusy) {
		t.Errorf("who guessed: %v", err)
	}
	for c.Pending() < maxWaiting {
		time.Sleep(time.Millisecond)
	}
	c.Advance(accountDelay)
	if err := <-let; err != nil {
		t.Errorf("the owner: %v", err)
	}
	c.Advance(maxDelay)
	for range maxWaiting - 1 {
		if err := <-away; err != nil {
			t.Error(err)
		}
	}
	if th.queue.count != 0 || len(th.queue.each) != 0 {
		t.Errorf("%d still count as waiting, of %d networks", th.queue.count, len(th.queue.each))
	}
}

// However many addresses guess however many names, nothing grows.
func TestMemoryIsFixed(t *testing.T) {
	t.Parallel()
	th, _ := newFake()
	for i := range 200_000 {
		th.Failed(as(fmt.Sprint("name", i), fmt.Sprintf("2001:db8:%x:%x::1", i>>8, i&255), ""))
	}
	for i, table := range th.counts {
		if len(table) != slots || cap(table) != slots {
			t.Errorf("table %d: %d slots", i, cap(table))
		}
	}
	if len(th.Places.of) != 0 || len(th.queue.each) != 0 {
		t.Errorf("%d accounts, %d networks", len(th.Places.of), len(th.queue.each))
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		"192.0.2.77":              {"192.0.2.77/32", "192.0.2.0/24"},
		"::ffff:192.0.2.77":       {"192.0.2.77/32", "192.0.2.0/24"},
		"2001:db8:1:2:3:4:5:6":    {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"fe80::1%eth0":            {"fe80::/64", "fe80::/48"},
		"2001:db8:1:2:ffff:4:5:6": {"2001:db8:1:2::/64", "2001:db8:1::/48"},
	} {
		s := From(netip.MustParseAddr(in), "")
		if got := [2]string{s.Address.String(), s.Network.String()}; got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if got := From(netip.Addr{}, ""); got != (Source{}) {
		t.Errorf("no address: %v", got)
	}
}

func BenchmarkDelay(b *testing.B) {
	th, _ := newFake()
	b.ReportAllocs()
	a := as("owner", house, laptop)
	th.Passed(a)
	for b.Loop() {
		th.Delay(a)
	}
}

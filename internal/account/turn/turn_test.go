package turn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gatepost/internal/clock"
)

func newFake(runs int) (*Lines, *clock.Fake) {
	c := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	return New(c, runs), c
}

func network(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
}

// house is Lines with who went in, in order.
type house struct {
	*Lines
	t     *testing.T
	mu    sync.Mutex
	in    []string
	leave map[string]func()
	away  map[string]error
}

func newHouse(t *testing.T, runs int) (*house, *clock.Fake) {
	l, c := newFake(runs)
	return &house{Lines: l, t: t, leave: map[string]func(){}, away: map[string]error{}}, c
}

// ask asks for a place, and returns when whoever asks is inside, in a line, or
// sent away.
func (h *house) ask(name string, who Who) {
	h.t.Helper()
	n := h.waiting()
	decided := make(chan struct{})
	go func() {
		defer close(decided)
		done, err := h.Enter(context.Background(), who)
		h.mu.Lock()
		defer h.mu.Unlock()
		if err != nil {
			h.away[name] = err
			return
		}
		h.in = append(h.in, name)
		h.leave[name] = done
	}()
	for {
		select {
		case <-decided:
			return
		default:
		}
		if h.waiting() > n {
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
}

func (h *house) waiting() int {
	h.Lines.mu.Lock()
	defer h.Lines.mu.Unlock()
	return len(h.lines[0].waiting) + len(h.lines[1].waiting)
}

// out lets somebody who is inside leave, and waits until it is known who comes
// next.
func (h *house) out(name string) {
	h.t.Helper()
	h.mu.Lock()
	done, n := h.leave[name], len(h.in)
	h.mu.Unlock()
	if done == nil {
		h.t.Fatalf("%s is not inside; %v are", name, h.in)
	}
	some := h.waiting() > 0
	done()
	for some {
		h.mu.Lock()
		some = len(h.in) == n
		h.mu.Unlock()
		time.Sleep(50 * time.Microsecond)
	}
}

// rest lets whoever went in last leave until nobody waits, and returns who
// came after one another.
func (h *house) rest(last string) (order []string) {
	h.t.Helper()
	for h.waiting() > 0 {
		h.out(last)
		h.mu.Lock()
		last = h.in[len(h.in)-1]
		h.mu.Unlock()
		order = append(order, last)
	}
	return order
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Of two places and one more each line holds two: the third is always the
// other's.
func TestAPlaceIsKeptForEach(t *testing.T) {
	t.Parallel()
	for _, crowd := range []bool{false, true} {
		h, _ := newHouse(t, 2)
		for i := range 5 {
			h.ask(fmt.Sprint("crowd", i), Who{Known: crowd, Network: network(i)})
		}
		same(t, h.in, "crowd0", "crowd1")
		h.ask("other", Who{Known: !crowd, Network: network(0)})
		same(t, h.in, "crowd0", "crowd1", "other")
		h.ask("second", Who{Known: !crowd, Network: network(0)})
		h.out("other")
		same(t, h.in, "crowd0", "crowd1", "other", "second")
	}
}

// With one place each has one.
func TestOnePlace(t *testing.T) {
	t.Parallel()
	h, _ := newHouse(t, 1)
	h.ask("stranger", Who{Network: network(1)})
	h.ask("known", Who{Known: true, Network: network(1)})
	same(t, h.in, "stranger", "known")
}

// Whoever comes from a network of his own waits as if every other sent one,
// and behind nobody who failed.
func TestNetworksTakeTurns(t *testing.T) {
	t.Parallel()
	h, c := newHouse(t, 1)
	h.ask("inside", Who{Network: network(0)})
	for i := range 3 {
		h.ask(fmt.Sprint("many", i), Who{Network: network(1)})
	}
	h.ask("failed", Who{Network: network(2), Failures: 5})
	c.Advance(time.Second)
	h.ask("alone", Who{Network: network(3)})
	h.ask("beside", Who{Network: network(4)})
	same(t, h.rest("inside"), "many0", "alone", "beside", "many1", "many2", "failed")
}

// Nobody is overtaken for ever: who waited long enough stands before those who
// have done nothing wrong.
func TestNobodyIsOvertakenForEver(t *testing.T) {
	t.Parallel()
	h, c := newHouse(t, 1)
	h.ask("inside", Who{Network: network(0)})
	h.ask("failed", Who{Network: network(1), Failures: 1000})
	c.Advance(maxFailures*share - time.Second)
	h.ask("early", Who{Network: network(2)})
	c.Advance(2 * time.Second)
	h.ask("late", Who{Network: network(3)})
	same(t, h.rest("inside"), "early", "failed", "late")
}

// A full line holds no more, and one network cannot fill it.
func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	h, _ := newHouse(t, 1)
	h.ask("inside", Who{Network: network(0)})
	for i := range bound {
		h.ask(fmt.Sprint("one", i), Who{Network: network(1)})
	}
	h.ask("more", Who{Network: network(1)})
	if h.waiting() != bound || !errors.Is(h.away["more"], ErrBusy) {
		t.Errorf("%d wait, %v", h.waiting(), h.away)
	}
	for i := range bound - 1 {
		go h.ask(fmt.Sprint("of its own", i), Who{Network: network(2 + i)})
	}
	for {
		h.mu.Lock()
		n := len(h.away)
		h.mu.Unlock()
		if n == bound {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if h.waiting() != bound {
		t.Errorf("%d wait", h.waiting())
	}
	h.Lines.mu.Lock()
	ahead := h.lines[1].last[network(1)].count
	networks := len(h.lines[1].last)
	h.Lines.mu.Unlock()
	if ahead != 1 || networks != bound {
		t.Errorf("%d of the one network still wait, and %d networks are remembered", ahead, networks)
	}
	h.ask("of its own too, but later", Who{Network: network(1000)})
	if !errors.Is(h.away["of its own too, but later"], ErrBusy) {
		t.Error("the line grew, or somebody who came before went")
	}
	h.ask("known", Who{Known: true, Network: network(1)})
	same(t, h.in, "inside", "known")
}

// An operator's work waits however many wait, and is not sent away.
func TestOwn(t *testing.T) {
	t.Parallel()
	h, c := newHouse(t, 1)
	h.ask("inside", Who{Known: true, Network: network(0)})
	worked := make(chan error, 2)
	work := func() {
		done, err := h.Own(context.Background())
		if err == nil {
			done()
		}
		worked <- err
	}
	go work()
	for h.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	c.Advance(time.Hour)
	for i := range bound + 3 {
		h.ask(fmt.Sprint("known", i), Who{Known: true, Network: network(1)})
	}
	go work()
	for h.waiting() != bound+1 {
		time.Sleep(time.Millisecond)
	}
	h.out("inside")
	for range 2 {
		if err := <-worked; err != nil {
			t.Error(err)
		}
	}
}

// Who goes away leaves nothing behind.
func TestCancelled(t *testing.T) {
	t.Parallel()
	l, _ := newFake(1)
	done, err := l.Enter(context.Background(), Who{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if _, err := l.Enter(ctx, Who{Network: network(i)}); err == nil {
				t.Error("went in")
			} else if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	h := &house{Lines: l}
	for h.waiting() < 50 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	all.Wait()
	if h.waiting() != 0 || len(l.lines[1].last) != 0 {
		t.Errorf("%d wait, %d networks", h.waiting(), len(l.lines[1].last))
	}
	done()
	if l.lines[0].running+l.lines[1].running != 0 {
		t.Error("somebody is inside")
	}
	if _, err := l.Enter(ctx, Who{}); err != nil {
		t.Errorf("nobody is inside: %v", err)
	}
}

// However they come and go, no more are inside than may be, and all who do not
// go away come in.
func TestManyComeAndGo(t *testing.T) {
	t.Parallel()
	l, _ := newFake(3)
	var mu sync.Mutex
	inside := [2]int{}
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			if i%7 == 0 {
				go cancel()
			}
			defer cancel()
			done, err := l.Enter(ctx, Who{Known: i%2 == 0, Network: network(i % 20)})
			if err != nil {
				if i%7 != 0 {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			inside[i%2]++
			if inside[i%2] > 3 || inside[0]+inside[1] > 4 {
				t.Errorf("%d are inside", inside)
			}
			mu.Unlock()
			time.Sleep(100 * time.Microsecond)
			mu.Lock()
			inside[i%2]--
			mu.Unlock()
			done()
		})
	}
	all.Wait()
	for i := range l.lines {
		if n := &l.lines[i]; n.running != 0 || len(n.waiting) != 0 || len(n.last) != 0 {
			t.Errorf("%+v", n)
		}
	}
}

// Who has left while they waited is passed over, and holds nobody up.
func TestWhoHasLeftIsPassedOver(t *testing.T) {
	t.Parallel()
	h, _ := newHouse(t, 1)
	h.ask("first", Who{Network: network(1)})
	for i := range 5 {
		h.ask(fmt.Sprint("left ", i), Who{Network: network(2 + i), Gone: func() bool { return true }})
	}
	h.ask("last", Who{Network: network(9), Gone: func() bool { return false }})
	h.out("first")
	same(t, h.in, "first", "last")
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.away) != 5 || h.away["left 3"] != ErrGone {
		t.Errorf("%v", h.away)
	}
}

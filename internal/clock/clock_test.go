package clock

import (
	"slices"
	"testing"
	"time"
)

func TestFake(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0)
	c := NewFake(start)
	var calls []string
	note := func(s string) func() {
		return func() { calls = append(calls, s+"@"+c.Now().Sub(start).String()) }
	}
	c.AfterFunc(2*time.Second, note("b"))
	a := c.AfterFunc(time.Second, note("a"))
	stopped := c.AfterFunc(time.Second, note("stopped"))
	if !stopped.Stop() || stopped.Stop() {
		t.Error("Stop must report once that it stopped the call")
	}
	c.AfterFunc(3*time.Second, func() { a.Reset(500 * time.Millisecond) })
	c.Advance(2500 * time.Millisecond)
	if want := []string{"a@1s", "b@2s"}; !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
	c.Jump(time.Hour)
	if len(calls) != 2 || c.Pending() != 1 {
		t.Errorf("a jump of the wall clock fired a timer: %v", calls)
	}
	c.Advance(time.Second)
	if want := "a@1h0m3.5s"; len(calls) != 3 || calls[2] != want {
		t.Errorf("calls %v, want %s last", calls, want)
	}
}

func TestSystem(t *testing.T) {
	t.Parallel()
	done := make(chan bool)
	timer := System.AfterFunc(0, func() { close(done) })
	<-done
	if timer.Stop() {
		t.Error("the call has happened")
	}
	if System.Now().IsZero() {
		t.Error("no time")
	}
}

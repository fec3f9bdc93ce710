// Package clock is the only place that reads the wall clock or starts timers.
//
// Every part that needs the time takes a Clock, so that tests can set it,
// move it and make it jump. Deadlines on sockets are computed from the same
// clock; tests of code that sets them use System inside a testing/synctest
// bubble instead of Fake.
package clock

import "time"

// Clock tells the time and calls back later. Its methods may be called from
// any goroutine.
type Clock interface {
	// Now returns the current time; with System it carries a monotonic
	// reading, so differences survive a jump of the wall clock.
	Now() time.Time
	// AfterFunc calls f in a goroutine of its own once d has passed.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of AfterFunc.
type Timer interface {
	// Stop prevents the call; it reports whether it did. It does not wait
	// for a call that has begun.
	Stop() bool
	// Reset sets the call to d from now, whether it has happened or not;
	// it reports whether the call was still pending.
	Reset(d time.Duration) bool
}

// System is the machine's own clock.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time { return time.Now() }

func (system) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

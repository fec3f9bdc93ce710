package queue

import (
	"math"
	"time"

	"gatepost/internal/queue/alarm"
)

// never is later than any alarm.
const never time.Duration = math.MaxInt64

// sleeper has an alarm, on the clock of Queue.now. ring is called with the
// queue locked when it goes off, and not set any more.
type sleeper interface {
	alarm.Sleeper
	ring(q *Queue)
}

// set sets an alarm anew.
func (q *Queue) set(s sleeper, at time.Duration) {
	q.alarms.Set(s, at)
	q.arm()
}

// arm sets the timer to the earliest alarm, if it would go off later.
func (q *Queue) arm() {
	at, ok := q.alarms.Next()
	if !ok || !q.open || at >= q.wake {
		return
	}
	q.wake = at
	d := max(0, at-q.now())
	if q.timer == nil {
		q.timer = q.o.Clock.AfterFunc(d, q.tick)
		return
	}
	q.timer.Reset(d)
}

// tick rings the alarms that are due.
func (q *Queue) tick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return
	}
	q.wake = never
	now := q.now()
	for s, ok := q.alarms.Due(now); ok; s, ok = q.alarms.Due(now) {
		s.ring(q)
	}
	q.arm()
	q.pump(&q.local)
	q.pump(&q.remote)
}

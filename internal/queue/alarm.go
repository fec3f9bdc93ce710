package queue

import (
	"math"
	"time"
)

// never is later than any alarm.
const never time.Duration = math.MaxInt64

// alarm is a time at which something is to be looked at.
type alarm struct {
	at  time.Duration // on the clock of Queue.now
	pos int32         // one more than its place in the heap; 0 when not set
}

// sleeper has an alarm. ring is called with the queue locked when it goes
// off, and not set any more.
type sleeper interface {
	alarm() *alarm
	ring(q *Queue)
}

// alarms is a heap of those that are set, the earliest first.
type alarms []sleeper

// set sets an alarm anew.
func (q *Queue) set(s sleeper, at time.Duration) {
	a := s.alarm()
	a.at = at
	if a.pos == 0 {
		q.alarms = append(q.alarms, s)
		a.pos = int32(len(q.alarms))
	}
	q.alarms.settle(int(a.pos) - 1)
	q.arm()
}

// clear unsets an alarm if it is set.
func (q *Queue) clear(s sleeper) {
	a := s.alarm()
	if a.pos == 0 {
		return
	}
	i, last := int(a.pos)-1, len(q.alarms)-1
	q.alarms.swap(i, last)
	q.alarms[last] = nil
	q.alarms = q.alarms[:last]
	a.pos = 0
	if i < last {
		q.alarms.settle(i)
	}
}

// arm sets the timer to the earliest alarm, if it would go off later.
func (q *Queue) arm() {
	if !q.open || len(q.alarms) == 0 || q.alarms[0].alarm().at >= q.wake {
		return
	}
	q.wake = q.alarms[0].alarm().at
	d := max(0, q.wake-q.now())
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
	q.wake = never
	for now := q.now(); q.open && len(q.alarms) > 0 && q.alarms[0].alarm().at <= now; {
		s := q.alarms[0]
		q.clear(s)
		s.ring(q)
	}
	q.arm()
	q.pump(&q.local)
	q.pump(&q.remote)
}

// settle moves the alarm at i to its place in the heap.
func (h alarms) settle(i int) {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		child := 2*i + 1
		if child+1 < len(h) && h.less(child+1, child) {
			child++
		}
		if child >= len(h) || !h.less(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h alarms) less(i, j int) bool { return h[i].alarm().at < h[j].alarm().at }

func (h alarms) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].alarm().pos, h[j].alarm().pos = int32(i+1), int32(j+1)
}

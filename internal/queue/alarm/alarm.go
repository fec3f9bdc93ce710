// Package alarm keeps what is to be looked at at some time, in the order of
// these times. It belongs to queue, knows no clock and takes no lock; times
// are what its user measures them as.
package alarm

import "time"

// Alarm is the time at which its owner is to be looked at. The zero Alarm is
// not set.
type Alarm struct {
	At  time.Duration
	pos int32 // one more than its place in the heap; 0 when it is not set
}

// Set reports whether the alarm is set.
func (a *Alarm) Set() bool { return a.pos != 0 }

// Sleeper owns an alarm.
type Sleeper interface{ Alarm() *Alarm }

// Heap holds the alarms that are set.
type Heap[S Sleeper] struct{ list []S }

// Set sets an alarm, or sets it anew.
func (h *Heap[S]) Set(s S, at time.Duration) {
	a := s.Alarm()
	a.At = at
	if !a.Set() {
		h.list = append(h.list, s)
		a.pos = int32(len(h.list))
	}
	h.settle(int(a.pos) - 1)
}

// Clear unsets an alarm if it is set.
func (h *Heap[S]) Clear(s S) {
	a := s.Alarm()
	if !a.Set() {
		return
	}
	i, last := int(a.pos)-1, len(h.list)-1
	h.swap(i, last)
	clear(h.list[last:]) // so that it can be freed
	h.list = h.list[:last]
	a.pos = 0
	if i < last {
		h.settle(i)
	}
}

// Next returns the earliest alarm's time; ok is false if none is set.
func (h *Heap[S]) Next() (at time.Duration, ok bool) {
	if len(h.list) == 0 {
		return 0, false
	}
	return h.list[0].Alarm().At, true
}

// Due unsets and returns the earliest alarm's owner if that is due.
func (h *Heap[S]) Due(now time.Duration) (s S, ok bool) {
	if at, any := h.Next(); !any || at > now {
		return s, false
	}
	s = h.list[0]
	h.Clear(s)
	return s, true
}

// settle moves the alarm at i to its place.
func (h *Heap[S]) settle(i int) {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		child := 2*i + 1
		if child+1 < len(h.list) && h.less(child+1, child) {
			child++
		}
		if child >= len(h.list) || !h.less(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h *Heap[S]) less(i, j int) bool { return h.list[i].Alarm().At < h.list[j].Alarm().At }

func (h *Heap[S]) swap(i, j int) {
	l := h.list
	l[i], l[j] = l[j], l[i]
	l[i].Alarm().pos, l[j].Alarm().pos = int32(i+1), int32(j+1)
}

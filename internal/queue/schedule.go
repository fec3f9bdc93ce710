package queue

import (
	"io"
	"time"
)

// schedule is how long a job waits after each deferral of its own. RFC 5321,
// section 4.5.4.1 asks for 30 minutes at least "in general"; the short
// beginning is for greylisting, which nearly always passes within minutes.
var schedule = []time.Duration{
	30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour,
}

// backoff is how long a line is held after each failure of its destination
// in a row.
var backoff = []time.Duration{
	30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
}

// longest is the longest that anything waits.
const longest = 4*time.Hour + 4*time.Hour/jitterPart

// jitterPart is the part of an interval by which it is made longer or
// shorter at random, so that what failed together does not come back
// together.
const jitterPart = 8

// interval returns entry n of a table, or its last, with jitter.
func (q *Queue) interval(table []time.Duration, n int) time.Duration {
	d := table[min(n, len(table)-1)]
	var b [2]byte
	if _, err := io.ReadFull(q.o.Random, b[:]); err != nil {
		return d // without jitter is better than not at all
	}
	span := 2 * d / jitterPart
	part := time.Duration(b[0])<<8 | time.Duration(b[1])
	return d - d/jitterPart + span*part>>16
}

package hook

import (
	"context"
	"errors"
	"sync"
	"time"

	"gatepost/internal/store"
)

const (
	// batch is how many events are read at a time, and settled in one
	// transaction.
	batch = 50
	// idle is how long a line rests where nothing is due.
	idle = time.Hour
)

// delays are what lies between two attempts, of a sink that fails or of an
// event that is refused; the last one repeats.
var delays = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour,
}

func delay(failures int) time.Duration { return delays[min(failures, len(delays)-1)] }

// line is the queue of one sink.
type line struct {
	h    *Hooks
	name string
	poke chan struct{} // something is new

	mu       sync.Mutex
	sink     *Sink     // nil: there is none
	failures int       // of the sink, in a row
	until    time.Time // the sink is left alone until then
}

func (l *line) set() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sink != nil
}

// event is one that waits.
type event struct {
	id       int64
	name     string
	body     []byte
	attempts int64
}

// result is what became of a post.
type result struct {
	*event
	fault error // nil: it was taken
}

// tend posts what is due until ctx ends.
func (l *line) tend(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := l.round(ctx)
		if err != nil && ctx.Err() == nil {
			l.h.o.Log.Error("a webhook could not be seen to", "webhook", l.name, "error", err)
			wait = delay(1)
		}
		if wait > 0 {
			l.rest(ctx, wait)
		}
	}
}

// rest waits for a while, or until something is new.
func (l *line) rest(ctx context.Context, d time.Duration) {
	over := make(chan struct{})
	defer l.h.o.Clock.AfterFunc(d, func() { close(over) }).Stop()
	select {
	case <-l.poke:
	case <-over:
	case <-ctx.Done():
	}
}

// round posts one batch of what is due and returns how long there is nothing
// to do then.
func (l *line) round(ctx context.Context) (wait time.Duration, err error) {
	l.mu.Lock()
	sink, until := l.sink, l.until
	l.mu.Unlock()
	now := l.h.o.Clock.Now()
	switch {
	case sink == nil:
		return idle, l.expire(ctx, "there is no such webhook any more")
	case now.Before(until):
		return until.Sub(now), nil
	}
	due, next, err := l.read(ctx, now)
	if err != nil || len(due) == 0 {
		return next, err
	}
	results, ill := l.postAll(ctx, sink, due)
	if err := l.settle(ctx, results); err != nil {
		return 0, err
	}
	return l.judge(ctx, sink, results, ill)
}

// postAll posts events in order, until the sink fails.
func (l *line) postAll(ctx context.Context, sink *Sink, due []event) (results []result, ill bool) {
	for i := range due {
		e := &due[i]
		err := sink.post(ctx, l.h.o.Clock.Now(), e)
		if ctx.Err() != nil {
			return results, false // we stop; nothing is known of this one
		}
		results = append(results, result{e, err})
		var no refusal
		if ill = err != nil && !errors.As(err, &no); ill {
			break
		}
	}
	return results, ill
}

// judge draws from a round what is to be done with the sink, unless it was
// replaced meanwhile.
func (l *line) judge(ctx context.Context, sink *Sink, results []result, ill bool) (wait time.Duration, err error) {
	for _, r := range results {
		if r.fault == nil {
			l.h.Posted.Add(1)
			continue
		}
		l.h.Failed.Add(1)
		l.h.o.Log.Warn("a webhook did not take an event", "webhook", l.name, "event", r.name, "error", r.fault)
	}
	l.mu.Lock()
	if l.sink == sink && len(results) > 0 {
		if ill {
			wait = delay(l.failures)
			l.until = l.h.o.Clock.Now().Add(wait)
			l.failures++
		} else {
			l.failures = 0
		}
	}
	l.mu.Unlock()
	return wait, l.expire(ctx, "they could not be told in time")
}

// read returns what is due, the oldest first, and, where nothing is, when the
// next will be.
func (l *line) read(ctx context.Context, now time.Time) (due []event, next time.Duration, err error) {
	next = idle
	err = l.h.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT id, name, body, attempts FROM hook WHERE sink = ? AND due <= ? ORDER BY id LIMIT ?`,
			l.name, now.Unix(), int64(batch))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e event
			if err := rows.Scan(&e.id, &e.name, &e.body, &e.attempts); err != nil {
				return err
			}
			due = append(due, e)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(due) > 0 {
			return err
		}
		var first int64
		if err := tx.QueryRow(`SELECT COALESCE(MIN(due), 0) FROM hook WHERE sink = ?`, l.name).Scan(&first); err != nil || first == 0 {
			return err
		}
		next = min(idle, max(time.Second, time.Unix(first, 0).Sub(now)))
		return nil
	})
	return due, next, err
}

// settle writes down what became of a batch.
func (l *line) settle(ctx context.Context, results []result) error {
	if len(results) == 0 {
		return nil
	}
	now := l.h.o.Clock.Now()
	return l.h.o.DB.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		for _, r := range results {
			var err error
			var no refusal
			switch {
			case r.fault == nil:
				_, err = tx.Exec(`DELETE FROM hook WHERE id = ?`, r.id)
			case errors.As(r.fault, &no):
				_, err = tx.Exec(`UPDATE hook SET attempts = attempts + 1, due = ?, fault = ? WHERE id = ?`,
					now.Add(delay(int(r.attempts))).Unix(), cut(r.fault.Error()), r.id)
			default: // it is due with the sink
				_, err = tx.Exec(`UPDATE hook SET fault = ? WHERE id = ?`, cut(r.fault.Error()), r.id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// maxFault bounds what is kept of the reason of a failure, in octets.
const maxFault = 500

func cut(s string) string { return s[:min(len(s), maxFault)] }

// expire removes what is too old to be told.
func (l *line) expire(ctx context.Context, why string) error {
	before := l.h.o.Clock.Now().Add(-keepFor).Unix()
	var n int64
	err := l.h.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
		n, err = tx.Exec(`DELETE FROM hook WHERE sink = ? AND made < ?`, l.name, before)
		return err
	})
	if err == nil && n > 0 {
		l.h.lose(l.name, n, why)
	}
	return err
}

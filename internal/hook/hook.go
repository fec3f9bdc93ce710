// Package hook tells other programs what happened: each event is posted as
// JSON to the URL that the operator gave, the sink (docs/hooks.md).
//
// # Place in the path
//
// Beside it. Whoever has something to tell puts it into the queue of a sink
// (Add), in the transaction that makes it so: there is no event of what did
// not happen, and none is lost in a crash. Tend posts what waits.
//
// Requests are made as Standard Webhooks says (standardwebhooks.com, version
// 1): webhook-id, webhook-timestamp, webhook-signature.
//
// # What is promised
//
// Each event is posted until the sink answers 2xx, at least once: an answer
// that is lost with us or with the sink makes it come again, under the same
// id. A sink has one post at a time, the oldest event first. Where the sink
// itself fails (no connection, no answer in time, 5xx, 429) all of it waits
// for the next attempt; where it refuses one event (any other answer), that
// one waits by itself and the others go on.
//
// # Trust and limits
//
// The URL is the operator's, but what is behind it may be slow, dead, or
// somebody else by now: connections are made by the Dial of the sink, which
// says what may be reached; the certificate is verified; redirects are not
// followed; an answer has answerTime, and little of it is read. A sink's queue
// holds maxWaiting events, each for keepFor; what is beyond is counted in Lost
// and logged. The secret of a sink is known to its owner and to us, and is
// never written anywhere.
package hook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/store"
)

// Bounds of what waits.
const (
	// maxWaiting bounds the events that wait for one sink.
	maxWaiting = 10_000
	// keepFor is how long an event is tried.
	keepFor = 7 * 24 * time.Hour
	// maxBody bounds one event, in octets.
	maxBody = 64 << 10
	// idOctets is how much chance is in the id of an event.
	idOctets = 16
)

// Options configure Hooks. All are required.
type Options struct {
	DB     *store.DB
	Clock  clock.Clock
	Log    *slog.Logger
	Random io.Reader
	Sinks  []string // the names of all that there can be
}

// Hooks are the queues of all sinks. Its methods may be called from any
// goroutine.
type Hooks struct {
	Posted atomic.Int64 // events that a sink took
	Failed atomic.Int64 // posts that it did not take
	Lost   atomic.Int64 // events that found no room, or were too old

	o     Options
	lines map[string]*line
}

// New returns the queues over a store.
func New(o Options) *Hooks {
	h := &Hooks{o: o, lines: map[string]*line{}}
	for _, name := range o.Sinks {
		h.lines[name] = &line{h: h, name: name, poke: make(chan struct{}, 1)}
	}
	return h
}

// Set says where a sink is; nil: nowhere, and nothing is put into its queue.
func (h *Hooks) Set(name string, s *Sink) {
	l := h.lines[name]
	l.mu.Lock()
	if l.sink != nil {
		l.sink.close()
	}
	l.sink, l.failures, l.until = s, 0, time.Time{}
	l.mu.Unlock()
	h.Wake(name)
}

// Wake says that there is something new in a queue. It is called after the
// transaction of Add.
func (h *Hooks) Wake(name string) {
	select {
	case h.lines[name].poke <- struct{}{}:
	default:
	}
}

// payload is what is posted.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // when it happened
	Data      any       `json:"data"`
}

// Add puts an event into the queue of a sink, in a transaction of its caller.
// Where there is no such sink it does nothing; where its queue is full, the
// event is lost, and what it tells of goes on.
func (h *Hooks) Add(tx *store.Tx, sink, kind string, at time.Time, data any) error {
	l := h.lines[sink]
	if !l.set() {
		return nil
	}
	body, err := json.Marshal(payload{kind, at.UTC(), data})
	if err != nil {
		return err
	}
	if len(body) > maxBody {
		return fmt.Errorf("hook: an event of %d octets is too large", len(body))
	}
	var n int64
	if err := tx.QueryRow(`SELECT COUNT(*) FROM hook WHERE sink = ?`, sink).Scan(&n); err != nil {
		return err
	}
	if n >= maxWaiting {
		h.lose(sink, 1, "there is no room")
		return nil
	}
	id, err := tx.NextID("hook")
	if err != nil {
		return err
	}
	name := make([]byte, idOctets)
	if _, err := io.ReadFull(h.o.Random, name); err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO hook (id, sink, name, kind, body, made, attempts, due, fault) VALUES (?, ?, ?, ?, ?, ?, 0, 0, '')`,
		id, sink, "evt_"+base64.RawURLEncoding.EncodeToString(name), kind, body, h.o.Clock.Now().Unix())
	return err
}

// lose counts events that nobody will hear of.
func (h *Hooks) lose(sink string, n int64, why string) {
	h.Lost.Add(n)
	h.o.Log.Error("events for a webhook are lost", "webhook", sink, "events", n, "reason", why)
}

// Tend posts what waits, until ctx ends.
func (h *Hooks) Tend(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range h.lines {
		all.Go(func() { l.tend(ctx) })
	}
	all.Wait()
}

// Package witness keeps what we saw of mail in the name of domains that want
// to be told: the rows of DMARC aggregate reports (RFC 9990), until they are
// sent.
//
// # Place in the path
//
// gate tells it of each message from the world once verdict has judged it
// (Saw); courier makes a report of what it has of a day.
//
// # What it costs, and what is lost
//
// Saw adds to sums in memory: no message waits for the store. Flush writes
// them, each minute and at the end; a crash loses those of the last minute,
// which a report can do without.
//
// # What it trusts, and its limits
//
// Senders choose all that is kept, and may choose something else with each
// message. maxPending bounds the sums in memory, maxRows those of a domain
// and a day, maxDay those of a day. A domain that has half of its rows gets
// simpler ones, which say nothing of signatures that prove nothing; where
// there is no room at all, messages are counted as such, and the report says
// how many. Local parts and recipients are never in it.
package witness

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/aggregate"
	"gatepost/internal/clock"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

// Bounds of what is kept.
const (
	maxPending = 10_000              // different sums in memory
	maxRows    = 5_000               // of a domain and a day
	fewRows    = 100                 // likewise, once half of maxDay is taken
	maxDay     = 200_000             // of a day
	maxText    = 255                 // octets of one name
	life       = 14 * 24 * time.Hour // of a row
	pruneBatch = 1000                // rows removed in one transaction, so that others get their turn
	flushEvery = time.Minute
	pruneEvery = 24 * time.Hour
)

// limits are how much is kept; tests have lower ones.
type limits struct{ pending, rows, few, day int64 }

var most = limits{maxPending, maxRows, fewRows, maxDay}

// Options are what a Witness works with; all are required.
type Options struct {
	DB    *store.DB
	Clock clock.Clock
	Log   *slog.Logger
}

// Witness keeps what was seen. Its methods may be called from any goroutine.
type Witness struct {
	Dropped atomic.Int64 // messages that no report will tell of, for want of room

	o       Options
	most    limits
	mu      sync.Mutex
	pending map[string]*sum
	flush   sync.Mutex // held by Flush
}

// sum is a number of messages that were alike.
type sum struct {
	day    int64 // its beginning
	domain string
	detail
	messages int64
	latest   int64 // when the last of them came
}

// detail is what is kept of messages that were alike.
type detail struct {
	Policy aggregate.Published
	Row    aggregate.Row // its Count is that of the sum
}

// New returns a witness.
func New(o Options) *Witness { return &Witness{o: o, most: most, pending: map[string]*sum{}} }

// Saw takes note of a message, as a report to the owner of the policy will
// tell of it.
func (w *Witness) Saw(p aggregate.Published, row aggregate.Row) {
	row.Count = 0
	row.EnvelopeFrom, row.From, row.EnvelopeTo = cut(row.EnvelopeFrom), cut(row.From), ""
	now := w.o.Clock.Now()
	s := sum{tlsrpt.Day(now).Unix(), p.Domain, detail{p, row}, 1, now.Unix()}
	var few [512]byte
	key := s.key(few[:0])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(key, &s)
}

// key appends what tells sums apart. No text in it has a NUL.
func (s *sum) key(b []byte) []byte {
	p, r := &s.Policy, &s.Row
	b = strconv.AppendInt(b, s.day, 10)
	b = r.IP.AppendTo(append(b, 0))
	for _, flag := range []bool{p.Testing, r.DKIM, r.SPF} {
		b = strconv.AppendBool(b, flag)
	}
	for _, text := range []string{s.domain, p.Policy, p.Subdomains, p.NonExistent, p.DKIM, p.SPF, p.FailureCases, p.Discovery, r.Disposition, r.From, r.EnvelopeFrom} {
		b = append(append(b, text...), 0)
	}
	for _, o := range r.Overrides {
		b = append(append(append(append(b, 'o'), o.Type...), 0), o.Comment...)
	}
	for _, g := range r.Signatures {
		b = append(append(append(append(append(append(b, 0, 'd'), g.Domain...), 0), g.Selector...), 0), g.Result...)
	}
	for _, m := range r.Senders {
		b = append(append(append(append(b, 0, 's'), m.Domain...), 0), m.Result...)
	}
	return b
}

// add adds to what is pending; w.mu is held.
func (w *Witness) add(key []byte, s *sum) {
	switch had := w.pending[string(key)]; {
	case had != nil:
		had.messages += s.messages
		had.latest = max(had.latest, s.latest)
	case int64(len(w.pending)) == w.most.pending:
		w.Dropped.Add(s.messages)
	default:
		kept := *s
		w.pending[string(key)] = &kept
	}
}

// Flush writes what was seen. What the store does not take stays for the next
// time.
func (w *Witness) Flush(ctx context.Context) error {
	w.flush.Lock()
	defer w.flush.Unlock()
	w.mu.Lock()
	pending := w.pending
	w.pending = map[string]*sum{}
	w.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	var lost int64
	err := w.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
		lost, err = write(tx, pending, w.most)
		return err
	})
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		for key, s := range pending {
			w.add([]byte(key), s)
		}
		return err
	}
	w.Dropped.Add(lost)
	return nil
}

// Tend writes what was seen and removes what is old, from time to time, until
// ctx ends.
func (w *Witness) Tend(ctx context.Context) {
	var pruned time.Time
	clock.Repeat(ctx, w.o.Clock, flushEvery, func(ctx context.Context) {
		err := w.Flush(ctx)
		if now := w.o.Clock.Now(); err == nil && now.Sub(pruned) >= pruneEvery {
			if err = w.prune(ctx); err == nil {
				pruned = now
			}
		}
		if err != nil && ctx.Err() == nil {
			w.o.Log.Error("what DMARC reports will tell could not be kept", "error", err)
		}
	})
}

// cut bounds a name that somebody else chose.
func cut(s string) string { return s[:min(len(s), maxText)] }

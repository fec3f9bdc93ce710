package tlsrpt

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
)

// Sum is how often the same came of a session under the same policy on one
// day.
type Sum struct {
	Day    time.Time // its beginning, in UTC
	Domain string    // the recipients', which is to be told
	Policy Policy
	// Failure is what went wrong; its Result is empty when nothing did. Its
	// Count is that of the sum.
	Failure Failure
}

// Sums is where a Tally keeps sums beyond a restart.
type Sums interface {
	// Add adds to what is kept of the same day, domain, policy and failure.
	// When it returns nil the sums are durable; after an error none of them is kept.
	Add(ctx context.Context, sums []Sum) error
}

// maxPending bounds the different sums that wait to be kept.
const maxPending = 10_000

// Tally adds up sessions by day, domain, policy and failure. Its methods may be
// called from any goroutine.
type Tally struct {
	Dropped atomic.Int64 // sessions that were not counted, for want of room

	sums    Sums
	clock   clock.Clock
	mu      sync.Mutex
	pending map[string]*Sum
	flush   sync.Mutex // held by Flush
}

// NewTally returns a tally that keeps its sums in sums.
func NewTally(sums Sums, c clock.Clock) *Tally {
	return &Tally{sums: sums, clock: c, pending: map[string]*Sum{}}
}

// Count counts a session for the mail of a domain that ends now: with the
// zero Failure, a success.
func (t *Tally) Count(domain string, p Policy, f Failure) {
	f.Count = 1
	s := Sum{Day: Day(t.clock.Now()), Domain: domain, Policy: p, Failure: f}
	key := s.key()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(key, s)
}

// add adds a sum to what is pending; t.mu is held.
func (t *Tally) add(key string, s Sum) {
	switch had := t.pending[key]; {
	case had != nil:
		had.Failure.Count += s.Failure.Count
	case len(t.pending) == maxPending:
		t.Dropped.Add(s.Failure.Count)
	default:
		t.pending[key] = &s
	}
}

// Flush hands what was counted to Sums. What they do not take is handed over
// the next time. It is to be called every minute or so, and at the end.
func (t *Tally) Flush(ctx context.Context) error {
	t.flush.Lock()
	defer t.flush.Unlock()
	t.mu.Lock()
	pending := t.pending
	t.pending = map[string]*Sum{}
	t.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	sums := make([]Sum, 0, len(pending))
	for _, s := range pending {
		sums = append(sums, *s)
	}
	err := t.sums.Add(ctx, sums)
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		for key, s := range pending {
			t.add(key, *s)
		}
	}
	return err
}

// Day returns the beginning of the day of a time, in UTC: RFC 8460, section
// 4.1.
func Day(at time.Time) time.Time { return at.UTC().Truncate(24 * time.Hour) }

// key tells sums apart.
func (s *Sum) key() string {
	f := s.Failure
	f.Count = 0
	// Neither can fail: they are made of texts.
	b, _ := json.Marshal(struct {
		Day     int64
		Domain  string
		Policy  Policy
		Failure Failure
	}{s.Day.Unix(), s.Domain, s.Policy, f})
	return string(b)
}

// Compose makes the report for a domain out of its sums of one day. who is
// from: organization, contact and an ID that is never used again.
func Compose(who Report, day time.Time, sums []Sum) *Report {
	r := who
	r.Range = Range{day.UTC(), day.UTC().Add(24*time.Hour - time.Second)}
	r.Policies = nil
	at := map[string]int{} // policy to its place in the report
	for _, s := range sorted(sums) {
		k := (&Sum{Policy: s.Policy}).key()
		i, there := at[k]
		if !there {
			i, at[k] = len(r.Policies), len(r.Policies)
			r.Policies = append(r.Policies, Outcome{Policy: s.Policy})
		}
		p := &r.Policies[i]
		if s.Failure.Result == "" {
			p.Summary.Success += s.Failure.Count
			continue
		}
		p.Summary.Failure += s.Failure.Count
		p.Failures = append(p.Failures, s.Failure)
	}
	return &r
}

// sorted returns sums in an order that depends on nothing but them.
func sorted(sums []Sum) []Sum {
	return slices.SortedFunc(slices.Values(sums), func(a, b Sum) int { return strings.Compare(a.key(), b.key()) })
}

// Package reputation keeps what others tell of our domains in their reports:
// who sends mail in a domain's name and what fails of it (DMARC), and whether
// they reach it safely (TLS).
//
// # Place in the path
//
// The package courier is the other way round: it tells other domains.
//
// local hands it what comes to tls-reports@ and dmarc-reports@ of a domain of
// ours (Read). What is in a report is summed in the store, in one transaction
// with a row that says that this report has been counted; the message itself
// is kept nowhere. DMARC and TLS tell what the sums come to.
//
// # Exactly once
//
// A report is known by its sender's domain, the organization and the id that
// it gives: however often it is sent, or delivered again after a crash, it
// counts once. A forger cannot take the place of a report to come, since
// reports of senders that are not proved are counted apart.
//
// # What it trusts, and its limits
//
// Anybody may send a report, with any content. What its parsers bound is
// bounded there (aggregate, tlsrpt, arf), and at most readers are at work at
// once. Only reports on domains of ours are taken. A sender is proved by what
// we found when we took the message (Authentication-Results of ours, which
// nobody else can write); the others are counted, shown apart, and no advice
// is given on their word. Life, maxReports, maxOfSender, maxSums, maxSumsOf and
// maxDetails bound what is kept: what goes beyond is refused, or summed
// without its details.
package reputation

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/store"
)

// Bounds of what is kept.
const (
	Life        = 120 * 24 * time.Hour // of reports and sums
	maxReports  = 50_000               // of a kind, proved or not
	maxOfSender = 5_000                // of those from one sender
	maxSums     = 50_000               // of a kind for one domain, proved or not
	maxSumsOf   = 5_000                // of those from one sender
	maxDetails  = 1_000                // different ones in one report
	maxNumber   = 1_000_000_000        // messages or sessions that are alike in one report
	maxText     = 255                  // octets of a text of others
	pruneBatch  = 1000                 // rows removed in one transaction, so that others get their turn
	readers     = 2                    // a large report takes some ten MiB while it is read
	maxAhead    = 2 * 24 * time.Hour   // that a report's time may lie in the future
)

// Options are the parts that a Book works with; all are required.
type Options struct {
	DB       *store.DB
	Clock    clock.Clock
	Log      *slog.Logger
	Hostname addr.Domain // by which we say what we found of a message
	// IsOwn reports whether a domain is ours.
	IsOwn func(context.Context, addr.Domain) (bool, error)
}

// Book is what is known from reports. Its methods may be called from any
// goroutine.
type Book struct {
	Taken   atomic.Int64 // reports that were counted
	Again   atomic.Int64 // that had been counted before
	Refused atomic.Int64 // messages without a report that could be

	o       Options
	reading chan struct{}
}

// New returns a book in a store.
func New(o Options) *Book { return &Book{o: o, reading: make(chan struct{}, readers)} }

// tendEvery is how often what is too old is removed.
const tendEvery = 24 * time.Hour

// Tend removes what is too old, at once and from time to time, until ctx
// ends.
func (b *Book) Tend(ctx context.Context) {
	clock.Repeat(ctx, b.o.Clock, tendEvery, func(ctx context.Context) {
		if err := b.Prune(ctx); err != nil && ctx.Err() == nil {
			b.o.Log.Error("old reports could not be removed", "error", err)
		}
	})
}

// Prune removes what is too old.
func (b *Book) Prune(ctx context.Context) error {
	oldest := b.o.Clock.Now().Add(-Life).Unix()
	for _, query := range []string{
		`DELETE FROM report_sum WHERE day IN (SELECT day FROM report_sum WHERE day < ? ORDER BY day LIMIT ?)`,
		`DELETE FROM report_seen WHERE received IN (SELECT received FROM report_seen WHERE received < ? ORDER BY received LIMIT ?)`,
	} {
		if err := prune(ctx, b.o.DB, query, oldest); err != nil {
			return err
		}
	}
	return nil
}

// prune runs a query that removes rows until there are none left.
func prune(ctx context.Context, db *store.DB, query string, before int64) error {
	for gone := int64(1); gone > 0; {
		err := db.Update(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.Exec(query, before, int64(pruneBatch))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

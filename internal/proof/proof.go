// Package proof keeps in the store what transport must know again after a
// restart, and what it can prove: MTA-STS policies, the levels that domains
// reached, the sums of TLS reports, how each message came, and what each of
// its deliveries got.
//
// # Place in the path
//
// Beside the path: nobody waits for it but those who read. remote hands over
// what a message got when a host has taken it (Book.Keep), transport what a
// domain reached (Book.Remember), smtpd how a message came (Book.Arrived).
// All are written with others a second later, in one transaction; a crash loses that second.
//
// # Limits
//
// At most maxPending writes wait; what finds no room is counted and dropped.
// Proofs are kept for ProofLife, sums for sumLife.
package proof

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
	"gatepost/internal/transport"
)

// How long things are kept.
const (
	ProofLife = 30 * 24 * time.Hour // after the delivery
	queueLife = 10 * 24 * time.Hour // a message that is older has been delivered, or never will be
	hopLife   = 24 * time.Hour      // for which connections that are alike share a row
	sumLife   = 14 * 24 * time.Hour // a report that cannot be delivered is late after one
	levelLife = 30 * 24 * time.Hour // longer than transport believes them
)

// Bounds of what waits to be written.
const (
	writeDelay = time.Second
	maxPending = 20_000
	pruneBatch = 1000 // rows removed in one transaction, so that others get their turn
)

// Book is what is written down later. Its methods may be called from any
// goroutine.
type Book struct {
	Dropped atomic.Int64 // writes that found no room, or that the store refused

	db    *store.DB
	clock clock.Clock
	log   *slog.Logger

	writing sync.Mutex             // held while what was pending is written
	hops    map[envelope.Proof]hop // rows for connections like this one, whenever it was

	mu       sync.Mutex
	timer    clock.Timer
	proofs   []kept
	arrivals []Arrival
	levels   map[string]transport.Reached
}

// hop is a row that describes connections.
type hop struct {
	id    int64
	since time.Time
}

// maxHops bounds the rows that are known; others are written anew.
const maxHops = 4096

// kept is a proof that waits.
type kept struct {
	id         envelope.ID
	recipients string
	alias      string // that all of them got it through; empty if they did not
	at         time.Time
	*envelope.Proof
}

// New returns a book in a store.
func New(db *store.DB, c clock.Clock, log *slog.Logger) *Book {
	return &Book{db: db, clock: c, log: log, levels: map[string]transport.Reached{}, hops: map[envelope.Proof]hop{}}
}

// Keep implements remote's Proofs.
func (b *Book) Keep(e *envelope.Envelope, recipients []int, p *envelope.Proof) {
	var list []string
	var alias string
	for _, i := range recipients {
		list = append(list, e.Recipients[i].To.String())
		alias = e.Recipients[i].Via.String() // the same of all: see outbound
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room() {
		b.proofs = append(b.proofs, kept{e.ID, strings.Join(list, " "), alias, b.clock.Now(), p})
	}
}

// Remember implements transport.Memory.
func (b *Book) Remember(domain string, r transport.Reached) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room() {
		b.levels[domain] = r
	}
}

// room makes sure that what is added now will be written, if there is room
// for it; b.mu is held.
func (b *Book) room() bool {
	n := len(b.proofs) + len(b.arrivals) + len(b.levels)
	if n >= maxPending {
		b.Dropped.Add(1)
		return false
	}
	if n == 0 {
		b.timer = b.clock.AfterFunc(writeDelay, b.Flush)
	}
	return true
}

// Level implements transport.Memory.
func (b *Book) Level(ctx context.Context, domain string) (r transport.Reached, err error) {
	b.mu.Lock()
	r, there := b.levels[domain]
	b.mu.Unlock()
	if there {
		return r, nil
	}
	err = b.db.View(ctx, func(tx *store.Tx) error {
		r, err = readLevel(tx, domain)
		return err
	})
	return r, err
}

// Forget removes what is remembered of a domain; found tells whether there
// was anything. transport's Engine must be told too.
func (b *Book) Forget(ctx context.Context, domain string) (found bool, err error) {
	b.writing.Lock() // else a write under way could bring it back
	defer b.writing.Unlock()
	b.mu.Lock()
	_, found = b.levels[domain]
	delete(b.levels, domain)
	b.mu.Unlock()
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM tls_level WHERE domain = ?`, domain)
		found = found || n > 0
		return err
	})
	return found, err
}

// Flush writes what is pending. It need not be called, but before the store
// is closed or read by somebody who cannot wait.
func (b *Book) Flush() {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	proofs, arrivals, levels := b.proofs, b.arrivals, b.levels
	b.proofs, b.arrivals, b.levels = nil, nil, map[string]transport.Reached{}
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	n := len(proofs) + len(arrivals) + len(levels)
	if n == 0 {
		return
	}
	err := b.db.Update(context.Background(), func(tx *store.Tx) error {
		if err := b.insertProofs(tx, proofs); err != nil {
			return err
		}
		if err := insertArrivals(tx, arrivals); err != nil {
			return err
		}
		for domain, r := range levels {
			if err := writeLevel(tx, domain, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		clear(b.hops) // what was noted of this transaction is not there
		b.Dropped.Add(int64(n))
		b.log.Error("what messages got could not be written", "err", err, "rows", n)
	}
}

// insertProofs writes proofs, and the row of a connection where none is like it.
func (b *Book) insertProofs(tx *store.Tx, list []kept) error {
	var rows [][]any
	for i := range list {
		k := &list[i]
		hop, err := b.hop(tx, k)
		if err != nil {
			return err
		}
		rows = append(rows, []any{k.id[:], k.recipients, k.alias, k.at.Unix(), hop})
	}
	// After a crash a message may be delivered again, and then that counts.
	return tx.Insert(`INSERT INTO proof (spool, recipients, alias, taken, hop) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (spool, recipients) DO UPDATE SET taken = excluded.taken, hop = excluded.hop`, rows)
}

// hop returns the row of a proof's connection, which it writes if none is like
// it.
func (b *Book) hop(tx *store.Tx, k *kept) (int64, error) {
	like := *k.Proof
	like.At = time.Time{}
	if h, there := b.hops[like]; there && k.at.Before(h.since.Add(hopLife)) {
		return h.id, nil
	}
	id, err := insertHop(tx, &like, k.at)
	if err != nil {
		return 0, err
	}
	if len(b.hops) >= maxHops {
		clear(b.hops)
	}
	b.hops[like] = hop{id, k.at}
	return id, nil
}

// Prune removes what is too old, of all tables but the policies, which expire
// by themselves. It is to be called every day or so.
func (b *Book) Prune(ctx context.Context) error {
	now := b.clock.Now()
	// A proof goes by the age of its message, which saves an index.
	oldest := now.Add(-ProofLife - queueLife)
	for _, old := range []struct {
		query  string
		before any
	}{
		{`DELETE FROM proof WHERE spool IN (SELECT spool FROM proof WHERE spool < ? ORDER BY spool LIMIT ?)`, idAt(oldest)},
		{`DELETE FROM arrival WHERE spool IN (SELECT spool FROM arrival WHERE spool < ? ORDER BY spool LIMIT ?)`, idAt(oldest)},
		{`DELETE FROM hop WHERE id IN (SELECT id FROM hop WHERE since < ? ORDER BY since LIMIT ?)`, oldest.Add(-2 * hopLife).Unix()},
		{`DELETE FROM tls_sum WHERE day IN (SELECT day FROM tls_sum WHERE day < ? ORDER BY day LIMIT ?)`, now.Add(-sumLife).Unix()},
		{`DELETE FROM tls_level WHERE domain IN (SELECT domain FROM tls_level WHERE reached < ? LIMIT ?)`, now.Add(-levelLife).Unix()},
	} {
		if err := b.prune(ctx, old.query, old.before); err != nil {
			return err
		}
	}
	return nil
}

// idAt returns the least id of a message that arrived at a time.
func idAt(at time.Time) []byte {
	id, _ := envelope.NewID(at, zeros{}) // which never fails
	return id[:]
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// prune runs a query that removes rows until there are none left.
func (b *Book) prune(ctx context.Context, query string, before any) error {
	for gone := int64(1); gone > 0; {
		err := b.db.Update(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.Exec(query, before, int64(pruneBatch))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

package activity

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/store"
)

// Bounds of what waits to be written, and of what is kept of an hour.
const (
	writeDelay = time.Second
	// maxPending bounds what differs among the things of each outcome that
	// wait; what finds no room is counted in one row.
	maxPending   = 10_000
	maxDone      = 200  // rows an hour of what an account did
	maxRefused   = 100  // rows an hour of what was refused to somebody as an account
	maxStrangers = 1000 // rows an hour of what was refused to names that nobody has
	maxText      = 200  // octets of each text
	maxDetail    = 4000 // octets of a detail, which is ours: the targets of an alias
	pruneBatch   = 1000 // rows removed in one transaction, so that others get their turn
)

// Options configure a Book. All are required, but for Locate.
type Options struct {
	DB    *store.DB
	Clock clock.Clock
	Log   *slog.Logger
	// Locate fills in where a client is: Country and Network.
	Locate func(*Client)
}

// Book is the log of activity. Its methods may be called from any goroutine.
type Book struct {
	Dropped atomic.Int64 // events that the store refused

	o Options

	writing sync.Mutex      // held while what was pending is written
	crowds  map[crowd]int64 // how many rows there are, as far as that is remembered

	mu      sync.Mutex
	timer   clock.Timer
	pending map[likeness]*Event
	kinds   map[Outcome]int // how many of each are pending
}

// New returns a book in a store.
func New(o Options) *Book {
	b := &Book{o: o, crowds: map[crowd]int64{}}
	b.empty()
	return b
}

// empty makes room for what comes; b.mu is held, but in New.
func (b *Book) empty() { b.pending, b.kinds = map[likeness]*Event{}, map[Outcome]int{} }

// Tried notes a sign-in that was decided. It does not wait. Times and the
// outcome Done of e need not be set.
func (b *Book) Tried(e *Event) {
	own := *e
	b.complete(&own)
	own.Kind = SignIn
	if own.Outcome != Done && own.Owner == 0 {
		own.Client = Client{Protocol: own.Client.Protocol, From: network(own.Client.Address)}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		b.timer = b.o.Clock.AfterFunc(writeDelay, b.Flush)
	}
	b.add(&own)
}

// add puts an event with those that are alike; b.mu is held.
func (b *Book) add(e *Event) {
	l := alike(e)
	if was := b.pending[l]; was != nil {
		was.Last, was.Times = e.Last, was.Times+e.Times
		return
	}
	if b.kinds[e.Outcome] >= maxPending {
		e = rest(e, 0, "")
		l = alike(e)
		if was := b.pending[l]; was != nil {
			was.Last, was.Times = e.Last, was.Times+e.Times
			return
		}
	}
	b.pending[l] = e
	b.kinds[e.Outcome]++
}

// Note writes an event down in a transaction of its caller: what it tells of
// happened if and only if it is told. Times and the outcome Done need not be
// set, nor Client, which is then the one of By.
func (b *Book) Note(tx *store.Tx, e *Event) error {
	own := *e
	if own.Client.Protocol == "" {
		own.Client = asker(tx.Context())
	}
	b.complete(&own)
	b.locate(&own)
	if err := insert(tx, &own, nil); err != nil {
		return err
	}
	if own.Kind == AccountRemoved {
		return forget(tx, own.Owner)
	}
	if kind, told := changes[own.Kind]; told {
		return b.alert(tx, kind, &own, "")
	}
	return nil
}

// complete fills in what callers leave to us.
func (b *Book) complete(e *Event) {
	e.First = b.o.Clock.Now()
	e.Last, e.Times = e.First, 1
	if e.Outcome == "" {
		e.Outcome = Done
	}
	e.Client.Address = e.Client.Address.Unmap().WithZone("")
	for _, text := range []*string{&e.Client.Name, &e.Client.Operator, &e.Credential, &e.Mechanism} {
		*text = cut(*text, maxText)
	}
	e.Detail = cut(e.Detail, maxDetail)
}

// cut returns at most so many octets of a text, as text that the store holds.
func cut(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "?") }

func (b *Book) locate(e *Event) {
	if b.o.Locate != nil {
		b.o.Locate(&e.Client)
	}
}

// Flush writes what is pending. It need not be called, but before the store
// is closed or read by somebody who cannot wait.
func (b *Book) Flush() {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	list := b.pending
	b.empty()
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	if len(list) == 0 {
		return
	}
	lost := int64(0)
	for _, e := range list {
		b.locate(e)
		lost += e.Times
	}
	err := b.o.DB.Update(context.Background(), func(tx *store.Tx) error {
		return b.write(tx, list)
	})
	if err != nil {
		clear(b.crowds) // what was counted is not there
		b.Dropped.Add(lost)
		b.o.Log.Error("activity could not be written", "err", err, "events", lost)
	}
}

// write writes events in the order of time, learns from them and makes alerts
// of what is not usual.
func (b *Book) write(tx *store.Tx, pending map[likeness]*Event) error {
	list := slices.SortedFunc(maps.Values(pending), func(a, b *Event) int { return a.First.Compare(b.First) })
	guessed := map[int64]*Event{} // an event of each account that somebody guesses at
	for _, e := range list {
		fresh, err := b.writeOne(tx, e)
		switch {
		case err != nil:
			return err
		case e.Outcome == Refused && e.Owner != 0:
			guessed[e.Owner] = e
			if fresh && e.Knew {
				if err := b.judgeStolen(tx, e); err != nil {
					return err
				}
			}
		case fresh && e.Outcome == Done && e.Owner != 0:
			if err := b.judgeSignIn(tx, e); err != nil {
				return err
			}
		}
	}
	for _, e := range guessed {
		if err := b.judgeFailures(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// writeOne puts an event into its row of the hour, or into the row that counts
// the rest once the hour has its rows. fresh says that nothing was like it,
// and that it has its own.
func (b *Book) writeOne(tx *store.Tx, e *Event) (fresh bool, err error) {
	l := alike(e)
	if found, err := again(tx, e, l); found || err != nil {
		return false, err
	}
	room, err := b.enter(tx, e)
	switch {
	case err != nil:
		return false, err
	case room:
		return true, insert(tx, e, l.sum())
	}
	more := rest(e, e.Owner, e.Account)
	l = alike(more)
	if found, err := again(tx, more, l); found || err != nil {
		return false, err
	}
	return false, insert(tx, more, l.sum())
}

// Prune removes events that ended before a time, what is no longer usual, and
// alerts with their events, in short transactions.
func (b *Book) Prune(ctx context.Context, before time.Time) error {
	unusual := b.o.Clock.Now().Add(-KnownLife)
	for _, old := range []struct {
		query  string
		before time.Time
	}{
		{`DELETE FROM activity_alert WHERE id IN (SELECT id FROM activity_alert WHERE made < ? ORDER BY id LIMIT ?)`, before},
		{`DELETE FROM activity WHERE id IN (SELECT id FROM activity WHERE ended < ? ORDER BY ended LIMIT ?)`, before},
		// What was seen last stays, or whoever breaks into an account that
		// rested would be taken for its first.
		{`DELETE FROM activity_known WHERE (owner, sort, name) IN (SELECT k.owner, k.sort, k.name FROM activity_known k
			WHERE k.seen < ? AND EXISTS (SELECT 1 FROM activity_known n WHERE n.owner = k.owner AND n.seen > k.seen) LIMIT ?)`, unusual},
	} {
		if err := b.prune(ctx, old.query, old.before); err != nil {
			return err
		}
	}
	return nil
}

// prune runs a query that removes rows until there are none left.
func (b *Book) prune(ctx context.Context, query string, before time.Time) error {
	for gone := int64(1); gone > 0; {
		err := b.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.Exec(query, before.Unix(), int64(pruneBatch))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget removes what is usual for an account that is gone, and what its
// owner was to be told.
func forget(tx *store.Tx, owner int64) error {
	if _, err := tx.Exec(`DELETE FROM activity_known WHERE owner = ?`, owner); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM activity_alert WHERE owner = ? AND sent = 0`, owner)
	return err
}

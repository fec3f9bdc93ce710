// Package guard puts together what people review to see that nobody else is in
// their mail (docs/activity.md): the log of activity, what it is told of by
// commands, how it is shown, and the alerts that it makes. It belongs to daemon.
package guard

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/hook"
	"gatepost/internal/lock"
	"gatepost/internal/place"
	"gatepost/internal/store"
)

// Options of a Guard. All are required.
type Options struct {
	Store    *store.DB
	Clock    clock.Clock
	Log      *slog.Logger
	Random   io.Reader
	Hostname addr.Domain
}

// Settings are what the operator may change while the server runs.
type Settings struct {
	Kept   time.Duration // how long activity is kept
	Places []string      // files that tell where addresses are
	// LockURL is where the links in alerts lead, the token follows; empty: there
	// is no door for them.
	LockURL string
}

// Guard is all of it.
type Guard struct {
	Alerts atomic.Int64 // that were sent

	Book *activity.Book
	// Account finds one by its address. It is set before anything is asked
	// of the guard: accounts tell the book, and so are made after it.
	Account func(context.Context, addr.Address) (account.Account, error)
	// AddressOf names an account, and Lock freezes one, by its id; they are set
	// likewise.
	AddressOf func(context.Context, int64) (addr.Address, error)
	Lock      func(ctx context.Context, id int64, why string) (addr.Address, error)
	Hooks     *hook.Hooks
	Links     *lock.Links

	// Submit hands over mail of our own; it is set before Tend.
	Submit func(context.Context, *envelope.Envelope, func(io.Writer) error) error

	o      Options
	kept   atomic.Int64
	url    atomic.Pointer[string] // Settings.LockURL
	places atomic.Pointer[place.Places]
}

// New puts it together; Set must be called next, and Close before the store is
// closed.
func New(o Options) *Guard {
	g := &Guard{o: o}
	g.Hooks = hook.New(hook.Options{DB: o.Store, Clock: o.Clock, Log: o.Log, Random: o.Random, Sinks: []string{AlertHook}})
	g.Links = lock.New(lock.Options{DB: o.Store, Clock: o.Clock, Random: o.Random, Freezer: freezer{g}})
	g.Book = activity.New(activity.Options{DB: o.Store, Clock: o.Clock, Log: o.Log, Locate: func(c *activity.Client) {
		ip := c.Address
		if !ip.IsValid() {
			ip = c.From.Addr()
		}
		c.Country, c.Network = g.places.Load().Locate(ip)
	}})
	return g
}

// Locate returns in which country an address is, and who announces it; each is
// empty where nothing is known.
func (g *Guard) Locate(ip netip.Addr) (country, network string) { return g.places.Load().Locate(ip) }

// Set takes other settings. That a file of places cannot be used keeps nobody
// from their mail: it is logged.
func (g *Guard) Set(s Settings) {
	places, err := place.Open(s.Places...)
	if err != nil {
		g.o.Log.Error("it is not known where clients are", "error", err)
	}
	g.places.Store(places)
	g.kept.Store(int64(s.Kept))
	g.url.Store(&s.LockURL)
}

// Close writes what is not written yet.
func (g *Guard) Close() error {
	g.Book.Flush()
	return nil
}

// pruneEvery is how often what is too old is removed.
const pruneEvery = time.Hour

// Tend sends alerts and removes what is too old, at once and from time to
// time, until ctx ends.
func (g *Guard) Tend(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { g.Hooks.Tend(ctx) })
	for _, chore := range []struct {
		fault string
		every time.Duration
		do    func(context.Context) error
	}{
		{"alerts could not be sent", alertEvery, g.tell},
		{"old activity could not be removed", pruneEvery, g.prune},
		{"old links could not be removed", pruneEvery, g.Links.Prune},
	} {
		all.Go(func() {
			clock.Repeat(ctx, g.o.Clock, chore.every, func(ctx context.Context) {
				if err := chore.do(ctx); err != nil && ctx.Err() == nil {
					g.o.Log.Error(chore.fault, "error", err)
				}
			})
		})
	}
	all.Wait()
}

func (g *Guard) prune(ctx context.Context) error {
	return g.Book.Prune(ctx, g.o.Clock.Now().Add(-time.Duration(g.kept.Load())))
}

// Asked are the arguments of the verb activity.
type Asked struct {
	Account string    `json:"account"` // empty: all
	Since   time.Time `json:"since"`   // the zero time: all that is kept
	Kind    string    `json:"kind"`    // empty: all
	Failed  bool      `json:"failed"`  // only what was not done
}

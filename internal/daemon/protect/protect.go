// Package protect puts together what decides how mail leaves, and remembers
// what it met (docs/transport.md): transport's engine, the cache of MTA-STS
// policies, the tally of sessions, and the book that keeps it all. It
// belongs to daemon, and outlives the senders that ask it.
package protect

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/courier"
	"gatepost/internal/mtasts"
	"gatepost/internal/proof"
	"gatepost/internal/reach"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/transport"
)

// Options of a Protection. All are required.
type Options struct {
	Store    *store.DB
	Resolver resolve.Resolver
	Clock    clock.Clock
	Log      *slog.Logger
	Settings Settings
	// Dial opens a TCP connection to an address, which has been checked.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// Settings are what the operator may change while the server runs.
type Settings struct {
	Private []netip.Prefix // networks that may be connected to although they are private
	IPv6    bool
	Floor   transport.Level // of mail to other servers, but over routes
	Roots   *x509.CertPool  // who may vouch for others; nil means the system's
}

// Protection is all of it.
type Protection struct {
	Engine   *transport.Engine
	Book     *proof.Book
	Policies *mtasts.Cache
	Tally    *tlsrpt.Tally

	o       Options
	fetcher atomic.Pointer[mtasts.Fetcher] // by the settings of now
	poster  atomic.Pointer[courier.Poster]
}

// New puts it together. Close must be called before the store is closed.
func New(o Options) *Protection {
	p := &Protection{
		Book:  proof.New(o.Store, o.Clock, o.Log),
		Tally: tlsrpt.NewTally(proof.Sums{DB: o.Store}, o.Clock),
		o:     o,
	}
	p.Policies = mtasts.NewCache(mtasts.Options{
		Shelf: proof.Policies{DB: o.Store}, Resolver: o.Resolver, Clock: o.Clock,
		Fetch: func(ctx context.Context, domain string) (mtasts.Policy, error) {
			return p.fetcher.Load().Fetch(ctx, domain)
		},
	})
	p.Engine = transport.New(transport.Options{
		Resolver: o.Resolver, Policies: p.Policies, Memory: p.Book, Tally: p.Tally, Clock: o.Clock,
	})
	p.Set(o.Settings)
	return p
}

// Set takes other settings. MTA-STS policies may lie, and TLS reports go,
// nowhere but where mail may be sent to.
func (p *Protection) Set(s Settings) {
	d := &reach.Dialer{Guard: reach.Guard{Private: s.Private}, Resolver: p.o.Resolver, IPv6: s.IPv6, Dial: p.o.Dial}
	p.Engine.SetFloor(s.Floor)
	p.fetcher.Store(&mtasts.Fetcher{Dial: d.DialContext, Roots: s.Roots, Clock: p.o.Clock})
	p.poster.Store(&courier.Poster{Dial: d.DialContext, Roots: s.Roots, Clock: p.o.Clock})
}

// Post hands a TLS report over at a URL.
func (p *Protection) Post(ctx context.Context, url string, report []byte) error {
	return p.poster.Load().Post(ctx, url, report)
}

// Close writes what is not written yet.
func (p *Protection) Close() error {
	p.Book.Flush()
	return p.Tally.Flush(context.Background())
}

// Forget removes what is remembered of the level that a domain reached, so
// that it may fall below it; found tells whether there was anything. What it
// promises by DANE or MTA-STS holds all the same.
func (p *Protection) Forget(ctx context.Context, domain string) (found bool, err error) {
	found, err = p.Book.Forget(ctx, domain)
	p.Engine.Forget(domain) // also after an error: it asks the book again
	return found, err
}

// How often what is beside the deliveries is seen to.
const (
	tallyEvery   = time.Minute
	refreshEvery = time.Hour
	pruneEvery   = 24 * time.Hour
)

// Tend sees to what is beside the deliveries, at once and from time to time,
// until ctx ends.
func (p *Protection) Tend(ctx context.Context) {
	var all sync.WaitGroup
	for _, chore := range []struct {
		fault string
		every time.Duration
		do    func(context.Context) error
	}{
		{"the sums for TLS reports could not be written", tallyEvery, p.Tally.Flush},
		{"MTA-STS policies could not be kept", refreshEvery, p.Policies.Refresh},
		{"old proofs could not be removed", pruneEvery, p.Book.Prune},
	} {
		all.Go(func() {
			clock.Repeat(ctx, p.o.Clock, chore.every, func(ctx context.Context) {
				if err := chore.do(ctx); err != nil && ctx.Err() == nil {
					p.o.Log.Error(chore.fault, "error", err)
				}
			})
		})
	}
	all.Wait()
}

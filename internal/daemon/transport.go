package daemon

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatepost/internal/config"
	"gatepost/internal/mtasts"
	"gatepost/internal/proof"
	"gatepost/internal/reach"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/transport"
)

// protection decides how mail leaves, and remembers what it met:
// docs/transport.md. It outlives the senders that ask it.
type protection struct {
	book     *proof.Book
	policies *mtasts.Cache
	tally    *tlsrpt.Tally
	engine   *transport.Engine
	fetcher  atomic.Pointer[mtasts.Fetcher] // as the configuration has it now
}

// openProtection makes it. Its writes are on the disk when it is closed.
func (p *parts) openProtection(context.Context) error {
	t := &p.protection
	t.book = proof.New(p.db, p.clock, p.log)
	t.tally = tlsrpt.NewTally(proof.Sums{DB: p.db}, p.clock)
	t.policies = mtasts.NewCache(mtasts.Options{
		Shelf: proof.Policies{DB: p.db}, Resolver: p.resolver, Clock: p.clock,
		Fetch: func(ctx context.Context, domain string) (mtasts.Policy, error) {
			return t.fetcher.Load().Fetch(ctx, domain)
		},
	})
	t.engine = transport.New(transport.Options{
		Resolver: p.resolver, Policies: t.policies, Memory: t.book, Tally: t.tally, Clock: p.clock,
	})
	p.onClose(func() error {
		t.book.Flush()
		return t.tally.Flush(context.Background())
	})
	return nil
}

// newFetcher returns what gets MTA-STS policies, which may lie nowhere but
// where mail may be sent to.
func newFetcher(cfg *config.Config, p *parts) (*mtasts.Fetcher, error) {
	roots, err := roots(cfg.Path(cfg.TLS.Roots))
	if err != nil {
		return nil, err
	}
	d := &reach.Dialer{
		Guard: reach.Guard{Private: cfg.Remote.Private}, Resolver: p.resolver, IPv6: cfg.Remote.IPv6,
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return dial(ctx, netip.Addr{}, to) },
	}
	return &mtasts.Fetcher{Dial: d.DialContext, Roots: roots, Clock: p.clock}, nil
}

// How often what is beside the deliveries is seen to.
const (
	tallyEvery   = time.Minute
	refreshEvery = time.Hour
	pruneEvery   = 24 * time.Hour
)

// tend sees to what is beside the deliveries, until ctx ends.
func (t *protection) tend(ctx context.Context, s *Server) {
	for _, chore := range []struct {
		what  string
		every time.Duration
		do    func(context.Context) error
	}{
		{"the sums for TLS reports could not be written", tallyEvery, t.tally.Flush},
		{"MTA-STS policies could not be kept", refreshEvery, t.policies.Refresh},
		{"old proofs could not be removed", pruneEvery, t.book.Prune},
	} {
		s.chores.Go(func() {
			for ctx.Err() == nil {
				if err := chore.do(ctx); err != nil && ctx.Err() == nil {
					s.log.Error(chore.what, "error", err)
				}
				pause(ctx, s.parts.clock, chore.every) // or until ctx ends
			}
		})
	}
}

// transportMetrics tells how mail leaves.
func (s *Server) transportMetrics(r *prometheus.Registry) {
	t := &s.parts.protection
	count(r, "gatepost_sts_fetches_total", "MTA-STS policies asked for.", &t.policies.Counters.Fetches)
	count(r, "gatepost_sts_failures_total", "MTA-STS policies that could not be had.", &t.policies.Counters.Failed)
	count(r, "gatepost_proofs_dropped_total", "Notes of what deliveries got that could not be kept.", &t.book.Dropped)
	count(r, "gatepost_tls_sessions_dropped_total", "Sessions that no TLS report will tell of.", &t.tally.Dropped)
}

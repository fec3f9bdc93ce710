package mtasts

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/resolve"
)

// How long what was fetched, or could not be, stands.
const (
	// fetchAgain is how long a domain is left alone after a fetch, whatever
	// its record says: RFC 8461, section 3.3.
	fetchAgain = 5 * time.Minute
	// refreshAfter is how old a policy may grow before it is fetched anew
	// though nothing seems to have changed. Only so is it certain that an
	// attacker who suppresses the record gains nothing by waiting for the
	// policy to expire, and that an owner who forgot to change the ID is
	// heard (RFC 8461, sections 3.3 and 10.2).
	refreshAfter = 24 * time.Hour
	// refreshAgain is how long after a refresh that failed the next is due.
	refreshAgain = time.Hour
)

// Bounds of the cache.
const (
	maxKnown     = 10_000 // domains in memory
	refreshBatch = 64     // entries asked of the shelf at once
	refreshers   = 4      // that are fetched at the same time
)

// Entry is a policy that was fetched.
type Entry struct {
	Domain  string
	ID      string // of the record that announced it
	Policy  Policy
	Fetched time.Time
	Next    time.Time // when to fetch it anew
}

// Expires returns when the policy may not be used any longer.
func (e *Entry) Expires() time.Time {
	// A life of nothing would have us fetch it for each message.
	return e.Fetched.Add(max(e.Policy.MaxAge, fetchAgain))
}

// Shelf is where a Cache keeps entries beyond a restart. Its methods may be
// called from any goroutine.
type Shelf interface {
	// Get returns what was put last for a domain; ok is false when that is
	// nothing, or has expired and been removed.
	Get(ctx context.Context, domain string) (e Entry, ok bool, err error)
	// Put keeps an entry in place of the domain's former one. When it
	// returns nil the entry is durable.
	Put(ctx context.Context, e Entry) error
	// Due returns at most n entries whose Next is not after now, the most
	// overdue first.
	Due(ctx context.Context, now time.Time, n int) ([]Entry, error)
	// Expire removes entries whose Expires is not after now.
	Expire(ctx context.Context, now time.Time) error
}

// Options of a Cache. All are required.
type Options struct {
	Shelf    Shelf
	Resolver resolve.Resolver
	// Fetch gets the policy of a domain, as Fetcher.Fetch does.
	Fetch func(ctx context.Context, domain string) (Policy, error)
	Clock clock.Clock
}

// Counters of a Cache.
type Counters struct {
	Fetches atomic.Int64 // policies asked for over HTTPS
	Failed  atomic.Int64 // of them, not had
	Unkept  atomic.Int64 // policies that the shelf would not take
}

// Cache knows what domains have promised. Its methods may be called from any
// goroutine.
type Cache struct {
	Counters Counters

	o     Options
	mu    sync.Mutex
	known map[string]*known
}

// known is what is known of a domain in memory.
type known struct {
	entry   *Entry        // nil: no policy was ever fetched, or it expired
	again   time.Time     // no fetch before it
	problem error         // of the last fetch
	flight  chan struct{} // closed when the fetch under way is over; nil if there is none
}

// NewCache returns a cache over what its shelf holds.
func NewCache(o Options) *Cache { return &Cache{o: o, known: map[string]*known{}} }

// Status is what a domain promises now.
type Status struct {
	Policy Policy // zero when there is none
	// Problem is why the domain's newest policy could not be had, for a
	// report: it wraps ErrFetch, ErrCertificate, ErrPolicy or ErrRecord. A
	// cached policy still holds beside it.
	Problem error
}

// Lookup returns what a domain promises. It is to be asked for each attempt
// to deliver: the record's ID is compared each time, so that no failure turns
// permanent under a policy that has been replaced (RFC 8461, section 5.1).
// The error says that the shelf cannot be read, so that nothing is known.
func (c *Cache) Lookup(ctx context.Context, domain string) (Status, error) {
	if err := c.load(ctx, domain); err != nil {
		return Status{}, err
	}
	record, err := LookupRecord(ctx, c.o.Resolver, domain)
	switch {
	case err == nil:
		return c.current(ctx, domain, record.ID), nil
	case errors.Is(err, ErrRecord):
		return c.status(domain, err), nil
	}
	// No record, or none to be had: whoever is on the way may have done
	// that, and what the domain promised before still holds (RFC 8461,
	// section 3.1).
	return c.status(domain, nil), nil
}

// load brings what the shelf holds of a domain into memory.
func (c *Cache) load(ctx context.Context, domain string) error {
	c.mu.Lock()
	_, there := c.known[domain]
	c.mu.Unlock()
	if there {
		return nil
	}
	e, ok, err := c.o.Shelf.Get(ctx, domain)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.at(domain); ok && k.entry == nil {
		k.entry = &e
	}
	return nil
}

// at returns what is known of a domain, making room for it; c.mu is held.
func (c *Cache) at(domain string) *known {
	if k := c.known[domain]; k != nil {
		return k
	}
	if len(c.known) >= maxKnown {
		for d, k := range c.known { // all are on the shelf
			if k.flight == nil {
				delete(c.known, d)
			}
		}
	}
	k := &known{}
	c.known[domain] = k
	return k
}

// status returns what holds without any fetch.
func (c *Cache) status(domain string, problem error) Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(domain).status(c.o.Clock.Now(), problem)
}

func (k *known) status(now time.Time, problem error) Status {
	if k.entry == nil || !now.Before(k.entry.Expires()) {
		return Status{Problem: problem}
	}
	return Status{k.entry.Policy, problem}
}

// current returns what holds when the domain's record announces id: the
// policy by that ID if it can be had. One of several who ask fetches.
func (c *Cache) current(ctx context.Context, domain, id string) Status {
	for {
		c.mu.Lock()
		k, now := c.at(domain), c.o.Clock.Now()
		if k.entry != nil && k.entry.ID == id && now.Before(k.entry.Expires()) {
			defer c.mu.Unlock()
			return k.status(now, nil)
		}
		if flight := k.flight; flight != nil {
			c.mu.Unlock()
			select {
			case <-flight:
				continue
			case <-ctx.Done():
				return c.status(domain, nil)
			}
		}
		if now.Before(k.again) || ctx.Err() != nil {
			defer c.mu.Unlock()
			return k.status(now, k.problem)
		}
		k.flight = make(chan struct{})
		c.mu.Unlock()
		c.fetch(ctx, k, domain, id)
	}
}

// fetch gets the policy by id into k, whose flight this is. What can not be
// had leaves what was there.
func (c *Cache) fetch(ctx context.Context, k *known, domain, id string) {
	e, err := c.get(ctx, domain, id)
	if err == nil && c.o.Shelf.Put(ctx, *e) != nil {
		c.Counters.Unkept.Add(1) // it holds until the next start
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(k.flight)
	k.flight = nil
	if ctx.Err() != nil && err != nil {
		return // it was we who gave up
	}
	k.again, k.problem = c.o.Clock.Now().Add(fetchAgain), err
	if err == nil {
		k.entry = e
	}
}

// get fetches a policy.
func (c *Cache) get(ctx context.Context, domain, id string) (*Entry, error) {
	c.Counters.Fetches.Add(1)
	p, err := c.o.Fetch(ctx, domain)
	if err != nil {
		c.Counters.Failed.Add(1)
		return nil, err
	}
	now := c.o.Clock.Now()
	e := &Entry{Domain: domain, ID: id, Policy: p, Fetched: now}
	e.Next = e.Expires()
	if p.Mode != None {
		e.Next = now.Add(min(refreshAfter, e.Expires().Sub(now)/2))
	}
	return e, nil
}

// Refresh fetches anew what is due, and forgets what has expired. It is to be
// called every hour or so, and returns when nothing is due any more, with the
// first error of the shelf. A fetch that fails changes nothing but when the
// next one is due.
func (c *Cache) Refresh(ctx context.Context) error {
	now := c.o.Clock.Now()
	if err := c.o.Shelf.Expire(ctx, now); err != nil {
		return err
	}
	for ctx.Err() == nil {
		due, err := c.o.Shelf.Due(ctx, now, refreshBatch)
		if err != nil || len(due) == 0 {
			return err
		}
		if err := c.refreshAll(ctx, due); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// refreshAll refreshes entries, a few at a time.
func (c *Cache) refreshAll(ctx context.Context, due []Entry) error {
	errs := make([]error, len(due))
	turns := make(chan struct{}, refreshers)
	var all sync.WaitGroup
	for i := range due {
		turns <- struct{}{}
		all.Go(func() {
			errs[i] = c.refresh(ctx, due[i])
			<-turns
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// refresh fetches one entry anew. Its ID stays: should the record announce
// another one, that is fetched when it is seen.
func (c *Cache) refresh(ctx context.Context, old Entry) error {
	e, err := c.get(ctx, old.Domain, old.ID)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		old.Next = c.o.Clock.Now().Add(refreshAgain)
		e = &old
	}
	if err := c.o.Shelf.Put(ctx, *e); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[e.Domain]; k != nil {
		k.entry = e
	}
	return nil
}

package reputation

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

// When reports are sent: RFC 8460, sections 4.1 and 5.5.
const (
	settleTime = 5 * time.Minute // after midnight, until the last session of a day is among the sums
	spread     = 4 * time.Hour   // over which the reports of a day are sent, so that not all servers report at once
	retryTime  = 24 * time.Hour  // after the first attempt, within which a report is tried again
	retryEvery = time.Hour
	tick       = 10 * time.Minute
	lookupTime = 30 * time.Second
	couriers   = 4 // domains told at once
	sentLife   = 14 * 24 * time.Hour
)

// Tally has the sessions that were counted: proof.Sums.
type Tally interface {
	// Domains returns the domains with sessions on a day.
	Domains(ctx context.Context, day time.Time) ([]string, error)
	// Of returns the sums of a day for a domain.
	Of(ctx context.Context, day time.Time, domain string) ([]tlsrpt.Sum, error)
}

// CourierOptions are the parts that a Courier works with; all are required.
type CourierOptions struct {
	DB       *store.DB
	Tally    Tally
	Resolver resolve.Resolver
	Clock    clock.Clock
	Log      *slog.Logger
	Hostname addr.Domain // who reports
	// Post hands a report over at a URL of https; nil means that it was
	// taken.
	Post func(ctx context.Context, url string, report []byte) error
}

// Courier tells other domains, once a day, how TLS with them went, at the
// URLs that they name. Addresses for mail are passed over and counted: a
// report by mail must be signed (RFC 8460, section 3), which ours is not yet.
type Courier struct {
	Sent   atomic.Int64 // reports that were taken
	Failed atomic.Int64 // attempts that failed
	NoMail atomic.Int64 // reports that were not sent because they would have to go by mail

	o     CourierOptions
	tried map[string]time.Time // by domain, when a report failed last; only Tend uses it
}

// NewCourier returns a courier.
func NewCourier(o CourierOptions) *Courier { return &Courier{o: o, tried: map[string]time.Time{}} }

// Tend sends what is due, at once and from time to time, until ctx ends.
func (c *Courier) Tend(ctx context.Context) {
	clock.Repeat(ctx, c.o.Clock, tick, func(ctx context.Context) {
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Error("TLS reports could not be sent", "error", err)
		}
	})
}

// round sends what is due of the day that ended last.
func (c *Courier) round(ctx context.Context) error {
	now := c.o.Clock.Now()
	if err := prune(ctx, c.o.DB, `DELETE FROM report_sent WHERE day IN (SELECT day FROM report_sent WHERE day < ? ORDER BY day LIMIT ?)`,
		now.Add(-sentLife).Unix()); err != nil {
		return err
	}
	today := tlsrpt.Day(now)
	for _, day := range []time.Time{today.AddDate(0, 0, -2), today.AddDate(0, 0, -1)} {
		domains, err := c.o.Tally.Domains(ctx, day)
		if err != nil {
			return err
		}
		if err := c.tell(ctx, day, c.due(day, domains)); err != nil {
			return err
		}
	}
	return nil
}

// due returns those domains whose time to be told of a day is now.
func (c *Courier) due(day time.Time, domains []string) (list []string) {
	now := c.o.Clock.Now()
	for _, d := range domains {
		first := day.Add(24*time.Hour + settleTime + c.delay(d))
		key := day.Format(time.DateOnly) + " " + d
		last, failed := c.tried[key]
		switch {
		case now.Before(first):
		case now.After(first.Add(retryTime)):
			delete(c.tried, key)
		case failed && now.Before(last.Add(retryEvery)):
		default:
			list = append(list, d)
		}
	}
	return list
}

// delay returns how long after others a domain is told, always the same.
func (c *Courier) delay(domain string) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(string(c.o.Hostname) + " " + domain))
	return time.Duration(h.Sum64() % uint64(spread))
}

// tell tells domains of a day, several at a time.
func (c *Courier) tell(ctx context.Context, day time.Time, domains []string) error {
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	turns := make(chan struct{}, couriers)
	for _, d := range domains {
		turns <- struct{}{}
		group.Go(func() {
			defer func() { <-turns }()
			again, err := c.report(ctx, day, d)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			if again {
				c.tried[day.Format(time.DateOnly)+" "+d] = c.o.Clock.Now()
			} else {
				delete(c.tried, day.Format(time.DateOnly)+" "+d)
			}
		})
	}
	group.Wait()
	return failed
}

// report sends one domain its report of a day, to every URL that has not
// taken it yet; again says that it is to be tried once more. An error is the
// store's.
func (c *Courier) report(ctx context.Context, day time.Time, domain string) (again bool, err error) {
	done, err := c.sent(ctx, day, domain)
	if err != nil || done[""] {
		return false, err
	}
	lookup, cancel := context.WithTimeout(ctx, lookupTime)
	record, err := tlsrpt.LookupRecord(lookup, c.o.Resolver, domain)
	cancel()
	switch {
	case errors.Is(err, tlsrpt.ErrNoRecord), errors.Is(err, tlsrpt.ErrRecord):
		return false, c.note(ctx, day, domain, "")
	case err != nil:
		return true, nil
	}
	body, err := c.compose(ctx, day, domain)
	if err != nil {
		return false, err
	}
	for _, to := range record.RUA {
		switch {
		case done[to.URL]:
		case to.URL == "":
			c.NoMail.Add(1)
		default:
			if err := c.o.Post(ctx, to.URL, body); err != nil {
				c.Failed.Add(1)
				c.o.Log.Info("a TLS report was not taken", "domain", domain, "url", to.URL, "error", err)
				again = true
				continue
			}
			c.Sent.Add(1)
			if err := c.note(ctx, day, domain, to.URL); err != nil {
				return false, err
			}
		}
	}
	if again {
		return true, nil
	}
	return false, c.note(ctx, day, domain, "")
}

// compose returns the report of a day for a domain, packed. Its id stays the
// same however often it is sent, and is never that of another.
func (c *Courier) compose(ctx context.Context, day time.Time, domain string) ([]byte, error) {
	sums, err := c.o.Tally.Of(ctx, day, domain)
	if err != nil {
		return nil, err
	}
	host := string(c.o.Hostname)
	who := tlsrpt.Report{Organization: host, Contact: "postmaster@" + host, ID: day.Format("20060102") + "." + domain + "@" + host}
	var b bytes.Buffer
	err = tlsrpt.Compose(who, day, sums).Write(&b)
	return b.Bytes(), err
}

// sent returns the destinations that need no more sending.
func (c *Courier) sent(ctx context.Context, day time.Time, domain string) (done map[string]bool, err error) {
	done = map[string]bool{}
	err = c.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT destination FROM report_sent WHERE day = ? AND domain = ?`, day.Unix(), domain)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var to string
			if err := rows.Scan(&to); err != nil {
				return err
			}
			done[to] = true
		}
		return rows.Err()
	})
	return done, err
}

// note notes that a destination needs no more sending; an empty one stands
// for all.
func (c *Courier) note(ctx context.Context, day time.Time, domain, destination string) error {
	return c.o.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO report_sent (day, domain, destination) VALUES (?, ?, ?)
			ON CONFLICT (day, domain, destination) DO NOTHING`, day.Unix(), domain, destination)
		return err
	})
}

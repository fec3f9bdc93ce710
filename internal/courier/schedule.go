package courier

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/tlsrpt"
)

// When reports are sent: RFC 8460, sections 4.1 and 5.5.
const (
	settleTime = 5 * time.Minute // after midnight, until the last session of a day is among the sums
	spread     = 4 * time.Hour   // over which the reports of a day are sent, so that not all servers report at once
	retryTime  = 24 * time.Hour  // after the first attempt, within which a report is tried again
	retryEvery = time.Hour
	tick       = 10 * time.Minute
	roundTime  = tick // after which what is left waits for the next round
	pruneEvery = 24 * time.Hour
)

// Tend sends what is due, at once and from time to time, until ctx ends.
func (c *Courier) Tend(ctx context.Context) {
	clock.Repeat(ctx, c.o.Clock, tick, func(ctx context.Context) {
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Error("reports to other domains could not be sent", "error", err)
		}
	})
}

// round sends what is due of the days that ended last.
func (c *Courier) round(ctx context.Context) error {
	now := c.o.Clock.Now()
	if err := c.keepEnds(ctx); err != nil {
		return err
	}
	if now.Sub(c.pruned) >= pruneEvery {
		if err := c.prune(ctx, now); err != nil {
			return err
		}
		c.pruned = now
	}
	c.mu.Lock()
	c.left = c.most
	c.mu.Unlock()
	var failed error
	for _, s := range c.subjects {
		if !c.sends(s.kind()) {
			continue
		}
		today := tlsrpt.Day(now)
		for _, day := range []time.Time{today.AddDate(0, 0, -2), today.AddDate(0, 0, -1)} {
			domains, err := s.domains(ctx, day)
			if err != nil {
				return err
			}
			failed = errors.Join(failed, c.tell(ctx, s, c.due(s.kind(), day, domains), now.Add(roundTime)))
		}
	}
	return errors.Join(failed, c.keepEnds(ctx))
}

// due returns those domains whose time to be told of a day is now.
func (c *Courier) due(k Kind, day time.Time, domains []string) (list []errand) {
	now := c.o.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range domains {
		e := errand{k, day, d}
		first := c.first(e)
		last, failed := c.tried[e]
		switch {
		case now.Before(first):
		case now.After(first.Add(retryTime)):
			delete(c.tried, e)
		case failed && now.Before(last.Add(retryEvery)):
		default:
			list = append(list, e)
		}
	}
	return list
}

// first returns when a domain is to be told, the same each day.
func (c *Courier) first(e errand) time.Time {
	h := fnv.New64a()
	h.Write([]byte(string(c.o.Hostname) + " " + e.domain))
	return e.day.Add(24*time.Hour + settleTime + time.Duration(h.Sum64()%uint64(spread)))
}

// tell runs errands, several at a time, until the round has taken long
// enough.
func (c *Courier) tell(ctx context.Context, s subject, list []errand, until time.Time) error {
	var group sync.WaitGroup
	var failed error
	turns := make(chan struct{}, couriers)
	for _, e := range list {
		turns <- struct{}{}
		if ctx.Err() != nil || c.o.Clock.Now().After(until) {
			break
		}
		group.Go(func() {
			defer func() { <-turns }()
			again, err := c.run(ctx, s, e)
			c.mu.Lock()
			defer c.mu.Unlock()
			failed = errors.Join(failed, err)
			if again {
				c.tried[e] = c.o.Clock.Now()
			} else {
				delete(c.tried, e)
			}
		})
	}
	group.Wait()
	return failed
}

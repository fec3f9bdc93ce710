package courier

import (
	"cmp"
	"context"
	"slices"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/store"
)

// Bounds of what is kept of reports that were sent.
const (
	sentLife   = 14 * 24 * time.Hour
	pruneBatch = 1000   // rows removed in one transaction, so that others get their turn
	maxTold    = 10_000 // outcomes of the queue that are not kept yet
	maxReason  = 255    // octets
	maxShown   = 1000   // reports
)

// State is what became of a report.
type State string

// The states.
const (
	Waiting State = "waiting" // it is tried again
	Queued  State = "queued"  // it is in our own queue
	Taken   State = "taken"   // by the URL, or by the next server
	Failed  State = "failed"  // it is not tried again
	Done    State = "done"    // nothing is left to send to any destination
)

// end is what became of a report at one destination; the zero one, that
// nothing did.
type end struct {
	state   State
	reason  string
	message string // id of the one that brings it
}

// Sent is one report at one destination, as operators see it.
type Sent struct {
	Kind   Kind      `json:"kind"`
	Day    string    `json:"day"`
	Domain string    `json:"domain"`
	To     string    `json:"to"` // a URL, or an address as a mailto: URL; empty for all of them
	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// id returns that of the report. RFC 8460, section 5.3 and RFC 9990, section
// 3.4.1 want one that is like a Message-ID.
func (e errand) id(host addr.Domain) string {
	return e.day.UTC().Format("20060102") + "." + e.domain + "@" + string(host)
}

// Ended takes note of what the queue made of a report. It returns at once.
func (c *Courier) Ended(e *envelope.Envelope, change envelope.Change) {
	what := end{state: Failed, reason: change.Reason}
	if change.Status == envelope.Delivered || change.Status == envelope.Relayed {
		what = end{state: Taken}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) < maxTold {
		c.told[e.ID.String()] = what
	}
}

// keepEnds keeps what the queue made of reports. It comes behind the notes
// that they were queued, so only Tend and Close call it.
func (c *Courier) keepEnds(ctx context.Context) error {
	c.mu.Lock()
	told := c.told
	c.told = map[string]end{}
	c.mu.Unlock()
	if len(told) == 0 {
		return nil
	}
	err := c.o.DB.Update(ctx, func(tx *store.Tx) error {
		for id, what := range told {
			if _, err := tx.Exec(`UPDATE report_out SET state = ?, reason = ?, changed = ? WHERE message = ?`,
				string(what.state), cut(what.reason), c.o.Clock.Now().Unix(), id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id, what := range told {
			c.told[id] = what
		}
	}
	return err
}

// Close keeps what is not kept yet. Tend must have ended.
func (c *Courier) Close() error { return c.keepEnds(context.Background()) }

// settled returns the destinations that need no more sending.
func (c *Courier) settled(ctx context.Context, e errand) (done map[string]bool, err error) {
	done = map[string]bool{}
	err = c.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT destination FROM report_out WHERE kind = ? AND day = ? AND domain = ? AND state <> ?`,
			string(e.kind), e.day.Unix(), e.domain, string(Waiting))
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

// note keeps what became of a report at destinations; an empty one stands for
// all.
func (c *Courier) note(ctx context.Context, e errand, ends map[string]end) error {
	return c.o.DB.Update(ctx, func(tx *store.Tx) error {
		for to, what := range ends {
			if what.state == "" { // nothing is to be said of it any more
				if _, err := tx.Exec(`DELETE FROM report_out WHERE kind = ? AND day = ? AND domain = ? AND destination = ?`,
					string(e.kind), e.day.Unix(), e.domain, to); err != nil {
					return err
				}
				continue
			}
			_, err := tx.Exec(`INSERT INTO report_out (kind, day, domain, destination, state, reason, message, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (kind, day, domain, destination) DO UPDATE SET state = excluded.state, reason = excluded.reason,
					message = excluded.message, changed = excluded.changed`,
				string(e.kind), e.day.Unix(), e.domain, to, string(what.state), cut(what.reason), what.message, c.o.Clock.Now().Unix())
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// prune removes what is too old.
func (c *Courier) prune(ctx context.Context, now time.Time) error {
	for gone := int64(1); gone > 0; {
		err := c.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.Exec(`DELETE FROM report_out WHERE (kind, day, domain, destination) IN
				(SELECT kind, day, domain, destination FROM report_out WHERE day < ? LIMIT ?)`, now.Add(-sentLife).Unix(), int64(pruneBatch))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Sent calls f with what became of reports to a domain, or to all if it is
// empty: the latest first.
func (c *Courier) Sent(ctx context.Context, domain addr.Domain, f func(Sent) error) error {
	list, err := c.list(ctx, domain)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b Sent) int {
		return cmp.Or(cmp.Compare(b.Day, a.Day), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.To, b.To))
	})
	for _, s := range list {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Courier) list(ctx context.Context, domain addr.Domain) (list []Sent, err error) {
	err = c.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT kind, day, domain, destination, state, reason, message, changed FROM report_out
			WHERE (domain = ? OR '' = ?) AND state <> ? ORDER BY day DESC, domain LIMIT ?`, string(domain), string(domain), string(Done), int64(maxShown))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s Sent
			var id string
			var day, changed int64
			if err := rows.Scan(&s.Kind, &day, &s.Domain, &s.To, &s.State, &s.Reason, &id, &changed); err != nil {
				return err
			}
			s.At = time.Unix(changed, 0).UTC()
			list = append(list, c.now(s, time.Unix(day, 0).UTC(), id))
		}
		return rows.Err()
	})
	return list, err
}

// now brings what is kept of a report up to date.
func (c *Courier) now(s Sent, day time.Time, id string) Sent {
	s.Day = day.Format(time.DateOnly)
	c.mu.Lock()
	what, told := c.told[id]
	c.mu.Unlock()
	switch {
	case told:
		s.State, s.Reason = what.state, what.reason
	case s.State == Waiting && c.o.Clock.Now().After(c.first(errand{s.Kind, day, s.Domain}).Add(retryTime)):
		s.State = Failed // nothing noted that its time is over
	}
	return s
}

// cut makes words of others ones that can be kept and shown.
func cut(s string) string {
	s = message.Printable(s)
	return s[:min(len(s), maxReason)]
}

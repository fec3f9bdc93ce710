package reputation

import (
	"context"
	"encoding/json"

	"gatepost/internal/addr"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

// count counts a report, unless it has been.
func (b *Book) count(ctx context.Context, r *received) error {
	fresh := false
	err := b.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if fresh, err = b.see(tx, r); err != nil || !fresh {
			return err
		}
		return add(tx, r)
	})
	switch {
	case err != nil:
		return err
	case fresh:
		b.Taken.Add(1)
	default:
		b.Again.Add(1)
	}
	return nil
}

// see notes that a report is counted; fresh is false if it was before.
func (b *Book) see(tx *store.Tx, r *received) (fresh bool, err error) {
	proven := bit(r.proven)
	n, err := tx.Exec(`INSERT INTO report_seen (kind, sender, proven, org, id, domain, policy, ends, received) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, proven, sender, org, id) DO NOTHING`,
		r.kind, r.sender, proven, cut(r.org), cut(r.id), string(r.domain), cut(r.policy), r.end.Unix(), b.o.Clock.Now().Unix())
	if err != nil || n == 0 {
		return false, err
	}
	var all, sender int64
	if err := tx.QueryRow(`SELECT COUNT(*) FROM report_seen WHERE kind = ? AND proven = ?`, r.kind, proven).Scan(&all); err != nil {
		return false, err
	}
	err = tx.QueryRow(`SELECT COUNT(*) FROM report_seen WHERE kind = ? AND proven = ? AND sender = ?`, r.kind, proven, r.sender).Scan(&sender)
	switch {
	case err != nil:
		return false, err
	case all > maxReports:
		return false, refuse("there are %d reports of its kind already", maxReports)
	case sender > maxOfSender:
		return false, refuse("its sender has sent %d reports already", maxOfSender)
	}
	return true, nil
}

// add adds what a report says to the sums.
func add(tx *store.Tx, r *received) error {
	left := map[addr.Domain]int64{} // new rows that there is room for
	details := 0
	for _, s := range r.sums {
		if s.number <= 0 {
			continue
		}
		if _, known := left[s.domain]; !known {
			n, err := room(tx, r, s.domain)
			if err != nil {
				return err
			}
			left[s.domain] = n
		}
		what := s.detail
		if left[s.domain] <= 0 || details >= maxDetails {
			what = s.rest
		}
		details++
		left[s.domain]--
		detail, err := json.Marshal(what)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO report_sum (kind, domain, proven, sender, day, detail, number) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (kind, domain, proven, sender, day, detail) DO UPDATE SET number = report_sum.number + excluded.number`,
			r.kind, string(s.domain), bit(r.proven), r.sender, tlsrpt.Day(r.begin).Unix(), string(detail), min(s.number, maxNumber))
		if err != nil {
			return err
		}
	}
	return nil
}

// room returns how many more rows there may be for a domain.
func room(tx *store.Tx, r *received, domain addr.Domain) (int64, error) {
	var all, sender int64
	if err := tx.QueryRow(`SELECT COUNT(*) FROM report_sum WHERE kind = ? AND domain = ? AND proven = ?`,
		r.kind, string(domain), bit(r.proven)).Scan(&all); err != nil {
		return 0, err
	}
	err := tx.QueryRow(`SELECT COUNT(*) FROM report_sum WHERE kind = ? AND domain = ? AND proven = ? AND sender = ?`,
		r.kind, string(domain), bit(r.proven), r.sender).Scan(&sender)
	return min(maxSums-all, maxSumsOf-sender), err
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gatepost/internal/mtasts"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

// Policies is an mtasts.Shelf in a store.
type Policies struct{ DB *store.DB }

const policyColumns = `domain, id, policy, fetched, next`

// Get implements mtasts.Shelf.
func (p Policies) Get(ctx context.Context, domain string) (e mtasts.Entry, ok bool, err error) {
	err = p.DB.View(ctx, func(tx *store.Tx) error {
		e, err = scanEntry(tx.QueryRow(`SELECT `+policyColumns+` FROM sts_policy WHERE domain = ?`, domain))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return mtasts.Entry{}, false, nil
	}
	return e, err == nil, err
}

// Put implements mtasts.Shelf.
func (p Policies) Put(ctx context.Context, e mtasts.Entry) error {
	return p.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO sts_policy (domain, id, policy, fetched, next, expires) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (domain) DO UPDATE SET id = excluded.id, policy = excluded.policy, fetched = excluded.fetched,
				next = excluded.next, expires = excluded.expires`,
			e.Domain, e.ID, e.Policy.String(), e.Fetched.Unix(), e.Next.Unix(), e.Expires().Unix())
		return err
	})
}

// Due implements mtasts.Shelf.
func (p Policies) Due(ctx context.Context, now time.Time, n int) (list []mtasts.Entry, err error) {
	err = p.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT `+policyColumns+` FROM sts_policy WHERE next <= ? ORDER BY next LIMIT ?`, now.Unix(), int64(n))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			e, err := scanEntry(rows)
			if err != nil {
				return err
			}
			list = append(list, e)
		}
		return rows.Err()
	})
	return list, err
}

// Expire implements mtasts.Shelf.
func (p Policies) Expire(ctx context.Context, now time.Time) error {
	return p.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM sts_policy WHERE expires <= ?`, now.Unix())
		return err
	})
}

type scanner interface{ Scan(dest ...any) error }

func scanEntry(row scanner) (e mtasts.Entry, err error) {
	var (
		text          string
		fetched, next int64
	)
	if err = row.Scan(&e.Domain, &e.ID, &text, &fetched, &next); err != nil {
		return mtasts.Entry{}, err
	}
	e.Fetched, e.Next = unix(fetched), unix(next)
	e.Policy, err = mtasts.ParsePolicy(text)
	return e, err
}

// Sums is tlsrpt.Sums in a store.
type Sums struct{ DB *store.DB }

// Add implements tlsrpt.Sums.
func (s Sums) Add(ctx context.Context, sums []tlsrpt.Sum) error {
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		for _, sum := range sums {
			if err := addSum(tx, sum); err != nil {
				return err
			}
		}
		return nil
	})
}

func addSum(tx *store.Tx, s tlsrpt.Sum) error {
	n := s.Failure.Count
	s.Failure.Count = 0
	policy, err := json.Marshal(s.Policy)
	if err != nil {
		return err
	}
	failure, err := json.Marshal(s.Failure)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO tls_sum (day, domain, policy, failure, sessions) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (day, domain, policy, failure) DO UPDATE SET sessions = tls_sum.sessions + excluded.sessions`,
		s.Day.Unix(), s.Domain, string(policy), string(failure), n)
	return err
}

// Domains returns the domains with sessions on a day.
func (s Sums) Domains(ctx context.Context, day time.Time) (list []string, err error) {
	err = s.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT DISTINCT domain FROM tls_sum WHERE day = ? ORDER BY domain`, day.Unix())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var domain string
			if err := rows.Scan(&domain); err != nil {
				return err
			}
			list = append(list, domain)
		}
		return rows.Err()
	})
	return list, err
}

// Of returns the sums of a day for a domain.
func (s Sums) Of(ctx context.Context, day time.Time, domain string) (list []tlsrpt.Sum, err error) {
	err = s.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT policy, failure, sessions FROM tls_sum WHERE day = ? AND domain = ?`, day.Unix(), domain)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			sum := tlsrpt.Sum{Day: day, Domain: domain}
			var policy, failure []byte
			var n int64
			if err := rows.Scan(&policy, &failure, &n); err != nil {
				return err
			}
			if err := errors.Join(json.Unmarshal(policy, &sum.Policy), json.Unmarshal(failure, &sum.Failure)); err != nil {
				return err
			}
			sum.Failure.Count = n
			list = append(list, sum)
		}
		return rows.Err()
	})
	return list, err
}

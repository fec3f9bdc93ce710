package witness

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gatepost/internal/aggregate"
	"gatepost/internal/store"
)

// write adds sums to those of the store, and returns how many messages there
// is no room for on a day that is full.
func write(tx *store.Tx, sums map[key]sum, most limits) (lost int64, err error) {
	r := rooms{tx: tx, most: most, rows: map[place]int64{}, days: map[int64]int64{}}
	for k, s := range sums {
		left, err := r.left(k)
		if err != nil {
			return 0, err
		}
		switch had := r.rows[k.place]; {
		case left <= 0 && had == 0:
			lost += s.messages // a domain more on a day that is full
			continue
		case left <= 0:
			k.detail = "" // counted, and no more
		case left <= had:
			k.detail = simpler(k.detail)
		}
		fresh, err := addTo(tx, k, s)
		if err != nil {
			return 0, err
		}
		r.rows[k.place] += fresh
		r.days[k.day] += fresh
	}
	return lost, nil
}

// rooms knows how full the days of one transaction are.
type rooms struct {
	tx   *store.Tx
	most limits
	rows map[place]int64
	days map[int64]int64
}

// left returns how many more rows there may be at a place.
func (r *rooms) left(k key) (n int64, err error) {
	if _, known := r.rows[k.place]; !known {
		if r.rows[k.place], err = r.count(`SELECT COUNT(*) FROM mail_sum WHERE day = ? AND domain = ?`, k.day, k.domain); err != nil {
			return 0, err
		}
	}
	if _, known := r.days[k.day]; !known {
		if r.days[k.day], err = r.count(`SELECT COUNT(*) FROM mail_sum WHERE day = ?`, k.day); err != nil {
			return 0, err
		}
	}
	most := r.most.rows
	if r.days[k.day] >= r.most.day/2 {
		most = r.most.few // so that nobody takes the room of all others
	}
	return min(most-r.rows[k.place], r.most.day-r.days[k.day]), nil
}

func (r *rooms) count(query string, args ...any) (n int64, err error) {
	err = r.tx.QueryRow(query, args...).Scan(&n)
	return n, err
}

// addTo adds to one sum; fresh is 1 if there was none.
func addTo(tx *store.Tx, k key, s sum) (fresh int64, err error) {
	had, err := tx.Exec(`UPDATE mail_sum SET messages = messages + ?, latest = ? WHERE day = ? AND domain = ? AND detail = ?`,
		s.messages, s.latest, k.day, k.domain, k.detail)
	if err != nil || had > 0 {
		return 0, err
	}
	return tx.Exec(`INSERT INTO mail_sum (day, domain, detail, messages, latest) VALUES (?, ?, ?, ?, ?)`,
		k.day, k.domain, k.detail, s.messages, s.latest)
}

// simpler leaves out of a row what a sender can choose freely: signatures
// that did not pass, and a reverse-path that did not.
func simpler(text string) string {
	var d detail
	if json.Unmarshal([]byte(text), &d) != nil {
		return ""
	}
	var passed []aggregate.Signature
	for _, s := range d.Row.Signatures {
		if s.Result == "pass" {
			passed = append(passed, s)
		}
	}
	d.Row.Signatures = passed
	if len(d.Row.Senders) == 0 || d.Row.Senders[0].Result != "pass" {
		d.Row.EnvelopeFrom, d.Row.Senders = "", nil
	}
	if !d.Row.Passed() {
		d.Row.From = d.Policy.Domain
	}
	b, err := json.Marshal(d)
	if err != nil {
		return ""
	}
	return string(b)
}

// Domains returns the domains of which something was seen on a day.
func (w *Witness) Domains(ctx context.Context, day time.Time) (list []string, err error) {
	err = w.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT DISTINCT domain FROM mail_sum WHERE day = ? ORDER BY domain`, day.Unix())
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

// Seen is what was seen on a day of mail in the name of a domain.
type Seen struct {
	Policy aggregate.Published // that was found for the last of it
	Rows   []aggregate.Row
	More   int64 // messages that there was no room to tell of
}

// Of returns what was seen on a day for a domain.
func (w *Witness) Of(ctx context.Context, day time.Time, domain string) (s Seen, err error) {
	err = w.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT detail, messages FROM mail_sum WHERE day = ? AND domain = ? ORDER BY latest, detail`, day.Unix(), domain)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text []byte
			var n int64
			if err := rows.Scan(&text, &n); err != nil {
				return err
			}
			if len(text) == 0 {
				s.More += n
				continue
			}
			var d detail
			if err := json.Unmarshal(text, &d); err != nil {
				return err
			}
			d.Row.Count = n
			s.Policy, s.Rows = d.Policy, append(s.Rows, d.Row)
		}
		return rows.Err()
	})
	return s, err
}

// Sound reports whether what is kept of messages can be read.
func Sound(text string) error {
	if text == "" {
		return nil
	}
	var d detail
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	if d.Policy.Domain == "" || !d.Row.IP.IsValid() {
		return errors.New("it says neither who sent it nor whom to tell")
	}
	return nil
}

// prune removes rows that are too old.
func (w *Witness) prune(ctx context.Context) error {
	before := w.o.Clock.Now().Add(-life).Unix()
	for gone := int64(1); gone > 0; {
		err := w.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.Exec(`DELETE FROM mail_sum WHERE (day, domain, detail) IN (SELECT day, domain, detail FROM mail_sum WHERE day < ? LIMIT ?)`,
				before, int64(pruneBatch))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

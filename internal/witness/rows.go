package witness

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"gatepost/internal/aggregate"
	"gatepost/internal/store"
)

// place is where sums belong.
type place struct {
	day    int64
	domain string
}

// write adds sums to those of the store, and returns how many messages there
// is no room for on a day that is full.
func write(tx *store.Tx, sums map[string]*sum, most limits) (lost int64, err error) {
	r := rooms{tx: tx, most: most, rows: map[place]int64{}, days: map[int64]int64{}}
	for _, s := range sums {
		at := place{s.day, s.domain}
		left, err := r.left(at)
		if err != nil {
			return 0, err
		}
		had := r.rows[at]
		if left <= 0 && had == 0 {
			lost += s.messages // a domain more on a day that is full
			continue
		}
		text := ""
		if left > 0 { // else it is counted, and no more
			if text, err = s.text(left <= had); err != nil {
				return 0, err
			}
		}
		fresh, err := addTo(tx, text, s)
		if err != nil {
			return 0, err
		}
		r.rows[at] += fresh
		r.days[s.day] += fresh
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
func (r *rooms) left(k place) (n int64, err error) {
	if _, known := r.rows[k]; !known {
		if r.rows[k], err = r.count(`SELECT COUNT(*) FROM mail_sum WHERE day = ? AND domain = ?`, k.day, k.domain); err != nil {
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
	return min(most-r.rows[k], r.most.day-r.days[k.day]), nil
}

func (r *rooms) count(query string, args ...any) (n int64, err error) {
	err = r.tx.QueryRow(query, args...).Scan(&n)
	return n, err
}

// addTo adds to one row; fresh is 1 if there was none.
func addTo(tx *store.Tx, text string, s *sum) (fresh int64, err error) {
	had, err := tx.Exec(`UPDATE mail_sum SET messages = messages + ?, latest = ? WHERE day = ? AND domain = ? AND detail = ?`,
		s.messages, s.latest, s.day, s.domain, text)
	if err != nil || had > 0 {
		return 0, err
	}
	return tx.Exec(`INSERT INTO mail_sum (day, domain, detail, messages, latest) VALUES (?, ?, ?, ?, ?)`,
		s.day, s.domain, text, s.messages, s.latest)
}

// text returns what is kept of the messages. With simple, what a sender can
// choose freely is left out: signatures that did not pass, and a reverse-path
// that did not.
func (s *sum) text(simple bool) (string, error) {
	d := s.detail
	if simple {
		d.Row.Signatures = slices.DeleteFunc(slices.Clone(d.Row.Signatures), func(g aggregate.Signature) bool { return g.Result != "pass" })
		if len(d.Row.Senders) == 0 || d.Row.Senders[0].Result != "pass" {
			d.Row.EnvelopeFrom, d.Row.Senders = "", nil
		}
		if !d.Row.Passed() {
			d.Row.From = d.Policy.Domain
		}
	}
	b, err := json.Marshal(d)
	return string(b), err
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

package hostkey

import (
	"context"
	"encoding/hex"
	"slices"
	"time"

	"gatepost/internal/dane"
	"gatepost/internal/store"
)

// key is what is kept of one of the host's keys.
type key struct {
	record dane.Record
	made   time.Time
	used   time.Time // since when certificates are made for it
	due    bool
	seen   time.Time
	looked time.Time // when it was last seen there; of the current key: when anything was
	ttl    time.Duration
}

// plan returns the part of the plan that is about a next key.
func (k *key) plan() dane.Plan { return dane.Plan{Next: k.record, TTL: k.ttl, Seen: k.seen} }

// unknown returns from when on nobody can have records of the time of a
// current key, if none is shown any more. That there is none may be a lie
// where DNSSEC does not vouch for it: who once had records is not to lose mail
// by that.
func (k *key) unknown(signed bool) time.Time {
	switch {
	case k.looked.IsZero(): // there never were any
		return time.Time{}
	case signed:
		return k.looked.Add(2 * k.ttl)
	}
	return k.looked.Add(Life)
}

func (k *key) digest() string { return hex.EncodeToString(k.record.Data) }

// memory is what is known of all keys.
type memory struct {
	current, next *key // nil where the operator has files
	former        []*key
}

// forget is how long after its use began nothing is known of a key any more.
const forget = 3 * Life

// remember reads what is known of the keys, and begins to know those that are
// new. Which of them is current the files say; so nothing is amiss after a
// crash between them and the store.
func (h *Host) remember(ctx context.Context) (*memory, error) {
	current, next := h.o.Keys.HostKeys()
	if current == nil {
		return &memory{}, nil
	}
	all, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	m := &memory{}
	now := h.o.Clock.Now().Truncate(time.Second)
	take := func(public any) (*key, error) {
		record, err := dane.ForKey(public)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(k *key) bool { return k.record.Equal(record) })
		if i < 0 {
			k := &key{record: record, made: now}
			return k, h.update(ctx, `INSERT INTO host_key (digest, made, used, due, seen, looked, ttl) VALUES (?, ?, 0, 0, 0, 0, 0)
				ON CONFLICT (digest) DO NOTHING`, k.digest(), now.Unix())
		}
		k := all[i]
		all = slices.Delete(all, i, i+1)
		return k, nil
	}
	if m.current, err = take(current.Public()); err != nil {
		return nil, err
	}
	if m.next, err = take(next.Public()); err != nil {
		return nil, err
	}
	if m.current.used.IsZero() {
		m.current.used = now
		if err := h.update(ctx, `UPDATE host_key SET used = ? WHERE digest = ? AND used = 0`, now.Unix(), m.current.digest()); err != nil {
			return nil, err
		}
	}
	m.former = all
	return m, h.prune(ctx, m, now)
}

// prune forgets keys of long ago.
func (h *Host) prune(ctx context.Context, m *memory, now time.Time) error {
	for _, k := range m.former {
		if now.Sub(k.made) < forget {
			continue
		}
		if err := h.update(ctx, `DELETE FROM host_key WHERE digest = ?`, k.digest()); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) read(ctx context.Context) (list []*key, err error) {
	err = h.o.Store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT digest, made, used, due, seen, looked, ttl FROM host_key ORDER BY made DESC, digest`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var digest string
			var made, used, due, seen, looked, ttl int64
			if err := rows.Scan(&digest, &made, &used, &due, &seen, &looked, &ttl); err != nil {
				return err
			}
			data, err := hex.DecodeString(digest)
			if err != nil {
				return err
			}
			list = append(list, &key{
				record: dane.Record{Usage: dane.EE, Selector: dane.SPKI, Matching: dane.SHA256, Data: data},
				made:   when(made), used: when(used), due: due != 0, seen: when(seen), looked: when(looked), ttl: time.Duration(ttl) * time.Second,
			})
		}
		return rows.Err()
	})
	return list, err
}

// want notes that a key is to be used as soon as it may be.
func (h *Host) want(ctx context.Context, k *key) error {
	return h.update(ctx, `UPDATE host_key SET due = 1 WHERE digest = ?`, k.digest())
}

// saw notes what the DNS says of a key.
func (h *Host) saw(ctx context.Context, k *key) error {
	return h.update(ctx, `UPDATE host_key SET seen = ?, looked = ?, ttl = ? WHERE digest = ?`,
		seconds(k.seen), seconds(k.looked), int64(k.ttl/time.Second), k.digest())
}

func (h *Host) update(ctx context.Context, query string, args ...any) error {
	return h.o.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
}

func when(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

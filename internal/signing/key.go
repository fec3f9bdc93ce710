package signing

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/keys"
	"gatepost/internal/store"
)

// State is where a key is in its life.
type State string

// The states.
const (
	Published State = "published"
	Used      State = "used"
	Retired   State = "retired"
)

// Key is a key of a domain, without its private half.
type Key struct {
	Domain   addr.Domain
	Selector string
	Record   string // the text of its TXT record, at Selector._domainkey.Domain
	Made     time.Time
	Seen     time.Time // since when the DNS shows it; zero while it does not
	Gone     time.Time // when its record may be removed; zero unless it is retired

	name    string // in keys
	retired time.Time
}

// State returns the key's state.
func (k *Key) State() State {
	switch {
	case !k.retired.IsZero():
		return Retired
	case k.Seen.IsZero():
		return Published
	}
	return Used
}

// linger is how long a retired key stays in the DNS.
func (r *Ring) linger() time.Duration { return r.o.QueueLife + 2*grace }

// Of returns the keys of a domain of ours, the oldest first. A domain that
// has none yet gets them.
func (r *Ring) Of(ctx context.Context, d addr.Domain) ([]Key, error) {
	all, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	list := of(all, d)
	if len(list) == 0 {
		if list, err = r.make(ctx, d, r.o.Clock.Now()); err != nil {
			return nil, err
		}
	}
	for i := range list {
		public, err := r.public(list[i].name)
		if err != nil {
			return nil, err
		}
		if list[i].Record, err = record(public); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func of(all []Key, d addr.Domain) (list []Key) {
	for _, k := range all {
		if k.Domain == d {
			list = append(list, k)
		}
	}
	return list
}

// record returns the key record of a public key: RFC 6376, section 3.6.1; of
// Ed25519: RFC 8463, section 4.
func record(public crypto.PublicKey) (string, error) {
	if p, ok := public.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(p), nil
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

// kinds are those that a domain has at a time, by how their selectors end.
var kinds = []struct {
	suffix string
	kind   keys.SignerKind
}{{"r", keys.RSA}, {"e", keys.Ed25519}}

// make makes the next keys of a domain. Their selectors tell the day.
func (r *Ring) make(ctx context.Context, d addr.Domain, now time.Time) (list []Key, err error) {
	for _, kind := range kinds {
		name, err := r.o.Keys.MakeSigner(kind.kind)
		if err != nil {
			return nil, err
		}
		list = append(list, Key{Domain: d, Selector: now.UTC().Format("20060102") + kind.suffix, Made: now.Truncate(time.Second), name: name})
	}
	return list, r.o.Store.Update(ctx, func(tx *store.Tx) error {
		for _, k := range list {
			if _, err := tx.Exec(`INSERT INTO signing_key (domain, selector, name, made, seen, retired) VALUES (?, ?, ?, ?, 0, 0)`,
				string(d), k.Selector, k.name, k.Made.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

// read returns all keys, the oldest of each domain first.
func (r *Ring) read(ctx context.Context) (list []Key, err error) {
	err = r.o.Store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT domain, selector, name, made, seen, retired FROM signing_key ORDER BY domain, made, selector DESC`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				k                   Key
				domain              string
				made, seen, retired int64
			)
			if err := rows.Scan(&domain, &k.Selector, &k.name, &made, &seen, &retired); err != nil {
				return err
			}
			k.Domain, k.Made, k.Seen, k.retired = addr.Domain(domain), when(made), when(seen), when(retired)
			if !k.retired.IsZero() {
				k.Gone = k.retired.Add(r.linger())
			}
			list = append(list, k)
		}
		return rows.Err()
	})
	return list, err
}

// write writes down what has changed about a key.
func (r *Ring) write(ctx context.Context, k *Key) error {
	return r.o.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE signing_key SET seen = ?, retired = ? WHERE domain = ? AND selector = ?`,
			seconds(k.Seen), seconds(k.retired), string(k.Domain), k.Selector)
		return err
	})
}

// drop forgets a key. Its row goes first: a private key without one is only
// left over.
func (r *Ring) drop(ctx context.Context, k *Key) error {
	err := r.o.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM signing_key WHERE domain = ? AND selector = ?`, string(k.Domain), k.Selector)
		return err
	})
	if err != nil {
		return err
	}
	return r.o.Keys.DropSigner(k.name)
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

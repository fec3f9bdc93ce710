package proof

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/store"
	"gatepost/internal/transport"
)

// Delivery is what some recipients' copy of a message got.
type Delivery struct {
	Recipients []string
	Taken      time.Time // by the host
	envelope.Proof
}

// Of returns what a message got on its way, the first delivery first.
func (b *Book) Of(ctx context.Context, id envelope.ID) (list []Delivery, err error) {
	b.Flush()
	err = b.db.View(ctx, func(tx *store.Tx) error {
		list, err = readProofs(tx, id)
		return err
	})
	return list, err
}

func insertProof(tx *store.Tx, k *kept) error {
	// After a crash a message may be delivered again, and then that counts.
	_, err := tx.Exec(`INSERT INTO proof (spool, recipients, at, connected, host, address, version, cipher, key_exchange,
			chain, policy, met, verified, require_tls) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (spool, recipients) DO UPDATE SET at = excluded.at, connected = excluded.connected, host = excluded.host,
			address = excluded.address, version = excluded.version, cipher = excluded.cipher,
			key_exchange = excluded.key_exchange, chain = excluded.chain, policy = excluded.policy, met = excluded.met,
			verified = excluded.verified, require_tls = excluded.require_tls`,
		k.id[:], k.recipients, k.at.Unix(), k.At.Unix(), k.Host, k.Addr.String(), int64(k.Version), int64(k.Cipher), int64(k.Group),
		k.Chain[:], k.Policy, k.Met, truth(k.Verified), truth(k.RequireTLS))
	return err
}

func readProofs(tx *store.Tx, id envelope.ID) ([]Delivery, error) {
	rows, err := tx.Query(`SELECT recipients, at, connected, host, address, version, cipher, key_exchange, chain, policy, met,
		verified, require_tls FROM proof WHERE spool = ? ORDER BY at, recipients`, id[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Delivery
	for rows.Next() {
		var (
			d                                                          Delivery
			to, address                                                string
			at, connected, version, cipher, group, verified, protected int64
			chain                                                      []byte
		)
		if err := rows.Scan(&to, &at, &connected, &d.Host, &address, &version, &cipher, &group, &chain, &d.Policy, &d.Met,
			&verified, &protected); err != nil {
			return nil, err
		}
		d.Recipients, d.Taken, d.At = split(to), unix(at), unix(connected)
		d.Addr, _ = netip.ParseAddr(address) // not valid if it was not when it was written
		d.Version, d.Cipher, d.Group = uint16(version), uint16(cipher), tls.CurveID(group)
		copy(d.Chain[:], chain)
		d.Verified, d.RequireTLS = verified != 0, protected != 0
		list = append(list, d)
	}
	return list, rows.Err()
}

// split undoes the list of recipients; a space within one is in quotes.
func split(s string) []string {
	var list []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ' ' && !quoted:
			list, start = append(list, s[start:i]), i+1
		}
	}
	return append(list, s[start:])
}

func writeLevel(tx *store.Tx, domain string, r transport.Reached) error {
	_, err := tx.Exec(`INSERT INTO tls_level (domain, level, reached) VALUES (?, ?, ?)
		ON CONFLICT (domain) DO UPDATE SET level = excluded.level, reached = excluded.reached`,
		domain, r.Level.String(), r.At.Unix())
	return err
}

func readLevel(tx *store.Tx, domain string) (transport.Reached, error) {
	var (
		level   string
		reached int64
	)
	err := tx.QueryRow(`SELECT level, reached FROM tls_level WHERE domain = ?`, domain).Scan(&level, &reached)
	if errors.Is(err, store.ErrNotFound) {
		return transport.Reached{}, nil
	}
	if err != nil {
		return transport.Reached{}, err
	}
	l, err := transport.ParseLevel(level)
	return transport.Reached{Level: l, At: unix(reached)}, err
}

func unix(s int64) time.Time { return time.Unix(s, 0).UTC() }

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

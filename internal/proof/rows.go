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

// Delivery is what some recipients' copy of a message got. Its At is when the
// host took it.
type Delivery struct {
	Recipients []string
	Alias      string // of ours, that it went on from; empty if it was for them
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

// insertHop writes the row of connections that are alike.
func insertHop(tx *store.Tx, p *envelope.Proof, since time.Time) (int64, error) {
	id, err := tx.NextID("hop")
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(`INSERT INTO hop (id, since, host, address, version, cipher, key_exchange, chain, policy, met, verified, require_tls)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, since.Unix(), p.Host, p.Addr.String(), int64(p.Version), int64(p.Cipher), int64(p.Group),
		p.Chain[:], p.Policy, p.Met, truth(p.Verified), truth(p.RequireTLS))
	return id, err
}

func readProofs(tx *store.Tx, id envelope.ID) ([]Delivery, error) {
	rows, err := tx.Query(`SELECT recipients, alias, taken, host, address, version, cipher, key_exchange, chain, policy, met,
		verified, require_tls FROM proof JOIN hop ON hop.id = proof.hop WHERE spool = ? ORDER BY taken, recipients`, id[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Delivery
	for rows.Next() {
		var (
			d                                                  Delivery
			to, address                                        string
			taken, version, cipher, group, verified, protected int64
			chain                                              []byte
		)
		if err := rows.Scan(&to, &d.Alias, &taken, &d.Host, &address, &version, &cipher, &group, &chain, &d.Policy, &d.Met,
			&verified, &protected); err != nil {
			return nil, err
		}
		d.Recipients, d.At = split(to), unix(taken)
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

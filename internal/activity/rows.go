package activity

import (
	"crypto/tls"
	"encoding/binary"
	"net/netip"
	"time"

	"gatepost/internal/store"
)

// again adds an event to the row of those that are alike, if there is one.
func again(tx *store.Tx, e *Event, l likeness) (found bool, err error) {
	n, err := tx.Exec(`UPDATE activity SET times = times + ?, ended = ? WHERE hour = ? AND owner = ? AND same = ?`,
		e.Times, e.Last.Unix(), l.hour, e.Owner, l.sum())
	return n > 0, err
}

// crowd is the rows of an outcome of an account's in an hour.
type crowd struct {
	hour, owner int64
	outcome     Outcome
}

// maxCrowds bounds the crowds whose number of rows is remembered; others are
// counted.
const maxCrowds = 10_000

// enter reports whether there is room for another row in the hour of a
// sign-in, and counts it if there is. b.writing is held.
func (b *Book) enter(tx *store.Tx, e *Event) (room bool, err error) {
	most := int64(maxDone)
	switch {
	case e.Outcome != Done && e.Owner == 0:
		most = maxStrangers
	case e.Outcome != Done:
		most = maxRefused
	}
	c := crowd{e.Last.Unix() / 3600, e.Owner, e.Outcome}
	n, known := b.crowds[c]
	if !known {
		err := tx.QueryRow(`SELECT COUNT(*) FROM activity WHERE hour = ? AND owner = ? AND kind = ? AND outcome = ?`,
			c.hour, c.owner, string(SignIn), string(c.outcome)).Scan(&n)
		if err != nil {
			return false, err
		}
		if len(b.crowds) >= maxCrowds {
			clear(b.crowds)
		}
	}
	if room = n < most; room {
		n++
	}
	b.crowds[c] = n
	return room, nil
}

// insert writes a row of its own. same is nil for what is like nothing else.
func insert(tx *store.Tx, e *Event, same []byte) (err error) {
	if e.ID, err = tx.NextID("activity"); err != nil {
		return err
	}
	if same == nil {
		same = binary.BigEndian.AppendUint64(nil, uint64(e.ID))
	}
	c := &e.Client
	_, err = tx.Exec(`INSERT INTO activity (id, hour, owner, same, kind, outcome, account, address, country, network, protocol,
			client, operator, mechanism, credential, version, cipher, key_exchange, detail, began, ended, times)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.Last.Unix()/3600, e.Owner, same, string(e.Kind), string(e.Outcome), e.Account, c.where(), c.Country, c.Network, c.Protocol,
		c.Name, c.Operator, e.Mechanism, e.Credential, int64(c.Version), int64(c.Cipher), int64(c.Group), e.Detail, e.First.Unix(), e.Last.Unix(), e.Times)
	return err
}

const columns = `id, kind, outcome, owner, account, address, country, network, protocol, client, operator, mechanism, credential,
	version, cipher, key_exchange, detail, began, ended, times`

// scan reads columns.
func scan(row interface{ Scan(...any) error }) (e Event, err error) {
	var where string
	var version, cipher, group, began, ended int64
	c := &e.Client
	err = row.Scan(&e.ID, &e.Kind, &e.Outcome, &e.Owner, &e.Account, &where, &c.Country, &c.Network, &c.Protocol, &c.Name, &c.Operator, &e.Mechanism, &e.Credential,
		&version, &cipher, &group, &e.Detail, &began, &ended, &e.Times)
	c.Version, c.Cipher, c.Group = uint16(version), uint16(cipher), tls.CurveID(group)
	e.First, e.Last = time.Unix(began, 0).UTC(), time.Unix(ended, 0).UTC()
	if ip, bad := netip.ParseAddr(where); bad == nil {
		c.Address = ip
	} else if p, bad := netip.ParsePrefix(where); bad == nil {
		c.From = p
	}
	return e, err
}

package proof

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"strings"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// Arrival is how a message came to us.
type Arrival struct {
	ID       envelope.ID
	At       time.Time
	Name     string // the account that signed in, else what the client called itself
	Client   string // its address
	SignedIn bool

	Version    uint16 // of TLS; 0: in the clear
	Cipher     uint16
	Group      tls.CurveID
	RequireTLS bool // it asks for protection on its whole way: RFC 8689

	messageID int64
}

// String tells it in one plain sentence, without its full stop.
func (a *Arrival) String() string {
	s := "from " + a.Name + " (" + a.Client + ") " + envelope.Secured(a.Version, a.Cipher, a.Group)
	if a.SignedIn {
		s += ", signed in"
	}
	if a.RequireTLS {
		s += ", to be protected on its whole way (REQUIRETLS)"
	}
	return s
}

// Arrived implements smtpd's Book.
func (b *Book) Arrived(p *envelope.Peer, e *envelope.Envelope, messageID string) {
	a := Arrival{
		ID: e.ID, At: e.Received, Name: p.Helo, Client: e.Client, SignedIn: p.Account != "",
		RequireTLS: e.RequireTLS, messageID: fingerprint(messageID),
	}
	if a.SignedIn {
		a.Name = p.Account
	}
	if p.TLS != nil {
		a.Version, a.Cipher, a.Group = p.TLS.Version, p.TLS.CipherSuite, p.TLS.CurveID
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room() {
		b.arrivals = append(b.arrivals, a)
	}
}

// fingerprint is what a Message-ID is found by: as short as can be, since
// there is one for each message. Whoever makes two alike has only made us
// show both. The angle brackets do not count.
func fingerprint(messageID string) int64 {
	s := strings.TrimSpace(messageID)
	s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	sum := sha256.Sum256([]byte(s))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// maxFound bounds the messages that one Message-ID finds.
const maxFound = 100

// Find returns the ids of the messages that came with a Message-ID, the
// oldest first. It reads through all that arrived in the time that is kept,
// which is a second for millions: no index is worth a write for each message.
func (b *Book) Find(ctx context.Context, messageID string) (list []envelope.ID, err error) {
	b.Flush()
	err = b.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT spool FROM arrival WHERE message_id = ? ORDER BY spool LIMIT ?`, fingerprint(messageID), int64(maxFound))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			var id envelope.ID
			copy(id[:], raw)
			list = append(list, id)
		}
		return rows.Err()
	})
	return list, err
}

// Arrival returns how a message came, if that is known.
func (b *Book) Arrival(ctx context.Context, id envelope.ID) (list []Arrival, err error) {
	b.Flush()
	err = b.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT came, name, client, signed_in, version, cipher, key_exchange, require_tls
			FROM arrival WHERE spool = ?`, id[:])
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			a := Arrival{ID: id}
			var came, signedIn, version, cipher, group, protected int64
			if err := rows.Scan(&came, &a.Name, &a.Client, &signedIn, &version, &cipher, &group, &protected); err != nil {
				return err
			}
			a.At, a.SignedIn, a.RequireTLS = unix(came), signedIn != 0, protected != 0
			a.Version, a.Cipher, a.Group = uint16(version), uint16(cipher), tls.CurveID(group)
			list = append(list, a)
		}
		return rows.Err()
	})
	return list, err
}

func insertArrivals(tx *store.Tx, list []Arrival) error {
	var rows [][]any
	for i := range list {
		a := &list[i]
		rows = append(rows, []any{
			a.ID[:], a.messageID, a.At.Unix(), a.Name, a.Client, truth(a.SignedIn), int64(a.Version), int64(a.Cipher), int64(a.Group), truth(a.RequireTLS),
		})
	}
	return tx.Insert(`INSERT INTO arrival (spool, message_id, came, name, client, signed_in, version, cipher, key_exchange, require_tls)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (spool) DO NOTHING`, rows)
}

// Package forward is the addresses of ours that forwarded mail is sent from,
// and the way back to its senders.
//
// # Place in the path
//
// outbound asks for a return address before a message goes on to another
// server through an alias (Address). gate asks whom mail to such an address
// is for (Find), and counts it when it has come whole (Spend).
//
// # Why
//
// A message that goes on under its own reverse-path comes from a server that
// its sender's SPF does not list. It goes on under an address in the alias'
// domain instead, so that SPF holds for us, and the next server's failures
// come to us, who know whom to tell.
//
// # What an attacker can do with an address
//
// Addresses of ours that pass mail on to strangers are what relays are made
// of. Hence:
//
//   - A token cannot be guessed, nor moved to another domain (package token),
//     and says nothing of whom it stands for; that is kept in the store.
//   - It takes only mail with the null reverse-path, which no newsletter can
//     use and no server answers, so that nothing goes around in circles.
//   - Who collects tokens, as whoever gets forwarded mail may, can send the
//     sender of each message usesEach messages a recipient and no more, until
//     life is over. A message so returned goes to one address: gate takes one
//     return address a transaction, so that it never grows in number.
//   - Of a sender who was not proven (SPF) nobody is told but our postmaster:
//     else a forged reverse-path would have us send bounces to its owner.
//
// # Standards
//
// RFC 5321, sections 3.6.2 and 4.5.5 (failures go to the reverse-path, and
// have none); RFC 7208, section 10.1.2 (forwarders rewrite it).
//
// # Limits
//
// A row for each message that was forwarded from somebody, through each of
// its aliases, for life. It is durable before the message leaves, shared with
// whatever else the store commits then.
package forward

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/forward/token"
	"gatepost/internal/keys"
	"gatepost/internal/store"
)

// Bounds of a return address.
const (
	// life is for how long after the last attempt a return address is good:
	// twice what servers try for (RFC 5321, section 4.5.4.1).
	life = 10 * 24 * time.Hour
	// usesEach is how many messages may come back for each recipient: a
	// delay, a failure, and an answer to one who is away.
	usesEach = 3
	// maxUses bounds those of one return address, however many recipients
	// its alias has.
	maxUses = 300

	pruneEvery = 24 * time.Hour
	pruneBatch = 1000 // rows removed in one transaction, so that others get their turn
)

// purpose names the key that tokens are made with.
const purpose = "return address"

// Options are what Returns works with; all are required.
type Options struct {
	Store *store.DB
	Keys  *keys.Keys
	Clock clock.Clock
	Log   *slog.Logger
}

// Returns knows the return addresses. Its methods may be called from any
// goroutine.
type Returns struct{ o Options }

// New returns those of a store.
func New(o Options) *Returns { return &Returns{o} }

func (r *Returns) mac(parts ...[]byte) [32]byte { return r.o.Keys.MAC(purpose, parts...) }

// Address returns the address that a message goes on from through an alias,
// in the alias' domain: the same at each attempt. It is good when Address
// returns nil. The message has a reverse-path.
func (r *Returns) Address(ctx context.Context, e *envelope.Envelope, alias addr.Address) (addr.Address, error) {
	t := token.Make(r.mac, string(alias.Domain), e.ID[:], alias.String())
	recipients := 0
	for i := range e.Recipients {
		if e.Recipients[i].Via == alias {
			recipients++
		}
	}
	err := r.o.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO forward (token, alias, sender, proven, expires, uses) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (token) DO UPDATE SET expires = excluded.expires`,
			t.Name(), alias.String(), e.From.String(), number(e.Bounceable()), r.o.Clock.Now().Add(life).Unix(),
			int64(min(usesEach*recipients, maxUses)))
		return err
	})
	return addr.Address{Local: t.String(), Domain: alias.Domain}, err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Find returns whom a message that comes to an address of ours is for, if that
// has the form of a return address. A null sender may not be told: then it is
// for postmaster of the domain. The error is what the client is told.
func (r *Returns) Find(ctx context.Context, to addr.Address) (sender addr.Address, is bool, err error) {
	t, is := token.Parse(to.Local)
	if !is {
		return addr.Address{}, false, nil
	}
	if !t.Genuine(r.mac, string(to.Domain)) {
		return addr.Address{}, true, envelope.Refuse(550, "5.1.1", "there is no such address here")
	}
	var (
		text                  string
		proven, expires, uses int64
	)
	err = r.o.Store.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT sender, proven, expires, uses FROM forward WHERE token = ?`, t.Name()).Scan(&text, &proven, &expires, &uses)
	})
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && expires <= r.o.Clock.Now().Unix():
		return addr.Address{}, true, errExpired()
	case err != nil:
		return addr.Address{}, true, err
	case uses <= 0:
		return addr.Address{}, true, errUsed()
	case proven == 0:
		return addr.Address{}, true, nil
	}
	sender, err = addr.Parse(text)
	return sender, true, err
}

func errExpired() error {
	return envelope.Refuse(550, "5.1.1", "this return address has expired: it was for failures of one message")
}

func errUsed() error {
	return envelope.Refuse(550, "5.7.1", "as much has come back to this address as can about one message")
}

// Spend counts a message that has come to an address, if that is a return
// address, or refuses it. What was counted is not given back, should the
// message not be taken after all.
func (r *Returns) Spend(ctx context.Context, to addr.Address) error {
	t, is := token.Parse(to.Local)
	if !is || !t.Genuine(r.mac, string(to.Domain)) {
		return nil
	}
	var left int64
	err := r.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		left, err = tx.Exec(`UPDATE forward SET uses = uses - 1 WHERE token = ? AND uses > 0 AND expires > ?`, t.Name(), r.o.Clock.Now().Unix())
		return err
	})
	if err == nil && left == 0 {
		err = errUsed()
	}
	return err
}

// Tend removes what has expired, at once and every day, until ctx ends.
func (r *Returns) Tend(ctx context.Context) {
	clock.Repeat(ctx, r.o.Clock, pruneEvery, func(ctx context.Context) {
		if err := r.prune(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Error("old return addresses could not be removed", "error", err)
		}
	})
}

func (r *Returns) prune(ctx context.Context) error {
	for gone := int64(1); gone > 0; {
		err := r.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.Exec(`DELETE FROM forward WHERE token IN (SELECT token FROM forward WHERE expires <= ? ORDER BY expires LIMIT ?)`,
				r.o.Clock.Now().Unix(), int64(pruneBatch))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

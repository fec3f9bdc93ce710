// Package lock is the link in an alert by which its reader freezes the account
// at once, wherever they are and without signing in.
//
// # Place in the path
//
// Beside it. Whoever sends an alert asks for a link (New); web mounts the page
// behind it (Handler), and the account is frozen by the Freezer.
//
// # What it trusts
//
// Whoever has the link: it came by mail to the account or to its recovery
// address. So it can do one thing, which harms nobody for long: freeze that
// account, once. It never releases, and shows nothing but the name of the
// account. Programs that look at mail before people do fetch every link
// (scanners, previews, prefetching browsers): GET and HEAD change nothing,
// only the button does (POST).
//
// A token has 256 random bits and is kept as its SHA-256 alone: who reads the
// store, or a backup, can freeze nobody. What is no link, or no longer one, is
// answered with the same words. The page gives its address to nobody (no
// Referer), stays in no cache, and cannot be put into another's page.
//
// # Limits
//
// A link holds for Life. Alerts are bounded, and so are links.
package lock

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/store"
)

const (
	// Life is how long a link holds.
	Life = 14 * 24 * time.Hour
	// tokenOctets is how much chance is in a link.
	tokenOctets = 32
	// Path is where the links lead; the token follows.
	Path = "/lock/"
)

// Options configure Links. All are required.
type Options struct {
	DB     *store.DB
	Clock  clock.Clock
	Random io.Reader
	// Freezer is asked to freeze an account.
	Freezer Freezer
}

// Freezer knows the accounts.
type Freezer interface {
	// Name returns the address of an account, ErrGone if there is none.
	Name(ctx context.Context, owner int64) (string, error)
	// Freeze freezes it, if it is not frozen already; it is durable when it
	// returns. ErrGone says that there is no such account.
	Freeze(ctx context.Context, owner int64) error
}

// ErrGone says that an account is not there any more.
var ErrGone = errors.New("lock: the account is gone")

// Links are all of them. Its methods may be called from any goroutine.
type Links struct{ o Options }

// New returns the links in a store.
func New(o Options) *Links { return &Links{o} }

// New makes a link for an account and returns its token.
func (l *Links) New(ctx context.Context, owner int64) (token string, err error) {
	b := make([]byte, tokenOctets)
	if _, err := io.ReadFull(l.o.Random, b); err != nil {
		return "", err
	}
	token = base64.RawURLEncoding.EncodeToString(b)
	return token, l.o.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO lock_link (token, owner, expires, used) VALUES (?, ?, ?, 0)`,
			sum(token), owner, l.o.Clock.Now().Add(Life).Unix())
		return err
	})
}

// Drop takes a link back that nobody was given.
func (l *Links) Drop(ctx context.Context, token string) error {
	return l.o.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM lock_link WHERE token = ?`, sum(token))
		return err
	})
}

// Prune removes the links that do not hold any more.
func (l *Links) Prune(ctx context.Context) error {
	return l.o.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM lock_link WHERE expires < ?`, l.o.Clock.Now().Unix())
		return err
	})
}

// sum is what is kept of a token. It has too much chance in it to be guessed
// from that, so no slower hash is needed; and the store finds it by its whole
// value, so that the time of the answer tells nothing of another.
func sum(token string) []byte {
	s := sha256.Sum256([]byte(token))
	return s[:]
}

// link is one of them.
type link struct {
	owner int64
	used  time.Time // zero: not yet
}

// find returns the link of a token; ok is false if it does not hold.
func (l *Links) find(ctx context.Context, token string) (found link, ok bool, err error) {
	if b, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(b) != tokenOctets {
		return link{}, false, nil
	}
	var expires, used int64
	err = l.o.DB.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT owner, expires, used FROM lock_link WHERE token = ?`, sum(token)).Scan(&found.owner, &expires, &used)
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && l.o.Clock.Now().Unix() >= expires {
		return link{}, false, nil
	}
	if used != 0 {
		found.used = time.Unix(used, 0).UTC()
	}
	return found, err == nil, err
}

// use freezes the account of a link, once: the second time, somebody may have
// looked into it and released it.
func (l *Links) use(ctx context.Context, token string, k link) error {
	if !k.used.IsZero() {
		return nil
	}
	if err := l.o.Freezer.Freeze(ctx, k.owner); err != nil {
		return err
	}
	// A crash before this freezes it again, at the next push of the button.
	return l.o.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE lock_link SET used = ? WHERE token = ?`, l.o.Clock.Now().Unix(), sum(token))
		return err
	})
}

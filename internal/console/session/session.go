// Package session keeps who is signed in at the console: a row for each
// browser, found by the hash of a token that the browser alone has.
//
// # What ends one
//
// Its owner; IdleLife without use; Life after it began; a new one of the same
// browser; and, in the transaction that makes the change (Hear), whatever
// makes that somebody else may have got it: the account is frozen, or its
// password, its factors or its role are changed.
//
// # Attacks that this stops
//
// Who reads the store has no token. Who plants a token in a browser has none
// that anybody is ever signed in with: a token is made at sign-in, and again
// when password and factor are shown again. Nobody fills the store: an account
// has at most maxPerAccount, and the one that rested longest makes room.
package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/store"
)

// Bounds of sessions.
const (
	// IdleLife is how long a session lives without being used.
	IdleLife = 12 * time.Hour
	// Life is how long it lives at most.
	Life = 7 * 24 * time.Hour
	// FreshLife is how long after password and factor were shown changes may
	// be made that an intruder would make.
	FreshLife = 5 * time.Minute

	maxPerAccount = 20
	// usedStep is how exactly it is known when a session was used: a row is
	// not written for each page.
	usedStep  = 5 * time.Minute
	tokenSize = 32  // octets; 256 bits
	maxClient = 200 // octets of what a browser calls itself
)

// ErrNone says that a token is of no session, or of one that ended.
var ErrNone = errors.New("not signed in")

// Session is one browser that is signed in.
type Session struct {
	ID      int64
	Account int64
	Name    addr.Address // of the account
	Made    time.Time
	Shown   time.Time // password and factor, the last time
	Used    time.Time // to a few minutes
	From    string    // address of the browser when it signed in
	Client  string    // what it calls itself: a stranger's word
}

// Fresh reports whether password and factor were shown a moment ago.
func (s *Session) Fresh(now time.Time) bool { return now.Before(s.Shown.Add(FreshLife)) }

// Book keeps sessions. All fields are required; its methods may be called
// from any goroutine.
type Book struct {
	DB     *store.DB
	Clock  clock.Clock
	Random io.Reader // cryptographically secure
}

// hash returns what is kept of a token.
func hash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func (b *Book) token() (string, error) {
	raw := make([]byte, tokenSize)
	_, err := io.ReadFull(b.Random, raw)
	return base64.RawURLEncoding.EncodeToString(raw), err
}

// Begin signs a browser in, and returns its token. before is the token that
// it had, empty or not: that is good for nothing any more. ErrNone says that
// the account was frozen, or removed, meanwhile.
func (b *Book) Begin(ctx context.Context, account int64, c activity.Client, before string) (token string, err error) {
	token, err = b.token()
	if err != nil {
		return "", err
	}
	now := b.Clock.Now()
	from := ""
	if c.Address.IsValid() {
		from = c.Address.Unmap().WithZone("").String()
	}
	err = b.DB.Update(ctx, func(tx *store.Tx) error {
		if err := b.makeRoom(tx, account, before, now); err != nil {
			return err
		}
		id, err := tx.NextID("web_session")
		if err != nil {
			return err
		}
		// Whoever was frozen a moment ago gets none that would be good once the
		// account is released.
		n, err := tx.Exec(`INSERT INTO web_session (id, token, account, made, shown, used, address, client)
			SELECT ?, ?, id, ?, ?, ?, ?, ? FROM account WHERE id = ? AND frozen = 0`,
			id, hash(token), now.Unix(), now.Unix(), now.Unix(), from, cut(c.Name), account)
		if err == nil && n == 0 {
			return ErrNone
		}
		return err
	})
	return token, err
}

// cut returns what is kept of a browser's name.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxClient)], "?") }

// makeRoom removes the session that a browser had, those that are over, and
// of an account that has the most the one that rested longest.
func (b *Book) makeRoom(tx *store.Tx, account int64, before string, now time.Time) error {
	if _, err := tx.Exec(`DELETE FROM web_session WHERE token = ?`, hash(before)); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM web_session WHERE used <= ? OR made <= ?`, now.Add(-IdleLife).Unix(), now.Add(-Life).Unix()); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM web_session WHERE account = ? AND id NOT IN
		(SELECT id FROM web_session WHERE account = ? ORDER BY used DESC, id DESC LIMIT ?)`, account, account, int64(maxPerAccount-1))
	return err
}

const columns = `w.id, w.account, a.domain, a.local, w.made, w.shown, w.used, w.address, w.client
	FROM web_session w JOIN account a ON a.id = w.account AND a.frozen = 0`

func scan(row interface{ Scan(...any) error }) (*Session, error) {
	var s Session
	var made, shown, used int64
	err := row.Scan(&s.ID, &s.Account, &s.Name.Domain, &s.Name.Local, &made, &shown, &used, &s.From, &s.Client)
	s.Made, s.Shown, s.Used = time.Unix(made, 0).UTC(), time.Unix(shown, 0).UTC(), time.Unix(used, 0).UTC()
	return &s, err
}

// over reports whether a session has lived its time.
func (s *Session) over(now time.Time) bool {
	return !now.Before(s.Used.Add(IdleLife)) || !now.Before(s.Made.Add(Life))
}

// Find returns the session of a token, ErrNone if there is none, and notes
// that it was used.
func (b *Book) Find(ctx context.Context, token string) (s *Session, err error) {
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenSize) {
		return nil, ErrNone
	}
	err = b.DB.View(ctx, func(tx *store.Tx) error {
		s, err = scan(tx.QueryRow(`SELECT `+columns+` WHERE w.token = ?`, hash(token)))
		return err
	})
	now := b.Clock.Now()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrNone
	case err != nil:
		return nil, err
	case s.over(now):
		return nil, ErrNone
	case now.Before(s.Used.Add(usedStep)):
		return s, nil
	}
	s.Used = time.Unix(now.Unix(), 0).UTC()
	return s, b.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE web_session SET used = ? WHERE id = ?`, now.Unix(), s.ID)
		return err
	})
}

// Confirm notes that password and factor were shown again, and returns the
// token that the browser has from then on: whoever got hold of the former one
// gets nothing from its being confirmed.
func (b *Book) Confirm(ctx context.Context, s *Session) (token string, err error) {
	token, err = b.token()
	if err != nil {
		return "", err
	}
	now := b.Clock.Now().Unix()
	return token, b.DB.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`UPDATE web_session SET token = ?, shown = ?, used = ? WHERE id = ?`, hash(token), now, now, s.ID)
		if err == nil && n == 0 {
			return ErrNone // it ended meanwhile
		}
		return err
	})
}

// List returns the sessions of an account, the one used last first.
func (b *Book) List(ctx context.Context, account int64) (list []*Session, err error) {
	now := b.Clock.Now()
	err = b.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT `+columns+` WHERE w.account = ? ORDER BY w.used DESC, w.id DESC`, account)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			s, err := scan(rows)
			if err != nil {
				return err
			}
			if !s.over(now) {
				list = append(list, s)
			}
		}
		return rows.Err()
	})
	return list, err
}

// End ends a session of an account, ErrNone if there is none.
func (b *Book) End(ctx context.Context, account, id int64) error {
	return b.DB.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM web_session WHERE id = ? AND account = ?`, id, account)
		if err == nil && n == 0 {
			return ErrNone
		}
		return err
	})
}

// EndOthers ends all sessions of an account but one.
func (b *Book) EndOthers(ctx context.Context, account, keep int64) error {
	return b.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM web_session WHERE account = ? AND id <> ?`, account, keep)
		return err
	})
}

// Hear ends the sessions of an account in the transaction that changes what
// they were begun with. It is told of every event.
func Hear(tx *store.Tx, e *activity.Event) error {
	switch e.Kind {
	case activity.Frozen, activity.Password, activity.Role, activity.FactorAdded, activity.FactorRemoved:
		_, err := tx.Exec(`DELETE FROM web_session WHERE account = ?`, e.Owner)
		return err
	}
	return nil
}

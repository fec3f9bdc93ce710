package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/clock"
	"gatepost/internal/store"
	"gatepost/internal/store/storetest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newBook returns a book over a store with the accounts 1 and 2.
func newBook(t *testing.T) (*Book, *clock.Fake) {
	t.Helper()
	db := storetest.Open(t)
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		for id, local := range map[int64]string{1: "anna", 2: "ben"} {
			_, err := tx.Exec(`INSERT INTO account (id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
				VALUES (?, 'example.org', ?, 'user', 0, 0, 0, 0, ?, 1)`, id, local, []byte{})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := clock.NewFake(start)
	return &Book{DB: db, Clock: c, Random: rand.Reader}, c
}

var browser = activity.Client{Address: netip.MustParseAddr("192.0.2.1"), Name: "Browser"}

func begin(t *testing.T, b *Book, account int64) string {
	t.Helper()
	token, err := b.Begin(t.Context(), account, browser, "")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// lives reports whether a token is of a session.
func lives(t *testing.T, b *Book, token string) bool {
	t.Helper()
	_, err := b.Find(t.Context(), token)
	if err != nil && !errors.Is(err, ErrNone) {
		t.Fatal(err)
	}
	return err == nil
}

func TestLife(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	token := begin(t, b, 1)
	s, err := b.Find(t.Context(), token)
	if err != nil || s.Account != 1 || s.Name.String() != "anna@example.org" || s.From != "192.0.2.1" || s.Client != "Browser" || !s.Fresh(c.Now()) {
		t.Fatalf("%+v, %v", s, err)
	}
	c.Advance(FreshLife)
	if s.Fresh(c.Now()) {
		t.Error("it is fresh for ever")
	}
	for c.Now().Before(start.Add(Life - IdleLife)) { // used all the time
		c.Advance(IdleLife - usedStep - time.Minute)
		if !lives(t, b, token) {
			t.Fatalf("it ended after %v", c.Now().Sub(start))
		}
	}
	c.Advance(start.Add(Life).Sub(c.Now()))
	if lives(t, b, token) {
		t.Error("it lives for ever")
	}
	token = begin(t, b, 1)
	c.Advance(IdleLife)
	if list, err := b.List(t.Context(), 1); lives(t, b, token) || len(list) != 0 || err != nil {
		t.Error("it lives without being used")
	}
	for _, bad := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 1<<20)} {
		if lives(t, b, bad) {
			t.Errorf("%.50q is of a session", bad)
		}
	}
}

// What the store has is not what the browser has.
func TestTokenIsNotKept(t *testing.T) {
	t.Parallel()
	b, _ := newBook(t)
	token := begin(t, b, 1)
	err := b.DB.View(t.Context(), func(tx *store.Tx) error {
		var kept []byte
		if err := tx.QueryRow(`SELECT token FROM web_session`).Scan(&kept); err != nil {
			return err
		}
		if bytes.Contains(kept, []byte(token)) || !bytes.Equal(kept, hash(token)) {
			t.Errorf("%q is kept", kept)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	first := begin(t, b, 1)
	c.Advance(FreshLife)
	s, err := b.Find(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Confirm(t.Context(), s)
	if err != nil || lives(t, b, first) || !lives(t, b, second) {
		t.Errorf("the former token lives on, or the new does not: %v", err)
	}
	if s, _ = b.Find(t.Context(), second); !s.Fresh(c.Now()) {
		t.Error("it is not fresh")
	}
	third, err := b.Begin(t.Context(), 1, browser, second)
	if err != nil || lives(t, b, second) || !lives(t, b, third) {
		t.Errorf("the browser has two sessions: %v", err)
	}
	if _, err := b.Confirm(t.Context(), s); !errors.Is(err, ErrNone) {
		t.Errorf("one that ended was confirmed: %v", err)
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	anna, ben := begin(t, b, 1), begin(t, b, 2)
	s, _ := b.Find(t.Context(), ben)
	if err := b.End(t.Context(), 1, s.ID); !errors.Is(err, ErrNone) || !lives(t, b, ben) {
		t.Errorf("anna ended ben's: %v", err)
	}
	if err := b.End(t.Context(), 2, s.ID); err != nil || lives(t, b, ben) {
		t.Errorf("it lives on: %v", err)
	}
	s, _ = b.Find(t.Context(), anna)
	second, ben := begin(t, b, 1), begin(t, b, 2)
	if err := b.EndOthers(t.Context(), 1, s.ID); err != nil || !lives(t, b, anna) || lives(t, b, second) || !lives(t, b, ben) {
		t.Errorf("others: %v", err)
	}
	var last string
	for range maxPerAccount + 5 {
		c.Advance(time.Second)
		last = begin(t, b, 1)
	}
	if list, err := b.List(t.Context(), 1); len(list) != maxPerAccount || !lives(t, b, last) || lives(t, b, anna) || !lives(t, b, ben) {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

// What makes that somebody else may have a session ends it, as it happens.
func TestHear(t *testing.T) {
	t.Parallel()
	for kind, ends := range map[activity.Kind]bool{
		activity.Frozen: true, activity.Password: true, activity.Role: true, activity.FactorAdded: true, activity.FactorRemoved: true,
		activity.SignIn: false, activity.Released: false, activity.DeviceAdded: false, activity.Export: false,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b, _ := newBook(t)
			anna, ben := begin(t, b, 1), begin(t, b, 2)
			err := b.DB.Update(t.Context(), func(tx *store.Tx) error { return Hear(tx, &activity.Event{Kind: kind, Owner: 1}) })
			if err != nil || lives(t, b, anna) == ends || !lives(t, b, ben) {
				t.Errorf("anna's lives: %v, ben's: %v; %v", lives(t, b, anna), lives(t, b, ben), err)
			}
		})
	}
}

func TestAccountGone(t *testing.T) {
	t.Parallel()
	for _, change := range []string{`DELETE FROM account WHERE id = 1`, `UPDATE account SET frozen = 1 WHERE id = 1`} {
		b, _ := newBook(t)
		token := begin(t, b, 1)
		if err := b.DB.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(change); return err }); err != nil {
			t.Fatal(err)
		}
		if lives(t, b, token) {
			t.Errorf("it lives on after %s", change)
		}
	}
}

// Nothing is signed in with randomness that failed.
func TestNoRandomness(t *testing.T) {
	t.Parallel()
	b, _ := newBook(t)
	b.Random = strings.NewReader("short")
	if _, err := b.Begin(context.Background(), 1, browser, ""); err == nil {
		t.Error("a session began")
	}
}

// Who was frozen while he signed in gets no session that would be good after
// the release.
func TestFrozenBeginsNothing(t *testing.T) {
	t.Parallel()
	b, _ := newBook(t)
	freeze := func(frozen int64) {
		t.Helper()
		if err := b.DB.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE account SET frozen = ? WHERE id = 1`, frozen)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	freeze(1)
	token, err := b.Begin(t.Context(), 1, browser, "")
	if !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
	freeze(0)
	if lives(t, b, token) {
		t.Error("it is signed in after the release")
	}
	if _, err := b.Begin(t.Context(), 99, browser, ""); !errors.Is(err, ErrNone) {
		t.Errorf("of nobody: %v", err)
	}
}

package account

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/passwords"
	"gatepost/internal/store"
)

const day = 24 * time.Hour

// words returns good passwords that are not the same.
func words(i int) string { return fmt.Sprintf("pelican turbine marzipan %d", i) }

// shown returns what an operator sees of a password.
func (h *house) shown(a string) (p Password) {
	h.t.Helper()
	acc, err := h.Account(ctx, addr.MustParse(a))
	if err != nil {
		h.t.Fatal(err)
	}
	all, err := h.Passwords(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	return all[acc.ID]
}

func refused(t testing.TB, what string, err error, want string) {
	t.Helper()
	var r *passwords.Refusal
	if !errors.As(err, &r) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v; want a refusal that says %q", what, err, want)
	}
}

// The policy holds whichever way a password is set, and knows the names that
// a person has by then.
func TestPolicyHolds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	henry := addr.MustParse("henry@example.org")
	_, err := h.AddAccount(ctx, henry, "sunshine1234", User)
	refused(t, "a new account", err, "is easy to guess")
	if _, err := h.Account(ctx, henry); err == nil {
		t.Error("it was made all the same")
	}
	h.accounts("henry@example.org")
	refused(t, "a new password", h.SetPassword(ctx, henry, "sunshine1234"), "is easy to guess")
	refused(t, "the address", h.SetPassword(ctx, henry, "Henry@Example.org"), "is the address itself")
	const tin = "zwartewolkhuis1"
	if err := h.SetPassword(ctx, henry, tin); err != nil {
		t.Fatal(err)
	}
	h.alias("zwartewolkhuis@example.org", "henry@example.org")
	h.SetPolicy(&passwords.Policy{MinLength: 12, Strength: 3})
	refused(t, "the name of an alias", h.SetPassword(ctx, henry, tin), "your own names")
	strict := usual()
	strict.MinLength = 20
	h.SetPolicy(strict)
	refused(t, "a new policy", h.SetPassword(ctx, henry, "k7m3q-x9d2p-4rtzn"), "17 characters, and 20 are the least")
	if strings.Contains(h.log.String(), "zwarte") {
		t.Error("the log holds a password")
	}
}

// Of the last passwords none comes again; before them, and after fewer are
// asked for, they may. What is kept of them is bounded.
func TestHistory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org", "anna@example.org")
	henry := addr.MustParse("henry@example.org")
	kept := func() (n int64) {
		h.t.Helper()
		err := h.db.View(ctx, func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT COUNT(*) FROM former_password`).Scan(&n)
		})
		if err != nil {
			h.t.Fatal(err)
		}
		return n
	}
	set := func(i int) {
		h.t.Helper()
		if err := h.SetPassword(ctx, henry, words(i)); err != nil {
			h.t.Fatalf("%d: %v", i, err)
		}
	}
	for i := range 7 {
		set(i)
	}
	for i := 2; i < 7; i++ {
		refused(t, fmt.Sprint("the one of before ", i), h.SetPassword(ctx, henry, words(i)), "is one of the last 5 that this account had")
	}
	if n := kept(); n != 4 {
		t.Errorf("%d are kept", n)
	}
	if err := h.SetPassword(ctx, addr.MustParse("anna@example.org"), words(6)); err != nil {
		t.Errorf("another's: %v", err)
	}
	set(1) // the sixth
	one := usual()
	one.History = 1
	h.SetPolicy(one)
	refused(t, "the present one", h.SetPassword(ctx, henry, words(1)), "is the one that this account has")
	set(6)
	if n := kept(); n != 1 { // anna's
		t.Errorf("%d are kept where only the present one counts", n)
	}
	none := usual()
	none.History = 0
	h.SetPolicy(none)
	set(6)
	if got, err := h.signIn("henry@example.org", words(6), "192.0.2.1"); got == "" {
		t.Error(err)
	}
	if err := h.RemoveAccount(ctx, addr.MustParse("anna@example.org")); err != nil || kept() != 0 {
		t.Errorf("%v; %d are kept of an account that is gone", err, kept())
	}
}

// An operator sees whose password is weak, old or another's too.
func TestPasswords(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org", "henry@example.org", "zoe@example.org")
	if err := h.SetPassword(ctx, addr.MustParse("zoe@example.org"), words(1)); err != nil {
		t.Fatal(err)
	}
	want := Password{Set: start, Score: 4, Reused: true}
	for who, want := range map[string]Password{"anna@example.org": want, "henry@example.org": want, "zoe@example.org": {Set: start, Score: 4}} {
		if got := h.shown(who); got != want {
			t.Errorf("%s: %+v instead of %+v", who, got, want)
		}
	}
	h.clock.Advance(day)
	if err := h.SetPassword(ctx, addr.MustParse("henry@example.org"), words(2)); err != nil {
		t.Fatal(err)
	}
	if a, b := h.shown("anna@example.org"), h.shown("henry@example.org"); a.Reused || b.Reused || !b.Set.Equal(start.Add(day)) {
		t.Errorf("%+v, %+v", a, b)
	}
	longer := usual()
	longer.MinLength = 22
	h.SetPolicy(longer)
	if a, b := h.shown("anna@example.org"), h.shown("henry@example.org"); !a.Weak || b.Weak {
		t.Errorf("%+v, %+v", a, b)
	}
	h.restart() // it is all in the store
	h.clock.Advance(oldAfter - day)
	if a, b := h.shown("anna@example.org"), h.shown("henry@example.org"); !a.Old || b.Old || a.Score != 4 || !a.RunsOut.IsZero() {
		t.Errorf("%+v, %+v", a, b)
	}
	// Nothing of it can be read in a copy of the store, not even who has the
	// same; and what was set before there were ratings has none.
	err := h.db.Update(ctx, func(tx *store.Tx) error {
		var n int64
		err := tx.QueryRow(`SELECT COUNT(DISTINCT rating) FROM credential`).Scan(&n)
		if n != 3 {
			t.Errorf("%d ratings", n)
		}
		if err == nil {
			_, err = tx.Exec(`UPDATE credential SET rating = ? WHERE account = 1`, []byte{})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.shown("anna@example.org"); got.Score != -1 || got.Weak || got.Reused {
		t.Errorf("%+v", got)
	}
	// A rating is bound to its row.
	err = h.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE credential SET rating = (SELECT c.rating FROM credential c WHERE c.account = 2) WHERE account = 1`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.shown("anna@example.org"); got.Score != -1 || got.Reused {
		t.Errorf("another's rating was believed: %+v", got)
	}
	if !strings.Contains(h.log.String(), "the rating of a password cannot be read") {
		t.Error("the log does not tell")
	}
}

// A password that has run out opens nothing; who has it is told so, and
// nobody else.
func TestRunOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *Options) { o.Passwords.MaxAge = 90 * day })
	h.domain("example.org")
	h.accounts("henry@example.org")
	henry := addr.MustParse("henry@example.org")
	_, phone, err := h.AddDevice(ctx, henry, "phone", Terms{})
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(string, string, string) (string, error){"PLAIN": h.signIn, "SCRAM": h.signInScram}
	expect := func(what, pw, want string) {
		t.Helper()
		for name, f := range ways {
			if got, err := f("henry@example.org", pw, "192.0.2.1"); outcome(got, err) != want {
				t.Errorf("%s, %s: %q, %v", what, name, got, err)
			}
		}
	}
	h.clock.Advance(90*day - time.Second)
	expect("in its last second", password, "henry@example.org")
	if got := h.shown("henry@example.org"); got.Old || !got.RunsOut.Equal(start.Add(90*day)) {
		t.Errorf("%+v", got)
	}
	h.clock.Advance(time.Second)
	for range 5 { // and nobody is slowed for it
		expect("after it", password, "535 5.7.8")
	}
	if _, err := h.signIn("henry@example.org", password, "192.0.2.1"); err == nil || !strings.Contains(err.Error(), "it has run out; ask") {
		t.Errorf("it says %v", err)
	}
	expect("a device", phone, "henry@example.org")
	if got := h.shown("henry@example.org"); !got.Old {
		t.Errorf("%+v", got)
	}
	if got := h.resolve("henry@example.org"); got != "henry@example.org" {
		t.Errorf("its mail: %q", got)
	}
	if !strings.Contains(h.log.String(), "the password has run out") {
		t.Error("the log does not say why")
	}
	if err := h.SetPassword(ctx, henry, words(1)); err != nil {
		t.Fatal(err)
	}
	expect("the next one", words(1), "henry@example.org")
	h.clock.Advance(90 * day)
	if _, err := h.signIn("henry@example.org", "wrong", "192.0.2.2"); err == nil || strings.Contains(err.Error(), "run out") {
		t.Errorf("a wrong one hears %v", err)
	}
}

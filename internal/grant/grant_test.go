package grant

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/oauth"
	"gatepost/internal/store"
)

// book is a Book over a store with two accounts, which notes what it tells.
type book struct {
	*Book
	t     testing.TB
	clock *clock.Fake

	mu    sync.Mutex
	noted []string
	ended []int64
}

var (
	henry   = Owner{1, addr.MustParse("henry@example.org")}
	anna    = Owner{2, addr.MustParse("anna@example.org")}
	browser = activity.Client{Protocol: "web", Address: netip.MustParseAddr("192.0.2.1")}
	both    = oauth.Scope{Send: true, Read: true}
)

func newBook(t testing.TB) *book {
	t.Helper()
	db, err := store.Open(context.Background(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := &book{t: t, clock: clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))}
	b.Book = New(Options{
		Store: db, Clock: b.clock, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Note: func(_ *store.Tx, e *activity.Event) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.noted = append(b.noted, fmt.Sprintf("%s %s %s", e.Kind, e.Account, e.Detail))
			return nil
		},
		Ended: func(_ addr.Address, id int64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ended = append(b.ended, id)
		},
	})
	b.exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`)
	for _, o := range []Owner{henry, anna} {
		b.exec(`INSERT INTO account (id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
			VALUES (?, ?, ?, 'user', 0, 0, 0, 0, ?, 4096)`, o.ID, string(o.Address.Domain), o.Address.Local, []byte("salt"))
	}
	return b
}

func (b *book) exec(query string, args ...any) {
	b.t.Helper()
	if err := b.o.Store.Update(b.t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) count(table string) (n int64) {
	b.t.Helper()
	if err := b.o.Store.View(b.t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM ` + table).Scan(&n)
	}); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *book) client(id string) Client {
	b.t.Helper()
	c, err := b.Client(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

const (
	redirect = "http://127.0.0.1:8080/"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

func challenge() string {
	s := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(s[:])
}

func (b *book) code(owner Owner) oauth.TokenRequest {
	b.t.Helper()
	code, err := b.NewCode(owner, b.client("thunderbird"), redirect, oauth.Authorization{Challenge: challenge(), Scope: both}, browser)
	if err != nil {
		b.t.Fatal(err)
	}
	return oauth.TokenRequest{Grant: oauth.CodeGrant, Client: "thunderbird", Secret: code, Redirect: redirect, Verifier: verifier}
}

// tokens are those of a new grant.
func (b *book) tokens(owner Owner) *oauth.Tokens {
	b.t.Helper()
	tokens, err := b.Redeem(b.t.Context(), b.code(owner), browser)
	if err != nil {
		b.t.Fatal(err)
	}
	return tokens
}

func (b *book) good(token string) bool {
	b.t.Helper()
	t, ok, err := b.Token(b.t.Context(), token)
	if err != nil {
		b.t.Fatal(err)
	}
	return ok && b.clock.Now().Before(t.Expires)
}

// is reports whether an error is what a client is told with this code.
func is(err error, code string) bool {
	var e *oauth.Error
	return errors.As(err, &e) && e.Code == code
}

func TestCode(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	tokens := b.tokens(henry)
	got, ok, err := b.Token(t.Context(), tokens.Access)
	if err != nil || !ok || got.Owner != henry || got.Name != "Thunderbird" || got.Scope != both || got.Expires != b.clock.Now().Add(accessLife) {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if tokens.Type != "Bearer" || tokens.Expires != 3600 || tokens.Scope != "mail.send mail.read" || tokens.Refresh == "" {
		t.Errorf("%+v", tokens)
	}
	if len(b.noted) != 1 || b.noted[0] != "grant-added henry@example.org Thunderbird" {
		t.Errorf("noted %q", b.noted)
	}
	for _, s := range []string{"", tokens.Refresh, tokens.Access + "x", tokens.Access[1:], accessPrefix, strings.Repeat("x", 1<<16)} {
		if b.good(s) {
			t.Errorf("%.60q is good", s)
		}
	}
	b.clock.Advance(accessLife)
	if b.good(tokens.Access) {
		t.Error("good after its time")
	}
}

// A code is for one program, one redirect and one verifier; one wrong try, and
// it is nothing.
func TestCodeIsBound(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for name, change := range map[string]func(*oauth.TokenRequest){
		"another program":     func(r *oauth.TokenRequest) { r.Client = "mail-program" },
		"another redirect":    func(r *oauth.TokenRequest) { r.Redirect = "http://127.0.0.1:8081/" },
		"no verifier":         func(r *oauth.TokenRequest) { r.Verifier = "" },
		"another verifier":    func(r *oauth.TokenRequest) { r.Verifier = verifier[1:] + "x" },
		"the challenge":       func(r *oauth.TokenRequest) { r.Verifier = challenge() },
		"a code of no one":    func(r *oauth.TokenRequest) { r.Secret = r.Secret[:len(r.Secret)-2] + "AA" },
		"a code of no length": func(r *oauth.TokenRequest) { r.Secret = "" },
	} {
		right := b.code(henry)
		wrong := right
		change(&wrong)
		if tokens, err := b.Redeem(t.Context(), wrong, browser); !is(err, oauth.InvalidGrant) || tokens != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := b.Redeem(t.Context(), right, browser)
		if burnt := wrong.Secret == right.Secret; burnt != is(err, oauth.InvalidGrant) {
			t.Errorf("%s, then the right one: %v", name, err)
		}
	}
	late := b.code(anna)
	b.clock.Advance(codeLife)
	if _, err := b.Redeem(t.Context(), late, browser); !is(err, oauth.InvalidGrant) {
		t.Errorf("late: %v", err)
	}
}

// A code that comes a second time ends what the first try got: RFC 6749,
// section 10.5.
func TestCodeReplayed(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	r := b.code(henry)
	tokens, err := b.Redeem(t.Context(), r, browser)
	if err != nil {
		t.Fatal(err)
	}
	other := b.tokens(henry)
	r.Verifier = "" // also by who does not have it: that the code is out is enough
	if _, err := b.Redeem(t.Context(), r, browser); !is(err, oauth.InvalidGrant) {
		t.Errorf("%v", err)
	}
	if b.good(tokens.Access) || !b.good(other.Access) {
		t.Error("not that grant and no other was ended")
	}
	if _, err := b.Refresh(t.Context(), tokens.Refresh, "thunderbird", nil, browser); !is(err, oauth.InvalidGrant) {
		t.Errorf("refresh: %v", err)
	}
	if len(b.ended) != 1 || b.noted[len(b.noted)-1] != "token-reused henry@example.org Thunderbird" {
		t.Errorf("ended %v, noted %q", b.ended, b.noted)
	}
}

// Of many who redeem one code at once nobody keeps anything, or one alone.
func TestCodeRace(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	r := b.code(henry)
	var all sync.WaitGroup
	got := make(chan *oauth.Tokens, 10)
	for range cap(got) {
		all.Go(func() {
			if tokens, err := b.Redeem(t.Context(), r, browser); err == nil {
				got <- tokens
			}
		})
	}
	all.Wait()
	close(got)
	for tokens := range got {
		if b.good(tokens.Access) {
			t.Error("a token outlived the replay")
		}
	}
	if n := b.count("oauth_grant"); n != 0 {
		t.Errorf("%d grants are left", n)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	first := b.tokens(henry)
	for _, client := range []string{"mail-program", ""} {
		if _, err := b.Refresh(t.Context(), first.Refresh, client, nil, browser); !is(err, oauth.InvalidGrant) {
			t.Errorf("by %q: %v", client, err)
		}
	}
	second, err := b.Refresh(t.Context(), first.Refresh, "thunderbird", &oauth.Scope{Send: true}, browser)
	if err != nil || second.Refresh == first.Refresh || second.Access == first.Access || second.Scope != "mail.send" {
		t.Fatalf("%+v, %v", second, err)
	}
	if got, _, _ := b.Token(t.Context(), second.Access); got.Scope != (oauth.Scope{Send: true}) {
		t.Errorf("asked for less and got %v", got.Scope)
	}
	if !b.good(first.Access) {
		t.Error("the former access token ends in its own time")
	}
	third, err := b.Refresh(t.Context(), second.Refresh, "thunderbird", nil, browser)
	if err != nil || third.Scope != "mail.send mail.read" {
		t.Fatalf("%+v, %v", third, err)
	}
	// The first comes again: one of the two has stolen it.
	if _, err := b.Refresh(t.Context(), first.Refresh, "thunderbird", nil, browser); !is(err, oauth.InvalidGrant) {
		t.Errorf("used again: %v", err)
	}
	for _, token := range []string{first.Access, second.Access, third.Access} {
		if b.good(token) {
			t.Error("an access token is good after the theft")
		}
	}
	if _, err := b.Refresh(t.Context(), third.Refresh, "thunderbird", nil, browser); !is(err, oauth.InvalidGrant) {
		t.Errorf("the good one after the theft: %v", err)
	}
	if len(b.ended) != 1 || b.noted[len(b.noted)-1] != "token-reused henry@example.org Thunderbird" {
		t.Errorf("ended %v, noted %q", b.ended, b.noted)
	}
	for _, s := range []string{"", "gpr_", "gpr_x", first.Access, refreshPrefix + strings.Repeat("A", 64), refreshPrefix + strings.Repeat("=", 64)} {
		if _, err := b.Refresh(t.Context(), s, "thunderbird", nil, browser); !is(err, oauth.InvalidGrant) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// What was allowed cannot become more.
func TestRefreshWithin(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	r := b.code(henry)
	b.codes[mustSum(codePrefix, r.Secret)].scope = oauth.Scope{Read: true}
	tokens, err := b.Redeem(t.Context(), r, browser)
	if err != nil || tokens.Scope != "mail.read" {
		t.Fatal(tokens, err)
	}
	if _, err := b.Refresh(t.Context(), tokens.Refresh, "thunderbird", &both, browser); !is(err, oauth.InvalidScope) {
		t.Errorf("%v", err)
	}
	if _, err := b.Refresh(t.Context(), tokens.Refresh, "thunderbird", nil, browser); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func mustSum(prefix, s string) sum {
	k, ok := sumOf(prefix, s)
	if !ok {
		panic(s)
	}
	return k
}

func TestGrantEnds(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	list := func(o Owner) []Grant {
		t.Helper()
		list, err := b.Grants(t.Context(), o.ID)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	tokens, others := b.tokens(henry), b.tokens(anna)
	g := list(henry)
	if len(g) != 1 || g[0].Name != "Thunderbird" || g[0].Client != "thunderbird" || g[0].Owner != henry {
		t.Fatalf("%+v", g)
	}
	if err := b.End(t.Context(), anna.ID, g[0].ID, browser); !errors.Is(err, ErrUnknown) {
		t.Errorf("by somebody else: %v", err)
	}
	if holds, err := b.Holds(t.Context(), g[0].ID); !holds || err != nil {
		t.Errorf("before: %v, %v", holds, err)
	}
	if err := b.End(t.Context(), henry.ID, g[0].ID, browser); err != nil {
		t.Fatal(err)
	}
	if holds, err := b.Holds(t.Context(), g[0].ID); holds || err != nil {
		t.Errorf("after: %v, %v", holds, err)
	}
	if b.good(tokens.Access) || !b.good(others.Access) || len(list(henry)) != 0 || len(b.ended) != 1 || b.ended[0] != g[0].ID {
		t.Errorf("ended %v", b.ended)
	}
	// Unused for long.
	tokens = b.tokens(henry)
	b.clock.Advance(grantLife)
	if _, err := b.Refresh(t.Context(), tokens.Refresh, "thunderbird", nil, browser); !is(err, oauth.InvalidGrant) || len(list(henry)) != 0 {
		t.Errorf("after a long time: %v", err)
	}
	b.tokens(henry)
	if n := b.count("oauth_grant"); n != 1 {
		t.Errorf("%d grants are kept", n)
	}
	// With the account.
	b.exec(`DELETE FROM account WHERE id = ?`, henry.ID)
	if n := b.count("oauth_access"); n != 0 {
		t.Errorf("%d tokens of nobody", n)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for name, pick := range map[string]func(*oauth.Tokens) string{
		"access": func(t *oauth.Tokens) string { return t.Access }, "refresh": func(t *oauth.Tokens) string { return t.Refresh },
	} {
		tokens := b.tokens(henry)
		for _, s := range []string{"", "x", tokens.Access + "x"} {
			if err := b.Revoke(t.Context(), s, "thunderbird", browser); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		if err := b.Revoke(t.Context(), pick(tokens), "mail-program", browser); err != nil || !b.good(tokens.Access) {
			t.Errorf("%s, by another program: %v", name, err)
		}
		if err := b.Revoke(t.Context(), pick(tokens), "thunderbird", browser); err != nil || b.good(tokens.Access) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(b.ended) != 2 {
		t.Errorf("ended %v", b.ended)
	}
}

func TestFrozen(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	tokens, waiting := b.tokens(henry), b.code(henry)
	b.exec(`UPDATE account SET frozen = 1 WHERE id = ?`, henry.ID)
	if _, err := b.Refresh(t.Context(), tokens.Refresh, "thunderbird", nil, browser); !is(err, oauth.InvalidGrant) {
		t.Errorf("refresh: %v", err)
	}
	if _, err := b.Redeem(t.Context(), waiting, browser); !is(err, oauth.InvalidGrant) {
		t.Errorf("code: %v", err)
	}
	b.exec(`UPDATE account SET frozen = 0 WHERE id = ?`, henry.ID)
	if _, err := b.Refresh(t.Context(), tokens.Refresh, "thunderbird", nil, browser); err != nil {
		t.Errorf("released: %v", err)
	}
}

// Everything is bounded.
func TestBounds(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for range maxGrants {
		b.clock.Advance(5 * time.Second) // or the codes are too many
		b.tokens(henry)
	}
	if _, err := b.Redeem(t.Context(), b.code(henry), browser); !is(err, oauth.AccessDenied) {
		t.Errorf("one grant more: %v", err)
	}
	tokens := b.tokens(anna)
	for range 2 * maxAccess {
		b.clock.Advance(time.Second)
		var err error
		if tokens, err = b.Refresh(t.Context(), tokens.Refresh, "thunderbird", nil, browser); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.count("oauth_access WHERE grant_id = (SELECT MAX(id) FROM oauth_grant)"); n != maxAccess || !b.good(tokens.Access) {
		t.Errorf("%d access tokens of a grant", n)
	}
	b.clock.Advance(codeLife)
	for range maxCodesOf {
		b.code(henry)
	}
	if _, err := b.NewCode(henry, b.client("thunderbird"), redirect, oauth.Authorization{}, browser); !is(err, oauth.Unavailable) {
		t.Errorf("one code more: %v", err)
	}
	b.code(anna)
	b.clock.Advance(codeLife)
	b.code(henry)
	if len(b.codes) != 1 {
		t.Errorf("%d codes are kept", len(b.codes))
	}
}

// Whoever reads the store finds no token in it.
func TestNothingIsReadable(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	tokens := b.tokens(henry)
	err := b.o.Store.View(t.Context(), func(tx *store.Tx) error {
		for _, q := range []string{`SELECT token FROM oauth_access`, `SELECT family FROM oauth_grant`, `SELECT refresh FROM oauth_grant`} {
			var kept []byte
			if err := tx.QueryRow(q).Scan(&kept); err != nil {
				return err
			}
			raw, _ := base64.RawURLEncoding.DecodeString(tokens.Refresh[len(refreshPrefix):])
			if len(kept) != sha256.Size || strings.Contains(string(raw), string(kept)) || strings.Contains(tokens.Access, string(kept)) {
				t.Errorf("%s: %x", q, kept)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

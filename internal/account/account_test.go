package account

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatepost/internal/account/secret"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/passwords"
	"gatepost/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "correct horse battery"

var (
	ctx   = context.Background()
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// house is a Directory with everything below it.
type house struct {
	*Directory
	t     testing.TB
	path  string
	o     Options
	clock *clock.Fake
	db    *store.DB
	keys  *keys.Keys
	log   bytes.Buffer
}

func newHouse(t testing.TB, change ...func(*Options)) *house {
	t.Helper()
	h := &house{t: t, path: t.TempDir(), clock: clock.NewFake(start)}
	h.o = Options{
		Hostname: "mx.example.net", Origins: []string{"https://mx.example.net"}, Clock: h.clock, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(&h.log, nil)),
		HashRuns: 2, ScramForPasswords: true, Quota: 1 << 30, SendLimit: 100,
		Passwords: usual(),
	}
	for _, f := range change {
		f(&h.o)
	}
	h.open()
	t.Cleanup(h.close)
	return h
}

// usual is the policy of a configuration that says nothing.
func usual() *passwords.Policy { return &passwords.Policy{MinLength: 12, Strength: 3, History: 5} }

func (h *house) open() {
	h.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if h.db, err = store.Open(ctx, store.Options{Path: filepath.Join(h.path, "gatepost.db"), Log: quiet}); err != nil {
		h.t.Fatal(err)
	}
	if h.keys, err = keys.Open(filepath.Join(h.path, "keys"), keys.Options{Clock: h.clock, Random: rand.Reader, Log: quiet, SelfSigned: true}); err != nil {
		h.t.Fatal(err)
	}
	h.Directory = newDirectory(h.db, h.keys, h.o, secret.Cost{Time: 1, Memory: 64, Lanes: 1})
}

func (h *house) close() {
	h.Directory.Close()
	if err := h.db.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		h.t.Error(err)
	}
}

// restart is what a stop and a start of the server do.
func (h *house) restart() {
	h.close()
	h.open()
}

func (h *house) domain(names ...addr.Domain) {
	h.t.Helper()
	for _, name := range names {
		if err := h.AddDomain(ctx, name); err != nil {
			h.t.Fatal(err)
		}
	}
}

// accounts makes users; one whose name begins with "admin" is one.
func (h *house) accounts(list ...string) {
	h.t.Helper()
	for _, a := range list {
		role := User
		if strings.HasPrefix(a, "admin") {
			role = Admin
		}
		if _, err := h.AddAccount(ctx, addr.MustParse(a), password, role); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *house) alias(alias string, targets ...string) {
	h.t.Helper()
	a, err := ParseAlias(alias)
	if err == nil {
		err = h.AddAlias(ctx, a, addresses(targets...))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func addresses(list ...string) []addr.Address {
	var out []addr.Address
	for _, a := range list {
		out = append(out, addr.MustParse(a))
	}
	return out
}

func spelled(list []addr.Address) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// resolve returns who gets the mail, or the reply's codes.
func (h *house) resolve(to string) string {
	h.t.Helper()
	list, err := h.Resolve(ctx, addr.MustParse(to))
	return outcome(spelled(list), err)
}

func outcome(ok string, err error) string {
	var e *envelope.Error
	switch {
	case err == nil:
		return ok
	case errors.As(err, &e):
		return strings.Join(strings.Fields(e.Reply.Error())[:2], " ")
	}
	return "error: " + err.Error()
}

// says checks that an error is there and speaks of what it should.
func says(t testing.TB, what string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v; want it to say %q", what, err, want)
	}
}

// The real thing costs what the design promises.
func TestNew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Directory = New(h.db, h.keys, h.o)
	h.domain("example.org")
	h.accounts("henry@example.org")
	err := h.db.View(ctx, func(tx *store.Tx) error {
		var argon2 string
		var iterations int64
		err := tx.QueryRow(`SELECT argon2, scram_iterations FROM credential JOIN account ON account.id = credential.account`).Scan(&argon2, &iterations)
		if !strings.HasPrefix(argon2, "$argon2id$v=19$m=65536,t=3,p=1$") || iterations != 65536 {
			t.Errorf("%s, %d", argon2, iterations)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got, err := h.signInScram("henry@example.org", password, "192.0.2.1"); got != "henry@example.org" {
		t.Error(err)
	}
	if m := h.Mechanisms(h.session("192.0.2.1").TLS); len(m) != 4 || m[0] != "SCRAM-SHA-256-PLUS" {
		t.Errorf("%v", m)
	}
	if h.Mechanisms(nil) != nil {
		t.Error("offered without TLS")
	}
}

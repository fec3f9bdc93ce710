package forward

import (
	"crypto/rand"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/store"
)

// site is return addresses with what is around them.
type site struct {
	*Returns
	t     *testing.T
	clock *clock.Fake
}

func newSite(t *testing.T) *site {
	s := &site{t: t, clock: clock.NewFake(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))}
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	k, err := keys.Open(filepath.Join(dir, "keys"), keys.Options{Clock: s.clock, Random: rand.Reader, Log: slog.New(slog.DiscardHandler), SelfSigned: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Returns = New(Options{Store: db, Keys: k, Clock: s.clock, Log: slog.New(slog.DiscardHandler)})
	return s
}

// alias is whom all these messages were sent to.
var alias = addr.MustParse("sales@example.org")

// message returns one from somebody to the alias, which has targets elsewhere.
func message(id byte, from string, targets int) *envelope.Envelope {
	e := &envelope.Envelope{ID: envelope.ID{id}, From: addr.MustParse(from), Origin: envelope.Proven}
	for range targets {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse("x@remote.example"), Via: alias})
	}
	return e
}

func (s *site) address(e *envelope.Envelope) addr.Address {
	s.t.Helper()
	a, err := s.Address(s.t.Context(), e, alias)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// find says what comes of a message to an address: the sender, or the reply.
func (s *site) find(to addr.Address) string {
	s.t.Helper()
	sender, is, err := s.Find(s.t.Context(), to)
	switch {
	case err != nil:
		return envelope.AsError(err).Reply.Error()
	case !is:
		return "no return address"
	case sender.IsNull():
		return "nobody"
	}
	return sender.String()
}

func (s *site) want(what string, to addr.Address, want string) {
	s.t.Helper()
	if got := s.find(to); !strings.HasPrefix(got, want) || want == "" {
		s.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestReturnAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := message(1, "joe@author.example", 1)
	a := s.address(e)
	if a.Domain != alias.Domain || len(a.Local) > 64 || strings.Contains(a.Local, "joe") || strings.Contains(a.Local, "author") || !a.IsASCII() {
		t.Errorf("%s", a)
	}
	s.want("what was made", a, "joe@author.example")
	upper := a
	upper.Local = strings.ToUpper(a.Local)
	s.want("in other letters", upper, "joe@author.example")
	if again := s.address(e); again != a {
		t.Errorf("the next attempt comes from %s instead of %s", again, a)
	}
	if other := s.address(message(2, "joe@author.example", 1)); other == a {
		t.Error("two messages share an address")
	}
	for i, from := range []string{`"a b"@author.example`, "söl@author.example", strings.Repeat("x", addr.MaxLocal) + "@" + strings.Repeat("a.", 50) + "example"} {
		s.want(from, s.address(message(byte(3+i), from, 1)), from)
	}
}

// A token is good for what it was made for, where it was made, and for a
// while.
func TestWhatAnAttackerTries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.address(message(1, "joe@author.example", 1))
	with := func(local, domain string) addr.Address {
		return addr.Address{Local: local, Domain: addr.Domain(domain)}
	}
	other := newSite(t)
	other.address(message(1, "joe@author.example", 1))
	b := other.address(message(1, "joe@author.example", 1))
	for name, to := range map[string]addr.Address{
		"another domain of ours":   with(a.Local, "example.net"),
		"another letter":           with(a.Local[:len(a.Local)-1]+map[bool]string{true: "1", false: "0"}[strings.HasSuffix(a.Local, "0")], "example.org"),
		"another server's":         b,
		"zeros":                    with("bounce-"+strings.Repeat("0", 32), "example.org"),
		"never kept, but genuine?": with("bounce-"+strings.Repeat("z", 32), "example.org"),
	} {
		s.want(name, to, "550 5.1.1 ")
		if err := s.Spend(t.Context(), to); err != nil {
			t.Errorf("%s: what is no return address is not counted, but %v", name, err)
		}
	}
	for _, local := range []string{"bounce-", "bounce", a.Local + "x", a.Local[:len(a.Local)-1], "bounce+" + a.Local[7:], a.Local + "+tag", "anna"} {
		s.want(local, with(local, "example.org"), "no return address")
	}
	s.want("the right one after all that", a, "joe@author.example")
}

func TestExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := message(1, "joe@author.example", 1)
	a := s.address(e)
	s.clock.Advance(5 * 24 * time.Hour)
	s.address(e) // a late attempt
	s.clock.Advance(life - time.Second)
	s.want("to the last second after the last attempt", a, "joe@author.example")
	s.clock.Advance(time.Second)
	s.want("after that", a, "550 5.1.1 this return address has expired")
	if err := s.Spend(t.Context(), a); err == nil {
		t.Error("it takes another one")
	}
	young := s.address(message(2, "joe@author.example", 1))
	if err := s.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.want("once it is removed", a, "550 5.1.1 this return address has expired")
	s.want("a young one", young, "joe@author.example")
}

// As many messages come back as can about one, however often it is tried,
// and whoever sends them.
func TestUses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for targets, want := range map[int]int{1: 3, 2: 6} {
		e := message(byte(targets), "joe@author.example", targets)
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse("y@remote.example"), Via: addr.MustParse("info@example.org")})
		a := s.address(e)
		n := 0
		for s.Spend(t.Context(), a) == nil {
			if n++; n > want {
				break
			}
			if s.address(e) != a { // tried again, which gives no more
				t.Fatal("another address")
			}
		}
		if n != want {
			t.Errorf("with %d targets %d messages came back, want %d", targets, n, want)
		}
		s.want("used up", a, "550 5.7.1 as much has come back")
	}
	s.address(message(9, "joe@author.example", 1000))
	var most int
	if err := s.o.Store.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT MAX(uses) FROM forward`).Scan(&most)
	}); err != nil || most != maxUses {
		t.Errorf("with a thousand targets %d may come back, %v", most, err)
	}
}

// Of a sender who was not proven nobody is told.
func TestUnproven(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := message(1, "victim@author.example", 1)
	e.Origin = envelope.Remote
	s.want("a forged sender", s.address(e), "nobody")
}

func TestNothingKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.o.Store.Close()
	if a, err := s.Address(t.Context(), message(1, "joe@author.example", 1), alias); err == nil {
		t.Errorf("%s is given out and nobody remembers it", a)
	}
}

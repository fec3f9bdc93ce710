package signing

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/keys"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
)

// site is a ring with what is around it.
type site struct {
	*Ring
	t       *testing.T
	clock   *clock.Fake
	names   *resolve.Fake
	domains []addr.Domain
	log     strings.Builder
}

func newSite(t *testing.T, domains ...addr.Domain) *site {
	s := &site{t: t, clock: clock.NewFake(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)), names: resolve.NewFake(""), domains: domains}
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
	s.Ring, err = Open(t.Context(), Options{
		Store: db, Keys: k, Resolver: s.names, Clock: s.clock, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Domains:   func(context.Context) ([]addr.Domain, error) { return s.domains, nil },
		QueueLife: 5 * 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) tend() {
	s.t.Helper()
	if err := s.Tend(s.t.Context()); err != nil {
		s.t.Error(err)
	}
}

func (s *site) of(d addr.Domain) []Key {
	s.t.Helper()
	list, err := s.Of(s.t.Context(), d)
	if err != nil {
		s.t.Error(err)
	}
	return list
}

// publish puts keys into the DNS.
func (s *site) publish(list ...Key) {
	for _, k := range list {
		text := k.Record
		if n := 200; len(text) > n {
			text = text[:n] + `" "` + text[n:]
		}
		s.names.Add(fmt.Sprintf("%s._domainkey.%s. TXT \"%s\"", k.Selector, k.Domain, text))
	}
}

// states shows the keys of a domain.
func (s *site) states(d addr.Domain) string {
	var out []string
	for _, k := range s.of(d) {
		out = append(out, k.Selector+" "+string(k.State()))
	}
	return strings.Join(out, ", ")
}

// selectors signs a message and returns who has, after others could verify
// it.
func (s *site) selectors(from string) string {
	s.t.Helper()
	section := "From: " + from + "\r\nSubject: hi\r\n"
	signer, err := s.Begin([]byte(section))
	if err != nil {
		s.t.Fatal(err)
	}
	if signer == nil {
		return ""
	}
	io.WriteString(signer, "hello\r\n")
	fields, err := signer.Sign()
	if err != nil {
		s.t.Fatal(err)
	}
	v := dkim.NewVerifier([]byte(string(fields) + section))
	io.WriteString(v, "hello\r\n")
	var out []string
	for _, r := range v.Verify(s.t.Context(), s.names, s.clock.Now()) {
		if r.Status != dkim.Pass {
			s.t.Errorf("%+v", r)
		}
		out = append(out, string(r.Domain)+"/"+r.Selector)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

const both = "example.org/20261125e example.org/20261125r"

// TestLife follows the keys of a domain from the first to the one after.
func TestLife(t *testing.T) {
	t.Parallel()
	s := newSite(t, "example.org")
	want := func(what, states, selectors string) {
		t.Helper()
		if got := s.states("example.org"); got != states {
			t.Errorf("%s: %s, want %s", what, got, states)
		}
		if got := s.selectors("a@example.org"); got != selectors {
			t.Errorf("%s: signed by %s, want %s", what, got, selectors)
		}
	}
	s.tend()
	want("before they are published", "20261125r published, 20261125e published", "")
	first := s.of("example.org")
	s.publish(first[0])
	s.tend()
	want("one is there", "20261125r used, 20261125e published", "example.org/20261125r")
	s.publish(first[1])
	s.tend()
	want("both are there", "20261125r used, 20261125e used", both)

	// Nobody knows now: they stay as they were.
	s.names.Fail("20261125r._domainkey.example.org", dns.TypeTXT, resolve.ErrTemporary)
	s.tend()
	if !strings.Contains(s.log.String(), "nobody could say now") || strings.Contains(s.log.String(), "level=ERROR") {
		t.Errorf("an answer that failed is not told, or as a fault: %s", s.log.String())
	}
	if got := s.states("example.org"); got != "20261125r used, 20261125e used" {
		t.Errorf("the DNS is down: %s", got)
	}
	s.names.Fail("20261125r._domainkey.example.org", dns.TypeTXT, nil)

	s.names.Remove("20261125e._domainkey.example.org", dns.TypeTXT)
	s.tend()
	want("one has vanished", "20261125r used, 20261125e published", "example.org/20261125r")
	if !strings.Contains(s.log.String(), "level=ERROR") {
		t.Error("nobody is told that it vanished")
	}
	s.publish(first[1])
	s.tend()

	s.clock.Advance(life)
	s.tend()
	want("the next are made", "20261125r used, 20261125e used, 20270524r published, 20270524e published", both)
	next := s.of("example.org")[2:]
	s.publish(next[0])
	s.tend()
	if got := s.states("example.org"); got != "20261125r used, 20261125e used, 20270524r used, 20270524e published" {
		t.Errorf("one of the next is there: %s", got)
	}
	s.publish(next[1])
	s.tend()
	want("the next are there", "20261125r retired, 20261125e retired, 20270524r used, 20270524e used", "example.org/20270524e example.org/20270524r")
	s.clock.Advance(s.linger() - time.Second)
	s.tend()
	if len(s.of("example.org")) != 4 {
		t.Error("keys are gone while what they signed is under way")
	}
	s.clock.Advance(time.Second)
	s.tend()
	want("the old ones are gone", "20270524r used, 20270524e used", "example.org/20270524e example.org/20270524r")
	if _, err := s.o.Keys.Signer(first[0].name); err == nil {
		t.Error("a private key is left")
	}
}

// What the DNS shows under a selector must be our key, and not another.
func TestAnothersKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, "example.org", "example.net")
	s.tend()
	list, other := s.of("example.org"), s.of("example.net")
	list[0].Record, list[1].Record = other[0].Record, "v=DKIM1; p="
	s.publish(list...)
	s.tend()
	if got := s.selectors("a@example.org"); got != "" {
		t.Errorf("signed by %s", got)
	}
}

func TestWhoIsSignedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, "example.org")
	s.tend()
	s.publish(s.of("example.org")...)
	s.tend()
	for from, want := range map[string]string{
		"a@example.org": both, "MAILER-DAEMON@mx.example.org": both, "a@EXAMPLE.org": both,
		"a@example.com": "", "a@notexample.org": "", "a@org": "", "nobody": "",
		"a@example.com, b@example.org": "", "b@example.org, a@example.com": both,
	} {
		if got := s.selectors(from); got != want {
			t.Errorf("%s: %q, want %q", from, got, want)
		}
	}
	if signer, err := s.Begin([]byte("Subject: no author\r\n")); signer != nil || err != nil {
		t.Errorf("%v, %v", signer, err)
	}
	if again, err := Open(t.Context(), s.o); err != nil || len((*again.used.Load())["example.org"]) != 2 {
		t.Errorf("after a restart: %v", err)
	}
	s.domains = nil
	s.tend()
	if got := s.selectors("a@example.org"); got != "" {
		t.Errorf("a domain that is not ours any more is signed for: %s", got)
	}
}

// Mail of the host itself is from a domain that signs: its own, or any.
func TestSender(t *testing.T) {
	t.Parallel()
	s := newSite(t, "b.example", "a.example", "c.example")
	s.tend()
	for _, c := range []struct {
		seen addr.Domain // comes into use
		want string      // for mx.c.example, and for mx.d.example
	}{{"", " "}, {"b.example", "b.example b.example"}, {"c.example", "c.example b.example"}, {"a.example", "c.example a.example"}} {
		if c.seen != "" {
			s.publish(s.of(c.seen)...)
			s.tend()
		}
		if got := string(s.Sender("mx.c.example") + " " + s.Sender("mx.d.example")); got != c.want {
			t.Errorf("after %s: %q, want %q", c.seen, got, c.want)
		}
	}
}

// Forwarded mail is sealed in the name of the alias' domain, by the key that
// everybody can verify, and by none that the DNS does not show.
func TestSealing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "example.org", "example.net")
	s.tend()
	if k, ok := s.Sealing("example.org"); ok {
		t.Errorf("sealed by %s before it is published", k.Selector)
	}
	for _, k := range s.of("example.org") {
		if s.Uses("example.org", k.Selector) {
			t.Errorf("%s is used before it is published", k.Selector)
		}
	}
	s.publish(s.of("example.org")...)
	s.publish(s.of("example.net")[1]) // Ed25519 alone
	s.tend()
	for d, want := range map[addr.Domain]string{
		"example.org": "example.org/20261125r", "mx.example.org": "example.org/20261125r", "example.net": "/", "example.com": "/", "org": "/",
	} {
		k, ok := s.Sealing(d)
		if got := string(k.Domain) + "/" + k.Selector; got != want || ok != (want != "/") {
			t.Errorf("%s: %s, %v", d, got, ok)
		}
	}
	if !s.Uses("example.org", "20261125e") || s.Uses("example.org", "20261124e") || s.Uses("example.net", "20261125r") || !s.Uses("example.net", "20261125e") {
		t.Error("what is used is not told")
	}
}

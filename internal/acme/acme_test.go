package acme

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/keys"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
)

func TestMain(m *testing.M) {
	// certmagic's rate limiter never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

var now = time.Unix(1_800_000_000, 0)

func newShelf(t *testing.T) *shelf {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	c := clock.NewFake(now)
	k, err := keys.Open(filepath.Join(t.TempDir(), "keys"), keys.Options{Clock: c, Random: rand.Reader, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &shelf{db: db, keys: k, clock: c, locks: map[string]chan struct{}{}}
}

func TestShelf(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	ctx := t.Context()
	for _, p := range []string{"a/b/c.crt", "a/b/c.key", "a/d", "a0", "ab/x"} {
		if err := s.Store(ctx, p, []byte("old")); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, p, []byte("content of "+p)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Load(ctx, "a/d"); err != nil || string(got) != "content of a/d" {
		t.Errorf("%q, %v", got, err)
	}
	for _, p := range []string{"a", "a/b", "none", ""} {
		if _, err := s.Load(ctx, p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("load of %q: %v", p, err)
		}
	}
	for p, want := range map[string]bool{"a": true, "a/b": true, "a/d": true, "a/": false, "b": false, "a/b/c": false} {
		if s.Exists(ctx, p) != want {
			t.Errorf("%q exists: %v", p, !want)
		}
	}
	for _, tt := range []struct {
		path      string
		recursive bool
		want      []string
	}{
		{"a", true, []string{"a/b/c.crt", "a/b/c.key", "a/d"}},
		{"a", false, []string{"a/b", "a/d"}},
		{"a/b", false, []string{"a/b/c.crt", "a/b/c.key"}},
		{"none", true, nil},
	} {
		got, err := s.List(ctx, tt.path, tt.recursive)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
	}
	if info, err := s.Stat(ctx, "a/d"); err != nil || !info.IsTerminal || !info.Modified.Equal(now) {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || info.IsTerminal {
		t.Errorf("%+v, %v", info, err)
	}
	if err := s.Delete(ctx, "a"); err != nil || s.Exists(ctx, "a") || !s.Exists(ctx, "a0") || !s.Exists(ctx, "ab/x") {
		t.Errorf("delete: %v", err)
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
	if err := s.Store(ctx, "large", make([]byte, maxContent+1)); err == nil {
		t.Error("a large one was taken")
	}
}

// Whoever can write into the store can neither read what is sealed nor put
// one row in the place of another.
func TestRowsAreSealed(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	if err := s.Store(t.Context(), "a", []byte("BEGIN PRIVATE KEY")); err != nil {
		t.Fatal(err)
	}
	err := s.db.Update(t.Context(), func(tx *store.Tx) error {
		var content []byte
		if err := tx.QueryRow(`SELECT content FROM acme WHERE path = ?`, "a").Scan(&content); err != nil {
			return err
		}
		if bytes.Contains(content, []byte("PRIVATE")) {
			t.Error("the row is not sealed")
		}
		_, err := tx.Exec(`INSERT INTO acme (path, content, modified) VALUES (?, ?, 0)`, "b", content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), "b"); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("a row that was moved: %v", err)
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	if err := s.Lock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a lock that is held: %v", err)
	}
	if err := s.Lock(ctx, "b"); err != nil {
		t.Errorf("another: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- s.Lock(t.Context(), "a") }()
	if err := s.Unlock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := s.Unlock(t.Context(), "none"); err == nil {
		t.Error("what is not locked was unlocked")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	r := resolve.NewFake(`
mx.example.org. IN A 192.0.2.1
mx.example.org. IN AAAA 2001:db8::1
mta-sts.here.example. IN CNAME mx.example.org.
mta-sts.half.example. IN A 192.0.2.1
mta-sts.half.example. IN A 192.0.2.9
mta-sts.there.example. IN A 192.0.2.9
autoconfig.here.example. IN CNAME mx.example.org.
autodiscover.here.example. IN A 192.0.2.1
autoconfig.there.example. IN A 192.0.2.9
`)
	r.Fail("mta-sts.broken.example", dns.TypeA, resolve.ErrTemporary)
	domains := []addr.Domain{"here.example", "half.example", "there.example", "none.example", "broken.example"}
	for _, tt := range []struct {
		name  string
		addrs []string
		want  string
	}{
		{"this machine", []string{"127.0.0.1", "192.0.2.1"}, "mx.example.org mta-sts.here.example autoconfig.here.example autodiscover.here.example"},
		{"behind a router", []string{"127.0.0.1", "10.0.0.1"}, "mx.example.org mta-sts.here.example autoconfig.here.example autodiscover.here.example"},
		{"another machine", []string{"127.0.0.1", "192.0.2.7"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var addrs []netip.Addr
			for _, a := range tt.addrs {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			c := &Certificates{o: Options{
				Hostname: "mx.example.org", Resolver: r, Log: slog.New(slog.DiscardHandler),
				Domains: func(context.Context) ([]addr.Domain, error) { return domains, nil },
				Addrs:   func() []netip.Addr { return addrs },
			}}
			got, err := c.names(t.Context())
			if err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestNothingIssued(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c := New(Options{
		Directory: "https://acme.example/dir", Hostname: "mx.example.org", DB: s.db, Keys: s.keys, Clock: s.clock,
		Log: slog.New(slog.DiscardHandler),
	})
	defer c.Close()
	handshake := func(protocol string, choose func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			defer theirs.Close()
			tls.Client(theirs, &tls.Config{ServerName: "mx.example.org", NextProtos: []string{protocol}}).HandshakeContext(t.Context())
		}()
		return tls.Server(ours, &tls.Config{GetCertificate: choose, NextProtos: []string{protocol}}).HandshakeContext(t.Context())
	}
	nothing := errors.New("no certificate")
	choose := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if IsChallenge(hello) != (hello.SupportedProtos[0] == Protocol) {
			t.Error("a challenge is not told from other handshakes")
		}
		if cert := c.Choose(hello); cert != nil {
			return cert, nil
		}
		return nil, nothing
	}
	for _, protocol := range []string{Protocol, "http/1.1"} {
		if err := handshake(protocol, choose); !errors.Is(err, nothing) {
			t.Errorf("%s: a certificate came from nowhere: %v", protocol, err)
		}
	}
	if err := handshake(Protocol, c.ChallengeTLS); err == nil || !strings.Contains(err.Error(), "challenge") {
		t.Errorf("a challenge that nobody made: %v", err)
	}
	for _, token := range []string{"x", "", "../../x", strings.Repeat("x", 1000), "\x00"} {
		if answer, ok := c.Challenge(t.Context(), "mx.example.org", token); ok {
			t.Errorf("%q is answered: %q", token, answer)
		}
	}
	if len(c.Current()) != 0 {
		t.Error("there are certificates")
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := zap.New(core{log: slog.New(slog.NewTextHandler(&b, nil))}).With(zap.String("identifier", "mx.example.org"))
	log.Error("no luck", zap.String("token", "t0ken"), zap.Error(errors.New("refused")))
	log.Info("chatter")
	if got := b.String(); !strings.Contains(got, `says="no luck" identifier=mx.example.org error=refused`) || !strings.Contains(got, "WARN") ||
		strings.Contains(got, "t0ken") || strings.Contains(got, "chatter") {
		t.Error(got)
	}
}

package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
)

const closedDoors = `hostname = "mx.example.org"
[listen]
mx = ["127.0.0.1:0"]
submission = []
submissions = []
imaps = []
https = []
http = []
[tls]
self_signed = true
`

// installed returns the configuration of a fresh installation whose file
// holds text.
func installed(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data", "gatepost.toml")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(t.Context(), cfg, "example.org", "anna@example.org", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// output is a writer that tells when a word was written to it.
type output struct {
	mu    sync.Mutex
	b     bytes.Buffer
	word  string
	found chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Write(p)
	if o.found != nil && strings.Contains(o.b.String(), o.word) {
		close(o.found)
		o.found = nil
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestTry(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	found := make(chan struct{})
	out := &output{word: "Ctrl-C", found: found}
	ended := make(chan error, 1)
	go func() { ended <- Try(ctx, out) }()
	select {
	case <-found:
	case err := <-ended:
		t.Fatalf("ended with %v\n%s", err, out)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := out.String(); !strings.Contains(text, "\nDelivered: ") || strings.Contains(text, "AUTH PLAIN AH") {
		t.Errorf("not delivered, or it shows the password on the way:\n%s", text)
	}
}

// The same verbs give the same answers through a server and without one.
func TestOperate(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	ask := func() map[string]string {
		op, err := Operate(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		got := map[string]string{"running": fmt.Sprint(op.Running())}
		for verb, args := range map[string]any{
			"domain.list": control.None{}, "account.list": control.None{}, "alias.list": control.None{},
			"mailbox.folders": control.Name{Name: "anna@example.org"},
			"mailbox.list":    control.Folder{Account: "anna@example.org", Folder: "INBOX"},
			"proof":           control.Name{Name: "<1@none.example>"}, "proof.unverified": control.None{}, "proof.forget": control.Name{Name: "none.example"},
			"queue.list": control.QueueList{}, "domain.show": control.Name{Name: "none.example"},
		} {
			err := op.Do(t.Context(), verb, args, func(it control.Item) error {
				got[verb] += string(it.JSON) + "\n"
				return nil
			})
			got[verb] += fmt.Sprint(err)
		}
		return got
	}
	alone := ask()
	s, err := start(t.Context(), cfg, options{log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	served := ask()
	if err := s.drain(); err != nil {
		t.Error(err)
	}
	if alone["running"] != "false" || served["running"] != "true" {
		t.Fatalf("alone %v, served %v", alone["running"], served["running"])
	}
	for verb, want := range alone {
		if verb != "running" && served[verb] != want {
			t.Errorf("%s: served %s, alone %s", verb, served[verb], want)
		}
	}
	if !strings.Contains(alone["account.list"], `"role":"admin"`) || !strings.Contains(alone["domain.show"], "no domain none.example") {
		t.Errorf("%v", alone)
	}
}

func TestOneServerADirectory(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	s, err := start(t.Context(), cfg, options{log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.drain()
	if _, err := start(t.Context(), cfg, options{log: &output{}}); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second server: %v", err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	log := &output{}
	s, err := start(t.Context(), cfg, options{log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.drain()
	write := func(more string) {
		if err := os.WriteFile(cfg.File(), []byte(closedDoors+more), 0o600); err != nil {
			t.Fatal(err)
		}
		s.reload()
	}
	route := func() string {
		name, _ := s.parts.router.Route("remote.example")
		return name
	}
	before := s.now.Load()
	if route() != "remote.example" {
		t.Fatal(route())
	}
	write("[[route]]\ndomain = \"*\"\nvia = \"198.51.100.7\"\ntls = \"verify\"\n")
	if route() != "route:198.51.100.7 verify" || s.now.Load() == before {
		t.Errorf("the new configuration has no effect: %s", route())
	}
	now := s.now.Load()
	write("nonsense = 1\n")
	if route() != "route:198.51.100.7 verify" || s.now.Load() != now {
		t.Error("a broken configuration has an effect")
	}
	s.lines.flush()
	if !strings.Contains(log.String(), "there is no setting tls.nonsense") {
		t.Errorf("nobody is told why:\n%s", log)
	}
}

func TestRouter(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors+`
[[route]]
domain = "a.example"
via = "198.51.100.7:25"
[[route]]
domain = "b.example"
via = "198.51.100.7:25"
[[route]]
domain = "c.example"
via = "198.51.100.7:25"
tls = "verify"
`)
	s, err := start(t.Context(), cfg, options{log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.drain()
	for _, tt := range []struct {
		domain addr.Domain
		want   string
		local  bool
	}{
		{"example.org", "example.org", true},
		{"mx.example.org", "mx.example.org", true}, // its postmaster
		{"elsewhere.example", "elsewhere.example", false},
		{"a.example", "route:198.51.100.7:25 opportunistic", false},
		{"b.example", "route:198.51.100.7:25 opportunistic", false}, // shares connections with a.example
		{"c.example", "route:198.51.100.7:25 verify", false},        // and this one must not
	} {
		if got, local := s.parts.router.Route(tt.domain); got != tt.want || local != tt.local {
			t.Errorf("%s: %q %v", tt.domain, got, local)
		}
	}
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := Setup{Dir: dir, Hostname: "mx.example.org", Domain: "example.org", Account: "anna@example.org", Password: "correct horse battery"}
	for _, tt := range []struct {
		name   string
		change func(*Setup)
		want   string
	}{
		{"another domain", func(s *Setup) { s.Account = "anna@example.com" }, "is not in the domain"},
		{"no address", func(s *Setup) { s.Account = "anna" }, "is not an address"},
		{"no domain", func(s *Setup) { s.Domain = "exa mple" }, "is not a domain"},
		{"short name", func(s *Setup) { s.Hostname = "mx" }, "is not a full host name"},
		{"injection", func(s *Setup) { s.Hostname = "mx.a\"\n[relay]\nnetworks=[\"1.0.0.0/8\"]" }, "hostname"},
		{"weak password", func(s *Setup) { s.Password = "x" }, "has 1 character, and 12 are the least"},
	} {
		s := good
		tt.change(&s)
		if _, _, err := Init(t.Context(), s); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "gatepost.toml")); err == nil {
			t.Errorf("%s: a configuration was left behind", tt.name)
		}
	}
	cfg, records, err := Init(t.Context(), good)
	if err != nil || len(records) == 0 || cfg.Hostname != "mx.example.org" {
		t.Fatalf("%v %v", records, err)
	}
	if _, err := config.Read(cfg.File()); err != nil {
		t.Errorf("what it wrote cannot be read: %v", err)
	}
	if _, _, err := Init(t.Context(), good); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("twice: %v", err)
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := prepare(dir); err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(dir); fi.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", fi.Mode())
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := prepare(dir); err == nil {
		t.Error("a directory that everybody may write into is taken")
	}
}

func TestLogGathersLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := clock.NewFake(time.Unix(1_800_000_000, 0))
	l := newLogWriter(&out, c)
	fmt.Fprintln(l, "one")
	fmt.Fprintln(l, "two")
	if out.Len() > 0 || c.Pending() != 1 {
		t.Errorf("%q was written at once, %d timers", out.String(), c.Pending())
	}
	c.Advance(logDelay)
	if out.String() != "one\ntwo\n" || c.Pending() != 0 {
		t.Errorf("%q, %d timers", out.String(), c.Pending())
	}
}

func TestReadPassword(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(path, []byte("sec ret\r\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readPassword(path); got != "sec ret" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOwnAddrs(t *testing.T) {
	t.Parallel()
	var cfg config.Config
	cfg.Listen.MX = []string{"192.0.2.1:25", "[::ffff:192.0.2.2]:25", "192.0.2.3:2525", "systemd:mx"}
	got := fmt.Sprint(ownAddrs(&cfg))
	if got != "[192.0.2.1 192.0.2.2]" {
		t.Error(got)
	}
	cfg.Listen.MX = []string{":25"}
	if !slices.ContainsFunc(ownAddrs(&cfg), netip.Addr.IsLoopback) {
		t.Error("all addresses are ours, loopback too")
	}
}

// The families that operators' alarms are made from.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s, err := start(t.Context(), installed(t, closedDoors), options{log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.drain()
	page := httptest.NewRecorder()
	s.metrics().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`gatepost_sessions_total{door="mx"} 0`, `gatepost_messages_accepted_total{door="submission"} 0`,
		"gatepost_queue_messages 0", "gatepost_queue_oldest_seconds 0", `gatepost_deliveries_total{result="delivered"} 0`,
		"gatepost_spool_commit_seconds_count",
	} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}

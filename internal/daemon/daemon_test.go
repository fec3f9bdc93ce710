package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	direct, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		verb string
		args any
	}{
		{"domain.add", control.Name{Name: "example.org"}},
		{"account.add", control.AccountAdd{Address: "anna@example.org", Password: "correct horse battery", Role: "admin"}},
	} {
		raw, err := json.Marshal(step.args)
		if err == nil {
			err = direct.Do(t.Context(), step.verb, raw, func(any, io.Reader) error { return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := direct.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// output keeps what is written to it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestOneServerADirectory(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	s, err := Start(t.Context(), cfg, Options{Log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Drain()
	if _, err := Start(t.Context(), cfg, Options{Log: &output{}}); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second server: %v", err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	log := &output{}
	s, err := Start(t.Context(), cfg, Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Drain()
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
	s, err := Start(t.Context(), cfg, Options{Log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Drain()
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

// The families that operators' alarms are made from.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), installed(t, closedDoors), Options{Log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Drain()
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

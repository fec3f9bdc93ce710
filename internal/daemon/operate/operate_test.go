package operate

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon"
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
	if err := Fill(t.Context(), cfg, "example.org", "anna@example.org", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// The same verbs give the same answers through a server and without one.
func TestOperate(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	ask := func() map[string]string {
		op, err := Open(t.Context(), cfg)
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
	s, err := daemon.Start(t.Context(), cfg, daemon.Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	served := ask()
	if err := s.Drain(); err != nil {
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

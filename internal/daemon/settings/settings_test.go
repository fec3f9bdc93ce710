package settings

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatepost/internal/config"
)

func TestReadPassword(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(path, []byte("sec ret\r\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadPassword(path); got != "sec ret" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	cfg := config.Config{Hostname: "mx.example.org"}
	for want, list := range map[string][]string{
		"[https://mx.example.org]": {":443", "systemd:web"},
		"[https://mx.example.org https://mx.example.org:4443 https://mx.example.org:8443]": {"192.0.2.1:8443", ":4443", "[::1]:8443"},
	} {
		cfg.Listen.HTTPS = list
		if got := fmt.Sprint(Origins(&cfg)); got != want {
			t.Errorf("%v: %s", list, got)
		}
	}
}

func TestOwnAddrs(t *testing.T) {
	t.Parallel()
	var cfg config.Config
	cfg.Listen.MX = []string{"192.0.2.1:25", "[::ffff:192.0.2.2]:25", "192.0.2.3:2525", "systemd:mx"}
	got := fmt.Sprint(OwnAddrs(&cfg))
	if got != "[192.0.2.1 192.0.2.2]" {
		t.Error(got)
	}
	cfg.Listen.MX = []string{":25"}
	if !slices.ContainsFunc(OwnAddrs(&cfg), netip.Addr.IsLoopback) {
		t.Error("all addresses are ours, loopback too")
	}
}

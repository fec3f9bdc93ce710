package operate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/internal/audit"
	"gatepost/internal/config"
	"gatepost/internal/daemon/settings"
)

func TestUpdater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "hostname = \"mx.example.org\"\n"
	read := func(more string) *config.Config {
		cfg, err := config.Parse(filepath.Join(dir, "gatepost.toml"), []byte(text+more))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	if c, err := settings.Updater(read("")); c != nil || err != nil {
		t.Errorf("without a server: %v, %v", c, err)
	}
	cfg := read("[dns]\nupdate = { server = \"192.0.2.53\", key = \"gatepost\", key_file = \"dns.key\" }\n")
	if list := checkUpdater(cfg); len(list) != 1 || list[0].Level != audit.Failure {
		t.Errorf("without a key: %+v", list)
	}
	const secret = "c2VjcmV0IG9mIHNpeHRlZW4gb2N0ZXRz"
	if err := os.WriteFile(filepath.Join(dir, "dns.key"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := settings.Updater(cfg); c == nil || err != nil {
		t.Errorf("with a key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dns.key"), []byte("!"+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := checkUpdater(cfg); len(list) != 1 || strings.Contains(list[0].Text, secret) {
		t.Errorf("with a wrong one: %+v", list)
	}
}

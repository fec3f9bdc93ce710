package confine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTo runs this test again in a process that confines itself.
func TestTo(t *testing.T) {
	dir := os.Getenv("CONFINE_TEST")
	if dir == "" {
		t.Parallel()
		dir = t.TempDir()
		for _, name := range []string{"data", "etc", "else"} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name, "file"), []byte("x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join(dir, "else", "file"), filepath.Join(dir, "named")); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(os.Args[0], "-test.run=^TestTo$", "-test.v")
		c.Env = append(os.Environ(), "CONFINE_TEST="+dir)
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	err := To(Paths{Write: []string{at("data")}, Read: []string{at("etc"), at("named"), at("missing")}})
	if errors.Is(err, ErrNone) {
		return // nothing can be shown on such a kernel; the server logs it
	}
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func() error{
		"write data":     func() error { return os.WriteFile(at("data/new"), nil, 0o600) },
		"rename in data": func() error { return os.Rename(at("data/file"), at("data/other")) },
		"read etc":       func() error { _, err := os.ReadFile(at("etc/file")); return err },
		"list etc":       func() error { _, err := os.ReadDir(at("etc")); return err },
		"follow a link":  func() error { _, err := os.ReadFile(at("named")); return err },
	} {
		if err := f(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, f := range map[string]func() error{
		"write etc":       func() error { return os.WriteFile(at("etc/file"), nil, 0o600) },
		"make in etc":     func() error { return os.WriteFile(at("etc/new"), nil, 0o600) },
		"remove from etc": func() error { return os.Remove(at("etc/file")) },
		"list else":       func() error { _, err := os.ReadDir(at("else")); return err },
		"read a password": func() error { _, err := os.ReadFile("/etc/passwd"); return err },
		"move out":        func() error { return os.Rename(at("data/other"), at("else/other")) },
		"run":             func() error { return exec.Command(at("etc/file")).Run() },
	} {
		if err := f(); !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

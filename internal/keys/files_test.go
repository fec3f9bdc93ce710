package keys

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Each gives and Put brings back are the same keys.
func TestEachAndPut(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SelfSigned = true
	dir := newDir(t)
	k := mustOpen(t, dir, o)
	sealed := k.Seal("p", []byte("plain"), nil)
	for name, content := range map[string]string{".new-1": "left by a crash", "no name": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := newDir(t)
	var names []string
	err := k.Each(func(name string, content []byte) error {
		names = append(names, name)
		return Put(other, name, content)
	})
	if got := strings.Join(names, " "); err != nil || got != "host.pem next.pem secret self-signed.pem" {
		t.Errorf("%s, %v", got, err)
	}
	again := mustOpen(t, other, o)
	if plain, err := again.Unseal("p", sealed, nil); err != nil || string(plain) != "plain" {
		t.Errorf("%q, %v", plain, err)
	}
	if !again.Certificate().Equal(k.Certificate()) {
		t.Error("another certificate")
	}
	for _, path := range []string{other, filepath.Join(other, "secret")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	for _, name := range []string{"", ".", "..", ".x", "../x", "a/b", "a\x00b", strings.Repeat("x", 65)} {
		if err := Put(other, name, nil); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	stop := errors.New("stop")
	if err := k.Each(func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "huge"), make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Each(func(string, []byte) error { return nil }); err == nil {
		t.Error("a huge file was read")
	}
}

// To look makes nothing: no directory, no secret, no certificate.
func TestLook(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SelfSigned = true
	dir := newDir(t)
	k, err := Look(dir, o)
	if err != nil || k.HasSecret() || k.Certificate() == nil {
		t.Errorf("nothing there: %v, certificate %v", err, k.Certificate())
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	sealed := mustOpen(t, dir, testOptions()).Seal("p", []byte("plain"), nil)
	if k, err = Look(dir, o); err != nil || !k.HasSecret() {
		t.Fatal(err)
	}
	if plain, err := k.Unseal("p", sealed, nil); err != nil || string(plain) != "plain" {
		t.Errorf("%q, %v", plain, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Look(dir, o); err == nil {
		t.Error("a damaged secret was taken")
	}
}

package passwords

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var made = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// good is a password that nothing is wrong with but that it was breached.
const good = "Pelican turbine marzipan"

// pwned returns passwords as Have I Been Pwned has them.
func pwned(list ...string) string {
	var out []string
	for _, p := range list {
		out = append(out, fmt.Sprintf("%X:7\r\n", sha1.Sum([]byte(p))))
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

func quiet(int64, int64) {}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := usual()
	p.File = filepath.Join(dir, "breached.list")
	if got := refusal(t, p, good, henry); got != "" {
		t.Fatal(got)
	}
	if common, own, err := p.Lists(true); err != nil || own != nil || common.Passwords < 49_233 {
		t.Errorf("%+v, %+v, %v", common, own, err)
	}
	if err := p.Unload(); err == nil || !strings.Contains(err.Error(), "no list of breached passwords was loaded") {
		t.Error(err)
	}
	text := filepath.Join(dir, "pwned.txt")
	if err := os.WriteFile(text, []byte(pwned(good, "a", "b")), 0o600); err != nil {
		t.Fatal(err)
	}
	read := int64(0)
	info, err := p.Load(text, nil, made, func(done, total int64) { read = done - total })
	if err != nil || info.Passwords != 3 || read != 0 {
		t.Fatalf("%+v, %v, %d", info, err, read)
	}
	for _, pw := range []string{good, strings.ToLower(good)} {
		if got := refusal(t, p, pw, henry); strings.Contains(got, "it is known") != (pw == good) {
			t.Errorf("%s: %q", pw, got) // one in capitals is not looked for when the small one is chosen
		}
	}
	if _, own, err := p.Lists(true); err != nil || own == nil || *own != info {
		t.Errorf("%+v, %v", own, err)
	}
	if fi, err := os.Stat(p.File); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	// One from standard input takes its place.
	if info, err = p.Load("-", strings.NewReader(pwned(strings.ToLower(good))), made, quiet); err != nil || info.Passwords != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	for _, pw := range []string{good, strings.ToLower(good)} {
		if got := refusal(t, p, pw, henry); !strings.Contains(got, "it is known") {
			t.Errorf("%s: %q", pw, got)
		}
	}
	if err := p.Unload(); err != nil {
		t.Error(err)
	}
	if got := refusal(t, p, good, henry); got != "" {
		t.Error(got)
	}
}

// What cannot be loaded leaves the list that was there, and nothing else.
func TestLoadFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := usual()
	p.File = filepath.Join(dir, "breached.list")
	if _, err := p.Load("-", strings.NewReader(pwned(good)), made, quiet); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	for from, want := range map[string]string{
		filepath.Join(empty, "none"): "no such file",
		empty:                        "range 00000: its file is missing: the download is not complete",
		"-":                          "line 1: it is not a SHA-1 or NTLM hash",
	} {
		if _, err := p.Load(from, strings.NewReader("password\n"), made, quiet); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", from, err, want)
		}
	}
	if got := refusal(t, p, good, henry); got == "" {
		t.Error("the list from before is gone")
	}
	if names, err := filepath.Glob(filepath.Join(dir, ".new*")); err != nil || len(names) > 0 {
		t.Error(names, err)
	}
}

// With a damaged list nothing is accepted: it would be a way to choose what
// is on it.
func TestDamagedList(t *testing.T) {
	t.Parallel()
	p := usual()
	p.File = filepath.Join(t.TempDir(), "breached.list")
	if _, err := p.Load("-", strings.NewReader(pwned(good)), made, quiet); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(p.File)
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{"cut short": whole[:len(whole)-1], "empty": {}, "something else": []byte("hello, world, hello, world")} {
		if err := os.WriteFile(p.File, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := p.Check("correct horse battery", henry)
		_, _, seen := p.Lists(false)
		for _, err := range []error{err, seen} {
			if err == nil || !strings.Contains(err.Error(), "breached.list cannot be used: it is ") || !strings.Contains(err.Error(), "gatepost account breached load") {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	turned := slices.Clone(whole)
	turned[8] ^= 1 // a fingerprint: the index does not tell
	if err := os.WriteFile(p.File, turned, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Lists(true); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("read to its end: %v", err)
	}
}

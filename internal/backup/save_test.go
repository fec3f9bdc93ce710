package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"gatepost/internal/backup/archive"
	"gatepost/internal/blob"
	"gatepost/internal/blob/crashfs"
)

func contentOf(f blob.FS, path string) (string, error) {
	h, err := f.Open(path)
	if err != nil {
		return "", err
	}
	size, err := h.Size()
	if err != nil {
		return "", err
	}
	b := make([]byte, size)
	if _, err := h.ReadAt(b, 0); err != nil && err != io.EOF {
		return "", err
	}
	return string(b), h.Close()
}

// A saved file is there whole or not at all, wherever the machine stops and
// whatever fails; once Save has returned it stays.
func TestSave(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", saveBuffer+10)
	save := func(f blob.FS) error {
		return Save(f, "/b/backup", func(w io.Writer) error {
			for range 2 {
				if _, err := io.WriteString(w, text); err != nil {
					return err
				}
			}
			return nil
		})
	}
	want := text + text
	fresh := func() *crashfs.FS {
		f := crashfs.New()
		if err := errors.Join(f.Mkdir("/b"), f.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, fault := range []error{crashfs.ErrStopped, errors.New("injected")} {
		for n, more := 1, true; more; n++ {
			f := fresh()
			left := n
			f.Hook = func(op crashfs.Op) error {
				if op.Kind == crashfs.Open || op.Kind == crashfs.Remove {
					return nil
				}
				if left--; left == 0 {
					return fault
				}
				return nil
			}
			err := save(f)
			more = left <= 0
			f.Hook = nil
			f.Revive()
			if err == nil == (left == 0) {
				t.Errorf("%v at %d: %v", fault, n, err)
			}
			for choice := range 3 {
				after := f.Crash(func(n int) int { return min(choice, n-1) })
				got, lost := contentOf(after, "/b/backup")
				switch {
				case err == nil && got != want:
					t.Errorf("saved, and lost in a crash: %d octets, %v", len(got), lost)
				case lost == nil && got != want:
					t.Errorf("%v at %d: half of it is there: %d octets", fault, n, len(got))
				}
			}
			if _, lost := contentOf(f, "/b/backup"); err != nil && fault != crashfs.ErrStopped && !errors.Is(lost, fs.ErrNotExist) {
				t.Errorf("%v at %d: failed, and it is there", fault, n)
			}
			if list, _ := f.List("/b"); err != nil && fault != crashfs.ErrStopped && len(list) > 0 {
				t.Errorf("%v at %d: %q is left", fault, n, list)
			}
		}
	}
	f := fresh()
	stop := errors.New("stop")
	if err := Save(f, "/b/backup", func(io.Writer) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := save(f); err != nil {
		t.Error(err)
	}
	if err := save(f); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("written over: %v", err)
	}
	path := filepath.Join(t.TempDir(), "backup")
	if err := Save(blob.OS, path, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// An encrypted backup can be read by who it is for, and by nobody else.
func TestEncrypt(t *testing.T) {
	t.Parallel()
	us, other := newIdentity(t), newIdentity(t)
	right, wrong, empty := "right horse", "wrong horse", ""
	text := strings.Repeat("hello\n", 100_000)
	for name, c := range map[string]struct {
		to     []string
		phrase *string
		opens  map[string]func() ([]Identity, error)
		not    map[string]func() ([]Identity, error)
	}{
		"to recipients": {[]string{us.Recipient().String(), other.Recipient().String()}, nil,
			map[string]func() ([]Identity, error){"ours": file(us), "the other": file(other)},
			map[string]func() ([]Identity, error){"a third": file(newIdentity(t)), "nothing": none, "a passphrase": phrase(right)}},
		"with a passphrase": {nil, &right,
			map[string]func() ([]Identity, error){"the passphrase": phrase(right)},
			map[string]func() ([]Identity, error){"another": phrase(wrong), "nothing": none, "a key": file(us)}},
		"not": {nil, nil, map[string]func() ([]Identity, error){"nothing": none, "a key": file(us)}, nil},
	} {
		b := encrypted(t, text, func(w io.Writer) (io.WriteCloser, error) {
			if c.phrase == nil {
				return Encrypt(w, c.to, nil)
			}
			return cheaply(w, *c.phrase)
		})
		if c.not != nil && bytes.Contains(b, []byte("hello")) {
			t.Errorf("%s: it can be read", name)
		}
		for who, identities := range c.opens {
			if got, err := opened(b, identities); err != nil || got != text {
				t.Errorf("%s, %s: %d octets, %v", name, who, len(got), err)
			}
		}
		for who, identities := range c.not {
			if _, err := opened(b, identities); err == nil || !strings.Contains(err.Error(), "encrypted") {
				t.Errorf("%s, %s: %v", name, who, err)
			}
		}
		if c.not == nil {
			continue
		}
		for _, n := range []int{30, len(ageMagic) + 1, len(b) / 2, len(b) - 1} {
			for who, identities := range c.opens {
				if got, err := opened(b[:n], identities); err == nil && got == text {
					t.Errorf("%s, %s: cut at %d of %d and whole", name, who, n, len(b))
				} else if err == nil {
					t.Errorf("%s, %s: cut at %d and taken", name, who, n)
				}
			}
		}
	}
	for what, err := range map[string]error{
		"no recipient":          failed(Encrypt(io.Discard, []string{"nobody"}, nil)),
		"two in one":            failed(Encrypt(io.Discard, []string{us.Recipient().String() + "\n" + other.Recipient().String()}, nil)),
		"both":                  failed(Encrypt(io.Discard, []string{us.Recipient().String()}, &right)),
		"empty":                 failed(Encrypt(io.Discard, nil, &empty)),
		"empty, to open":        failed2(Identities(nil, &empty)),
		"no file of identities": failed2(Identities(strings.NewReader("x"), nil)),
	} {
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

func failed(_ io.WriteCloser, err error) error { return err }
func failed2(_ []Identity, err error) error    { return err }

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func none() ([]Identity, error) { return nil, nil }

func file(i *age.X25519Identity) func() ([]Identity, error) {
	return func() ([]Identity, error) {
		return Identities(strings.NewReader(fmt.Sprintf("# public key: %s\n%s\n", i.Recipient(), i)), nil)
	}
}

func phrase(p string) func() ([]Identity, error) {
	return func() ([]Identity, error) { return Identities(nil, &p) }
}

func opened(b []byte, identities func() ([]Identity, error)) (string, error) {
	list, err := identities()
	if err != nil {
		return "", err
	}
	r, err := Decrypt(bytes.NewReader(b), list)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

func encrypted(t *testing.T, text string, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// cheaply encrypts with a passphrase that costs little to be tried: a real one
// takes a second.
func cheaply(w io.Writer, passphrase string) (io.WriteCloser, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	r.SetWorkFactor(10)
	return age.Encrypt(w, r)
}

// What a passphrase costs to be tried is bounded for who is given a file. That
// it is much for who guesses is looked at end to end, since it takes seconds.
func TestPassphraseCost(t *testing.T) {
	t.Parallel()
	cheap := encrypted(t, "", func(w io.Writer) (io.WriteCloser, error) { return cheaply(w, "x") })
	costly := bytes.Replace(cheap, []byte(" 10\n"), []byte(" 22\n"), 1)
	if _, err := opened(costly, phrase("x")); !errors.Is(err, archive.ErrBroken) {
		t.Error(err)
	}
}

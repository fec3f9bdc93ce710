package keys

import (
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/internal/clock"
)

// pair is the host's keys as others see them.
func pair(t *testing.T, k *Keys) (current, next crypto.PublicKey) {
	t.Helper()
	a, b := k.HostKeys()
	if a == nil || b == nil {
		t.Fatal("there are no keys of the host")
	}
	return a.Public(), b.Public()
}

func same(a, b crypto.PublicKey) bool {
	return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b)
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	o := selfSigned()
	k := mustOpen(t, dir, o)
	current, next := pair(t, k)
	if same(current, next) || !same(current, k.Certificate().PublicKey) {
		t.Fatal("the certificate is not of the current key, or there is only one")
	}
	for _, name := range []string{hostFile, nextFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if a, b := pair(t, mustOpen(t, dir, o)); !same(a, current) || !same(b, next) {
		t.Error("they are others after a start")
	}
	// A certificate that is renewed is of the same key.
	first := k.Certificate()
	o.Clock.(*clock.Fake).Advance(validity)
	if err := k.Reload(); err != nil || k.Certificate().Equal(first) || !same(current, k.Certificate().PublicKey) {
		t.Errorf("renewed for another key, or not: %v", err)
	}
	serve := k.ServerTLS()
	if err := k.AdvanceHost(); err != nil {
		t.Fatal(err)
	}
	a, b := pair(t, k)
	if !same(a, next) || same(b, next) || same(b, current) {
		t.Error("the next key is not the current one, or there is no other next")
	}
	if c, err := serve.GetCertificate(nil); err != nil || !same(next, c.Leaf.PublicKey) {
		t.Errorf("the doors do not show it: %v", err)
	}
	again := mustOpen(t, dir, o)
	if c, d := pair(t, again); !same(a, c) || !same(b, d) || !again.Certificate().Equal(k.Certificate()) {
		t.Error("what changed was not kept")
	}
}

// A crash between any two steps of the change leaves what a start completes.
func TestHostKeysAfterCrash(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	_, next := pair(t, mustOpen(t, dir, selfSigned()))
	if err := os.Rename(filepath.Join(dir, nextFile), filepath.Join(dir, hostFile)); err != nil {
		t.Fatal(err)
	}
	k := mustOpen(t, dir, selfSigned())
	a, b := pair(t, k)
	if !same(a, next) || same(b, next) || !same(a, k.Certificate().PublicKey) {
		t.Error("the next key is not current, has no next, or the certificate is of another")
	}
}

// Others may know the key of a certificate from before it had its own file.
func TestFormerHostKey(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	current, _ := pair(t, mustOpen(t, dir, selfSigned()))
	if err := errors.Join(os.Remove(filepath.Join(dir, hostFile)), os.Remove(filepath.Join(dir, nextFile))); err != nil {
		t.Fatal(err)
	}
	if a, _ := pair(t, mustOpen(t, dir, selfSigned())); !same(a, current) {
		t.Error("another key")
	}
}

func TestHostKeysThatAreNotThere(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	looked, err := Look(dir, selfSigned())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := looked.HostKeys(); a != nil || b != nil || looked.Certificate() == nil {
		t.Error("keys that are kept nowhere are told of")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking made something: %v", err)
	}
	mustOpen(t, dir, selfSigned())
	if looked, err = Look(dir, selfSigned()); err != nil {
		t.Fatal(err)
	}
	pair(t, looked)
	if err := looked.AdvanceHost(); err == nil {
		t.Error("what is only looked at was changed")
	}

	o := testOptions()
	o.SelfSigned = true
	o.Certificate, o.Key = files(t, "x.example")
	own := mustOpen(t, newDir(t), o)
	if a, b := own.HostKeys(); a != nil || b != nil {
		t.Error("keys beside those of the operator's files")
	}
	if err := own.AdvanceHost(); err == nil {
		t.Error("the key of the operator's files was changed")
	}
	if c := own.Chain(); len(c) != 1 || !c[0].Equal(own.Certificate()) {
		t.Errorf("chain: %v", c)
	}
}

// A damaged key is not replaced: others have been told of it.
func TestDamagedHostKey(t *testing.T) {
	t.Parallel()
	for _, name := range []string{hostFile, nextFile} {
		dir := newDir(t)
		mustOpen(t, dir, selfSigned())
		if err := os.WriteFile(filepath.Join(dir, name), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, selfSigned()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := newDir(t)
	k := mustOpen(t, dir, selfSigned())
	if err := os.Remove(filepath.Join(dir, nextFile)); err != nil {
		t.Fatal(err)
	}
	before := k.Certificate()
	if err := k.AdvanceHost(); err == nil || !k.Certificate().Equal(before) {
		t.Errorf("a next key out of nothing: %v", err)
	}
}

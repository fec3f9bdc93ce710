package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestSigner(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	k := mustOpen(t, dir, testOptions())
	digest := sha256.Sum256([]byte("x"))
	for _, kind := range []SignerKind{RSA, Ed25519} {
		name, err := k.MakeSigner(kind)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		s, err := mustOpen(t, dir, testOptions()).Signer(name) // as after a restart
		if err != nil {
			t.Fatal(err)
		}
		var ok bool
		switch public := s.Public().(type) {
		case *rsa.PublicKey:
			sig, err := s.Sign(nil, digest[:], crypto.SHA256)
			ok = kind == RSA && err == nil && public.N.BitLen() == rsaBits && rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], sig) == nil
		case ed25519.PublicKey:
			sig, err := s.Sign(nil, digest[:], crypto.Hash(0))
			ok = kind == Ed25519 && err == nil && ed25519.Verify(public, digest[:], sig)
		}
		if !ok {
			t.Errorf("%s does not sign", kind)
		}
		for range 2 {
			if err := k.DropSigner(name); err != nil {
				t.Error(err)
			}
		}
		if _, err := k.Signer(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after its end: %v", err)
		}
	}
	if _, err := k.MakeSigner("dsa"); err == nil {
		t.Error("a kind that nobody knows")
	}
}

// Nothing but keys that sign is handed out or removed.
func TestSignerNames(t *testing.T) {
	t.Parallel()
	k := mustOpen(t, newDir(t), testOptions())
	for _, name := range []string{"", "secret", "signer-/../secret", "../signer-x", "signer-" + string(make([]byte, 80))} {
		if _, err := k.Signer(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if err := k.DropSigner(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if !k.HasSecret() {
		t.Error("the secret is gone")
	}
}

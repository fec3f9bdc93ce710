package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Keys of others come in the two forms that tools write; anything else is
// refused, and its content not repeated.
func TestReadSigner(t *testing.T) {
	t.Parallel()
	r, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(r)})
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("secret")})
	for name, c := range map[string]struct {
		content []byte
		want    crypto.Signer
	}{
		"pkcs1":           {pkcs1, r},
		"pkcs8":           {pkcs8(r), r},
		"ed25519":         {pkcs8(e), e},
		"behind a note":   {append([]byte("a key\n"), pkcs1...), r},
		"behind a block":  {append(bytes.Clone(other), pkcs8(e)...), e},
		"signs nothing":   {pkcs8(x), nil},
		"a certificate":   {other, nil},
		"damaged, pkcs1":  {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("secret")}), nil},
		"damaged, pkcs8":  {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}), nil},
		"no PEM":          {[]byte("secret"), nil},
		"nothing":         {nil, nil},
		"larger than any": {append(make([]byte, maxFile), pkcs1...), nil},
	} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadSigner(path)
		if c.want == nil {
			if err == nil || strings.Contains(err.Error(), "secret") || name != "larger than any" && !errors.Is(err, ErrNoSigner) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			continue
		}
		if err != nil || !got.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(c.want.Public()) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := ReadSigner(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

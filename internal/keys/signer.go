package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// SignerKind says what kind of key signs.
type SignerKind string

// The kinds.
const (
	RSA     SignerKind = "rsa" // of rsaBits
	Ed25519 SignerKind = "ed25519"
	ECDSA   SignerKind = "ecdsa" // P-256
)

// rsaBits is what everybody verifies, and what fits into the DNS: RFC 8301,
// section 3.2.
const rsaBits = 2048

// signerPrefix begins the names of private keys that sign; what follows is
// random, since domains are longer than names may be.
const (
	signerPrefix = "signer-"
	signerName   = 16 // octets
)

// MakeSigner makes a private key, keeps it, and returns the name that it is
// kept under.
func (k *Keys) MakeSigner(kind SignerKind) (name string, err error) {
	var private crypto.Signer
	switch kind {
	case RSA:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case Ed25519:
		_, private, err = ed25519.GenerateKey(k.o.Random)
	case ECDSA:
		private, err = ecdsa.GenerateKey(elliptic.P256(), k.o.Random)
	default:
		err = fmt.Errorf("no kind of key is called %q", kind)
	}
	if err != nil {
		return "", fmt.Errorf("keys: %w", err)
	}
	raw := make([]byte, signerName)
	if _, err := io.ReadFull(k.o.Random, raw); err != nil {
		return "", fmt.Errorf("keys: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("keys: %w", err)
	}
	name = signerPrefix + hex.EncodeToString(raw)
	return name, Put(k.dir, name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Signer returns the private key that is kept under a name, to sign with.
func (k *Keys) Signer(name string) (crypto.Signer, error) {
	if !isSigner(name) {
		return nil, fmt.Errorf("%w: %q", ErrName, name)
	}
	return ReadSigner(filepath.Join(k.dir, name))
}

// DropSigner forgets a private key.
func (k *Keys) DropSigner(name string) error {
	if !isSigner(name) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	if err := os.Remove(filepath.Join(k.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keys: %w", err)
	}
	return nil
}

func isSigner(name string) bool { return strings.HasPrefix(name, signerPrefix) && validName(name) }

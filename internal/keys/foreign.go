package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// ErrNoSigner says that a file holds no private key that can sign.
var ErrNoSigner = errors.New("there is no private key in PEM that can sign")

// ReadSigner reads a private key from a file, also one that is somebody else's:
// in PEM, as PKCS #8 or, for RSA, PKCS #1. What is wrong with a key is
// not told in detail: it is secret.
func ReadSigner(path string) (crypto.Signer, error) {
	content, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return nil, fmt.Errorf("keys: %s: %w", path, ErrNoSigner)
		}
		if s := parseSigner(block); s != nil {
			return s, nil
		}
	}
}

// parseSigner returns nil for what is no private key that signs.
func parseSigner(block *pem.Block) crypto.Signer {
	switch block.Type {
	case "RSA PRIVATE KEY":
		if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return k
		}
	case "PRIVATE KEY":
		k, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
		s, _ := k.(crypto.Signer)
		return s
	}
	return nil
}

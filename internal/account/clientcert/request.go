package clientcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// MaxRequest bounds a request, in octets.
const MaxRequest = 16 << 10

// Bounds of an RSA key, in bits: below, it is worth too little; above, a
// handshake costs too much.
const (
	minRSA = 2048
	maxRSA = 4096
)

// ParseRequest reads a request for a certificate (PKCS #10, RFC 2986) in PEM
// or DER, and returns the key that it is for. That it is signed with that key
// shows that whoever asks has it. Its name and extensions are not read: who
// somebody is says the operator.
func ParseRequest(b []byte) (crypto.PublicKey, error) {
	if len(b) > MaxRequest {
		return nil, fmt.Errorf("the request is longer than %d octets", MaxRequest)
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	r, err := x509.ParseCertificateRequest(b)
	if err != nil {
		return nil, errors.New("it is no request for a certificate (PKCS #10)")
	}
	if err := checkKey(r.PublicKey); err != nil {
		return nil, err
	}
	if err := r.CheckSignature(); err != nil {
		return nil, errors.New("the request is not signed with its own key")
	}
	return r.PublicKey, nil
}

func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= minRSA && n <= maxRSA {
			return nil
		}
	}
	return fmt.Errorf("the key of a certificate is ECDSA P-256 or P-384, Ed25519, or RSA of %d to %d bits", minRSA, maxRSA)
}

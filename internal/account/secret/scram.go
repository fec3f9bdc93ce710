package secret

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
)

// ScramIterations is the PBKDF2 count of SCRAM keys. It is the most that
// common clients accept; RFC 7677, section 4 asks for 4,096 at least.
const ScramIterations = 65536

// ScramSaltSize is the length of a SCRAM salt, in octets.
const ScramSaltSize = 16

// ScramKeys are what SCRAM-SHA-256 stores of a secret: RFC 5802, section 3.
type ScramKeys struct {
	Stored, Server [sha256.Size]byte
}

// ErrScramKeys says that stored SCRAM keys are damaged.
var ErrScramKeys = errors.New("secret: damaged SCRAM keys")

// NewScramKeys derives the keys of p. It takes some ten milliseconds.
func NewScramKeys(p Password, salt []byte, iterations int) (ScramKeys, error) {
	salted, err := pbkdf2.Key(sha256.New, string(p), salt, iterations, sha256.Size)
	if err != nil {
		return ScramKeys{}, err
	}
	return ScramKeys{
		Stored: sha256.Sum256(mac(salted, "Client Key")),
		Server: [sha256.Size]byte(mac(salted, "Server Key")),
	}, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// Bytes returns the keys in the form that ParseScramKeys reads.
func (k ScramKeys) Bytes() []byte { return append(k.Stored[:], k.Server[:]...) }

// ParseScramKeys reads what Bytes returned.
func ParseScramKeys(b []byte) (ScramKeys, error) {
	var k ScramKeys
	if len(b) != len(k.Stored)+len(k.Server) {
		return k, ErrScramKeys
	}
	copy(k.Stored[:], b)
	copy(k.Server[:], b[len(k.Stored):])
	return k, nil
}

package grant

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"io"
	"strings"
)

// What tokens begin with, so that one which lies about is known for what it
// is.
const (
	accessPrefix  = "gpa_"
	refreshPrefix = "gpr_"
	codePrefix    = "gpc_"
	devicePrefix  = "gpd_"
)

const (
	secretSize = 32 // random octets of a secret
	familySize = 16 // and of what refresh tokens of a grant have in common
)

// newSecret makes a secret of a kind, and its sum.
func newSecret(random io.Reader, prefix string) (string, sum, error) {
	raw := make([]byte, secretSize)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", sum{}, err
	}
	s := prefix + base64.RawURLEncoding.EncodeToString(raw)
	return s, sha256.Sum256([]byte(s)), nil
}

// sumOf returns the sum of a secret of a kind.
func sumOf(prefix, s string) (sum, bool) {
	if len(s) != len(prefix)+base64.RawURLEncoding.EncodedLen(secretSize) || !strings.HasPrefix(s, prefix) {
		return sum{}, false
	}
	return sha256.Sum256([]byte(s)), true
}

// newRefresh makes a refresh token of a family; of a new one if it is nil.
func newRefresh(random io.Reader, family []byte) (token string, of, s sum, err error) {
	raw := make([]byte, familySize+secretSize)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", of, s, err
	}
	if family != nil {
		copy(raw, family)
	}
	token = refreshPrefix + base64.RawURLEncoding.EncodeToString(raw)
	return token, sha256.Sum256(raw[:familySize]), sha256.Sum256([]byte(token)), nil
}

// readRefresh takes a refresh token apart.
func readRefresh(token string) (family []byte, of, s sum, ok bool) {
	encoded, ok := strings.CutPrefix(token, refreshPrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(raw) != familySize+secretSize {
		return nil, of, s, false
	}
	return raw[:familySize], sha256.Sum256(raw[:familySize]), sha256.Sum256([]byte(token)), true
}

func (s sum) is(b []byte) bool { return subtle.ConstantTimeCompare(s[:], b) == 1 }

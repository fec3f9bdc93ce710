// Package factor is what people show beside a password or instead of it: the
// codes of an app (TOTP, RFC 6238), recovery codes, and passkeys (Web
// Authentication, Level 2). It is arithmetic and formats: it knows no account
// and no store, and decides nothing.
//
// # Codes of an app
//
// SHA-1, 30 seconds, 6 digits: what every app speaks. A code is good for its
// step and the one before and after, by our clock and by what was learned of
// the device's. Who was let in by a step is for the caller to remember: a
// step is accepted once (RFC 6238, section 5.2), so that whoever looks over a
// shoulder gets nothing.
//
// # Recovery codes
//
// 80 random bits that open once, for whoever lost the phone. What is kept of
// one is an HMAC under a key outside the store.
//
// # Trust and limits
//
// What is typed and what a browser sends is a stranger's, and bounded before
// it is read: maxTyped octets of a code.
package factor

import (
	"crypto/subtle"
	"encoding/binary"
	"io"
	"strings"

	"gatepost/internal/keys"
)

// maxTyped bounds what is read as a code, in octets.
const maxTyped = 64

// Code is what somebody typed as a code: the six digits of an app, a recovery
// code, or neither of them (the zero value).
type Code struct {
	digits   string
	recovery string
}

// String keeps codes out of logs and errors.
func (Code) String() string { return "(code)" }

// Digits reports whether it is of an app, as far as its form tells.
func (c Code) Digits() bool { return c.digits != "" }

// ReadCode reads a code as people type it: with spaces or hyphens, in either
// case.
func ReadCode(typed string) Code {
	if len(typed) > maxTyped {
		return Code{}
	}
	s := strings.Map(plain, typed)
	switch {
	case len(s) == digits && strings.Trim(s, "0123456789") == "":
		return Code{digits: s}
	case len(s) == recoveryLetters && strings.Trim(s, letters) == "":
		return Code{recovery: s}
	}
	return Code{}
}

// plain takes out what people put between the letters, and reads a letter for
// the digit that it looks like.
func plain(r rune) rune {
	switch {
	case r == ' ' || r == '-' || r == '\t' || r == '\r' || r == '\n':
		return -1
	case r == 'O' || r == 'o':
		return '0'
	case r == 'I' || r == 'i' || r == 'L' || r == 'l':
		return '1'
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A'
	}
	return r
}

// letters are those of a recovery code: 32, none of which looks like another.
const letters = "0123456789abcdefghjkmnpqrstvwxyz"

const (
	// RecoveryCodes is how many are made at a time.
	RecoveryCodes = 10
	// recoveryLetters is the length of one: 16 letters of 5 bits are 80 bits.
	recoveryLetters = 16
)

// NewRecovery makes a set of recovery codes, in groups that can be copied by
// hand.
func NewRecovery(random io.Reader) ([]string, error) {
	list := make([]string, RecoveryCodes)
	for i := range list {
		var b [recoveryLetters]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return nil, err
		}
		out := make([]byte, 0, recoveryLetters+recoveryLetters/4)
		for n, c := range b {
			if n > 0 && n%4 == 0 {
				out = append(out, '-')
			}
			out = append(out, letters[c%byte(len(letters))])
		}
		list[i] = string(out)
	}
	return list, nil
}

// macRecovery is the purpose of the key that recovery codes are hashed with.
const macRecovery = "account recovery code"

// Sum returns what is kept of a recovery code of an account.
func (c Code) Sum(k *keys.Keys, account int64) []byte {
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], uint64(account))
	sum := k.MAC(macRecovery, id[:], []byte(c.recovery))
	return sum[:]
}

// Recovery returns which of the sums of an account is of the code; nil: none.
// It looks at all of them.
func (c Code) Recovery(k *keys.Keys, account int64, sums [][]byte) (found []byte) {
	sum := c.Sum(k, account)
	for _, s := range sums {
		if subtle.ConstantTimeCompare(s, sum) == 1 && c.recovery != "" {
			found = s
		}
	}
	return found
}

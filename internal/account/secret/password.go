// Package secret turns the secrets that people sign in with into what is
// stored of them, and checks one against the other.
//
//   - Passwords that people choose: Argon2id (RFC 9106), as a PHC string.
//   - SCRAM keys (RFC 5802, RFC 7677): StoredKey and ServerKey. Of a password
//     that a person chose they are the weaker hash, since PBKDF2 needs no
//     memory; the caller seals them.
//   - Device passwords: made here from randomness. What cannot be guessed
//     needs no slow hash: SHA-256.
//
// Everything is hashed after SASLprep (RFC 4013), done once, in Prepare: the
// type Password is how one knows. The package knows no account and no store.
//
// Limits: MaxOctets of a password; the number of Argon2id runs at once and
// of those who wait for one.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
)

// MaxOctets is checked before anything else is done with a password, so that
// nobody makes us prepare and hash megabytes.
const MaxOctets = 1000

// Password is a secret as it is hashed: not empty, bounded, after SASLprep.
type Password string

// String keeps passwords out of logs and errors.
func (Password) String() string { return "(password)" }

// Errors of Prepare: plain sentences.
var (
	ErrEmpty     = errors.New("the password is empty")
	ErrTooLong   = fmt.Errorf("the password is longer than %d octets", MaxOctets)
	ErrCharacter = errors.New("the password has a character that not every device can type alike, such as a control character or an emoji")
)

// Prepare reads a secret as it came from a client or a person.
func Prepare(s string) (Password, error) {
	if len(s) > MaxOctets {
		return "", ErrTooLong
	}
	if !utf8.ValidString(s) {
		return "", ErrCharacter
	}
	if s != "" && printableASCII(s) {
		return Password(s), nil // SASLprep has nothing to map, join or prohibit there
	}
	p, err := stringprep.SASLprep.Prepare(s)
	switch {
	case err != nil: // its text quotes the character
		return "", ErrCharacter
	case p == "":
		return "", ErrEmpty
	}
	return Password(p), nil
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Sum returns the hash of a device password.
func Sum(p Password) []byte {
	h := sha256.Sum256([]byte(p))
	return h[:]
}

// Matches reports whether sum is the hash of p. An empty or damaged sum
// matches nothing.
func Matches(p Password, sum []byte) bool {
	return subtle.ConstantTimeCompare(Sum(p), sum) == 1
}

// letters are those of a device password: 32, none of which looks like
// another.
const letters = "0123456789abcdefghjkmnpqrstvwxyz"

// deviceLetters is the length of a device password: 28 letters of 5 bits are
// 140 bits.
const deviceLetters = 28

// NewDevice makes a device password, in groups that can be read to a phone:
// the hyphens are part of it.
func NewDevice(random io.Reader) (Password, error) {
	var b [deviceLetters]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	out := make([]byte, 0, deviceLetters+deviceLetters/4)
	for i, c := range b {
		if i > 0 && i%4 == 0 {
			out = append(out, '-')
		}
		out = append(out, letters[c%byte(len(letters))])
	}
	return Password(out), nil
}

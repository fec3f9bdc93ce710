package breached

import (
	"crypto/sha1"
	"encoding/binary"
	"unicode/utf16"

	//lint:ignore SA1019 lists of NTLM hashes are made with it; nothing is protected by it
	"golang.org/x/crypto/md4"
)

// Hash is what the passwords of a list were hashed with. That it is a weak
// one does no harm: whoever has the list has the passwords.
type Hash byte

// The hashes.
const (
	SHA1 Hash = 1 // of the password in UTF-8
	NTLM Hash = 2 // MD4 of the password in UTF-16LE
)

func (h Hash) known() bool { return h == SHA1 || h == NTLM }

func (h Hash) String() string {
	if h == NTLM {
		return "NTLM"
	}
	return "SHA-1"
}

// digits is the length of a hash in hexadecimal.
func (h Hash) digits() int {
	if h == NTLM {
		return 32
	}
	return 40
}

// ofDigits returns the hash that has so many hexadecimal digits.
func ofDigits(n int) (h Hash, ok bool) {
	for _, h := range []Hash{SHA1, NTLM} {
		if h.digits() == n {
			return h, true
		}
	}
	return 0, false
}

// key returns the first 64 bits of a password's hash.
func (h Hash) key(password string) uint64 {
	if h == NTLM {
		m := md4.New()
		for _, c := range utf16.Encode([]rune(password)) {
			m.Write([]byte{byte(c), byte(c >> 8)})
		}
		return binary.BigEndian.Uint64(m.Sum(nil))
	}
	sum := sha1.Sum([]byte(password))
	return binary.BigEndian.Uint64(sum[:])
}

// Package token is the local parts of the addresses that forwarded mail is
// sent from: opaque names that only this server can have made.
//
// It belongs to forward and is pure. A token tells nothing of whom it stands
// for: its name and its check are pieces of keyed hashes. The check shows
// without a look-up whether we made the name, for which domain; so that
// whoever guesses addresses costs us a hash and no more. There is one
// spelling of each token, without case.
package token

import (
	"crypto/subtle"
	"encoding/base32"
	"strings"
)

// Sizes of a token, in octets.
const (
	nameSize  = 12 // 2^96 names: none comes twice
	checkSize = 8  // 2^64 guesses for one address, all of them over the network
)

// Prefix begins every token. It says to people what the address is for.
const Prefix = "bounce-"

// Length is that of a local part: below the 64 octets that other servers may
// hold us to (RFC 5321, section 4.5.3.1.1).
const Length = len(Prefix) + (nameSize+checkSize)*8/5

// text is the alphabet of Crockford in lower case, as of our ids; 20 octets
// fill 32 letters to the last bit.
var text = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// MAC authenticates parts under a secret key: the same parts give the same
// octets, and whoever has no key cannot find them.
type MAC func(parts ...[]byte) [32]byte

// Token is a local part as read. Whether it is one of ours, Genuine tells.
type Token struct {
	name  [nameSize]byte
	check [checkSize]byte
}

// Make returns the token of a message that goes on through an alias in a
// domain: always the same one, so that a server that wants to see a sender
// twice before it believes in it (greylisting) does.
func Make(mac MAC, domain string, message []byte, alias string) Token {
	var t Token
	sum := mac([]byte("name"), message, []byte(alias))
	copy(t.name[:], sum[:])
	t.check = t.right(mac, domain)
	return t
}

// right returns what the check must be.
func (t Token) right(mac MAC, domain string) (check [checkSize]byte) {
	sum := mac([]byte("check"), t.name[:], []byte(domain))
	copy(check[:], sum[:])
	return check
}

// Genuine reports whether we made the token for the domain. It takes the same
// time for all that are not.
func (t Token) Genuine(mac MAC, domain string) bool {
	want := t.right(mac, domain)
	return subtle.ConstantTimeCompare(t.check[:], want[:]) == 1
}

// Name returns what the token is kept under.
func (t Token) Name() []byte { return t.name[:] }

// String returns the local part.
func (t Token) String() string {
	return Prefix + text.EncodeToString(append(t.name[:], t.check[:]...))
}

// Parse reads a local part. ok is false for one that has not the form of a
// token, and is somebody else's affair.
func Parse(local string) (t Token, ok bool) {
	if len(local) != Length || !strings.EqualFold(local[:len(Prefix)], Prefix) {
		return Token{}, false
	}
	raw, err := text.DecodeString(strings.ToLower(local[len(Prefix):]))
	if err != nil || len(raw) != nameSize+checkSize {
		return Token{}, false
	}
	copy(t.name[:], raw)
	copy(t.check[:], raw[nameSize:])
	return t, true
}

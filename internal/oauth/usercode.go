package oauth

import (
	"io"
	"strings"
)

// letters are those of the codes that people type: no vowels, so that no code
// is a word, and none that looks like another or like a digit (RFC 8628,
// section 6.1). Eight of them are 34 bits, which is enough for what lives ten
// minutes and is tried a few times: section 5.1.
const (
	letters        = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength = 8
)

// UserCode is a code that somebody types, without its hyphen.
type UserCode string

// NewUserCode makes one.
func NewUserCode(random io.Reader) (UserCode, error) {
	code := make([]byte, 0, userCodeLength)
	var b [1]byte
	for len(code) < userCodeLength {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return "", err
		}
		if int(b[0]) < 256/len(letters)*len(letters) { // else some were likelier than others
			code = append(code, letters[int(b[0])%len(letters)])
		}
	}
	return UserCode(code), nil
}

// String writes it as it is shown.
func (c UserCode) String() string {
	return string(c[:userCodeLength/2]) + "-" + string(c[userCodeLength/2:])
}

// ParseUserCode reads what somebody typed: in either case, with hyphens and
// spaces wherever they like.
func ParseUserCode(s string) (UserCode, bool) {
	if len(s) > maxLetters {
		return "", false
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == ' ':
			return -1
		case r >= 'a' && r <= 'z': // no other: strings.ToUpper makes an S of a long s
			return r - 'a' + 'A'
		}
		return r
	}, s)
	return UserCode(s), len(s) == userCodeLength && only(s, func(c byte) bool { return strings.IndexByte(letters, c) >= 0 })
}

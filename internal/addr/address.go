// Package addr holds mail addresses as typed values.
//
// It parses the Mailbox of RFC 5321, section 4.1.2, extended to UTF-8 by
// RFC 6531, section 3.3. What has been parsed is held unquoted and in one
// canonical form, and is quoted again when written: a quoted local part can
// therefore never smuggle a space, a bracket or a second parameter into a
// command (the fault of servers that unquote and forget).
//
// Limits: MaxLocal and MaxPath octets. Nothing here allocates in proportion
// to more than that.
package addr

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds of an address, in octets.
const (
	// MaxPath bounds a path without its angle brackets: RFC 5321, section
	// 4.5.3.1.3 gives 256 with them.
	MaxPath = 254
	// MaxLocal is larger than the 64 of RFC 5321, section 4.5.3.1.1, which
	// real bounce addresses (VERP, SRS) exceed daily; docs/deviations.md.
	MaxLocal = 128
)

// Errors of Parse, beside those of ParseDomain.
var (
	ErrSyntax   = errors.New("not a valid address")
	ErrTooLong  = errors.New("address too long")
	ErrNoDomain = errors.New("address has no domain")
	ErrUTF8     = errors.New("address is not valid UTF-8")
)

// Address is a mailbox. The zero Address is the null reverse-path.
type Address struct {
	Local  string // unquoted, as given: case and spelling are the owner's affair
	Domain Domain
}

// Parse reads exactly one mailbox, without angle brackets or source route.
func Parse(s string) (Address, error) {
	if len(s) > MaxPath {
		return Address{}, ErrTooLong
	}
	local, rest, err := parseLocal(s)
	if err != nil {
		return Address{}, err
	}
	name, ok := strings.CutPrefix(rest, "@")
	if !ok {
		if rest == "" {
			return Address{}, ErrNoDomain
		}
		return Address{}, ErrSyntax
	}
	d, err := ParseDomain(name)
	if err != nil {
		return Address{}, err
	}
	return Address{local, d}, nil
}

// MustParse is Parse for addresses written in code; it panics on an error.
func MustParse(s string) Address {
	a, err := Parse(s)
	if err != nil {
		panic("addr: " + s + ": " + err.Error())
	}
	return a
}

// ParseLocal reads exactly one local part, quoted or not.
func ParseLocal(s string) (string, error) {
	local, rest, err := parseLocal(s)
	if err == nil && rest != "" {
		err = ErrSyntax
	}
	return local, err
}

// parseLocal returns the unquoted local part at the start of s and what
// follows it.
func parseLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		local, rest, err = parseQuoted(s[1:])
	} else {
		local, rest, err = parseDotString(s)
	}
	switch {
	case err != nil:
	case len(local) > MaxLocal:
		err = ErrTooLong
	case !utf8.ValidString(local):
		err = ErrUTF8
	case strings.ContainsFunc(local, invisible):
		err = ErrSyntax
	}
	return local, rest, err
}

// invisible tells the characters that would let an address pass for another
// one or break the line that it stands in: controls (C1 too), line and
// paragraph separators, marks of direction.
func invisible(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// parseDotString reads atoms joined by single dots.
func parseDotString(s string) (local, rest string, err error) {
	i := 0
	for i < len(s) && (isAtext(s[i]) || s[i] == '.') {
		i++
	}
	local, rest = s[:i], s[i:]
	if local == "" || local[0] == '.' || local[i-1] == '.' || strings.Contains(local, "..") {
		return "", "", ErrSyntax
	}
	return local, rest, nil
}

// parseQuoted reads a quoted string after its opening quote. Control
// characters, CR and LF among them, are never part of one.
func parseQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] >= 0x7f {
				return "", "", ErrSyntax
			}
			c = s[i]
		case c < ' ' || c == 0x7f:
			return "", "", ErrSyntax
		}
		b.WriteByte(c)
	}
	return "", "", ErrSyntax
}

// isAtext is atext of RFC 5322, section 3.2.3, with UTF-8 of RFC 6531.
func isAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// String returns the address as it stands in a command or a header: the
// local part quoted where it must be, the domain in A-labels. The null
// reverse-path is the empty string.
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	return Quote(a.Local) + "@" + string(a.Domain)
}

// Unicode is String with the domain as people read it.
func (a Address) Unicode() string {
	if a.IsNull() {
		return ""
	}
	return Quote(a.Local) + "@" + a.Domain.Unicode()
}

// Quote returns a local part as a dot-string where it is one, else quoted.
func Quote(local string) string {
	if _, rest, err := parseDotString(local); err == nil && rest == "" {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a.Local == "" && a.Domain == "" }

// IsASCII reports whether the address can be sent without SMTPUTF8; its
// domain always can.
func (a Address) IsASCII() bool {
	for i := 0; i < len(a.Local); i++ {
		if a.Local[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Fold returns the address as our own users' are compared: without case, and
// with one spelling for each character (NFC). Other servers' addresses must
// not be folded: only they know what their local parts mean.
func (a Address) Fold() Address {
	a.Local = FoldLocal(a.Local)
	return a
}

// FoldLocal is Fold for a local part.
func FoldLocal(s string) string {
	lower := strings.ToLower(s)
	if norm.NFC.IsNormalString(lower) {
		return lower
	}
	return norm.NFC.String(lower)
}

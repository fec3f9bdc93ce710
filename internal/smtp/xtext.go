package smtp

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// EncodeXtext encodes s as xtext: RFC 3461, section 4.
func EncodeXtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			b.WriteByte('+')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// DecodeXtext decodes xtext; ok is false if s is none. The result may hold
// any octets.
func DecodeXtext(s string) (decoded string, ok bool) {
	if !strings.Contains(s, "+") {
		return s, isXtext(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
			continue
		}
		if !isXchar(c) {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

func isXtext(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isXchar(s[i]) {
			return false
		}
	}
	return true
}

func isXchar(c byte) bool { return c > ' ' && c <= '~' && c != '+' && c != '=' }

// isPrintableXtext reports whether s is xtext of printable ASCII characters
// (RFC 3461, sections 4.2 and 4.4). A CR LF hidden as +0D+0A would otherwise
// become a header field of the bounce that repeats the value.
func isPrintableXtext(s string) bool {
	decoded, ok := DecodeXtext(s)
	for i := 0; i < len(decoded) && ok; i++ {
		ok = decoded[i] >= ' ' && decoded[i] <= '~'
	}
	return ok
}

// isUTF8Xtext checks an address of the type utf-8: RFC 6533, section 3.
// Characters beyond ASCII stand for themselves only where SMTPUTF8 was
// asked for, else as \x{221E}; controls are refused in either form.
func isUTF8Xtext(s string, raw bool) bool {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\':
			if r, size = decodeEmbedded(s[i:]); size == 0 {
				return false
			}
		case r >= utf8.RuneSelf:
			if !raw || r == utf8.RuneError {
				return false
			}
		case !isXchar(byte(r)):
			return false
		}
		if unicode.IsControl(r) {
			return false
		}
		i += size
	}
	return true
}

// decodeEmbedded reads \x{HEX} at the start of s; size is 0 if it is none.
func decodeEmbedded(s string) (r rune, size int) {
	hex, ok := strings.CutPrefix(s, `\x{`)
	end := strings.IndexByte(hex, '}')
	if !ok || end < 2 || end > 6 || hex != "" && strings.Trim(hex[:end], upperHex) != "" {
		return 0, 0
	}
	n, err := strconv.ParseUint(hex[:end], 16, 32)
	if err != nil || !utf8.ValidRune(rune(n)) {
		return 0, 0
	}
	return rune(n), len(`\x{`) + end + 1
}

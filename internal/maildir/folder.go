package maildir

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// modified is the base 64 of RFC 3501, section 5.1.3.
var modified = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// EncodeFolder returns the name of the directory of a folder, whose levels
// are separated by '/'. It is one element of a path and not "." or "..".
func EncodeFolder(folder string) string {
	var b strings.Builder
	b.WriteByte('.')
	for i, level := range strings.Split(folder, "/") {
		if i > 0 {
			b.WriteByte('.')
		}
		if level == "" {
			level = "_" // which no folder has; two dots would lead elsewhere
		}
		encodeLevel(&b, level)
	}
	return b.String()
}

// encodeLevel writes a level in modified UTF-7, and with "=XX" what must not
// stand in the name of a directory.
func encodeLevel(b *strings.Builder, level string) {
	var wide []rune // characters to be written together
	flush := func() {
		if len(wide) > 0 {
			b.WriteByte('&')
			b.WriteString(modified.EncodeToString(bigEndian(wide)))
			b.WriteByte('-')
			wide = wide[:0]
		}
	}
	for _, r := range level {
		if r >= utf8.RuneSelf {
			wide = append(wide, r)
			continue
		}
		flush()
		switch {
		case r == '&':
			b.WriteString("&-")
		case r < ' ' || r == 0x7f || r == '.' || r == '/' || r == '=':
			fmt.Fprintf(b, "=%02X", r)
		default:
			b.WriteRune(r)
		}
	}
	flush()
}

func bigEndian(text []rune) (b []byte) {
	for _, u := range utf16.Encode(text) {
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}

// DecodeFolder returns the levels of the folder in a directory whose name
// begins with a dot. What is not modified UTF-7 stays as it is: other
// programs write UTF-8.
func DecodeFolder(dir string) []string {
	levels := strings.Split(strings.TrimPrefix(dir, "."), ".")
	for i, level := range levels {
		levels[i] = DecodeLevel(level)
	}
	return levels
}

// DecodeLevel is DecodeFolder for one level.
func DecodeLevel(level string) string {
	if text, ok := utf7(level); ok {
		level = text
	}
	return unescape(level)
}

// utf7 decodes modified UTF-7.
func utf7(s string) (string, bool) {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(s, "&")
		b.WriteString(text)
		if !found {
			return b.String(), true
		}
		code, after, ended := strings.Cut(rest, "-")
		if !ended {
			return "", false
		}
		s = after
		if code == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := modified.DecodeString(code)
		if err != nil || len(raw)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		b.WriteString(string(utf16.Decode(units)))
	}
}

// unescape decodes the "=XX" that EncodeFolder writes, and no other.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '=' && i+2 < len(s) {
			if c, ok := hex(s[i+1], s[i+2]); ok && (c < ' ' || c == 0x7f || c == '.' || c == '/' || c == '=') {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hex(high, low byte) (byte, bool) {
	const digits = "0123456789ABCDEF"
	h, l := strings.IndexByte(digits, high), strings.IndexByte(digits, low)
	return byte(h<<4 | l), h >= 0 && l >= 0
}

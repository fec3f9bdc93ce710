package message

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
)

// Bounds of Decode.
const (
	// maxDecode is how much of a value is shown to people, in octets.
	maxDecode = 32 << 10
	// maxWord bounds one encoded word. RFC 2047, section 2 says 75 octets;
	// programs that put a whole subject into one word are common.
	maxWord = 8 << 10
)

// Decode returns the value of a field for people: encoded words (RFC 2047)
// in UTF-8, all else as it is. Words in a charset or encoding that is not
// known stay as written. The result is Printable, also where decoding brought
// in line ends.
func Decode(value string) string { return Printable(decode(value)) }

// Overrides reports whether the value of a field, decoded, has marks that
// turn text around where a reader obeys them: "elpmaxe" is shown as
// "example". Decode leaves them out.
func Overrides(value string) bool {
	return strings.ContainsFunc(decode(value), func(r rune) bool {
		return '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
	})
}

func decode(value string) string {
	if len(value) > maxDecode {
		value = value[:maxDecode]
	}
	if !strings.Contains(value, "=?") {
		return value
	}
	var out strings.Builder
	var run words
	for value != "" {
		start := strings.Index(value, "=?")
		if start < 0 {
			break
		}
		w, ok := parseWord(value[start:])
		if !ok {
			start += len("=?")
			run.flush(&out)
			out.WriteString(value[:start])
			value = value[start:]
			continue
		}
		// White space between two encoded words is not shown: RFC 2047,
		// section 6.2.
		if between := value[:start]; !run.any() || strings.Trim(between, " \t\r\n") != "" {
			run.flush(&out)
			out.WriteString(between)
		}
		run.add(w, &out)
		value = value[start+w.length:]
	}
	run.flush(&out)
	out.WriteString(value)
	return out.String()
}

// word is one encoded word.
type word struct {
	charset string // in lower case
	content string // decoded to the octets of the charset
	length  int    // as written
}

// parseWord reads the encoded word at the start of s: "=?" charset ["*"
// language] "?" encoding "?" text "?=" (RFC 2047, section 2; RFC 2231,
// section 5).
func parseWord(s string) (word, bool) {
	rest := s[len("=?"):min(len(s), maxWord)]
	charset, rest, ok := strings.Cut(rest, "?")
	if !ok || charset == "" || strings.ContainsAny(charset, " \t=") {
		return word{}, false
	}
	encoding, rest, ok := strings.Cut(rest, "?")
	if !ok || len(encoding) != 1 {
		return word{}, false
	}
	text, _, ok := strings.Cut(rest, "?=")
	if !ok || strings.Contains(text, "?") {
		return word{}, false
	}
	w := word{length: len("=?") + len(charset) + len("?q?") + len(text) + len("?=")}
	w.charset, _, _ = strings.Cut(strings.ToLower(charset), "*")
	if _, ok := decoder(w.charset); !ok {
		return word{}, false
	}
	switch lower(encoding[0]) {
	case 'q':
		w.content, ok = decodeQ(text)
	case 'b':
		w.content, ok = decodeB(text)
	default:
		ok = false
	}
	return w, ok
}

// decodeQ decodes the Q encoding: RFC 2047, section 4.2.
func decodeQ(s string) (string, bool) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '_':
			b.WriteByte(' ')
		case '=':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), true
}

func unhex(c byte) int { return strings.IndexByte("0123456789abcdef", lower(c)) }

// decodeB decodes base64; padding may be missing, and folding within a word
// is overlooked.
func decodeB(s string) (string, bool) {
	s = strings.TrimRight(strings.Map(dropSpace, s), "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	return string(b), err == nil
}

func dropSpace(r rune) rune {
	if r == ' ' || r == '\t' {
		return -1
	}
	return r
}

// words gathers encoded words that stand side by side in one charset: many
// programs cut a character that takes several octets in two between words,
// against RFC 2047, section 5.
type words struct {
	charset string
	content strings.Builder
}

func (r *words) any() bool { return r.charset != "" }

func (r *words) add(w word, out *strings.Builder) {
	if r.charset != w.charset {
		r.flush(out)
	}
	r.charset = w.charset
	r.content.WriteString(w.content)
}

// flush writes what was gathered, in UTF-8.
func (r *words) flush(out *strings.Builder) {
	if r.charset == "" {
		return
	}
	d, _ := decoder(r.charset)
	text, _, err := transform.String(d, r.content.String())
	if err != nil {
		text = r.content.String()
	}
	out.WriteString(text)
	r.charset = ""
	r.content.Reset()
}

// decoder returns what turns a charset into UTF-8. The labels are those that
// browsers know, which are those that mail is written in.
func decoder(charset string) (transform.Transformer, bool) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, false
	}
	return e.NewDecoder(), true
}

// Printable makes text of others safe to show on one line: valid UTF-8, and
// without what could reach beyond the line or turn it around (CR, LF and
// other controls, line separators, marks of direction). Tabs become spaces.
func Printable(s string) string {
	if clean(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case hidden(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// clean reports whether s is printable US-ASCII, which most values are.
func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// hidden tells controls (C1 too), line and paragraph separators, and marks
// of direction: with these "gpj.exe" is shown as "exe.jpg".
func hidden(r rune) bool {
	return r < utf8.RuneSelf && unicode.IsControl(r) || r >= utf8.RuneSelf && unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

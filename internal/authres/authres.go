// Package authres writes and reads Authentication-Results fields: what a
// server says of how the mail that it took was authenticated.
//
// # Place in the path
//
// gate takes out of incoming mail what claims to be said by us (Claims,
// Strip), and puts our own field in front (Results.Field). arc writes and
// reads the same content in ARC-Authentication-Results. spf, dkim and dmarc
// turn what they found into a Result.
//
// # Standards
//
// RFC 8601; RFC 6532 (UTF-8 in values); RFC 8617, section 4.1.1 (in ARC).
//
// # What it trusts, and its limits
//
// Nothing that it reads: whoever sent the message may have written it.
// Whether the name in it means anything is for the caller to decide. MaxValue,
// MaxResults, MaxProps and maxComments bound what is read. What is written
// holds no control characters, whatever was put into it, so that no value
// can end the field.
package authres

import (
	"strings"
	"unicode/utf8"

	"gatepost/internal/message"
)

// Bounds of what Parse reads.
const (
	MaxValue    = 16 << 10 // octets of a field's value
	MaxResults  = 64       // of one field
	MaxProps    = 32       // of one result
	maxComments = 20       // comments within comments
)

// Results is one Authentication-Results field.
type Results struct {
	// ID names the server whose word this is (authserv-id).
	ID string
	// Results are what it found; none means that it did not look (RFC 8601,
	// section 2.2, no-result).
	Results []Result
}

// Result is what one method came to.
type Result struct {
	Method string // in lower case, as "dkim"; without a version
	Value  string // in lower case, as "pass"
	Reason string // why, for people; may be empty
	Props  []Prop
}

// Prop is one property that a method looked at, as smtp.mailfrom or header.d:
// RFC 8601, section 2.3.
type Prop struct {
	Type  string // "smtp", "header", "body" or "policy"; empty in what some servers write
	Name  string
	Value string
}

// Get returns the value of a property, empty if there is none.
func (r Result) Get(ptype, name string) string {
	for _, p := range r.Props {
		if p.Type == ptype && p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Find returns the results of one method.
func (rs Results) Find(method string) []Result {
	var found []Result
	for _, r := range rs.Results {
		if r.Method == method {
			found = append(found, r)
		}
	}
	return found
}

// lineLength is what a line of a field should not exceed: RFC 5322, section
// 2.1.1.
const lineLength = 78

// Field returns a whole Authentication-Results field with its line ends.
func (rs Results) Field() []byte {
	w := writer{out: []byte("Authentication-Results:"), column: len("Authentication-Results:")}
	w.results(rs)
	return append(w.out, "\r\n"...)
}

// AppendARC appends an ARC-Authentication-Results field for an instance of a
// chain: RFC 8617, section 4.1.1.
func (rs Results) AppendARC(b []byte, instance string) []byte {
	const name = "ARC-Authentication-Results:"
	w := writer{out: append(b, name...), column: len(name)}
	w.word("i=" + instance + ";")
	w.results(rs)
	return append(w.out, "\r\n"...)
}

// writer folds words into lines.
type writer struct {
	out    []byte
	column int
}

// word writes one word with white space in front, on a new line if it does
// not fit.
func (w *writer) word(s string) {
	if w.column+1+len(s) > lineLength {
		w.fold()
		w.out = append(w.out, s...)
	} else {
		w.out = append(append(w.out, ' '), s...)
	}
	w.column += 1 + len(s)
}

func (w *writer) fold() {
	w.out = append(w.out, "\r\n\t"...)
	w.column = 7 // a tab and the word after it
}

func (w *writer) results(rs Results) {
	w.word(value(rs.ID))
	if len(rs.Results) == 0 {
		w.out = append(w.out, "; none"...)
		return
	}
	for _, r := range rs.Results {
		w.out = append(w.out, ';')
		w.fold()
		w.out = append(append(w.out, keyword(r.Method)...), '=')
		w.out = append(w.out, keyword(r.Value)...)
		w.column += len(r.Method) + len(r.Value)
		if r.Reason != "" {
			w.word("reason=" + quote(r.Reason))
		}
		for _, p := range r.Props {
			w.word(keyword(p.Type) + "." + keyword(p.Name) + "=" + pvalue(p.Value))
		}
	}
}

// keyword keeps what may stand in a method, result or property; these come
// from code.
func keyword(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && isKeyword(byte(r)) {
			return r
		}
		return -1
	}, s)
}

// value writes a token or quoted string: RFC 2045, section 5.1.
func value(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf || !isToken(byte(r)) }) {
		return s
	}
	return quote(s)
}

// pvalue is value, but for addresses, which may stand without quotes: RFC
// 8601, section 2.2.
func pvalue(s string) string {
	local, domain, ok := strings.Cut(s, "@")
	if ok && plain(local, true) && plain(domain, false) && domain != "" {
		return s
	}
	return value(s)
}

// plain reports whether s is a local part or domain of letters, digits and
// marks that every reader takes for an address.
func plain(s string, local bool) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(isKeyword(c) || c == '.' || local && strings.IndexByte("+_=", c) >= 0) {
			return false
		}
	}
	return !local || !strings.Contains(s, "..") && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".")
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(message.Printable(s)) {
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	b.WriteByte('"')
	return b.String()
}

// isKeyword is what Keyword of RFC 5321, section 4.1.2 is made of.
func isKeyword(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
}

// isToken is what a token of RFC 2045, section 5.1 is made of.
func isToken(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}

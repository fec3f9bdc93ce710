package authres

import (
	"errors"
	"strings"
	"unicode/utf8"

	"gatepost/internal/addr"
	"gatepost/internal/message"
)

// Errors of Parse.
var (
	ErrSyntax  = errors.New("not a valid Authentication-Results field")
	ErrTooMuch = errors.New("an Authentication-Results field that is too large")
)

// Parse reads the value of a field, unfolded. It is strict about structure:
// a semicolon ends a result wherever it stands outside quotes and comments.
// It is lenient where large servers write what the grammar has not: values
// that should be quoted, and properties without a type.
func Parse(s string) (Results, error) {
	if len(s) > MaxValue {
		return Results{}, ErrTooMuch
	}
	p := parser{rest: s}
	var rs Results
	var err error
	if rs.ID, err = p.id(); err != nil {
		return Results{}, err
	}
	for p.rest != "" {
		r, none, err := p.result()
		if err != nil {
			return Results{}, err
		}
		if none { // RFC 8601, section 2.2: it stands alone
			if p.rest != "" || len(rs.Results) > 0 {
				return Results{}, ErrSyntax
			}
			return rs, nil
		}
		if rs.Results = append(rs.Results, r); len(rs.Results) > MaxResults {
			return Results{}, ErrTooMuch
		}
	}
	if len(rs.Results) == 0 {
		return Results{}, ErrSyntax
	}
	return rs, nil
}

// parser reads from left to right; each method leaves rest behind what it
// has read and the comments and white space after it.
type parser struct{ rest string }

// id reads the name of the server and the version, which must be ours.
func (p *parser) id() (string, error) {
	if !p.space() {
		return "", ErrSyntax
	}
	id, ok := p.value()
	if !ok || id == "" {
		return "", ErrSyntax
	}
	if v, ok := p.value(); ok && v != "1" { // RFC 8601, section 2.2: version 1
		return "", ErrSyntax
	}
	if p.rest != "" && p.rest[0] != ';' {
		return "", ErrSyntax
	}
	return id, nil
}

// result reads one result with the semicolon in front of it.
func (p *parser) result() (r Result, none bool, err error) {
	if !p.eat(';') {
		return r, false, ErrSyntax
	}
	r.Method = p.keyword()
	if r.Method == "none" && (p.rest == "" || p.rest[0] == ';') {
		return r, true, nil
	}
	if p.eat('/') && p.keyword() != "1" { // RFC 8601, section 2.2, method-version
		return r, false, ErrSyntax
	}
	if r.Method == "" || !p.eat('=') {
		return r, false, ErrSyntax
	}
	if r.Value = p.keyword(); r.Value == "" {
		return r, false, ErrSyntax
	}
	for p.rest != "" && p.rest[0] != ';' {
		if err := p.prop(&r); err != nil {
			return r, false, err
		}
	}
	return r, false, nil
}

// prop reads a reason or a property.
func (p *parser) prop(r *Result) error {
	first := p.keyword()
	if first == "" {
		return ErrSyntax
	}
	name := ""
	if p.eat('.') {
		if name = p.keyword(); name == "" {
			return ErrSyntax
		}
	}
	if !p.eat('=') {
		return ErrSyntax
	}
	text, ok := p.value()
	switch {
	case !ok:
		return ErrSyntax
	case name == "" && first == "reason":
		r.Reason = text
	case name == "":
		r.Props = append(r.Props, Prop{Name: first, Value: text})
	default:
		r.Props = append(r.Props, Prop{first, name, text})
	}
	if len(r.Props) > MaxProps {
		return ErrTooMuch
	}
	return nil
}

// keyword reads letters, digits and hyphens, in lower case; empty if there
// are none.
func (p *parser) keyword() string {
	n := 0
	for n < len(p.rest) && (isKeyword(p.rest[n]) || p.rest[n] == '_') {
		n++
	}
	word := strings.ToLower(p.rest[:n])
	p.rest = p.rest[n:]
	if !p.space() {
		return ""
	}
	return word
}

// value reads a quoted string, or all that can be a value without quotes.
func (p *parser) value() (string, bool) {
	var text string
	if p.rest != "" && p.rest[0] == '"' {
		var ok bool
		if text, p.rest, ok = quoted(p.rest[1:]); !ok {
			return "", false
		}
		// What was quoted may go on as the local part of an address does.
		if strings.HasPrefix(p.rest, "@") {
			n := bare(p.rest)
			text, p.rest = text+p.rest[:n], p.rest[n:]
		}
		return text, p.space()
	}
	n := bare(p.rest)
	text, p.rest = p.rest[:n], p.rest[n:]
	return text, p.space() && n > 0
}

// bare returns the length of the value without quotes that s begins with.
func bare(s string) int {
	n := 0
	for n < len(s) && s[n] > ' ' && s[n] != 0x7f && strings.IndexByte(`;()"\<>,`, s[n]) < 0 {
		n++
	}
	return n
}

func (p *parser) eat(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return p.space()
}

// space skips white space and comments; it is false when a comment does not
// end or nests too deep, or a line end or other control character comes.
func (p *parser) space() bool {
	var ok bool
	p.rest, ok = skipCFWS(p.rest)
	return ok
}

// skipCFWS returns s after white space and comments (RFC 5322, section
// 3.2.2).
func skipCFWS(s string) (rest string, ok bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			if depth++; depth > maxComments {
				return "", false
			}
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case c < ' ' && c != '\t':
			return "", false
		case depth == 0 && c != ' ' && c != '\t':
			return s[i:], true
		}
	}
	return "", depth == 0
}

// quoted returns the quoted string whose content s begins with, and what
// follows it.
func quoted(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		case c < ' ' && c != '\t':
			return "", "", false
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// Claims reports whether the value of a field speaks in one of our names.
// One whose name cannot be read might be ours to a reader less strict, and
// counts as ours.
func Claims(value string, ours ...addr.Domain) bool {
	p := parser{rest: value}
	if !p.space() {
		return true
	}
	id, ok := p.value()
	if !ok {
		return true
	}
	// A reader might end the name sooner: "mx.example.org/1".
	if n := strings.IndexFunc(id, endsName); n >= 0 {
		id = id[:n]
	}
	d, err := addr.ParseDomain(strings.TrimSuffix(id, "."))
	if err != nil {
		return false
	}
	for _, our := range ours {
		if d == our {
			return true
		}
	}
	return false
}

func endsName(r rune) bool {
	return r < utf8.RuneSelf && r != '.' && r != '_' && !isKeyword(byte(r))
}

// Strip returns a header section without the Authentication-Results fields
// that speak in our names, which readers and filters would believe: RFC
// 8601, section 5. It returns header itself when there are none.
func Strip(header []byte, ours ...addr.Domain) []byte {
	var kept []byte
	pos, from := 0, 0 // header[from:pos] is to be kept and not copied yet
	for f := range message.Fields(header) {
		end := pos + len(f.Raw)
		if f.Is("Authentication-Results") && Claims(f.Value(), ours...) {
			kept = append(kept, header[from:pos]...)
			from = end
		}
		pos = end
	}
	if from == 0 {
		return header
	}
	return append(kept, header[from:]...)
}

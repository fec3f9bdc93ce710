package message

import (
	"bytes"
	"errors"
	"iter"
	"strings"
)

// MaxFields bounds the fields of one header section. Real mail has some
// dozens; a message that has been through every list has a few hundred.
const MaxFields = 1000

// Errors of Check.
var (
	ErrLineEnd    = errors.New("line does not end in CR LF")
	ErrControl    = errors.New("control character")
	ErrFieldName  = errors.New("not a field: no valid name before a colon")
	ErrFold       = errors.New("continuation line before the first field")
	ErrMbox       = errors.New(`"From " line of a mailbox file`)
	ErrTooMany    = errors.New("too many fields")
	ErrAfterBlank = errors.New("something follows the empty line that ends the header")
)

// Field is one field of a header section. It refers to the section's bytes
// and is valid as long as these are.
type Field struct {
	Raw  []byte // the whole field with its line ends
	name int    // octets of Raw that are the name; 0 when it is no field
	body int    // octets of Raw up to and with the colon
}

// Name returns the name as written; empty for a line that is not a field. To
// compare it, use Is.
func (f Field) Name() string { return string(f.Raw[:f.name]) }

// Is reports whether the field has the given name, in any case (RFC 5322,
// section 1.2.2). It does not allocate.
func (f Field) Is(name string) bool {
	return f.name == len(name) && f.name > 0 && equalFold(f.Raw[:f.name], name)
}

// Value returns what follows the colon, unfolded (RFC 5322, section 2.2.3:
// the line ends go, white space stays) and without white space around it. No
// CR or LF is in it, even when the section was never checked.
func (f Field) Value() string {
	v := bytes.Trim(f.Raw[f.body:], " \t\r\n")
	if bytes.IndexByte(v, '\n') < 0 && bytes.IndexByte(v, '\r') < 0 {
		return string(v)
	}
	var b strings.Builder
	b.Grow(len(v))
	for line := range bytes.Lines(v) {
		for piece := range bytes.SplitSeq(bytes.TrimSuffix(line, lf), cr) {
			b.Write(piece)
		}
	}
	return b.String()
}

var cr, lf = []byte("\r"), []byte("\n")

// Fields iterates over the fields of a header section, with or without the
// empty line that ends it; what follows that line is not looked at. It does
// not allocate. Lines that are not fields come as a Field without a name, so
// that nothing is lost by who copies the rest.
func Fields(header []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for rest := header; len(rest) > 0 && !emptyLine(rest); {
			n := fieldEnd(rest)
			if !yield(newField(rest[:n])) {
				return
			}
			rest = rest[n:]
		}
	}
}

// emptyLine reports whether the line that b begins with is empty.
func emptyLine(b []byte) bool {
	return b[0] == '\n' || len(b) > 1 && b[0] == '\r' && b[1] == '\n'
}

// fieldEnd returns the length of the field at the start of b: its line and
// the continuation lines that follow.
func fieldEnd(b []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		if n += i + 1; n == len(b) || b[n] != ' ' && b[n] != '\t' {
			return n
		}
	}
}

// newField finds the name. RFC 5322, section 4.5 lets white space stand
// before the colon in old mail; readers that allow it would see a field
// where we saw none, and so a forged Authentication-Results could pass the
// one who removes them. It is therefore a field here (Check refuses it).
func newField(raw []byte) Field {
	colon := bytes.IndexByte(raw, ':')
	if colon < 0 {
		return Field{Raw: raw}
	}
	name := bytes.TrimRight(raw[:colon], " \t")
	if !validName(name) {
		return Field{Raw: raw}
	}
	return Field{raw, len(name), colon + 1}
}

// validName is field-name of RFC 5322, section 2.2: printable US-ASCII
// without colon.
func validName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return len(name) > 0
}

// equalFold compares US-ASCII without case and without allocating.
func equalFold(b []byte, s string) bool {
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// Find returns the first field of the given name.
func Find(header []byte, name string) (Field, bool) {
	for f := range Fields(header) {
		if f.Is(name) {
			return f, true
		}
	}
	return Field{}, false
}

// Has reports whether the section has a field of the given name.
func Has(header []byte, name string) bool {
	_, ok := Find(header, name)
	return ok
}

// Count returns how many fields of the given name the section has.
func Count(header []byte, name string) int {
	n := 0
	for f := range Fields(header) {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// Remove returns the section without the fields of the given names: header
// itself when there are none, else a copy. The empty line and what follows
// it stay.
func Remove(header []byte, names ...string) []byte {
	var kept []byte
	pos, from := 0, 0 // header[from:pos] is to be kept and not copied yet
	for f := range Fields(header) {
		end := pos + len(f.Raw)
		if f.isAny(names) {
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

func (f Field) isAny(names []string) bool {
	for _, n := range names {
		if f.Is(n) {
			return true
		}
	}
	return false
}

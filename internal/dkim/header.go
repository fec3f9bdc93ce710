package dkim

import (
	"bytes"
	"crypto/sha256"
	"strings"

	"gatepost/internal/message"
)

// Header is a header section, its fields found once for all signatures. It
// refers to the section's octets.
type Header struct {
	Fields []message.Field
	buf    []byte // what was hashed last, to be used again
	picked []int
}

// NewHeader finds the fields of a section.
func NewHeader(section []byte) *Header {
	h := &Header{}
	for f := range message.Fields(section) {
		h.Fields = append(h.Fields, f)
	}
	return h
}

// Digest returns the hash of the fields that a signature covers and of its
// own field, Fields[at], without the value of b=: RFC 6376, section 3.7. at
// is -1 when own is not among the fields.
func (h *Header) Digest(names []string, c Canon, own []byte, at int) [32]byte {
	h.buf = h.appendPicked(h.buf[:0], names, c, at)
	h.buf = AppendField(h.buf, WithoutValue(own), c)
	return sha256.Sum256(bytes.TrimSuffix(h.buf, []byte("\r\n")))
}

// appendPicked appends the fields that names stand for, canonicalized. Of
// several with one name each mention takes the next from the bottom, and a
// mention too many takes nothing: RFC 6376, section 5.4.2. A field never
// signs itself.
func (h *Header) appendPicked(buf []byte, names []string, c Canon, own int) []byte {
	h.picked = h.picked[:0]
	for i, name := range names {
		from := len(h.Fields)
		for j := i - 1; j >= 0; j-- {
			if strings.EqualFold(names[j], name) {
				from = h.picked[j]
				break
			}
		}
		n := from - 1
		for ; n >= 0; n-- {
			if n != own && h.Fields[n].Is(name) {
				buf = AppendField(buf, h.Fields[n].Raw, c)
				break
			}
		}
		h.picked = append(h.picked, max(n, 0)) // the next mention looks above
	}
	return buf
}

// AppendField appends a field as it is hashed: RFC 6376, sections 3.4.1 and
// 3.4.2.
func AppendField(buf, raw []byte, c Canon) []byte {
	colon := bytes.IndexByte(raw, ':')
	if c == Simple || colon < 0 {
		return append(buf, raw...)
	}
	for _, b := range bytes.TrimRight(raw[:colon], " \t") {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		buf = append(buf, b)
	}
	buf = append(buf, ':')
	space := false
	start := len(buf)
	for _, b := range raw[colon+1:] {
		switch b {
		case '\r', '\n': // unfolded
		case ' ', '\t':
			space = true
		default:
			if space && len(buf) > start {
				buf = append(buf, ' ')
			}
			space = false
			buf = append(buf, b)
		}
	}
	return append(buf, "\r\n"...)
}

// WithoutValue returns a signature field without the value of its b= tag:
// RFC 6376, section 3.5.
func WithoutValue(raw []byte) []byte {
	at := bytes.IndexByte(raw, ':') + 1
	for at < len(raw) {
		end := at + bytes.IndexByte(raw[at:], ';')
		if end < at {
			end = len(bytes.TrimSuffix(raw, []byte("\r\n")))
		}
		name, _, ok := bytes.Cut(raw[at:max(at, end)], []byte("="))
		if ok && string(bytes.Trim(name, " \t\r\n")) == "b" {
			value := at + len(name) + 1
			return append(bytes.Clone(raw[:value]), raw[end:]...)
		}
		at = end + 1
	}
	return raw
}

package dkim

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"

	"gatepost/internal/dkim/canon"
	"gatepost/internal/message"
)

// Header is a header section, its fields found once for all signatures. It
// refers to the section's octets.
type Header struct {
	Fields []message.Field
	buf    []byte // what was hashed last, to be used again
	picked []int
}

// What most messages have: fields, and octets that a signature covers of them.
const (
	usualFields = 24
	usualHeader = 2 << 10
)

// NewHeader finds the fields of a section.
func NewHeader(section []byte) *Header {
	h := &Header{Fields: make([]message.Field, 0, usualFields)}
	for f := range message.Fields(section) {
		h.Fields = append(h.Fields, f)
	}
	return h
}

// Digest returns the hash of the fields that a signature covers and of its
// own field, Fields[at], without the value of b=: RFC 6376, section 3.7. at
// is -1 when own is not among the fields.
func (h *Header) Digest(names []string, c canon.Form, own []byte, at int) [32]byte {
	if h.buf == nil {
		h.buf = make([]byte, 0, usualHeader)
	}
	h.buf = h.appendPicked(h.buf[:0], names, c, at)
	h.buf = canon.AppendField(h.buf, canon.WithoutValue(own), c)
	return sha256.Sum256(bytes.TrimSuffix(h.buf, []byte("\r\n")))
}

// AppendSigned appends the fields that a relaxed signature covers, as they
// are hashed.
func (h *Header) AppendSigned(buf []byte, names []string) []byte {
	return h.appendPicked(buf, names, canon.Relaxed, -1)
}

// appendPicked appends the fields that names stand for, canonicalized. Of
// several with one name each mention takes the next from the bottom, and a
// mention too many takes nothing: RFC 6376, section 5.4.2. A field never
// signs itself.
func (h *Header) appendPicked(buf []byte, names []string, c canon.Form, own int) []byte {
	h.picked = slices.Grow(h.picked[:0], len(names))
	for i, name := range names {
		from := len(h.Fields)
		for j := i - 1; j >= 0; j-- {
			if len(names[j]) == len(name) && strings.EqualFold(names[j], name) {
				from = h.picked[j]
				break
			}
		}
		n := from - 1
		for ; n >= 0; n-- {
			if n != own && h.Fields[n].Is(name) {
				buf = canon.AppendField(buf, h.Fields[n].Raw, c)
				break
			}
		}
		h.picked = append(h.picked, max(n, 0)) // the next mention looks above
	}
	return buf
}

// singles are the fields that a message has at most once (RFC 5322, section
// 3.6; RFC 2045) and that decide what readers show.
var singles = [...]string{
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
}

// several returns those of singles that are there more than once, and how
// often.
func (h *Header) several() map[string]int {
	var there [len(singles)]int
	var list map[string]int
	for _, f := range h.Fields {
		for i, single := range singles {
			if !f.Is(single) {
				continue
			}
			if there[i]++; there[i] > 1 {
				if list == nil {
					list = map[string]int{}
				}
				list[single] = there[i]
			}
			break
		}
	}
	return list
}

// doubled returns the first of singles that a signature covers, but not as
// often as it is there.
func (s *Signature) doubled(several map[string]int) string {
	if len(several) == 0 { // as in almost every message
		return ""
	}
	for _, name := range singles {
		signed := 0
		for _, n := range s.Headers {
			if strings.EqualFold(n, name) {
				signed++
			}
		}
		if signed > 0 && several[name] > signed {
			return name
		}
	}
	return ""
}

// AppendRelaxed appends a field as it is hashed in relaxed form.
func AppendRelaxed(buf, raw []byte) []byte { return canon.AppendField(buf, raw, canon.Relaxed) }

// WithoutValue returns a signature field without the value of its b= tag.
func WithoutValue(raw []byte) []byte { return canon.WithoutValue(raw) }

// Relaxed is the canonicalization that everything of ours is signed in.
const Relaxed = canon.Relaxed

// Body hashes a body while it is written to it.
type Body = canon.Body

// BodyHash is one hash of a body.
type BodyHash = canon.BodyHash

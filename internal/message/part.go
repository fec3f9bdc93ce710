package message

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"
)

// header is the header section of one entity, with its empty line if it had
// one.
type header struct{ raw []byte }

// way is how the body of an entity is treated.
type way uint8

const (
	verbatim  way = iota // not understood, signed, or encoded already
	leaf                 // may be encoded
	container            // a multipart
	nested               // a message within
)

// kind is what a header makes of its entity.
type kind struct {
	way      way
	text     bool   // a leaf that people may read as it is
	boundary string // of a container
	children place  // where the parts of a container stand
}

// kind decides how an entity is treated. Where a field comes twice or does
// not parse, readers differ about the structure, and a decision here could
// show to one what another did not scan: it is then left as it is.
func (h header) kind(at place) (kind, error) {
	if !isSevenBit(h.raw) {
		return kind{}, notConvertible("8-bit octets in a header")
	}
	if h.twisted() || !identity(h.value("Content-Transfer-Encoding")) {
		return kind{way: verbatim}, nil
	}
	value := h.value("Content-Type")
	if value == "" {
		if at == digest {
			return kind{way: nested}, nil
		}
		return kind{way: leaf, text: true}, nil
	}
	mediaType, params, err := mime.ParseMediaType(value)
	if err != nil && mediaType == "" {
		return kind{way: verbatim}, nil
	}
	return kindOf(mediaType, params["boundary"]), nil
}

// kindOf is kind for a media type.
func kindOf(mediaType, boundary string) kind {
	top, _, _ := strings.Cut(mediaType, "/")
	switch {
	case mediaType == "multipart/signed", mediaType == "multipart/encrypted":
		// RFC 1847, section 2.1: signed parts are not changed on the way.
		return kind{way: verbatim}
	case top == "multipart" && boundary != "" && len(boundary) <= MaxLine:
		k := kind{way: container, boundary: boundary, children: part}
		if mediaType == "multipart/digest" {
			k.children = digest
		}
		return k
	case top == "multipart":
		return kind{way: verbatim}
	case mediaType == "message/rfc822":
		return kind{way: nested} // RFC 2045, section 6.4: not encoded as a whole
	case strings.HasPrefix(mediaType, "message/global"):
		return kind{way: leaf, text: true} // RFC 6532, section 3.7 lets these be encoded
	case top == "message":
		return kind{way: verbatim}
	}
	return kind{way: leaf, text: top == "text"}
}

// twisted reports whether readers may disagree about a header.
func (h header) twisted() bool {
	for f := range Fields(h.raw) {
		if f.name == 0 {
			return true
		}
	}
	return Count(h.raw, "Content-Type") > 1 || Count(h.raw, "Content-Transfer-Encoding") > 1
}

func (h header) value(name string) string {
	f, ok := Find(h.raw, name)
	if !ok {
		return ""
	}
	return f.Value()
}

// identity reports whether an encoding is none (RFC 2045, section 6.2).
func identity(encoding string) bool {
	switch strings.ToLower(encoding) {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// sevenBit returns the section with a label of 8bit or binary corrected.
func (h header) sevenBit() []byte {
	switch strings.ToLower(h.value("Content-Transfer-Encoding")) {
	case "8bit", "binary":
		return h.labelled("7bit")
	}
	return h.raw
}

// labelled returns the section with the given encoding.
func (h header) labelled(encoding string) []byte {
	h.raw = Remove(h.raw, "Content-Transfer-Encoding")
	h.add("Content-Transfer-Encoding: " + encoding + "\r\n")
	return h.raw
}

// add puts a field behind the others.
func (h *header) add(field string) {
	end := len(h.raw)
	for _, empty := range []string{"\r\n", "\n"} {
		if bytes.Equal(h.raw, []byte(empty)) || bytes.HasSuffix(h.raw, []byte("\n"+empty)) {
			end -= len(empty)
			break
		}
	}
	h.raw = append(append(bytes.Clone(h.raw[:end]), field...), h.raw[end:]...)
}

// makeMIME adds what a message lacks for its encoding to be understood. Text
// whose charset nobody named is called UTF-8 if it is that, else
// unknown-8bit, which RFC 1428, section 3 made for this case.
func (h *header) makeMIME(content []byte) {
	if !Has(h.raw, "MIME-Version") {
		h.add("MIME-Version: 1.0\r\n")
	}
	if Has(h.raw, "Content-Type") {
		return
	}
	charset := "unknown-8bit"
	if validUTF8(content) {
		charset = "utf-8"
	}
	h.add("Content-Type: text/plain; charset=" + charset + "\r\n")
}

// validUTF8 is utf8.Valid for content that may be cut within a character.
func validUTF8(p []byte) bool {
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if c := p[len(p)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-i:]) {
				p = p[:len(p)-i]
			}
			break
		}
	}
	return utf8.Valid(p)
}

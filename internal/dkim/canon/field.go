package canon

import "bytes"

// AppendField appends a field as it is hashed: RFC 6376, sections 3.4.1 and
// 3.4.2.
func AppendField(buf, raw []byte, f Form) []byte {
	colon := bytes.IndexByte(raw, ':')
	if f == Simple || colon < 0 {
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
	for rest := raw[colon+1:]; len(rest) > 0; {
		n := word(rest)
		if n == 0 { // unfolded: line ends go
			space = space || rest[0] == ' ' || rest[0] == '\t'
			rest = rest[1:]
			continue
		}
		if space && len(buf) > start {
			buf = append(buf, ' ')
		}
		space = false
		buf = append(buf, rest[:n]...)
		rest = rest[n:]
	}
	return append(buf, "\r\n"...)
}

// word returns how many octets stand before white space or a line end.
func word(p []byte) int {
	for i, b := range p {
		if b <= ' ' && (b == ' ' || b == '\t' || b == '\r' || b == '\n') {
			return i
		}
	}
	return len(p)
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

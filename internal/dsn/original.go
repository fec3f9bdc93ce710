package dsn

import (
	"bufio"
	"bytes"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"gatepost/internal/message"
)

// readHeader returns the header section that r begins with, without its
// empty line and cut to whole lines at MaxHeader. r stands behind it.
func readHeader(r *bufio.Reader) ([]byte, error) {
	var header []byte
	start := 0 // of the current line in header
	inLine, full := false, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, err
		}
		if !inLine && len(bytes.TrimRight(line, "\r\n")) == 0 {
			return header, nil // also at the end: line is empty then
		}
		if !inLine {
			start = len(header)
		}
		inLine = err == bufio.ErrBufferFull
		switch {
		case full:
		case len(header)+len(line) > MaxHeader:
			header, full = header[:start], true
		default:
			header = append(header, line...)
		}
		if err == io.EOF {
			return header, nil
		}
	}
}

// messageID returns the original's Message-ID if it may be repeated in a
// header of ours, else nothing.
func messageID(header []byte) string {
	f, ok := message.Find(header, "Message-ID")
	if !ok {
		return ""
	}
	id := f.Value()
	inner := strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
	if len(id) != len(inner)+2 || len(id) > 250 || strings.ContainsAny(inner, "<>") || !visible(inner) {
		return ""
	}
	return id
}

// visible reports whether s is US-ASCII without controls and spaces.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// returnsAll reports whether the whole message goes back. One whose header
// has octets above 127 that are not UTF-8 cannot: it is no message by any
// standard, and a message within another may not be encoded.
func (r *Report) returnsAll(header []byte) bool {
	return r.Full && r.action() == Failed && r.Size <= MaxFull && utf8.Valid(header)
}

// original makes the third part: the header, or all of the message. A header
// with UTF-8 needs the types of RFC 6533 and RFC 6532; one with other octets
// above 127 comes encoded (RFC 6522, section 4).
func (r *Report) original(header []byte, rest io.Reader) part {
	ascii, utf := isASCII(header), utf8.Valid(header)
	if r.returnsAll(header) {
		return r.whole(header, rest, ascii)
	}
	p := part{description: "Header of your message", mediaType: "text/rfc822-headers", content: header}
	switch {
	case ascii:
	case utf:
		p.mediaType, p.encoding = "message/global-headers", "8bit"
	default:
		var b bytes.Buffer
		q := quotedprintable.NewWriter(&b)
		q.Write(header) // a bytes.Buffer takes everything
		q.Close()
		p.encoding, p.content = "quoted-printable", b.Bytes()
	}
	return p
}

// whole returns the original as it came.
func (r *Report) whole(header []byte, rest io.Reader, ascii bool) part {
	p := part{description: "Your message", mediaType: "message/rfc822"}
	if !ascii {
		p.mediaType = "message/global"
	}
	if !ascii || r.EightBit {
		p.encoding = "8bit"
	}
	p.content = append(bytes.Clone(header), "\r\n"...)
	p.rest = rest
	return p
}

func isASCII(p []byte) bool {
	for _, c := range p {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

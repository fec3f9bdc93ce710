package message

import (
	"bufio"
	"encoding/base64"
	"io"
)

// maxEncoded is the longest line of encoded content: RFC 2045, sections 6.7
// and 6.8.
const maxEncoded = 76

// encoder writes the content of a leaf in 7 bits. Errors stay in the
// bufio.Writer below it.
type encoder interface {
	io.Writer
	// finish ends the content; the last line is ended too if alone, that
	// is, when no delimiter follows to do it.
	finish(alone bool)
}

// newEncoder returns an encoder and the name of its encoding.
func newEncoder(out *bufio.Writer, text bool) (encoder, string) {
	if text {
		return &quoter{out: out}, "quoted-printable"
	}
	lines := &lineBreaker{out: out}
	return &base64Encoder{base64.NewEncoder(base64.StdEncoding, lines), lines}, "base64"
}

// quoter writes quoted-printable: RFC 2045, section 6.7. Unlike the standard
// library's it keeps every octet, bare CR and LF too, and lets no line of its
// own making begin with "-", "." or "From ": a soft line break could else
// turn content into the delimiter of a part.
type quoter struct {
	out    *bufio.Writer
	column int
	cr     bool // a CR is held until it is known whether LF follows
	space  byte // white space is held until it is known whether the line ends; 0 if none
}

func (q *quoter) Write(p []byte) (int, error) {
	for _, c := range p {
		if q.cr {
			q.cr = false
			if c == '\n' {
				q.settleSpace(true)
				q.out.WriteString("\r\n")
				q.column = 0
				continue
			}
			q.octet('\r')
		}
		if c == '\r' {
			q.cr = true
			continue
		}
		q.octet(c)
	}
	return len(p), nil
}

// octet writes one octet that is not part of a line end.
func (q *quoter) octet(c byte) {
	q.settleSpace(false)
	switch {
	case c == ' ' || c == '\t':
		q.space = c
	case c <= ' ' || c > '~' || c == '=':
		q.quoted(c)
	default:
		q.literal(c)
	}
}

// settleSpace writes held white space, quoted at the end of a line, where
// some servers would take it away.
func (q *quoter) settleSpace(lineEnds bool) {
	c := q.space
	q.space = 0
	switch {
	case c == 0:
	case lineEnds:
		q.quoted(c)
	default:
		q.literal(c)
	}
}

func (q *quoter) literal(c byte) {
	q.room(1)
	if q.column == 0 && (c == '-' || c == '.' || c == 'F') {
		q.quoted(c)
		return
	}
	q.out.WriteByte(c)
	q.column++
}

func (q *quoter) quoted(c byte) {
	const hex = "0123456789ABCDEF"
	q.room(3)
	q.out.WriteByte('=')
	q.out.WriteByte(hex[c>>4])
	q.out.WriteByte(hex[c&15])
	q.column += 3
}

// room breaks the line softly if n more octets and the "=" of a later break
// do not fit.
func (q *quoter) room(n int) {
	if q.column+n > maxEncoded-1 {
		q.out.WriteString("=\r\n")
		q.column = 0
	}
}

func (q *quoter) finish(alone bool) {
	if q.cr {
		q.octet('\r')
		q.cr = false
	}
	q.settleSpace(true)
	if alone && q.column > 0 {
		q.out.WriteString("=\r\n")
		q.column = 0
	}
}

// base64Encoder writes base64 in lines: RFC 2045, section 6.8.
type base64Encoder struct {
	io.WriteCloser
	lines *lineBreaker
}

func (e *base64Encoder) finish(alone bool) {
	e.Close()
	if alone && e.lines.column > 0 {
		e.lines.out.WriteString("\r\n")
	}
}

// lineBreaker breaks what is written into lines of maxEncoded.
type lineBreaker struct {
	out    *bufio.Writer
	column int
}

func (b *lineBreaker) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if b.column == maxEncoded {
			b.out.WriteString("\r\n")
			b.column = 0
		}
		n := min(len(rest), maxEncoded-b.column)
		b.out.Write(rest[:n])
		b.column += n
		rest = rest[n:]
	}
	return len(p), nil
}

// Package mbox reads and writes mailbox files: messages one after the other,
// each begun by a line that starts with "From " (a From_ line).
//
// # Dialects
//
// Nobody ever wrote the format down, and four ways are in use to tell a
// From_ line from a line of a message that looks like one:
//
//	mboxo    such a line gets a ">" in front; one that had it already is
//	         not told apart any more
//	mboxrd   a line of any number of ">" and "From " gets one more
//	mboxcl   as mboxo, and a Content-Length field says how long the body is
//	mboxcl2  nothing gets a ">"; Content-Length alone says where it ends
//
// RFC 4155 is mboxo without naming it. Auto finds out which one a file is
// in: it is mboxcl or mboxcl2 for as long as each message from the first on
// has a Content-Length that leads exactly to the next From_ line or the end,
// and mboxrd else. A Content-Length that somebody sent in a message, to hide
// the one behind it, is therefore not followed.
//
// # What is a From_ line
//
// One that stands at the beginning or after an empty line and has a date, in
// any of the forms that programs have written. One that follows a line which
// is not empty, or has no date (Thunderbird writes such), begins a message
// only when a header field comes next.
//
// # Place in the path
//
// Commands import and export mailboxes with it. It is pure: it reads what it
// is given and touches no disk.
//
// # Trust and limits
//
// The file may be anything. Memory does not grow with it: messages are found
// by their offsets and read again from there. Of a From_ line maxFrom octets
// are looked at, of a header maxHeader for a Content-Length.
package mbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Bounds of what is looked at, in octets.
const (
	maxFrom   = 1 << 10
	maxHeader = 1 << 20
	maxNext   = 128 // of the line after one that may be a From_ line
	maxBlank  = 16  // empty lines before the first message
	buffer    = 64 << 10
)

// Dialect is how a file keeps From_ lines and messages apart.
type Dialect string

// The dialects.
const (
	Auto Dialect = "auto"
	O    Dialect = "mboxo"
	RD   Dialect = "mboxrd"
	CL   Dialect = "mboxcl"
	CL2  Dialect = "mboxcl2"
)

// ParseDialect reads the name of a dialect.
func ParseDialect(s string) (Dialect, error) {
	switch d := Dialect(s); d {
	case Auto, O, RD, CL, CL2:
		return d, nil
	}
	return "", fmt.Errorf("%q is no dialect of mbox: say auto, mboxo, mboxrd, mboxcl or mboxcl2", s)
}

// ErrNotMbox says that a file does not begin with a From_ line.
var ErrNotMbox = errors.New("the file is no mbox: it does not begin with a From line")

// Message is one message of a file.
type Message struct {
	At     int64     // where its From_ line is
	Sender string    // as the From_ line has it
	Date   time.Time // of the From_ line; zero if it has none
	CRLF   bool      // the From_ line ended in CR LF

	src        io.ReaderAt
	start, end int64
	quoting    Dialect // Auto stands for none
	content    *unquoter
}

// Size returns how many octets the message takes in the file.
func (m *Message) Size() int64 { return m.end - m.start }

// Open returns the message as it was before it was put into the file. It is
// read before the next one is opened.
func (m *Message) Open() io.Reader {
	r := &exact{io.NewSectionReader(m.src, m.start, m.Size()), m.Size()}
	if m.quoting == Auto {
		return r
	}
	m.content.reset(r, m.quoting)
	return m.content
}

// exact fails where the file has become shorter since the message was found:
// a part of it must not pass for all.
type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Reader finds the messages of a file.
type Reader struct {
	src     io.ReaderAt
	size    int64
	dialect Dialect
	counted bool // Content-Length has led from message to message so far

	at      int64 // where the next line begins
	r       *bufio.Reader
	content *unquoter // of the message that is read
}

// NewReader returns a reader of the size octets of src.
func NewReader(src io.ReaderAt, size int64, d Dialect) *Reader {
	r := &Reader{src: src, size: size, dialect: d, counted: d == Auto || d == CL || d == CL2}
	r.r = bufio.NewReaderSize(nil, buffer)
	r.content = &unquoter{r: bufio.NewReaderSize(nil, buffer)}
	r.seek(0)
	return r
}

// seek goes on reading at an offset.
func (r *Reader) seek(at int64) {
	r.at = at
	r.r.Reset(io.NewSectionReader(r.src, at, r.size-at))
}

// Offset returns how far the file was read.
func (r *Reader) Offset() int64 { return r.at }

// line returns the next line, or a part of one that is very long; whole tells
// whether it is the end of one. At the end of the file it is empty.
func (r *Reader) line() (text []byte, whole bool, err error) {
	text, err = r.r.ReadSlice('\n')
	r.at += int64(len(text))
	if err == bufio.ErrBufferFull {
		return text, false, nil
	}
	if err == io.EOF {
		err = nil
		if r.at < r.size { // it has become shorter
			err = io.ErrUnexpectedEOF
		}
	}
	return text, true, err
}

// Next returns the next message; io.EOF says that there is none.
func (r *Reader) Next() (*Message, error) {
	m, err := r.begin()
	if err != nil {
		return nil, err
	}
	ended, err := r.find(m)
	if err != nil {
		return nil, err
	}
	m.quoting = r.dialect
	switch {
	case r.dialect == CL2:
		m.quoting = Auto
	case r.dialect != Auto:
	case !ended:
		m.quoting = RD
	default: // one of the two that count
		if m.quoting, err = m.guess(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// begin reads the From_ line of the next message.
func (r *Reader) begin() (*Message, error) {
	for range maxBlank {
		at := r.at
		text, whole, err := r.line()
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			return nil, io.EOF
		}
		if at == 0 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		}
		if blank(text) {
			continue
		}
		if !bytes.HasPrefix(text, from) {
			return nil, ErrNotMbox
		}
		m := &Message{At: at, src: r.src, content: r.content, CRLF: bytes.HasSuffix(text, []byte("\r\n"))}
		f := parseFrom(text)
		m.Sender, m.Date = f.sender, f.date
		for !whole {
			if _, whole, err = r.line(); err != nil {
				return nil, err
			}
		}
		m.start = r.at
		return m, nil
	}
	return nil, ErrNotMbox
}

// find finds the end of a message and goes on to the next; counted tells
// that a Content-Length led there.
func (r *Reader) find(m *Message) (counted bool, err error) {
	h := header{look: r.counted}
	empty := int64(0) // length of the empty line before the present one; 0: it is none
	fresh := true     // the present line is not the rest of one
	for {
		at := r.at
		text, whole, err := r.line()
		if err != nil {
			return false, err
		}
		begins := false
		if fresh && bytes.HasPrefix(text, from) {
			text = bytes.Clone(text) // to look ahead moves what it is in
			begins = r.separates(text, at == m.start || empty > 0)
		}
		if begins || len(text) == 0 { // or the end
			m.end = at - empty
			r.counted = r.counted && r.dialect != Auto
			r.seek(at)
			return false, nil
		}
		if fresh && h.look {
			length, known := h.line(text, blank(text))
			if known {
				if next, ok := r.leads(r.at, length); ok {
					m.end = r.at + length
					r.seek(next)
					return true, nil
				}
			}
			r.counted = r.counted && (h.look || r.dialect != Auto)
		}
		empty = 0
		if fresh && blank(text) {
			empty = int64(len(text))
		}
		fresh = whole
	}
}

// header looks for Content-Length.
type header struct {
	look   bool
	seen   int
	length int64
	found  bool
}

// line reads a line of the header; known tells that it was the last and that
// there was a Content-Length.
func (h *header) line(text []byte, blank bool) (length int64, known bool) {
	if h.seen += len(text); h.seen > maxHeader {
		h.look = false
		return 0, false
	}
	if blank {
		h.look = false
		return h.length, h.found
	}
	name, value, _ := bytes.Cut(text, []byte(":"))
	if bytes.EqualFold(name, []byte("Content-Length")) && !h.found {
		n, err := strconv.ParseInt(string(bytes.TrimSpace(value[:min(len(value), 40)])), 10, 62)
		h.length, h.found = n, err == nil && n >= 0
	}
	return 0, false
}

// leads reports whether a body of the given length at an offset ends where
// the file does or a From_ line begins, and where that is.
func (r *Reader) leads(at, length int64) (next int64, ok bool) {
	if length > r.size-at {
		return 0, false
	}
	at += length
	b := make([]byte, maxFrom+5)
	n, err := r.src.ReadAt(b, at-1) // a From_ line came before
	if err != nil && err != io.EOF || n == 0 {
		return 0, false
	}
	last, rest := b[0], b[1:n]
	if last != '\n' && !bytes.HasPrefix(rest, []byte("\n")) && !bytes.HasPrefix(rest, []byte("\r\n")) {
		return at, at == r.size
	}
	for range 2 { // the end of the last line, and the empty line
		switch {
		case bytes.HasPrefix(rest, []byte("\r\n")):
			rest, at = rest[2:], at+2
		case bytes.HasPrefix(rest, []byte("\n")):
			rest, at = rest[1:], at+1
		}
	}
	if len(rest) == 0 {
		return at, at == r.size
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	f := parseFrom(line)
	return at, bytes.HasPrefix(line, from) && (f.dated() || f.bare)
}

// separates reports whether a line that begins with "From " begins a message.
// It was just read.
func (r *Reader) separates(text []byte, after bool) bool {
	f := parseFrom(text)
	if after && f.dated() {
		return true
	}
	return (f.dated() || f.bare && after) && bytes.HasSuffix(text, []byte("\n")) && r.field()
}

// field reports whether a header field comes next.
func (r *Reader) field() bool {
	b, _ := r.r.Peek(maxNext)
	b = bytes.TrimPrefix(b, []byte(">"+string(from))) // what UUCP left there
	name, _, ok := bytes.Cut(b, []byte(":"))
	if !ok || len(name) == 0 {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// guess tells mboxcl from mboxcl2: with a line that looks like a From_ line
// it is the latter.
func (m *Message) guess() (Dialect, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(m.src, m.start, m.Size()), buffer)
	for fresh := true; ; {
		text, err := r.ReadSlice('\n')
		if fresh && bytes.HasPrefix(text, from) {
			return Auto, nil
		}
		if err == io.EOF {
			return O, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return "", err
		}
		fresh = err == nil
	}
}

// blank reports whether a line is empty.
func blank(text []byte) bool {
	return len(text) == 1 && text[0] == '\n' || len(text) == 2 && text[0] == '\r' && text[1] == '\n'
}

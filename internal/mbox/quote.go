package mbox

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"time"
)

// unquoter takes the ">" from lines that got one.
type unquoter struct {
	r       *bufio.Reader
	dialect Dialect
	rest    []byte // of the present piece of a line
	within  bool   // the last piece did not end its line
	err     error
}

func (u *unquoter) reset(r io.Reader, d Dialect) {
	u.r.Reset(r)
	*u = unquoter{r: u.r, dialect: d}
}

func (u *unquoter) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		text, err := u.r.ReadSlice('\n')
		if !u.within && u.quoted(text) {
			text = text[1:]
		}
		u.within = err == bufio.ErrBufferFull
		if !u.within {
			u.err = err
		}
		u.rest = text
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// quoted reports whether a line was given a ">".
func (u *unquoter) quoted(line []byte) bool {
	if len(line) == 0 || line[0] != '>' {
		return false
	}
	line = line[1:]
	if u.dialect == RD {
		line = bytes.TrimLeft(line, ">")
	}
	return bytes.HasPrefix(line, from)
}

// Writer writes mboxrd.
type Writer struct {
	w *bufio.Writer
	r *bufio.Reader
}

// NewWriter returns a writer to w; what it wrote is there after Flush.
func NewWriter(w io.Writer) *Writer {
	return &Writer{bufio.NewWriterSize(w, buffer), bufio.NewReaderSize(nil, buffer)}
}

// Add writes a message that came at the given time. Its last line gets an end
// if it has none, since nothing else could follow it.
func (w *Writer) Add(date time.Time, content io.Reader) error {
	fmt.Fprintf(w.w, "From MAILER-DAEMON %s\n", date.UTC().Format(time.ANSIC))
	w.r.Reset(content)
	ended, fresh := true, true
	for {
		text, err := w.r.ReadSlice('\n')
		if fresh && bytes.HasPrefix(bytes.TrimLeft(text, ">"), from) {
			w.w.WriteByte('>')
		}
		if _, werr := w.w.Write(text); werr != nil {
			return werr
		}
		if len(text) > 0 {
			ended = text[len(text)-1] == '\n'
		}
		fresh = err == nil
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	if !ended {
		w.w.WriteByte('\n')
	}
	return w.w.WriteByte('\n')
}

// Flush writes out what is buffered.
func (w *Writer) Flush() error { return w.w.Flush() }

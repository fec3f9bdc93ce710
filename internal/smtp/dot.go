package smtp

import (
	"bytes"
	"io"
)

// DotWriter sends canonical content the way that follows DATA: a line that
// begins with a dot gets a second one, and Close adds the end (RFC 5321,
// section 4.5.2). Content without such lines passes through unchanged, each
// Write as one.
type DotWriter struct {
	w    io.Writer
	last byte // the last octet written
}

// NewDotWriter returns a writer of one message to w.
func NewDotWriter(w io.Writer) *DotWriter { return &DotWriter{w, '\n'} }

// Write sends p. The returned count is of octets of p.
func (d *DotWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		end := len(p)
		if d.last == '\n' && p[n] == '.' {
			if _, err := d.w.Write([]byte{'.'}); err != nil {
				return n, err
			}
		}
		if i := bytes.Index(p[n:], []byte("\n.")); i >= 0 {
			end = n + i + 1
		}
		sent, err := d.w.Write(p[n:end])
		n += sent
		if err != nil {
			return n, err
		}
		d.last = p[n-1]
	}
	return n, nil
}

// Close ends the content; it does not close the writer below.
func (d *DotWriter) Close() error {
	end := "\r\n.\r\n"
	if d.last == '\n' {
		end = end[2:]
	}
	_, err := io.WriteString(d.w, end)
	return err
}

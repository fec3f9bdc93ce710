package verdict

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// maxHeader bounds the header of a message in a file, in octets.
const maxHeader = 1 << 20

// ErrHeader says that the header of a message in a file is too large.
var ErrHeader = errors.New("the header of the message is larger than 1 MiB")

// File checks a message that is stored in a file, whose lines may end in LF.
func (c *Checker) File(ctx context.Context, client Client, r io.Reader) (*Verdict, error) {
	lines := &lines{r: bufio.NewReaderSize(r, 64<<10)}
	header, err := lines.header()
	if err != nil {
		return nil, err
	}
	k := c.Begin(client, header)
	if err := lines.copy(k); err != nil {
		return nil, err
	}
	return k.Finish(ctx)
}

// lines reads text and returns it with CR LF at the end of every line.
type lines struct {
	r   *bufio.Reader
	buf []byte
	cut bool // the last part did not end its line
}

// next returns the next line, or a part of it if it is long.
func (l *lines) next() ([]byte, error) {
	part, err := l.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		l.cut = true
		if n := len(part); part[n-1] == '\r' { // it may belong to the line end
			part = part[:n-1]
			err = l.r.UnreadByte()
		} else {
			err = nil
		}
		return part, err
	}
	if err == io.EOF && (len(part) > 0 || l.cut) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	l.cut = false
	part = bytes.TrimSuffix(bytes.TrimSuffix(part, []byte("\n")), []byte("\r"))
	l.buf = append(append(l.buf[:0], part...), "\r\n"...)
	return l.buf, nil
}

// header returns the fields up to the empty line.
func (l *lines) header() ([]byte, error) {
	var header []byte
	for fresh := true; ; {
		line, err := l.next()
		if err == io.EOF || err == nil && fresh && string(line) == "\r\n" {
			return header, nil
		}
		if err != nil {
			return nil, err
		}
		fresh = !l.cut
		if header = append(header, line...); len(header) > maxHeader {
			return nil, ErrHeader
		}
	}
}

// copy writes the rest.
func (l *lines) copy(w io.Writer) error {
	for {
		line, err := l.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
}

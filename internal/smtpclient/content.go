package smtpclient

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"gatepost/internal/smtp"
)

// maxWrite is how much is gathered before it is written.
const maxWrite = 64 << 10

// earlyTimeout is how long to look for the reply of a server that hung up
// before it had all of the content.
const earlyTimeout = 5 * time.Second

// errSize says that a message is not as long as it was said to be.
var errSize = errors.New("the message has another size than was recorded")

// content sends the content, and its end if DATA asked for it.
func (c *Conn) content(t *Transaction, dots bool) error {
	c.buf.left = math.MaxInt64
	if !dots {
		// After BDAT the server counts. What comes too much would be read as
		// commands, from whoever wrote the message (smuggling).
		c.buf.left = t.Size
	}
	err := c.writeContent(t, dots)
	if err == nil && !dots && c.buf.left > 0 {
		err = errSize
	}
	if err != nil && c.failed == nil {
		// What was sent must not pass for a message.
		c.lose(atContent, fmt.Errorf("%w: %w", ErrContent, err))
	}
	if c.failed != nil {
		return c.failed
	}
	if err := c.flush(atContent); err != nil {
		return err
	}
	t.Unknown = true
	return nil
}

// writeContent passes the content through the buffer.
func (c *Conn) writeContent(t *Transaction, dots bool) error {
	if dots && t.Dots {
		stuffed := smtp.NewDotWriter(c.buf)
		if err := t.write(stuffed); err != nil {
			return err
		}
		return stuffed.Close()
	}
	if err := t.write(c.buf); err != nil || !dots {
		return err
	}
	c.add(".\r\n")
	return nil
}

// write writes header and body to w.
func (t *Content) write(w io.Writer) error {
	if _, err := w.Write(t.Header); err != nil {
		return err
	}
	if t.Stream != nil {
		return t.Stream(w)
	}
	_, err := w.Write(t.Body)
	return err
}

// early looks for the reply of a server that stopped reading the content:
// many say why before they hang up.
func (c *Conn) early(t *Transaction, cause error) bool {
	lost, ok := cause.(*Error)
	if !ok || lost.Step != atContent.name || t.accepted == 0 || c.aborted.Load() ||
		errors.Is(cause, os.ErrDeadlineExceeded) || errors.Is(cause, ErrContent) {
		return false
	}
	if c.nc.SetReadDeadline(c.o.Clock.Now().Add(earlyTimeout)) != nil {
		return false
	}
	r, err := smtp.ReadReply(c.buf.in)
	if err != nil || r.Positive() {
		return false
	}
	t.settle(r)
	return true
}

// Write gathers content and sends it in large pieces.
func (b *buffers) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errSize
	}
	for done := 0; ; {
		n := min(len(p)-done, maxWrite-len(b.out))
		b.out = append(b.out, p[done:done+n]...)
		if done += n; done == len(p) {
			return done, nil
		}
		if err := b.conn.flush(atContent); err != nil {
			return done, err
		}
	}
}

// ReadFrom is Write for content that lies elsewhere, without another copy of
// it.
func (b *buffers) ReadFrom(r io.Reader) (total int64, err error) {
	if cap(b.out) < maxWrite {
		b.out = append(make([]byte, 0, maxWrite), b.out...)
	}
	for {
		if len(b.out) == maxWrite {
			if err := b.conn.flush(atContent); err != nil {
				return total, err
			}
		}
		n, err := r.Read(b.out[len(b.out):maxWrite])
		b.out = b.out[:len(b.out)+n]
		total += int64(n)
		if b.left -= int64(n); b.left < 0 {
			return total, errSize
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

package wire

import (
	"bytes"
	"errors"
	"os"
	"time"

	"gatepost/internal/smtp"
)

// maxSkip bounds the octets of one line that are skipped.
const maxSkip = 1 << 20

// Expect begins a wait of d for what comes next, but not beyond limit unless
// that is zero. It counts from the first time that there is nothing to read,
// and octets that trickle in do not renew it.
func (c *Conn) Expect(d time.Duration, limit time.Time) {
	c.timeout, c.limit, c.until = d, limit, time.Time{}
}

// Command returns the next line without its CR LF, valid until the next
// call. The verb bounds its octets (smtp.LineLimit), and limit does. A line
// that is longer is skipped as a whole, also when its rest comes later. A
// bare LF is no line end; but since the client or somebody before it thinks
// that it is, nothing that follows can be trusted, and the session has to end
// (SMTP smuggling).
func (c *Conn) Command(limit int) ([]byte, error) {
	line, err := c.Line(limit)
	if n := len(line) + len("\r\n"); err == nil && n > smtp.LineLimit(line) {
		return nil, LongLine(n)
	}
	return line, err
}

// Line is Command for a line that is none, so that only limit bounds it.
func (c *Conn) Line(limit int) ([]byte, error) {
	if err := c.skipLine(); err != nil {
		return nil, err
	}
	for seen := 0; ; {
		b := c.buffered()
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			return c.cutLine(seen+i+1, limit)
		}
		if seen = len(b); seen > limit {
			c.skip = true
			return nil, LongLine(seen)
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// cutLine takes the first n octets, a line, out of the buffer.
func (c *Conn) cutLine(n, limit int) ([]byte, error) {
	line := c.buffered()[:n]
	c.r += n
	switch {
	case n < 2 || line[n-2] != '\r':
		return nil, ErrBareLF
	case n > limit:
		return nil, LongLine(n)
	}
	return line[:n-2], nil
}

// skipLine drops what is left of a line that was too long: its tail is never
// taken for a command.
func (c *Conn) skipLine() error {
	c.Bulk = c.skip
	defer func() { c.Bulk = false }()
	for skipped := 0; c.skip; {
		b := c.buffered()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if i == 0 || b[i-1] != '\r' {
				return ErrBareLF
			}
			c.r += i + 1
			c.skip = false
			return nil
		}
		n := max(0, len(b)-1) // the last octet may be half of the end
		c.r += n
		if skipped += n; skipped > maxSkip {
			return ErrEndless
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
	return nil
}

// More returns what is buffered, after waiting for something if nothing is.
func (c *Conn) More() ([]byte, error) {
	if c.r == c.w {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	return c.buffered(), nil
}

// Used says that the first n octets of what More returned are done with.
func (c *Conn) Used(n int) { c.r += n }

func (c *Conn) buffered() []byte {
	if c.in == nil {
		return nil
	}
	return c.in[c.r:c.w]
}

// take makes sure that there is a buffer; release gives an empty one back.
func (c *Conn) take() {
	if c.in == nil {
		c.in = inputs.Get().(*[inSize]byte)
	}
}

func (c *Conn) release() {
	if c.in != nil && c.r == c.w {
		inputs.Put(c.in)
		c.in, c.r, c.w = nil, 0, 0
	}
}

// forget drops what is buffered.
func (c *Conn) forget() {
	c.r, c.w = 0, 0
	c.release()
}

// fill sends the replies that have gathered and reads more input, waiting
// for it as long as the phase allows.
func (c *Conn) fill() error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.r > 0 {
		c.r, c.w = 0, copy(c.in[:], c.in[c.r:c.w])
	}
	for {
		var err error
		if c.sock != nil {
			err = c.readSocket()
		} else {
			err = c.readConn()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// Or it was the deadline of an earlier wait, or an interrupt.
		if !c.until.IsZero() && !c.clock.Now().Before(c.until) {
			return ErrTimeout
		}
		if err := c.arm(); err != nil {
			return err
		}
	}
}

// readConn reads once from TLS, or whatever else is no plain socket. To wait
// for a command one octet is enough, and no buffer is held meanwhile.
func (c *Conn) readConn() error {
	if err := c.arm(); err != nil {
		return err
	}
	p := c.first[:]
	if c.Bulk {
		c.take()
	} else {
		c.release()
	}
	if c.in != nil {
		p = c.in[c.w:]
	}
	n, err := c.readPatiently(p)
	if n == 0 {
		return err
	}
	if c.in == nil {
		c.take()
		c.in[0] = c.first[0]
	}
	c.w += n
	return nil
}

// readPatiently is a read that may have to wait long. TLS waits deep in calls
// whose stack is most of what an idle client costs, so where nothing has been
// decrypted yet, the wait is for the socket below it.
func (c *Conn) readPatiently(p []byte) (int, error) {
	if c.under == nil || c.Bulk {
		return c.conn.Read(p)
	}
	if err := c.base.SetReadDeadline(past); err != nil {
		return 0, err
	}
	n, err := c.conn.Read(p)
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	if err := c.arm(); err != nil {
		return 0, err
	}
	if err := c.under.Read(readable); err != nil {
		return 0, err
	}
	return c.conn.Read(p)
}

// arm sets the deadline of a read that may wait.
func (c *Conn) arm() error {
	if c.until.IsZero() {
		c.until = c.clock.Now().Add(c.timeout)
		if !c.limit.IsZero() && c.limit.Before(c.until) {
			c.until = c.limit
		}
	}
	if err := c.base.SetReadDeadline(c.until); err != nil {
		return err
	}
	// Only now: an interrupt from before the deadline was set is seen here,
	// and one that comes later replaces the deadline.
	if c.ended.Load() {
		return ErrEnded
	}
	if c.Idle && c.stop.Load() {
		return ErrDraining
	}
	return nil
}

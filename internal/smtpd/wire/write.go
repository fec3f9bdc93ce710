package wire

import (
	"time"

	"gatepost/internal/smtp"
)

// writeTimeout is how long a client may take to accept its replies.
const writeTimeout = time.Minute

// Reply adds a reply to those to be sent. They leave when there is nothing
// left to read, so that a pipelined batch is answered in one write (RFC
// 2920, section 3.2).
func (c *Conn) Reply(r *smtp.Reply) {
	c.room()
	c.out = r.Append(c.out)
}

// Challenge adds a reply of code 334 (RFC 4954, section 4), whose line may
// be longer than that of others and must not be broken.
func (c *Conn) Challenge(base64 string) {
	c.room()
	c.out = append(c.out, "334 "...)
	c.out = append(c.out, base64...)
	c.out = append(c.out, "\r\n"...)
}

// Flush sends the replies that have gathered, for who is about to do
// something that takes long. Should it fail, the next read says so.
func (c *Conn) Flush() { _ = c.flush() }

// room makes room for a usual reply.
func (c *Conn) room() {
	if len(c.out) > outSize-smtp.MaxReplyLine {
		c.Flush()
	}
	if c.outBuf == nil {
		c.outBuf = outputs.Get().(*[outSize]byte)
		c.out = c.outBuf[:0]
	}
}

func (c *Conn) flush() error {
	if c.outBuf == nil || c.outFail != nil {
		return c.outFail
	}
	c.outFail = c.conn.SetWriteDeadline(c.clock.Now().Add(writeTimeout))
	if c.outFail == nil {
		_, c.outFail = c.conn.Write(c.out)
	}
	outputs.Put(c.outBuf)
	c.outBuf, c.out = nil, nil
	return c.outFail
}

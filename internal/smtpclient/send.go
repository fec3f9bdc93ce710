package smtpclient

import (
	"errors"
	"io"
	"strconv"

	"gatepost/internal/addr"
	"gatepost/internal/smtp"
)

// maxWhole is the size up to which content goes along with the commands
// where the server offers CHUNKING: it would be sent for nothing if the
// commands were refused.
const maxWhole = 32 << 10

// Transaction is one message to some of its recipients; Send fills in what
// became of it. Parameters that the server does not offer are left out.
type Transaction struct {
	From       addr.Address
	EightBit   bool   // the content has octets above 127
	UTF8       bool   // the server must take it as SMTPUTF8
	RequireTLS bool   // the server must pass it on only over TLS: RFC 8689
	Ret        string // FULL or HDRS: RFC 3461, section 4.3
	EnvID      string // xtext: RFC 3461, section 4.4
	Recipients []Recipient
	Content

	// Mail is the server's answer to MAIL; its Code is 0 if there was none.
	Mail smtp.Reply
	// Unknown says that the content was sent to its end and nothing was
	// heard since: the server may have it or not.
	Unknown bool

	accepted int
}

// Recipient is one recipient of a transaction.
type Recipient struct {
	To     addr.Address
	Notify string // as in RFC 3461, section 4.1
	ORcpt  string // as in RFC 3461, section 4.2

	// Reply is what decided: the refusal of MAIL or of this recipient, or
	// the answer to the content. Its Code is 0 if the connection broke
	// before.
	Reply smtp.Reply

	accepted bool // by RCPT
}

// Content is canonical: each line ends in CR LF.
type Content struct {
	Header []byte // comes first
	Body   []byte // follows, unless Stream does
	// Stream writes what follows Header.
	Stream func(io.Writer) error
	Size   int64 // octets of all of it; -1 if not known
	Dots   bool  // some line begins with a dot
}

// errControl says that an address could not be said in one command.
var errControl = errors.New("a control character in an address")

// Send hands over one message. The error, if any, is an *Error of the
// connection, and recipients without a reply are undecided; a 421 is a reply
// to all who have no other, and no error. An error of Stream is wrapped in
// ErrContent and costs the connection: there is no other way to take content
// back.
func (c *Conn) Send(t *Transaction) error {
	if err := t.reset(); err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	c.sent++
	err := c.transact(t)
	if bye, ok := err.(*smtp.Reply); ok {
		t.settle(*bye)
		return nil
	}
	if err != nil && c.early(t, err) {
		return nil
	}
	return err
}

// reset makes the transaction ready to be sent, perhaps once more, and stops
// what would be read as another command: addresses were parsed long ago, and
// this is where injection would happen.
func (t *Transaction) reset() error {
	t.Mail, t.Unknown, t.accepted = smtp.Reply{}, false, 0
	if hasControl(t.From.Local) || hasControl(string(t.From.Domain)) {
		return errControl
	}
	for i := range t.Recipients {
		r := &t.Recipients[i]
		r.Reply, r.accepted = smtp.Reply{}, false
		if hasControl(r.To.Local) || hasControl(string(r.To.Domain)) {
			return errControl
		}
	}
	return nil
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// settle gives r to all recipients who have no answer yet.
func (t *Transaction) settle(r smtp.Reply) {
	t.Unknown = false
	for i := range t.Recipients {
		if to := &t.Recipients[i]; to.Reply.Code == 0 {
			to.Reply = r
		}
	}
}

// transact runs the transaction in as few round trips as the server allows.
func (c *Conn) transact(t *Transaction) error {
	switch {
	case !c.ext.Pipelining:
		return c.lockstep(t)
	case !c.chunks(t):
		return c.pipelined(t)
	case t.Size > maxWhole:
		return c.chunked(t)
	}
	return c.whole(t)
}

// chunks reports whether the content goes in a BDAT: its size must be known.
func (c *Conn) chunks(t *Transaction) bool { return c.ext.Chunking && t.Size >= 0 }

// lockstep waits for each answer: RFC 5321 without PIPELINING.
func (c *Conn) lockstep(t *Transaction) error {
	if err := c.opening(t); err != nil {
		return err
	}
	if t.accepted == 0 {
		return nil
	}
	if c.chunks(t) {
		return c.chunk(t)
	}
	c.add("DATA\r\n")
	if err := c.flush(atData); err != nil {
		return err
	}
	return c.data(t)
}

// opening sends RSET, MAIL and RCPT one at a time.
func (c *Conn) opening(t *Transaction) error {
	if c.dirty {
		c.add("RSET\r\n")
		if err := c.flush(atReset); err != nil {
			return err
		}
		if err := c.readReset(); err != nil {
			return err
		}
	}
	c.addMail(t)
	if err := c.flush(atMail); err != nil {
		return err
	}
	if err := c.readMail(t); err != nil || !t.Mail.Positive() {
		return err
	}
	for i := range t.Recipients {
		c.addRcpt(&t.Recipients[i])
		if err := c.flush(atRcpt); err != nil {
			return err
		}
		if err := c.readRcpt(t, i); err != nil {
			return err
		}
	}
	return nil
}

// pipelined sends all commands in one write and the content in the next: RFC
// 2920, section 3.1.
func (c *Conn) pipelined(t *Transaction) error {
	c.addCommands(t)
	c.add("DATA\r\n")
	if err := c.flush(atMail); err != nil {
		return err
	}
	if err := c.readCommands(t); err != nil {
		return err
	}
	return c.data(t)
}

// chunked sends all commands in one write, and large content in one BDAT
// when somebody will take it.
func (c *Conn) chunked(t *Transaction) error {
	c.addCommands(t)
	if err := c.flush(atMail); err != nil {
		return err
	}
	if err := c.readCommands(t); err != nil || t.accepted == 0 {
		return err
	}
	return c.chunk(t)
}

// chunk sends the content in one BDAT: RFC 3030, section 2.
func (c *Conn) chunk(t *Transaction) error {
	c.addBDAT(t)
	if err := c.content(t, false); err != nil {
		return err
	}
	return c.final(t)
}

// whole sends everything in one write.
func (c *Conn) whole(t *Transaction) error {
	c.addCommands(t)
	c.addBDAT(t)
	if err := c.content(t, false); err != nil {
		return err
	}
	if err := c.readCommands(t); err != nil {
		return err
	}
	return c.final(t)
}

// data reads the answer to DATA and sends the content.
func (c *Conn) data(t *Transaction) error {
	r, err := c.reply(atData)
	switch {
	case err != nil:
		return err
	case r.Code == 354 && t.accepted > 0:
		if err := c.content(t, true); err != nil {
			return err
		}
		return c.final(t)
	case r.Code == 354:
		// RFC 2920, section 3.1: a server that wants content for nobody
		// gets an empty message, and what it says of that counts nothing.
		c.add(".\r\n")
		if err := c.flush(atContent); err != nil {
			return err
		}
		_, err := c.reply(atFinal)
		return err
	case r.Positive():
		return c.unexpected(atData, r)
	}
	c.dirty = true
	t.settle(r)
	return nil
}

// final reads the answer to the content. Whatever it is, the transaction is
// over.
func (c *Conn) final(t *Transaction) error {
	r, err := c.reply(atFinal)
	switch {
	case err != nil:
		return err
	case r.Code/100 == 3:
		return c.unexpected(atFinal, r)
	}
	// RFC 3030, section 2: after a refused BDAT the transaction may stand.
	c.dirty = c.chunks(t) && !r.Positive()
	t.settle(r)
	return nil
}

// addCommands puts RSET, if it is needed, MAIL and all RCPT into the buffer.
func (c *Conn) addCommands(t *Transaction) {
	if c.dirty {
		c.add("RSET\r\n")
	}
	c.addMail(t)
	for i := range t.Recipients {
		c.addRcpt(&t.Recipients[i])
	}
}

// readCommands reads the answers to addCommands.
func (c *Conn) readCommands(t *Transaction) error {
	if c.dirty {
		if err := c.readReset(); err != nil {
			return err
		}
	}
	if err := c.readMail(t); err != nil {
		return err
	}
	for i := range t.Recipients {
		if err := c.readRcpt(t, i); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) readReset() error {
	_, err := c.expect(atReset, 250)
	if err != nil && c.failed == nil {
		err = c.lose(atReset, err) // whose transaction would the next one be?
	}
	c.dirty = false
	return err
}

// readMail reads the answer to MAIL; a refusal is one for all recipients.
func (c *Conn) readMail(t *Transaction) error {
	r, err := c.reply(atMail)
	switch {
	case err != nil:
		return err
	case r.Code/100 == 3:
		return c.unexpected(atMail, r)
	}
	t.Mail = r
	if !r.Positive() {
		t.settle(r)
	}
	// From here on the server may be within a transaction, unless it says
	// that the content has ended it.
	c.dirty = true
	return nil
}

// readRcpt reads the answer to one RCPT, which means nothing when MAIL was
// refused.
func (c *Conn) readRcpt(t *Transaction, i int) error {
	r, err := c.reply(atRcpt)
	to := &t.Recipients[i]
	switch {
	case err != nil:
		return err
	case r.Code/100 == 3:
		return c.unexpected(atRcpt, r)
	case !t.Mail.Positive():
	case r.Positive():
		to.accepted = true
		t.accepted++
	default:
		to.Reply = r
	}
	return nil
}

// addMail appends MAIL: RFC 5321, section 4.1.1.2.
func (c *Conn) addMail(t *Transaction) {
	c.add("MAIL FROM:<", t.From.String(), ">")
	if c.ext.Size && t.Size >= 0 {
		c.add(" SIZE=")
		c.buf.out = strconv.AppendInt(c.buf.out, t.Size, 10)
	}
	if c.ext.EightBit && t.EightBit {
		c.add(" BODY=8BITMIME")
	}
	if c.ext.UTF8 && t.UTF8 {
		c.add(" SMTPUTF8")
	}
	if c.ext.RequireTLS && t.RequireTLS {
		c.add(" REQUIRETLS")
	}
	if c.ext.DSN {
		c.addParam(" RET=", t.Ret)
		c.addParam(" ENVID=", t.EnvID)
	}
	c.add("\r\n")
}

// addRcpt appends RCPT: RFC 5321, section 4.1.1.3.
func (c *Conn) addRcpt(r *Recipient) {
	c.add("RCPT TO:<", r.To.String(), ">")
	if c.ext.DSN {
		c.addParam(" NOTIFY=", r.Notify)
		c.addParam(" ORCPT=", r.ORcpt)
	}
	c.add("\r\n")
}

// addParam appends a parameter if it has a value that can be said: a space
// would begin another parameter, a CR LF another command, and characters
// beyond ASCII need not be understood.
func (c *Conn) addParam(keyword, value string) {
	for i := 0; i < len(value); i++ {
		if value[i] <= ' ' || value[i] > '~' {
			return
		}
	}
	if value != "" {
		c.add(keyword, value)
	}
}

// addBDAT appends the command that the content follows.
func (c *Conn) addBDAT(t *Transaction) {
	c.add("BDAT ")
	c.buf.out = strconv.AppendInt(c.buf.out, t.Size, 10)
	c.add(" LAST\r\n")
}

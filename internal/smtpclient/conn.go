// Package smtpclient speaks SMTP to one server over one connection: it
// greets, starts TLS, signs in and hands over messages.
//
// # Place in the path
//
// remote finds the server, dials, and decides what a server must offer; this
// package does as it is told and says what the server answered. It knows no
// DNS, no policy and no queue. Content is written from where it lies: a
// message of usual size leaves in two writes (its commands, then its
// content) or, where CHUNKING is offered, in one.
//
// # Standards
//
// RFC 5321 with PIPELINING (2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8
// (6531), CHUNKING (3030), DSN (3461), STARTTLS (3207), AUTH (4954) with
// PLAIN (4616), LOGIN and SCRAM-SHA-256 (7677), REQUIRETLS (8689)
// and LIMITS (9422).
//
// # What it trusts
//
// Nothing that the server says. A reply is bounded and made printable (smtp,
// ReadReply); one that was not asked for, or that answers something else
// than its step could, ends the connection: whoever counts replies wrongly
// takes the refusal of one message for the acceptance of another. What
// arrived before a TLS handshake is thrown away (injection). Credentials
// leave only when the server's certificate was verified. No control
// character leaves in a command.
//
// # Limits
//
// Each step has its own time (RFC 5321, section 4.5.3.2). A connection that
// waits for its next message holds no buffer.
package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/smtp"
)

// How long each step may take: RFC 5321, section 4.5.3.2. It names none for
// the other commands and for TLS.
const (
	GreetingTimeout  = 5 * time.Minute  // section 4.5.3.2.1
	MailTimeout      = 5 * time.Minute  // section 4.5.3.2.2
	RcptTimeout      = 5 * time.Minute  // section 4.5.3.2.3
	DataTimeout      = 2 * time.Minute  // section 4.5.3.2.4
	BlockTimeout     = 3 * time.Minute  // section 4.5.3.2.5, for each write of content
	FinalTimeout     = 10 * time.Minute // section 4.5.3.2.6
	CommandTimeout   = 5 * time.Minute
	HandshakeTimeout = time.Minute
	quitTimeout      = time.Second // nobody waits for the reply
)

// step is a point of the dialogue at which the server may keep us waiting.
type step struct {
	name  string // as the operator reads it
	limit time.Duration
}

var (
	atGreeting  = step{"its greeting", GreetingTimeout}
	atHello     = step{"EHLO", CommandTimeout}
	atStartTLS  = step{"STARTTLS", CommandTimeout}
	atHandshake = step{"the TLS handshake", HandshakeTimeout}
	atAuth      = step{"AUTH", CommandTimeout}
	atReset     = step{"RSET", CommandTimeout}
	atMail      = step{"MAIL", MailTimeout}
	atRcpt      = step{"RCPT", RcptTimeout}
	atData      = step{"DATA", DataTimeout}
	atContent   = step{"the content", BlockTimeout}
	atFinal     = step{"the end of the content", FinalTimeout}
	atQuit      = step{"QUIT", quitTimeout}
	atRest      = step{"a time when it was asked nothing", 0}
)

// Errors that an *Error wraps.
var (
	// ErrProtocol: the server does not keep to the protocol.
	ErrProtocol = errors.New("protocol error")
	// ErrContent: the message could not be read, so the server was left alone
	// in the middle of it.
	ErrContent = errors.New("the message could not be read")
	// ErrAborted: the context that the connection was bound to is over.
	ErrAborted = errors.New("aborted")
)

// Error says at which step a connection was lost; nothing more can be done
// with it. What the server refuses is no Error but an *smtp.Reply.
type Error struct {
	Step string
	Err  error // private: may name our own address
}

// Error returns the step and the cause.
func (e *Error) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Public returns what may be told to others: one short phrase.
func (e *Error) Public() string {
	switch {
	case errors.Is(e.Err, ErrAborted):
		return "delivery was interrupted at " + e.Step
	case errors.Is(e.Err, ErrContent):
		return ErrContent.Error() + " on our side"
	case errors.Is(e.Err, os.ErrDeadlineExceeded):
		return "it did not answer " + e.Step + " in time"
	case errors.Is(e.Err, ErrProtocol), errors.Is(e.Err, smtp.ErrReply):
		return "it broke the protocol at " + e.Step
	case e.Step == atHandshake.name:
		return e.Step + " failed"
	}
	return "the connection broke at " + e.Step
}

// Options of a connection. Hostname and Clock are required.
type Options struct {
	Hostname string // how we introduce ourselves: a domain or address literal
	Clock    clock.Clock
	// Patience shortens the time of every step; zero leaves them as the RFC
	// has them.
	Patience time.Duration
}

// Conn is a connection to one server. It is used by one goroutine at a time;
// Bind alone may act from another.
type Conn struct {
	o   Options
	raw net.Conn // as dialled: beneath TLS, if there is any
	nc  net.Conn
	ext Extensions

	state   *tls.ConnectionState // nil before STARTTLS
	sent    int                  // transactions begun
	dirty   bool                 // RSET must come before the next MAIL
	failed  error                // why the connection is of no use any more
	aborted atomic.Bool

	buf *buffers // nil between operations
}

// New returns a connection over nc, on which nothing has been said yet.
func New(nc net.Conn, o Options) *Conn {
	return &Conn{o: o, raw: nc, nc: nc}
}

// buffers are what an operation needs and an idle connection does not hold.
type buffers struct {
	conn *Conn // the one that they serve
	in   *bufio.Reader
	out  []byte
	left int64 // octets of content that may still come
}

var pool = sync.Pool{New: func() any {
	return &buffers{in: bufio.NewReaderSize(nil, smtp.MaxReadLine)}
}}

// begin takes buffers for an operation; end, which must follow, gives them
// back.
func (c *Conn) begin() error {
	if c.failed != nil {
		return c.failed
	}
	c.buf = pool.Get().(*buffers)
	c.buf.conn = c
	c.buf.in.Reset(c.nc)
	return nil
}

// end gives the buffers back. A reply that nobody asked for condemns the
// connection: it would pass for the answer to the next command.
func (c *Conn) end() {
	if c.buf.in.Buffered() > 0 {
		c.lose(atRest, fmt.Errorf("%w: a reply to nothing", ErrProtocol))
	}
	c.buf.in.Reset(nil)
	c.buf.conn, c.buf.out = nil, c.buf.out[:0]
	pool.Put(c.buf)
	c.buf = nil
}

// lose remembers, and returns, why the connection is of no use any more.
func (c *Conn) lose(at step, err error) error {
	if c.aborted.Load() {
		err = ErrAborted
	}
	lost := &Error{at.name, err}
	if c.failed == nil {
		c.failed = lost
	}
	return lost
}

// wait sets the time by which at must be done.
func (c *Conn) wait(at step) error {
	limit := at.limit
	if c.o.Patience > 0 {
		limit = min(limit, c.o.Patience)
	}
	if err := c.nc.SetDeadline(c.o.Clock.Now().Add(limit)); err != nil {
		return c.lose(at, err)
	}
	// The context may have ended just before: its deadline is the last word.
	if c.aborted.Load() {
		return c.lose(at, ErrAborted)
	}
	return nil
}

// Bind makes the end of ctx interrupt whatever the connection waits for.
// When release reports false that has begun, and the connection must be
// closed.
func (c *Conn) Bind(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() {
		c.aborted.Store(true)
		c.raw.SetDeadline(time.Unix(1, 0))
	})
}

// reply reads the answer to at. After a 421 the server hangs up (RFC 5321,
// section 3.8), so it is the last one.
func (c *Conn) reply(at step) (smtp.Reply, error) {
	if c.failed != nil {
		return smtp.Reply{}, c.failed
	}
	if c.buf.in.Buffered() == 0 {
		if err := c.wait(at); err != nil {
			return smtp.Reply{}, err
		}
	}
	r, err := smtp.ReadReply(c.buf.in)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return smtp.Reply{}, c.lose(at, err)
	}
	if r.Code == 421 {
		bye := r
		c.failed = &bye
	}
	return r, nil
}

// expect reads the answer to at, which must be want or a refusal; the latter
// is returned as an error.
func (c *Conn) expect(at step, want int) (smtp.Reply, error) {
	r, err := c.reply(at)
	switch {
	case err != nil || r.Code == want:
		return r, err
	case r.Positive():
		return r, c.unexpected(at, r)
	}
	return r, &r
}

// unexpected ends a connection whose server answers something else than it
// was asked.
func (c *Conn) unexpected(at step, r smtp.Reply) error {
	return c.lose(at, fmt.Errorf("%w: unexpected %d", ErrProtocol, r.Code))
}

// add puts a command, or a part of one, into the buffer.
func (c *Conn) add(parts ...string) {
	for _, s := range parts {
		c.buf.out = append(c.buf.out, s...)
	}
}

// flush writes what add has gathered.
func (c *Conn) flush(at step) error {
	if c.failed != nil {
		return c.failed
	}
	if err := c.wait(at); err != nil {
		return err
	}
	_, err := c.nc.Write(c.buf.out)
	c.buf.out = c.buf.out[:0]
	if err != nil {
		return c.lose(at, err)
	}
	return nil
}

// Extensions returns what the server offered last.
func (c *Conn) Extensions() *Extensions { return &c.ext }

// TLS returns what was negotiated, nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState { return c.state }

// Verified reports whether the server proved to be who it was asked to be.
func (c *Conn) Verified() bool { return c.state != nil && len(c.state.VerifiedChains) > 0 }

// Usable reports whether another message may be sent: nothing is wrong, and
// the server's limit is not reached (MAILMAX, RFC 9422, section 4.1).
func (c *Conn) Usable() bool {
	return c.failed == nil && (c.ext.MailMax == 0 || c.sent < c.ext.MailMax)
}

// Quit says goodbye, without waiting for an answer, and closes the
// connection.
func (c *Conn) Quit() {
	if c.begin() == nil {
		c.add("QUIT\r\n")
		c.flush(atQuit)
		c.end()
	}
	c.Close()
}

// Close closes the connection without a word.
func (c *Conn) Close() { c.nc.Close() }

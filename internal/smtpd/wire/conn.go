// Package wire is the connection of one SMTP session: its buffers, its
// deadlines, its lines, and the batch of replies that leaves in one write.
// It belongs to smtpd alone, which decides what to read and to say.
//
// A session that waits holds no buffers, and a deadline is set only when
// there is nothing to read, so that a client who pipelines costs neither.
//
// It trusts nobody: lines end in CR LF or not at all, those that are too long
// are skipped to their true end and never taken for two, and what came before
// a TLS handshake can be forgotten (smtpd does). Everything that it holds or
// waits for has a bound.
package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gatepost/internal/clock"
)

// Sizes of the buffers. All connections share them; only those that have
// something in them hold one.
const (
	inSize  = 32 << 10 // holds the longest line, and a good read of content
	outSize = 4 << 10  // a batch of replies; when it is full it is sent
)

var (
	inputs  = sync.Pool{New: func() any { return new([inSize]byte) }}
	outputs = sync.Pool{New: func() any { return new([outSize]byte) }}
)

// How a connection ends: for so long and so many octets, a client may still
// send before it reads why it is cut off.
const (
	lingerTime = 2 * time.Second
	lingerSize = 256 << 10
)

// Errors beside those of the connection itself.
var (
	ErrTimeout  = errors.New("the client took too long")
	ErrDraining = errors.New("the server is draining")
	ErrEnded    = errors.New("the session was ended")
	ErrBareLF   = errors.New("line ends in LF without CR")
	ErrEndless  = errors.New("line without end")
)

// LongLine is the error of a line that is too long, with the octets of it
// that were seen. The connection is still in step.
type LongLine int

func (n LongLine) Error() string { return fmt.Sprintf("line of %d octets or more", int(n)) }

// Conn is a connection with its buffers and deadlines. One goroutine uses
// it, but for Interrupt, End and Cut.
type Conn struct {
	// Idle says that the client owes us nothing, so that a wait ends when the
	// server drains.
	Idle bool
	// Bulk says that content is being read, where a buffer is worth keeping.
	Bulk bool

	conn  net.Conn        // what is read and written: base, or TLS over it
	base  net.Conn        // as it came
	sock  syscall.RawConn // of plain TCP, else nil: see socket.go
	under syscall.RawConn // of TCP below TLS, else nil
	try   func(fd uintptr) bool
	tried error // what try came to
	clock clock.Clock
	stop  *atomic.Bool // the server is draining
	ended atomic.Bool

	in    *[inSize]byte // nil while nothing is buffered
	r, w  int           // what is in it and was not used yet
	first [1]byte       // what is read while no buffer is held
	skip  bool          // the rest of a line that was too long is still to come

	out     []byte // replies that were not sent yet, in outBuf
	outBuf  *[outSize]byte
	outFail error // why they could not be sent

	timeout time.Duration // of what is awaited, from when it is waited for
	limit   time.Time     // when that is over in any case; zero: never
	until   time.Time     // the earlier of both; zero until it is waited for
}

// New returns the wire over conn. stop tells when the server drains.
func New(conn net.Conn, c clock.Clock, stop *atomic.Bool) *Conn {
	w := &Conn{conn: conn, base: conn, clock: c, stop: stop}
	if t, ok := conn.(*tls.Conn); ok {
		w.under = socketOf(t.NetConn())
	} else {
		w.sock = socketOf(conn)
	}
	w.try = w.trySocket
	return w
}

// StartTLS sends what is left to say, forgets what came before it could be
// trusted (CVE-2011-0411) and does the handshake.
func (c *Conn) StartTLS(config *tls.Config, timeout time.Duration) (*tls.Conn, error) {
	c.forget()
	if err := c.flush(); err != nil {
		return nil, err
	}
	if err := c.base.SetDeadline(c.clock.Now().Add(timeout)); err != nil {
		return nil, err
	}
	t := tls.Server(c.base, config)
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	c.conn, c.sock, c.under = t, nil, c.sock
	return t, nil
}

// Interrupt ends a wait, from another goroutine: if it is Idle and the
// server drains, it ends in ErrDraining, else it goes on.
func (c *Conn) Interrupt() { _ = c.base.SetReadDeadline(past) }

// End makes every wait end in ErrEnded, the one of now and those to come,
// from another goroutine.
func (c *Conn) End() {
	c.ended.Store(true)
	c.Interrupt()
}

// Ended reports whether End was called.
func (c *Conn) Ended() bool { return c.ended.Load() }

// past is a deadline that ends a wait, or lets none begin.
var past = time.Unix(1, 0)

// Cut ends the connection, from another goroutine.
func (c *Conn) Cut() { _ = c.base.Close() }

// Close sends what is left to say and ends the connection. Where the client
// does not expect that, it may have sent more than was read; the system would
// answer with a reset, and the reply that says why be lost. The rest is then
// read for a moment.
func (c *Conn) Close(expected bool) {
	if c.flush() == nil && !expected && !c.stop.Load() {
		c.linger()
	}
	_ = c.conn.Close()
	c.forget()
}

func (c *Conn) linger() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.base.SetReadDeadline(c.clock.Now().Add(lingerTime)) != nil {
		return
	}
	c.take()
	for left := lingerSize; left > 0; {
		n, err := c.conn.Read(c.in[:])
		if left -= n; err != nil {
			return
		}
	}
}

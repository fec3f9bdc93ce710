// Package listen opens sockets and accepts connections.
//
// # Place in the path
//
// It is the first to meet a client: it counts the connection against the
// bounds that all doors share, does the TLS handshake where a door begins
// with one, and hands the connection to the door's server (smtpd) in a
// goroutine of its own.
//
// # Trust and limits
//
// Everybody can connect, so that nothing here costs more than a map entry
// before the bounds were asked: on all connections, on those of one address,
// and on those of one network (/24 or /64), because an attacker has a /64 as
// easily as one address of it. Whoever is one too many is told so without
// waiting for them. A handshake has its timeout, a crowd of them keeps no
// other connection waiting, and when the system has no more descriptors the
// doors wait instead of spinning or dying.
//
// systemd socket activation is sd_listen_fds(3).
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gatepost/internal/clock"
)

// How long a door waits after the system could not give it a connection:
// twice as long each time.
const (
	firstPause = 5 * time.Millisecond
	longPause  = time.Second
)

// quiet is the least time between two lines in the log about connections
// that were refused, or a flood would fill the disk.
const quiet = time.Minute

// Options are what a door works with; all are required but TLS and Refusal.
type Options struct {
	Name      string // for the log
	Listeners []net.Listener
	// Serve runs one connection and closes it. It gets a *tls.Conn whose
	// handshake is done if TLS is set, else a *net.TCPConn.
	Serve            func(net.Conn)
	TLS              *tls.Config // TLS from the first octet; nil for none
	HandshakeTimeout time.Duration
	Bounds           *Bounds
	Refusal          string // what one connection too many is told, unless in TLS
	Clock            clock.Clock
	Log              *slog.Logger
}

// Counters count what has happened since the start.
type Counters struct {
	Accepted   atomic.Int64 // connections handed on
	Refused    atomic.Int64 // one too many
	Handshakes atomic.Int64 // that failed
}

// Door accepts connections on its listeners.
type Door struct {
	Counters Counters

	o      Options
	closed chan struct{}
	once   sync.Once
	loops  sync.WaitGroup
	conns  sync.WaitGroup

	mu     sync.Mutex
	logged time.Time // when refusals were last mentioned
}

// Open begins to accept connections.
func Open(o Options) *Door {
	d := &Door{o: o, closed: make(chan struct{})}
	for _, l := range o.Listeners {
		d.loops.Go(func() { d.accept(l) })
	}
	return d
}

// Close closes the listeners and returns when nothing is accepted any more.
// Connections go on.
func (d *Door) Close() {
	d.once.Do(func() {
		close(d.closed)
		for _, l := range d.o.Listeners {
			_ = l.Close()
		}
	})
	d.loops.Wait()
}

// Wait returns when, after Close, the last connection has ended, or with
// ctx's error when that ends first.
func (d *Door) Wait(ctx context.Context) error {
	over := make(chan struct{})
	go func() {
		d.conns.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Name returns the name of the door.
func (d *Door) Name() string { return d.o.Name }

// Addresses returns where the door listens.
func (d *Door) Addresses() []string {
	var list []string
	for _, l := range d.o.Listeners {
		list = append(list, l.Addr().String())
	}
	return list
}

// accept takes connections until the listener is closed.
func (d *Door) accept(l net.Listener) {
	pause := firstPause
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = firstPause
			d.admit(conn)
		case d.isClosed():
			return
		case errors.Is(err, net.ErrClosed):
			d.o.Log.Error("listener closed by somebody else", "door", d.o.Name, "address", l.Addr().String())
			return
		default:
			// No descriptors (EMFILE, ENFILE), no memory, or the client left
			// before it was its turn.
			d.o.Log.Warn("cannot accept a connection", "door", d.o.Name, "error", err, "retry_in", pause)
			d.sleep(pause)
			pause = min(2*pause, longPause)
		}
	}
}

func (d *Door) isClosed() bool {
	select {
	case <-d.closed:
		return true
	default:
		return false
	}
}

func (d *Door) sleep(t time.Duration) {
	over := make(chan struct{})
	timer := d.o.Clock.AfterFunc(t, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
	case <-d.closed:
	}
}

// admit counts a connection in and starts it, or turns it away.
func (d *Door) admit(conn net.Conn) {
	from := peerOf(conn)
	if !d.o.Bounds.Enter(from) {
		d.refuse(conn, from)
		return
	}
	d.Counters.Accepted.Add(1)
	d.conns.Go(func() {
		defer func() { d.o.Bounds.Leave(from) }()
		defer d.survive(conn)
		if d.o.Bounds.IsProxy(from) {
			if conn, from = d.introduce(conn, from); conn == nil {
				return
			}
		}
		d.serve(conn)
	})
}

func peerOf(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// refuse tells a client that it is one too many. A client that does not read
// must not keep the door waiting: what the socket does not take at once is
// lost.
func (d *Door) refuse(conn net.Conn, from netip.Addr) {
	d.Counters.Refused.Add(1)
	if tcp, ok := conn.(*net.TCPConn); ok && d.o.TLS == nil && d.o.Refusal != "" {
		if sock, err := tcp.SyscallConn(); err == nil {
			_ = sock.Write(func(fd uintptr) bool {
				_, _ = syscall.Write(int(fd), []byte(d.o.Refusal))
				return true
			})
		}
	}
	_ = conn.Close()
	d.logRefused(from)
}

func (d *Door) logRefused(from netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.o.Clock.Now()
	if !d.logged.IsZero() && now.Sub(d.logged) < quiet {
		return
	}
	d.logged = now
	d.o.Log.Warn("too many connections", "door", d.o.Name, "client", from.String(), "refused_so_far", d.Counters.Refused.Load())
}

// serve does the handshake, where there is one, and hands the connection on.
func (d *Door) serve(conn net.Conn) {
	if d.o.TLS != nil {
		t := tls.Server(conn, d.o.TLS)
		if err := d.handshake(t); err != nil {
			d.Counters.Handshakes.Add(1)
			level := slog.LevelInfo
			if errors.Is(err, io.EOF) { // somebody looked whether the port is open
				level = slog.LevelDebug
			}
			d.o.Log.Log(context.Background(), level, "TLS handshake failed", "door", d.o.Name, "client", peerOf(conn).String(), "error", err)
			_ = conn.Close()
			return
		}
		conn = t
	}
	d.o.Serve(conn)
}

func (d *Door) handshake(t *tls.Conn) error {
	if err := t.SetDeadline(d.o.Clock.Now().Add(d.o.HandshakeTimeout)); err != nil {
		return err
	}
	if err := t.Handshake(); err != nil {
		return err
	}
	return t.SetDeadline(time.Time{})
}

// survive keeps a fault in one connection from ending all the others.
func (d *Door) survive(conn net.Conn) {
	if fault := recover(); fault != nil {
		_ = conn.Close()
		d.o.Log.Error("fault in a connection; please report it", "door", d.o.Name, "fault", fault, "stack", string(debug.Stack()))
	}
}

// Package web is the only HTTP server: the doors http and https, and the
// metrics on addresses of their own.
//
// # Place in the path
//
// Beside it. listen counts a connection and does its handshake, Serve answers
// on it. What is answered is Site (site.go): over https the console, for the
// server's own name, and the MTA-STS policies of our domains; over http the
// challenges of ACME and, for everything else, a redirect to https. There is
// no file behind any address.
//
// # Trust and limits
//
// It trusts nobody: every time and size is bounded below. A host that is not
// ours gets no answer of use, so that nobody can send our users elsewhere
// through us, or have us speak for their names. A body is read by the console
// alone; readTime is how long it may take to arrive.
package web

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of a connection.
const (
	headerTime = 10 * time.Second
	readTime   = 30 * time.Second
	writeTime  = 60 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 16 << 10 // octets
)

// Server answers on any number of listeners and connections.
type Server struct {
	http *http.Server

	mu    sync.Mutex
	conns map[net.Conn]*single
}

// New returns a server that answers with handler.
func New(handler http.Handler, log *slog.Logger) *Server {
	s := &Server{conns: map[net.Conn]*single{}}
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState:         s.follow,
	}
	return s
}

// Serve answers on a listener until Shutdown or until ln is closed.
func (s *Server) Serve(ln net.Listener) { _ = s.http.Serve(ln) }

// Shutdown stops listening and waits for running requests until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// ServeConn answers on one connection and returns when it is closed.
func (s *Server) ServeConn(conn net.Conn) {
	defer conn.Close()
	if t, ok := conn.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == challengeProtocol {
		return // RFC 8737, section 3: the handshake was all
	}
	one := &single{conn: conn, over: make(chan struct{}), closed: make(chan struct{})}
	s.mu.Lock()
	s.conns[conn] = one
	s.mu.Unlock()
	_ = s.http.Serve(one)
	if one.taken {
		<-one.over
	}
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

// challengeProtocol is what an ACME server asks for that looks at a
// certificate for its challenge: RFC 8737, section 6.2.
const challengeProtocol = "acme-tls/1"

// follow hears what becomes of connections.
func (s *Server) follow(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.conns[conn]; one != nil {
		one.end()
	}
}

// single is a listener that has one connection to give.
type single struct {
	conn   net.Conn
	taken  bool          // read after the server has done with the listener
	over   chan struct{} // the connection is closed
	closed chan struct{} // the listener is

	ending, closing sync.Once
}

func (l *single) end() { l.ending.Do(func() { close(l.over) }) }

// Accept gives the connection, and then waits until it or the listener is
// closed.
func (l *single) Accept() (net.Conn, error) {
	if !l.taken {
		l.taken = true
		return l.conn, nil
	}
	select {
	case <-l.over:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

// Close lets the server go; the connection goes on.
func (l *single) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the connection's own address.
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }

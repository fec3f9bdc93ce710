// Package web is the only HTTP server. Now it has one thing to show: the
// metrics, on addresses of their own.
//
// It trusts nobody: every time and size is bounded below.
package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
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

// Server answers on any number of listeners.
type Server struct{ http *http.Server }

// New returns a server that answers with handler.
func New(handler http.Handler, log *slog.Logger) *Server {
	return &Server{&http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// Serve answers on a listener until Shutdown or until ln is closed.
func (s *Server) Serve(ln net.Listener) { _ = s.http.Serve(ln) }

// Shutdown stops listening and waits for running requests until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

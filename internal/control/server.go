// Package control is the door for the operator's commands: a socket in the
// data directory through which `gatepost queue list` and its like reach the
// running server.
//
// A Desk carries out the verbs; the socket (Listen, Call) carries a verb and
// its arguments as JSON in, and JSON items with optional bodies out. Without
// a running server a command opens the store itself and asks a Desk of its
// own, so that both ways are the same code.
//
// It trusts whoever can open the socket, which is mode 0600 in a directory of
// mode 0700: the server's own user and root. Passwords travel through it, so
// it is never a network address.
//
// Limits: 64 calls at a time, 1 MiB a frame, 10 s to ask.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"gatepost/internal/clock"
)

const (
	maxCalls = 64
	askTime  = 10 * time.Second
	// stallTime is how long a command may leave its answer unread.
	stallTime = time.Minute
)

// Emit hands one item of an answer on, and with it a body if there is one.
type Emit func(item any, body io.Reader) error

// Handler carries out a verb. Its error is a sentence for the operator.
type Handler func(ctx context.Context, verb string, args json.RawMessage, emit Emit) error

// Server answers calls on a socket.
type Server struct {
	handle Handler
	clock  clock.Clock
	log    *slog.Logger

	ln    net.Listener
	leave func() // gives back what the socket's name needs
	slots chan struct{}
	calls sync.WaitGroup
}

// Listen opens the socket at path, replacing one that a killed server left.
// The caller must hold the lock on the data directory.
func Listen(path string, handle Handler, c clock.Clock, log *slog.Logger) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control: %w", err)
	}
	name, leave, err := reach(path)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	ln, err := net.Listen("unix", name)
	if err != nil {
		leave()
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		leave()
		return nil, fmt.Errorf("control: %w", err)
	}
	slots := make(chan struct{}, maxCalls)
	return &Server{handle: handle, clock: c, log: log, ln: ln, leave: leave, slots: slots}, nil
}

// Serve answers calls until Close.
func (s *Server) Serve(ctx context.Context) {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.slots <- struct{}{}
		s.calls.Go(func() {
			defer func() { <-s.slots }()
			defer conn.Close()
			if err := s.answer(ctx, conn); err != nil {
				s.log.Debug("control call ended early", "error", err)
			}
		})
	}
}

// Close stops listening and waits for the calls that are being answered.
func (s *Server) Close() error {
	err := s.ln.Close()
	s.leave()
	s.calls.Wait()
	return err
}

// answer reads one call and writes its answer.
func (s *Server) answer(ctx context.Context, conn net.Conn) error {
	conn.SetReadDeadline(s.clock.Now().Add(askTime))
	r := bufio.NewReader(conn)
	kind, content, err := readFrame(r)
	if err != nil {
		return err
	}
	var c call
	if kind != kindCall || json.Unmarshal(content, &c) != nil {
		return errFrame
	}
	w := bufio.NewWriter(&stalling{conn, s.clock})
	if c.Fed {
		var done func() bool
		ctx, done = s.given(ctx, conn, r, w)
		defer done()
	}
	err = s.handle(asks(ctx, conn), c.Verb, c.Args, func(item any, body io.Reader) error {
		return writeItem(w, item, body)
	})
	if err != nil {
		err = writeFrame(w, kindError, []byte(err.Error()))
	} else {
		err = writeFrame(w, kindDone, nil)
	}
	return errors.Join(err, w.Flush())
}

func writeItem(w io.Writer, item any, body io.Reader) error {
	content, err := json.Marshal(item)
	if err != nil {
		return err
	}
	if err := writeFrame(w, kindItem, content); err != nil || body == nil {
		return err
	}
	if _, err = io.Copy(bodyWriter{w}, body); err != nil {
		return err
	}
	return writeFrame(w, kindBody, nil)
}

// stalling gives each write its own deadline, so that a command which was
// stopped in a terminal does not hold a slot for ever.
type stalling struct {
	net.Conn
	clock clock.Clock
}

func (s *stalling) Write(p []byte) (int, error) {
	s.SetWriteDeadline(s.clock.Now().Add(stallTime))
	return s.Conn.Write(p)
}

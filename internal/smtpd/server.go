package smtpd

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
)

// Options are what a server works with; all are required but Auth and TLS.
type Options struct {
	Name     string // begins the names of sessions in the log; no two servers share one
	Hostname string // the name that it greets with
	Door     envelope.Door
	Policy   Policy
	Spool    Spool
	Auth     Authenticator // nil on the MX, where nobody signs in
	Book     Book
	TLS      *tls.Config    // made by DoorTLS; nil: no STARTTLS
	XClient  []netip.Prefix // who may say for whom it speaks
	Limits   Limits
	Clock    clock.Clock
	Random   io.Reader // for message ids; safe for concurrent use
	Log      *slog.Logger
}

// Limits bound one session. Those of the session as a whole do not hold for
// clients in [relay] networks.
type Limits struct {
	MessageSize  int64 // octets of content
	HeaderSize   int   // octets of its header section
	Recipients   int   // of one message, after aliases
	Messages     int   // in a session
	Commands     int   // in a session that bring no message forward
	Errors       int   // permanent errors in a session; one more ends it
	AuthFailures int   // failed sign-ins in a session; the last one ends it

	SessionTime      time.Duration // of a whole session
	CommandTimeout   time.Duration // for each command line
	DataTimeout      time.Duration // of silence inside a message
	HandshakeTimeout time.Duration // for STARTTLS
	DataRate         int64         // least octets a second of a message, after its first minute
}

// Counters count what has happened since the start, but for Open.
type Counters struct {
	Sessions          atomic.Int64 // begun
	Open              atomic.Int64 // running now
	TLS               atomic.Int64 // sessions that were encrypted
	SignIns           atomic.Int64 // successful
	SignInFailures    atomic.Int64
	Messages          atomic.Int64 // accepted
	Octets            atomic.Int64 // of their content
	Recipients        atomic.Int64 // of theirs, after aliases
	RecipientsRefused atomic.Int64 // RCPT commands answered 4yz or 5yz
	MessagesRefused   atomic.Int64 // at the end of their content
	Smuggling         atomic.Int64 // messages refused for a bare CR, LF or NUL
	Timeouts          atomic.Int64 // sessions that ended by one
}

// Server serves the sessions of one door.
type Server struct {
	Counters Counters

	o        Options
	ctx      context.Context // of every session; ends when Shutdown gives up
	cancel   context.CancelFunc
	names    string // what the names of sessions begin with
	draining atomic.Bool
	held     atomic.Int64 // octets of header sections that wait for their end

	mu       sync.Mutex
	last     uint64 // number of the youngest session
	sessions map[*session]struct{}
	signed   map[*session]grant // those of them that signed in
	empty    chan struct{}      // closed when draining and no session is left
}

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	s := &Server{o: o, sessions: map[*session]struct{}{}, signed: map[*session]grant{}, empty: make(chan struct{})}
	s.names = o.Name + "-" + strconv.FormatInt(o.Clock.Now().UnixMilli(), 36) + "-"
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve runs the session of one connection, closes it and returns. A
// connection that is a *tls.Conn has done its handshake.
func (s *Server) Serve(conn net.Conn) {
	n := newSession(s, conn)
	if !s.enter(n) {
		n.wire.Reply(replyDraining)
		n.wire.Close(true)
		return
	}
	defer s.leave(n)
	n.serve(s.ctx)
}

// enter counts a session in, unless the server is draining.
func (s *Server) enter(n *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.last++
	n.peer.Session = s.names + strconv.FormatUint(s.last, 36)
	s.sessions[n] = struct{}{}
	s.Counters.Sessions.Add(1)
	s.Counters.Open.Add(1)
	return true
}

func (s *Server) leave(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, n)
	delete(s.signed, n)
	s.Counters.Open.Add(-1)
	if s.draining.Load() && len(s.sessions) == 0 {
		close(s.empty)
	}
}

// Shutdown drains the server: sessions that wait for a command get 421 and
// end, those in a transaction may finish it. When ctx ends first, the rest
// is cut off and its error returned: nothing of theirs was acknowledged.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.cancel()
	s.mu.Lock()
	if !s.draining.Swap(true) && len(s.sessions) == 0 {
		close(s.empty)
	}
	for n := range s.sessions {
		n.wire.Interrupt()
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.sessions {
		n.wire.Cut()
	}
	return ctx.Err()
}

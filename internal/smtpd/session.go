package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
	"gatepost/internal/smtpd/wire"
	"gatepost/internal/smtpd/xclient"
)

const (
	// greetTimeout bounds the time to the first EHLO or HELO: whoever does
	// not even say hello in it never meant to.
	greetTimeout = 2 * time.Minute
	// maxHello is a line that no client sends before it has greeted.
	maxHello = 1000
)

// Replies of the session as a whole.
var (
	replyTimeout  = &smtp.Reply{Code: 421, Enhanced: "4.4.2", Text: "that took too long; closing"}
	replyDraining = &smtp.Reply{Code: 421, Enhanced: "4.3.2", Text: "shutting down; please come back in a moment"}
	replyTooMuch  = &smtp.Reply{Code: 421, Enhanced: "4.7.0", Text: "too many errors, bye"}
	replyBusy     = &smtp.Reply{Code: 421, Enhanced: "4.7.0", Text: "enough for one session; please come back"}
	replyLongLine = &smtp.Reply{Code: 500, Enhanced: "5.5.2", Text: "line too long"}
	replyNotSMTP  = &smtp.Reply{Code: 554, Enhanced: "5.5.2", Text: "this is an SMTP server; line too long"}
	replyBareLF   = &smtp.Reply{Code: 500, Enhanced: "5.5.2", Text: "lines must end in CR LF; closing"}
	replyHTTP     = &smtp.Reply{Code: 502, Enhanced: "5.7.0", Text: "this is a mail server, not a web server; closing"}
	replySequence = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "say EHLO first"}
	replyTLSFirst = &smtp.Reply{Code: 530, Enhanced: "5.7.0", Text: "must issue a STARTTLS command first"}
	replyNoArgs   = &smtp.Reply{Code: 501, Enhanced: "5.5.4", Text: "this command takes no arguments"}
)

// session is one client. A verb's method returns what to answer, nil when it
// has answered or nobody is there to hear it.
type session struct {
	*Server
	wire       *wire.Conn
	peer       envelope.Peer
	client     string       // its address
	tx         *transaction // nil outside of one
	budget     budget
	introducer netip.Addr     // the proxy that spoke XCLIENT; not valid: nobody did
	behind     xclient.Client // what it said
	ending     string         // why the session ends; "" while it goes on
	polite     bool           // it ends as the client expects
}

// budget is what a session has used up.
type budget struct {
	end      time.Time // of the session; zero for relay clients
	expires  bool      // it is when what the client signed in with is over
	greetBy  time.Time // when the client must have said EHLO
	messages int       // accepted
	commands int       // since the last of them, that brought none forward
	errors   int
	signIns  int // that failed
	guesses  int // recipients that do not exist
}

func newSession(s *Server, conn net.Conn) *session {
	n := &session{Server: s, wire: wire.New(conn, s.o.Clock, &s.draining)}
	n.peer = envelope.Peer{Door: s.o.Door, Addr: addrPort(conn.RemoteAddr()), Local: addrPort(conn.LocalAddr())}
	n.client = n.peer.Addr.Addr().String()
	if t, ok := conn.(*tls.Conn); ok {
		n.encrypted(t)
	}
	return n
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// serve is the whole session.
func (s *session) serve(ctx context.Context) {
	s.reply(s.greet(ctx))
	for s.ending == "" {
		s.next(ctx)
	}
	s.reset(s.ending)
	s.logEnd()
	s.wire.Close(s.polite)
}

// greet asks the policy and says hello.
func (s *session) greet(ctx context.Context) *smtp.Reply {
	if err := s.o.Policy.Connect(ctx, &s.peer); err != nil {
		s.end("refused at connect")
		return &envelope.AsError(err).Reply
	}
	now := s.o.Clock.Now()
	s.budget.greetBy = now.Add(greetTimeout)
	if !s.peer.Relay {
		s.budget.end = now.Add(s.o.Limits.SessionTime)
	}
	return &smtp.Reply{Code: 220, Text: s.o.Hostname + " ESMTP Gatepost"}
}

// next reads one command and obeys it.
func (s *session) next(ctx context.Context) {
	line, err := s.readCommand()
	if err != nil {
		s.reply(s.unheard(err))
		return
	}
	c, bad := smtp.ParseCommand(line)
	if c.Verb == "AUTH" {
		clear(line) // it may hold a credential, and the buffer is shared
	}
	if bad == nil {
		bad = s.barred(c.Verb)
	}
	if s.wire.Ended() { // what came in the same read as the last command is not obeyed
		bad = replyEnded
	}
	switch {
	case bad != nil:
		s.reply(bad)
	case bringsNothing[c.Verb] && s.overspent():
	default:
		s.reply(s.obey(ctx, c))
	}
}

// readCommand waits for a command line.
func (s *session) readCommand() ([]byte, error) {
	limit, by := smtp.MaxAuthLine, s.budget.end
	if s.peer.Helo == "" {
		limit = maxHello
		if by.IsZero() || s.budget.greetBy.Before(by) {
			by = s.budget.greetBy
		}
	}
	s.wire.Idle = s.tx == nil
	if s.wire.Idle && s.draining.Load() {
		return nil, wire.ErrDraining
	}
	s.wire.Expect(s.o.Limits.CommandTimeout, by)
	return s.wire.Command(limit)
}

// unheard answers what was no line, and ends the session unless the next one
// can be told from it.
func (s *session) unheard(err error) *smtp.Reply {
	var long wire.LongLine
	switch {
	case errors.As(err, &long) && s.peer.Helo == "" && long > maxHello:
		s.end("does not speak SMTP")
		return replyNotSMTP
	case errors.As(err, &long):
		return replyLongLine
	case errors.Is(err, wire.ErrBareLF):
		s.end(err.Error())
		return replyBareLF
	case errors.Is(err, wire.ErrEnded):
		return replyEnded
	case errors.Is(err, wire.ErrTimeout) && s.outlived():
		return replyEnded
	case errors.Is(err, wire.ErrTimeout):
		s.Counters.Timeouts.Add(1)
		return replyTimeout
	case errors.Is(err, wire.ErrDraining):
		s.polite = true
		return replyDraining
	case errors.Is(err, wire.ErrEndless):
		s.end(err.Error())
	default:
		s.polite = true // nobody is there any more
		s.end("connection lost")
	}
	return nil
}

// barred says why a verb is not allowed at all on this door as it stands: on
// submission nothing of any weight is said outside TLS, so that nobody on
// the way can read or change it.
func (s *session) barred(verb string) *smtp.Reply {
	if s.o.Door != envelope.Submission || s.peer.TLS != nil {
		return nil
	}
	switch verb {
	case "EHLO", "HELO", "NOOP", "RSET", "QUIT", "HELP", "STARTTLS", "XCLIENT", smtp.HTTP:
		return nil
	case "AUTH":
		return replyAuthNeedsTLS
	}
	return replyTLSFirst
}

// bringsNothing are the verbs that no message needs more than once.
var bringsNothing = map[string]bool{
	"EHLO": true, "HELO": true, "RSET": true, "NOOP": true, "VRFY": true, "EXPN": true, "HELP": true,
}

func (s *session) obey(ctx context.Context, c smtp.Command) *smtp.Reply {
	switch c.Verb {
	case "EHLO", "HELO":
		return s.helo(ctx, c)
	case "STARTTLS":
		return s.startTLS(c.Args)
	case "AUTH":
		return s.auth(ctx, c.Args)
	case "XCLIENT":
		return s.xclient(ctx, c.Args)
	case "MAIL":
		return s.mail(ctx, c.Args)
	case "RCPT":
		return s.rcpt(ctx, c.Args)
	case "DATA":
		return s.data(ctx, c.Args)
	case "BDAT":
		return s.bdat(ctx, c.Args)
	case smtp.HTTP:
		s.end("speaks HTTP")
		return replyHTTP
	}
	return s.minor(c)
}

// reply answers a command, if there is anything to say. An error too many is
// answered with goodbye.
func (s *session) reply(r *smtp.Reply) {
	switch {
	case r == nil:
		return
	case s.ending != "":
	case r.Code >= 500 && s.over(&s.budget.errors, s.o.Limits.Errors, replyTooMuch):
		return
	case r.Temporary() && r.Code != 421 && s.overspent():
		return
	}
	s.wire.Reply(r)
	if r.Code == 421 {
		s.end(r.Text)
	}
}

// over counts one more of what is limited and reports whether it is one too
// many, which is answered with r then.
func (s *session) over(used *int, limit int, r *smtp.Reply) bool {
	*used++
	if *used <= limit || s.peer.Relay {
		return false
	}
	s.reply(r)
	return true
}

// overspent is over for a command that brings no message forward.
func (s *session) overspent() bool {
	return s.over(&s.budget.commands, s.o.Limits.Commands, replyBusy)
}

// end makes the current command the last. The first reason counts.
func (s *session) end(why string) {
	if s.ending == "" {
		s.ending = why
	}
}

// logEnd says how a session ended, if not as it should.
func (s *session) logEnd() {
	if !s.polite || s.budget.errors > 0 || s.budget.signIns > 0 {
		s.log("session ended", slog.String("why", s.ending), slog.Int("messages", s.budget.messages),
			slog.Int("errors", s.budget.errors), slog.Int("failed_sign_ins", s.budget.signIns))
	}
}

// log writes one line about the session.
func (s *session) log(what string, attrs ...slog.Attr) {
	who := []slog.Attr{slog.String("session", s.peer.Session), slog.String("client", s.client)}
	if s.peer.Account != "" {
		who = append(who, slog.String("account", s.peer.Account))
	}
	s.o.Log.LogAttrs(context.Background(), slog.LevelInfo, what, append(who, attrs...)...)
}

package remote

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
	"gatepost/internal/smtpclient"
	"gatepost/internal/transport"
)

// quickConnect is how long an address may keep us waiting while there is
// another one to try: three SYNs.
const quickConnect = 4 * time.Second

// search is the way through the hosts of a target until one is ready.
type search struct {
	*Sender
	target   *target
	envelope *envelope.Envelope // of the message, for what it asks of TLS
	end      time.Time          // no further address is tried after it
	tries    int
	failed   error     // what the target is left with
	poor     []address // that failed a short time ago, and come last
	asked    map[host]*asked
}

// connection returns a connection that is ready for a message: one that was
// kept, unless it must be fresh, or a new one.
func (s *Sender) connection(ctx context.Context, t *target, fresh bool, e *envelope.Envelope) (*connection, error) {
	f := &search{
		Sender: s, target: t, envelope: e, end: s.o.Clock.Now().Add(s.o.FindTimeout), asked: map[host]*asked{},
	}
	for _, group := range t.groups {
		if f.failed != nil && f.late() {
			break
		}
		list, err := f.addresses(ctx, group)
		if errors.Is(err, errLoop) {
			f.fail(loop(t.destination))
			break
		}
		if err != nil {
			f.fail(err)
			continue
		}
		if !fresh {
			if c := f.kept(ctx, list); c != nil {
				return c, nil
			}
		}
		if c := f.dial(ctx, list, true); c != nil {
			return c, nil
		}
	}
	if c := f.dial(ctx, f.poor, false); c != nil {
		return c, nil
	}
	if ctx.Err() != nil {
		return nil, interrupted(context.Cause(ctx))
	}
	return nil, f.failed
}

// late reports whether the search has taken long enough.
func (f *search) late() bool { return f.o.Clock.Now().After(f.end) }

// fail remembers why a host is no way to go. With a route that is the
// operator's to mend, and the mail waits for it, unless it is the message
// that asks too much.
func (f *search) fail(err error) {
	var why *failure
	if f.target.route != nil && errors.As(err, &why) && why.Status == envelope.Failed && !why.final {
		why.postpone()
	}
	f.failed = worst(f.failed, err)
}

// kept returns a kept connection to one of the addresses.
func (f *search) kept(ctx context.Context, list []address) *connection {
	for _, a := range list {
		t := f.terms(ctx, a.host)
		if t.Refused != nil {
			continue // dial will say so
		}
		if c := f.pool.take(f.key(a.to, t.Terms)); c != nil {
			c.release = c.Bind(ctx)
			f.Counters.Reused.Add(1)
			return c
		}
	}
	return nil
}

// key returns what a connection of this search is kept under.
func (f *search) key(to netip.AddrPort, t *transport.Terms) key {
	k := key{to: to, terms: t.Key()}
	if f.target.route != nil {
		k.route = f.target.route.Name
	}
	return k
}

// dial tries addresses in turn until a host is ready, one even if looking
// them up took all the time. With choosy, those that failed a short time ago
// are left for the end.
func (f *search) dial(ctx context.Context, list []address, choosy bool) *connection {
	for i, a := range list {
		if ctx.Err() != nil || f.tries == maxTries || f.tries > 0 && f.late() {
			return nil
		}
		if choosy && f.avoid.Has(a.to, f.o.Clock.Now()) {
			f.poor = append(f.poor, a)
			continue
		}
		if err := f.refused(ctx, a.host); err != nil {
			f.fail(err)
			continue
		}
		f.tries++
		limit := f.o.ConnectTimeout
		if i+1 < len(list) {
			limit = min(limit, quickConnect)
		}
		c, err := f.open(ctx, a, limit)
		if err == nil {
			return c
		}
		f.fail(err)
		f.o.Log.LogAttrs(ctx, slog.LevelDebug, "host not usable", slog.String("destination", f.target.destination),
			slog.String("host", a.host.String()), slog.String("address", a.to.String()), slog.Any("error", err))
	}
	return nil
}

// open makes one address ready for a message. A handshake is tried twice
// only when it was reset, and then under the same terms.
func (f *search) open(ctx context.Context, a address, limit time.Duration) (*connection, error) {
	t := f.terms(ctx, a.host)
	k := f.checker.Begin(t.Terms)
	c, err := f.secured(ctx, a, limit, k)
	if errors.Is(err, errResetTLS) {
		k.Classical()
		c, err = f.secured(ctx, a, limit, k)
	}
	if errors.Is(err, errBrokenTLS) {
		// The host offers TLS and cannot do it. Nothing asked for it, so the
		// message goes as it would to a host that offers none.
		c, err = f.greet(ctx, a, limit)
	}
	if err != nil {
		f.learn(k, netip.Addr{}, a.to.Addr())
		return nil, err
	}
	f.learn(k, c.local, a.to.Addr())
	c.key = f.key(a.to, t.Terms)
	c.proof = k.Proof(c.host, a.to.Addr())
	if err := f.signIn(c); err != nil {
		c.leave()
		return nil, err
	}
	if c.TLS() == nil {
		f.Counters.Plain.Add(1)
	}
	return c, nil
}

// secured connects to an address and starts TLS as far as the terms say.
func (f *search) secured(ctx context.Context, a address, limit time.Duration, k *transport.Check) (*connection, error) {
	c, err := f.greet(ctx, a, limit)
	if err != nil {
		return nil, err
	}
	if err := f.secure(c, k); err != nil {
		c.leave()
		return nil, err
	}
	return c, nil
}

// leave ends a connection that is of no use.
func (c *connection) leave() {
	c.release()
	c.Quit()
}

// greet connects to an address and gets as far as EHLO.
func (f *search) greet(ctx context.Context, a address, limit time.Duration) (*connection, error) {
	nc, err := f.connect(ctx, a, limit)
	if err != nil {
		return nil, err
	}
	c := &connection{host: a.host.String(), opened: f.o.Clock.Now()}
	if from, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		c.local = from.AddrPort().Addr()
	}
	c.Conn = smtpclient.New(nc, smtpclient.Options{Hostname: f.o.Hostname, Clock: f.o.Clock, Patience: f.o.Patience})
	c.release = c.Bind(ctx)
	if err := c.Hello(); err != nil {
		c.leave()
		return nil, spoken(c.host, err)
	}
	return c, nil
}

// connect dials an address that may be dialled.
func (f *search) connect(ctx context.Context, a address, limit time.Duration) (net.Conn, error) {
	name := a.host.String()
	if !f.guard.Permits(a.to.Addr()) {
		f.Counters.Refused.Add(1)
		return nil, never(name, nil, 550, "5.4.4",
			name+" has the address "+a.to.Addr().String()+", which is not on the Internet ([remote] private)")
	}
	dialing, cancel := context.WithDeadline(ctx, f.o.Clock.Now().Add(limit))
	defer cancel()
	nc, err := f.o.Dial(dialing, f.source(a.to.Addr()), a.to)
	if err != nil {
		f.Counters.ConnectFailures.Add(1)
		if ctx.Err() == nil { // else it was us who gave up
			f.avoid.Add(a.to, f.o.Clock.Now())
		}
		return nil, later(name, err, 451, "4.4.1", "no connection to "+name+" ("+a.to.Addr().String()+"): "+dialReason(err))
	}
	f.Counters.Connects.Add(1)
	return nc, nil
}

// source returns the address to send from, those of the right family taking
// turns.
func (s *Sender) source(to netip.Addr) netip.Addr {
	turn := int(s.nextFrom.Add(1))
	for i := range s.o.Sources {
		a := s.o.Sources[(turn+i)%len(s.o.Sources)]
		if a.Is4() == to.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// dialReason says in public why a connection could not be made.
func dialReason(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "no answer"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "unreachable"
	}
	return "it failed"
}

// What may be tried again after a handshake.
var (
	errBrokenTLS = errors.New("TLS is offered and does not work") // without TLS
	errResetTLS  = errors.New("the handshake was reset")          // with a smaller ClientHello
)

// secure starts TLS as far as the terms ask for it, or it is there.
func (f *search) secure(c *connection, k *transport.Check) error {
	if k.Level == transport.None {
		return nil
	}
	if !c.Extensions().StartTLS {
		k.Missing()
		if k.Level == transport.Opportunistic {
			return nil
		}
		return unmet(c.host, k.Failure(nil, c.host+" does not offer it"))
	}
	err := c.StartTLS(k.Config(f.sessions))
	if c.TLS() != nil {
		f.Counters.Handshakes.Add(1)
		k.Made(c.TLS())
		return f.within(c, k, err)
	}
	f.Counters.HandshakeFailed.Add(1)
	why := tlsReason(err)
	k.Failed(err, why)
	switch {
	case wasReset(err) && !k.IsClassical():
		return errResetTLS
	case k.Level != transport.Opportunistic:
		return unmet(c.host, k.Failure(err, "with "+c.host+" "+why))
	case c.Usable(): // STARTTLS was refused
		return nil
	case smtpclient.IsHandshake(err):
		return errBrokenTLS
	}
	return spoken(c.host, err)
}

// within says what came of the first words inside TLS.
func (f *search) within(c *connection, k *transport.Check, err error) error {
	switch {
	case err != nil:
		return spoken(c.host, err)
	case k.RequireTLS && !c.Extensions().RequireTLS:
		return unmet(c.host, envelope.Refuse(550, "5.7.30", "the message asks for protection on its whole way (REQUIRETLS), which "+c.host+" does not offer"))
	}
	return nil
}

// wasReset reports whether a handshake ended as it does when something on the
// way cannot bear the size of ours: without a word.
func wasReset(err error) bool {
	silent := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	return silent && smtpclient.IsHandshake(err)
}

// tlsReason says in public why TLS failed.
func tlsReason(err error) string {
	var refused *smtp.Reply
	if errors.As(err, &refused) {
		return "it was refused: " + clip(refused.Error())
	}
	return transport.Reason(err)
}

// signIn presents the route's credentials. What fails here is the operator's
// to mend, so the mail waits.
func (f *search) signIn(c *connection) error {
	r := f.target.route
	if r == nil || r.User == "" {
		return nil
	}
	password, err := r.Password()
	if err != nil {
		return later(c.host, err, 451, "4.3.5", "the password of the route "+r.Name+" cannot be read")
	}
	err = c.Auth(r.User, password)
	var lost *smtpclient.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &lost):
		return spoken(c.host, err)
	}
	return later(c.host, nil, 451, "4.7.8", "signing in to "+c.host+" for the route "+r.Name+" failed: "+clip(err.Error()))
}

// spoken says what came of talking to a host before there was a message.
func spoken(host string, err error) *failure {
	var refused *smtp.Reply
	if errors.As(err, &refused) {
		return answered(host, refused)
	}
	return broken(host, err)
}

// broken says that a connection was lost.
func broken(host string, err error) *failure {
	text := "the connection broke"
	var lost *smtpclient.Error
	if errors.As(err, &lost) {
		text = lost.Public()
	}
	return later(host, err, 451, "4.4.2", host+": "+text)
}

// done keeps a connection that can be used again.
func (s *Sender) done(c *connection) {
	if c.release() && c.Usable() {
		s.pool.put(c)
		return
	}
	c.Quit()
}

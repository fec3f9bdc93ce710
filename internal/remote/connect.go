package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
	"gatepost/internal/smtpclient"
)

// quickConnect is how long an address may keep us waiting while there is
// another one to try: three SYNs.
const quickConnect = 4 * time.Second

// search is the way through the hosts of a target until one is ready.
type search struct {
	*Sender
	target *target
	end    time.Time // no further address is tried after it
	tries  int
	failed error     // what the target is left with
	poor   []address // that failed a short time ago, and come last
}

// connection returns a connection that is ready for a message: one that was
// kept, unless it must be fresh, or a new one.
func (s *Sender) connection(ctx context.Context, t *target, fresh bool) (*connection, error) {
	f := &search{Sender: s, target: t, end: s.o.Clock.Now().Add(s.o.FindTimeout)}
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
// operator's to mend, and the mail waits for it.
func (f *search) fail(err error) {
	var why *failure
	if f.target.route != nil && errors.As(err, &why) && why.Status == envelope.Failed {
		why.postpone()
	}
	f.failed = worst(f.failed, err)
}

// kept returns a kept connection to one of the addresses.
func (f *search) kept(ctx context.Context, list []address) *connection {
	for _, a := range list {
		need, err := f.need(ctx, f.target, a.host)
		if err != nil {
			continue // dial will say so
		}
		if c := f.pool.take(f.key(a.to, need)); c != nil {
			c.release = c.Bind(ctx)
			f.Counters.Reused.Add(1)
			return c
		}
	}
	return nil
}

// key returns what a connection of this search is kept under.
func (f *search) key(to netip.AddrPort, need Need) key {
	k := key{to: to, need: need}
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
		if choosy && f.avoid.has(a.to, f.o.Clock.Now()) {
			f.poor = append(f.poor, a)
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

// open makes one address ready for a message.
func (f *search) open(ctx context.Context, a address, limit time.Duration) (*connection, error) {
	need, err := f.need(ctx, f.target, a.host)
	if err != nil {
		return nil, err
	}
	c, err := f.greet(ctx, a, limit)
	if err != nil {
		return nil, err
	}
	c.key = f.key(a.to, need)
	err = f.secure(c, need, a.host)
	if errors.Is(err, errBrokenTLS) {
		// The host offers TLS and cannot do it. Nothing asked for it, so the
		// message goes as it would to a host that offers none.
		if c, err = f.greet(ctx, a, limit); err == nil {
			c.key = f.key(a.to, need)
		}
	}
	if err == nil {
		err = f.signIn(c)
	}
	if err != nil {
		if c != nil {
			c.release()
			c.Quit()
		}
		return nil, err
	}
	if c.TLS() == nil {
		f.Counters.Plain.Add(1)
	}
	return c, nil
}

// greet connects to an address and gets as far as EHLO.
func (f *search) greet(ctx context.Context, a address, limit time.Duration) (*connection, error) {
	nc, err := f.connect(ctx, a, limit)
	if err != nil {
		return nil, err
	}
	c := &connection{host: a.host.String(), opened: f.o.Clock.Now()}
	c.Conn = smtpclient.New(nc, smtpclient.Options{Hostname: f.o.Hostname, Clock: f.o.Clock, Patience: f.o.Patience})
	c.release = c.Bind(ctx)
	if err := c.Hello(); err != nil {
		c.release()
		c.Quit()
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
			f.avoid.add(a.to, f.o.Clock.Now())
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

// errBrokenTLS says that an opportunistic handshake failed.
var errBrokenTLS = errors.New("TLS is offered and does not work")

// secure starts TLS as far as it is needed, or there.
func (f *search) secure(c *connection, need Need, h host) error {
	switch offered := c.Extensions().StartTLS; {
	case need.Level == None, !offered && need.Level == Opportunistic:
		return nil
	case !offered:
		return later(c.host, nil, 451, "4.7.4", "TLS is required, but "+c.host+" does not offer it")
	}
	err := c.StartTLS(f.config(need, h))
	if err == nil {
		f.Counters.Handshakes.Add(1)
		return nil
	}
	f.Counters.HandshakeFailed.Add(1)
	var refused *smtp.Reply
	switch {
	case need.Level != Opportunistic:
		return later(c.host, err, 451, "4.7.5", "TLS is required, but with "+c.host+" "+tlsReason(err))
	case errors.As(err, &refused) && c.Usable():
		return nil // it goes on without
	case smtpclient.IsHandshake(err):
		c.release()
		c.Close()
		return errBrokenTLS
	}
	return spoken(c.host, err)
}

// tlsReason says in public why TLS failed.
func tlsReason(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var refused *smtp.Reply
	switch {
	case errors.As(err, &name):
		return "the certificate is for another name"
	case errors.As(err, &authority):
		return "nobody whom we trust vouches for the certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid at this time"
	case errors.As(err, &invalid):
		return "the certificate is not valid"
	case errors.As(err, &refused):
		return "it was refused: " + clip(refused.Error())
	}
	return "the handshake failed"
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

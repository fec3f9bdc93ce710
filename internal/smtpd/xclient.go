package smtpd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"slices"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
	"gatepost/internal/smtpd/xclient"
)

var (
	replyXClientNot = &smtp.Reply{Code: 550, Enhanced: "5.7.0", Text: "you may not speak for others"}
	replyXClientNow = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "not inside of a message or after signing in"}
)

// mayIntroduce reports whether the peer of the connection may say who is
// behind it. What it said before does not count.
func (s *session) mayIntroduce() bool {
	by := s.introducer
	if !by.IsValid() {
		by = s.peer.Addr.Addr()
	}
	return slices.ContainsFunc(s.o.XClient, func(p netip.Prefix) bool { return p.Contains(by) })
}

// withoutCertificate returns what is known of TLS but for the certificate that
// the peer showed: it is the proxy's, and signs nobody in who is behind it.
func withoutCertificate(t *tls.ConnectionState) *tls.ConnectionState {
	if t == nil || len(t.PeerCertificates) == 0 {
		return t
	}
	c := *t
	c.PeerCertificates, c.VerifiedChains = nil, nil
	return &c
}

// xclient obeys XCLIENT: the session begins anew, as that of the client behind
// a proxy.
func (s *session) xclient(ctx context.Context, args string) *smtp.Reply {
	switch {
	case !s.mayIntroduce():
		return replyXClientNot
	case s.tx != nil || s.peer.Account != "":
		return replyXClientNow
	}
	x, bad := xclient.Parse(args)
	if bad != nil {
		return bad
	}
	if !s.introducer.IsValid() {
		s.introducer = s.peer.Addr.Addr()
	}
	addr := s.peer.Addr
	if x.Addr.IsValid() {
		addr = netip.AddrPortFrom(x.Addr, x.Port)
	}
	s.peer = envelope.Peer{Session: s.peer.Session, Door: s.peer.Door, Addr: addr, Local: s.peer.Local, TLS: withoutCertificate(s.peer.TLS)}
	s.client = addr.Addr().String()
	s.behind = x
	s.budget = budget{}
	s.log("introduced by a proxy", slog.String("proxy", s.introducer.String()))
	return s.greet(ctx)
}

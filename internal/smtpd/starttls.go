package smtpd

import (
	"crypto/tls"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

var (
	replyStartTLS = &smtp.Reply{Code: 220, Enhanced: "2.0.0", Text: "ready to start TLS"}
	replyNoTLS    = &smtp.Reply{Code: 502, Enhanced: "5.5.1", Text: "TLS is not available"}
	replyTLSTwice = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "this is TLS already"}
)

// DoorTLS returns the TLS settings of a door, from those that know the
// server's certificate.
//
// On the MX there are no session tickets: Go's server sends them before the
// client's Finished has come (golang/go issue 70232), and Microsoft's servers
// then drop the connection, so that no mail arrives from them. Our users'
// clients do not mind, and sign in faster with them.
func DoorTLS(base *tls.Config, door envelope.Door) *tls.Config {
	c := base.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.SessionTicketsDisabled = door == envelope.MX
	return c
}

// startTLS obeys STARTTLS: RFC 3207.
func (s *session) startTLS(args string) *smtp.Reply {
	switch {
	case args != "":
		return replyNoArgs
	case s.peer.TLS != nil:
		return replyTLSTwice
	case s.o.TLS == nil:
		return replyNoTLS
	}
	// RFC 3207 asks for no EHLO before it, and gsasl says none.
	s.reply(replyStartTLS)
	// What came behind the command came before TLS: somebody on the way may
	// have put it there, to be taken for the client's own words once the
	// connection is trusted (CVE-2011-0411). StartTLS forgets it.
	t, err := s.wire.StartTLS(s.o.TLS, s.o.Limits.HandshakeTimeout)
	if err != nil {
		s.polite = true // there is no way to say more
		s.end("TLS handshake failed: " + err.Error())
		return nil
	}
	// RFC 3207, section 4.2: what was said before is forgotten.
	s.reset("client started TLS")
	s.peer.Helo, s.peer.ESMTP = "", false
	s.budget.greetBy = s.o.Clock.Now().Add(greetTimeout)
	s.encrypted(t)
	return nil
}

// encrypted notes that the session runs over TLS.
func (s *session) encrypted(t *tls.Conn) {
	state := t.ConnectionState()
	s.peer.TLS = &state
	s.Counters.TLS.Add(1)
}

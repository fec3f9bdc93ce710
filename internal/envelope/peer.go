package envelope

import (
	"crypto/tls"
	"net/netip"
)

// Door is the kind of service that a client came in through.
type Door uint8

// The doors of SMTP.
const (
	MX         Door = iota // port 25: other servers
	Submission             // ports 587 and 465: our users
)

// Peer is the client of one session: what the checks of each stage may know
// of it. The session fills it as it learns more and never hands it on to
// another goroutine.
type Peer struct {
	Session string // names the session in the log
	Door    Door
	Addr    netip.AddrPort
	Local   netip.AddrPort
	Relay   bool   // listed in [relay] networks
	Helo    string // as given: a domain or address literal, not verified
	ESMTP   bool   // greeted with EHLO
	TLS     *tls.ConnectionState
	Account string // address of the account that signed in; empty before
	// Gone reports whether the client has left, for whoever lets it wait; nil
	// outside of AUTH.
	Gone func() bool

	Credential int64 // that it signed in with; 0 before
}

// Verified reports whether the client may send to other servers.
func (p *Peer) Verified() bool { return p.Relay || p.Account != "" }

// Origin returns the origin of a message that the client hands over.
func (p *Peer) Origin() Origin {
	switch {
	case p.Account != "":
		return User
	case p.Relay:
		return Relay
	}
	return Remote
}

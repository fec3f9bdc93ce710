package signin

import (
	"errors"

	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/activity"
)

// tell tells those who review of an exchange that was decided; c is the
// credential that was right, nil if none was. Of a login that is nobody's
// nothing is told but where it was tried from: people type their password
// into the wrong field.
func (x *Exchange) tell(outcome activity.Outcome, why string, c *record.Credential) {
	e := activity.Event{
		Outcome: outcome, Detail: why, Mechanism: x.mechanism,
		Client: activity.Client{Protocol: activity.SMTP, Address: x.peer.Addr.Addr(), Name: x.peer.Helo},
	}
	if t := x.peer.TLS; t != nil {
		e.Client.Version, e.Client.Cipher, e.Client.Group = t.Version, t.CipherSuite, t.CurveID
	}
	if p := x.claim.person; p != nil {
		e.Owner, e.Account = p.ID, p.Address.Unicode()
	}
	if c != nil {
		e.Credential = string(c.Kind)
		if c.Name != "" {
			e.Credential += " " + c.Name
		}
	}
	x.desk.o.Tried(&e)
}

// reasons say in words for people why a sign-in failed. What a client sent is
// never among them.
var reasons = []struct {
	cause error
	text  string
}{
	{errNobody, "there is no such account"},
	{errFrozen, "the account is frozen"},
	{errCredential, "wrong password"},
	{sasl.ErrProof, "wrong password"},
	{errRevoked, "the certificate was revoked"},
	{errAuthzID, "it asked to act as somebody else"},
	{sasl.ErrBinding, "somebody may be between the two: it was not bound to the connection"},
}

func reason(cause error) string {
	var b *barred
	if errors.As(cause, &b) {
		return b.text()
	}
	for _, r := range reasons {
		if errors.Is(cause, r.cause) {
			return r.text
		}
	}
	return "it made no sense"
}

package signin

import (
	"errors"

	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/account/throttle"
	"gatepost/internal/activity"
)

// tell tells those who review of an exchange that was decided; c is the
// credential that was right, nil if none was. Of a login that is nobody's
// nothing is told but where it was tried from: people type their password
// into the wrong field.
func (x *Exchange) tell(outcome activity.Outcome, why string, c *record.Credential) {
	e := x.event()
	e.Outcome, e.Detail = outcome, why
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

// event is what is told of the client in every case.
func (x *Exchange) event() activity.Event {
	e := activity.Event{
		Mechanism: x.mechanism,
		Client:    activity.Client{Protocol: activity.SMTP, Address: x.peer.Addr.Addr().Unmap().WithZone(""), Name: x.peer.Helo},
	}
	if t := x.peer.TLS; t != nil {
		e.Client.Version, e.Client.Cipher, e.Client.Group = t.Version, t.CipherSuite, t.CurveID
	}
	return e
}

// source is where the throttle sees the client.
func (x *Exchange) source() throttle.Source {
	e := x.event()
	return throttle.From(e.Client.Address, e.Device())
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
	{errAuthzID, "it asked to act as somebody else"},
	{sasl.ErrBinding, "somebody may be between the two: it was not bound to the connection"},
}

func reason(cause error) string {
	for _, r := range reasons {
		if errors.Is(cause, r.cause) {
			return r.text
		}
	}
	return "it made no sense"
}

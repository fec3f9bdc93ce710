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
	e := x.event(outcome, why, c)
	x.desk.o.Tried(&e)
}

// tellRefused tells of a refusal, and whether only more was lacking than the
// secret that was shown: so it is with a password that was phished.
func (x *Exchange) tellRefused(cause error) {
	e := x.event(activity.Refused, reason(cause), nil)
	var b *barred
	e.Knew = errors.As(cause, &b) || errors.Is(cause, errBarred) || errors.Is(cause, errCode) || errors.Is(cause, errRunOut)
	x.desk.o.Tried(&e)
}

func (x *Exchange) event(outcome activity.Outcome, why string, c *record.Credential) activity.Event {
	e := activity.Event{
		Outcome: outcome, Detail: why, Mechanism: x.mechanism,
		Client: x.client(),
	}
	if p := x.claim.person; p != nil {
		e.Owner, e.Account = p.ID, p.Address.Unicode()
	}
	if c != nil {
		e.Credential = string(c.Kind)
		if c.Name != "" {
			e.Credential += " " + c.Name
		}
		e.Credential += x.with
	}
	return e
}

// client is who signs in.
func (x *Exchange) client() activity.Client {
	if x.page != nil {
		return *x.page
	}
	c := activity.Client{Protocol: activity.SMTP, Address: x.peer.Addr.Addr(), Name: x.peer.Helo}
	if t := x.peer.TLS; t != nil {
		c.Version, c.Cipher, c.Group = t.Version, t.CipherSuite, t.CurveID
	}
	return c
}

// source is where the throttle sees the client.
func (x *Exchange) source() throttle.Source {
	e := activity.Event{Mechanism: x.mechanism, Client: x.client()}
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
	{errToken, "the token of the program is not good, or not any more"},
	{errStale, "the token of the program had run out"},
	{errScope, "the token of the program is not for this"},
	{errRevoked, "the certificate was revoked"},
	{errBarred, "the password was right, but it opens no mail: a second factor is on, or owed"},
	{errCode, "the password was right, but the code was not, or there was none"},
	{errGuessed, "the password was right, but so many codes were wrong that none of an app opens for an hour"},
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

package signin

import (
	"context"
	"errors"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/envelope"
)

// Tokens knows those that programs got in place of a password.
type Tokens interface {
	// Token returns what a token is good for, also one that has run out; ok is
	// false if there is none. It must not take longer for one that nearly is
	// one.
	Token(ctx context.Context, token string) (t Token, ok bool, err error)
	// Holds reports whether the grant that opened a session has not ended.
	Holds(ctx context.Context, grant int64) (bool, error)
	// Metadata is the address where a program finds out how to get one.
	Metadata() string
}

// Token is what one is good for.
type Token struct {
	Account    int64
	Login      string // its address
	Credential int64  // the grant that it is of; ids of credentials are never given to two
	Name       string // of the program
	Send, Read bool
	Expires    time.Time
}

// errScope is for the log: the token was right, and for something else.
var errScope = errors.New("the token is not for this")

// errToken and errStale likewise: it is nobody's, or was until a while ago.
var (
	errToken = errors.New("wrong token")
	errStale = errors.New("the token has run out")
)

// bearer decides OAUTHBEARER and XOAUTH2. Who fails is told so in a challenge
// (RFC 7628, section 3.2.3), says something to it, and is refused then.
func (x *Exchange) bearer(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parse := sasl.ParseBearer
	if x.mechanism == sasl.XOAuth2 {
		parse = sasl.ParseXOAuth2
	}
	login, token, err := parse(response)
	if err != nil {
		return nil, false, x.malformed()
	}
	if err = x.show(ctx, login, token); err == nil {
		return nil, true, nil
	}
	if envelope.AsError(err).Temporary() {
		return nil, false, err
	}
	x.step = func(context.Context, []byte) ([]byte, bool, error) { return nil, false, err }
	scope := "mail.read"
	if x.peer.Door == envelope.Submission {
		scope = "mail.send"
	}
	return sasl.BearerFailure(x.mechanism, scope, x.desk.o.Tokens.Metadata()), false, nil
}

// show checks a token. Whom the client says it is must be whom it is of.
func (x *Exchange) show(ctx context.Context, login, token string) error {
	if login != "" {
		if err := x.identify(ctx, login, ""); err != nil {
			return err
		}
	}
	if err := x.wait(ctx); err != nil {
		return err
	}
	t, ok, err := x.desk.o.Tokens.Token(ctx, token)
	if err != nil {
		return errLater(err)
	}
	if ok && login == "" {
		if err := x.identify(ctx, t.Login, ""); err != nil {
			return err
		}
	}
	c, cause := x.grant(t, ok)
	if errors.Is(cause, errStale) {
		// No failure to be slowed for: many programs use a token until it is
		// refused, and get a new one then.
		return x.refuse(cause)
	}
	x.account, err = x.conclude(c, cause)
	return err
}

// grant returns the credential that a token is, nil and the cause if it opens
// nothing here.
func (x *Exchange) grant(t Token, ok bool) (*record.Credential, error) {
	p := x.claim.person
	switch {
	case !ok || p == nil || p.ID != t.Account:
		return nil, errToken
	case !x.desk.o.Clock.Now().Before(t.Expires):
		return nil, errStale
	case x.peer.Door == envelope.Submission && !t.Send, x.peer.Door != envelope.Submission && !t.Read:
		return nil, errScope
	}
	c := &record.Credential{ID: t.Credential, Kind: record.Token, Name: t.Name}
	c.Terms.Expires = t.Expires
	return c, nil
}

package signin

import (
	"context"
	"errors"
	"log/slog"

	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/account/throttle"
	"gatepost/internal/account/turn"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// Exchange is one attempt of a client to sign in. One goroutine uses it.
type Exchange struct {
	desk      *Desk
	peer      *envelope.Peer
	mechanism string
	from      throttle.Source

	// step takes the next response; each step says which comes after it.
	step    func(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	claim   claim
	account string             // empty before the end
	signed  string             // the account, until the client has seen our SCRAM proof
	used    *record.Credential // that signed in

	page  *activity.Client     // who signs in on a page; nil: a client for mail
	with  string               // what was shown beside the password, in words
	login string               // LOGIN, between its two responses
	scram *sasl.Conversation   // SCRAM
	whose []*record.Credential // SCRAM: those of the keys
}

// claim is who a client says it is.
type claim struct {
	address addr.Address   // that its login means
	person  *record.Person // nil: nobody
	as      uint64         // how often accounts had changed before it was looked up
	authzid string         // whom it wants to act as
}

// Next takes the client's response, decoded, and returns the challenge to
// send, not yet encoded, until done or an *envelope.Error ends the exchange.
// The first response is the initial one of the AUTH command, nil if it had
// none. Next may wait: for a place to hash in, and when there were failures
// before from the same network.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = x.step(ctx, response)
	if done || err != nil {
		x.step = x.over
	}
	return challenge, done, err
}

// Account returns the address of the account that signed in; empty before
// Next was done.
func (x *Exchange) Account() string { return x.account }

func (x *Exchange) over(context.Context, []byte) ([]byte, bool, error) {
	return nil, false, x.malformed()
}

// malformed refuses what does not follow its mechanism.
func (x *Exchange) malformed() error { return x.refuse(sasl.ErrMessage) }

func (x *Exchange) plain(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	authzid, login, password, err := sasl.ParsePlain(response)
	if err != nil {
		return nil, false, x.malformed()
	}
	return x.password(ctx, login, authzid, password)
}

func (x *Exchange) loginName(_ context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte("Username:"), false, nil
	}
	var err error
	if x.login, err = sasl.ParseLogin(response); err != nil {
		return nil, false, x.malformed()
	}
	x.step = x.loginPassword
	return []byte("Password:"), false, nil
}

func (x *Exchange) loginPassword(ctx context.Context, response []byte) ([]byte, bool, error) {
	password, err := sasl.ParseLogin(response)
	if err != nil {
		return nil, false, x.malformed()
	}
	return x.password(ctx, x.login, "", password)
}

// password decides PLAIN and LOGIN.
func (x *Exchange) password(ctx context.Context, login, authzid, password string) ([]byte, bool, error) {
	if err := x.identify(ctx, login, authzid); err != nil {
		return nil, false, err
	}
	c, cause := x.device(password)
	if !x.unguessed(c) {
		if err := x.wait(ctx); err != nil {
			return nil, false, err
		}
		chosen, err := x.desk.verify(ctx, &x.claim, password, x.attempt())
		if err != nil {
			return nil, false, x.later(err)
		}
		if c == nil { // else it is right and opens nothing, which the time must not tell
			c = chosen
		}
	}
	var err error
	x.account, err = x.conclude(c, cause)
	return nil, err == nil, err
}

// scramFirst answers the client's first message with salt and count.
func (x *Exchange) scramFirst(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	var failed error // we, not the client
	answer, err := x.scram.First(response, func(login, authzid string) (keys sasl.Keys, err error) {
		if failed = x.identify(ctx, login, authzid); failed != nil {
			return keys, failed
		}
		keys, x.whose = x.desk.scramKeys(&x.claim)
		return keys, nil
	})
	switch {
	case failed != nil:
		return nil, false, failed
	case err != nil:
		return nil, false, x.refuse(err)
	}
	x.step = x.scramFinal
	return answer, false, nil
}

// scramFinal checks the client's proof and answers with ours, which the
// client acknowledges with an empty response: RFC 4954, section 4 leaves no
// room for it beside the 235.
func (x *Exchange) scramFinal(ctx context.Context, response []byte) ([]byte, bool, error) {
	answer, which, cause := x.scram.Final(response)
	var c *record.Credential
	if which >= 0 {
		c, cause = x.allowed(x.whose[which])
	}
	if !x.unguessed(c) {
		if err := x.wait(ctx); err != nil {
			return nil, false, err
		}
	}
	var err error
	if x.signed, err = x.conclude(c, cause); err != nil {
		return nil, false, err
	}
	x.step = x.scramEnd
	return answer, false, nil
}

func (x *Exchange) scramEnd(_ context.Context, response []byte) ([]byte, bool, error) {
	if len(response) > 0 {
		return nil, false, x.malformed()
	}
	x.account = x.signed
	return nil, true, nil
}

// identify finds out who a login means.
func (x *Exchange) identify(ctx context.Context, login, authzid string) error {
	as := x.desk.verified.now()
	a, p, err := x.desk.people.Login(ctx, login)
	if err != nil {
		return errLater(err)
	}
	x.claim = claim{a, p, as, authzid}
	return nil
}

// wait holds the exchange back when there were failures before it.
func (x *Exchange) wait(ctx context.Context) error {
	if err := x.desk.throttle.Wait(ctx, x.attempt()); err != nil {
		return x.later(err)
	}
	return nil
}

// later is the answer when somebody could not wait, or we could not find out.
func (x *Exchange) later(err error) error {
	if errors.Is(err, throttle.ErrBusy) || errors.Is(err, turn.ErrBusy) {
		x.tell(activity.Later, err.Error(), nil)
	}
	return errLater(err)
}

// unguessed reports whether a credential that was right cannot have been
// guessed, and lets its owner in: then nothing is to be slowed. Where it opens
// nothing it is slowed like any other, or it could be told from a wrong one.
func (x *Exchange) unguessed(c *record.Credential) bool {
	p := x.claim.person
	return c != nil && c.Kind != record.Password && p != nil && !p.Frozen && x.claim.acts()
}

// conclude decides an exchange whose credential has been checked: c is the
// one that was right, else nil, and then cause says what was wrong. It
// returns the account's address, or the one refusal.
func (x *Exchange) conclude(c *record.Credential, cause error) (string, error) {
	p, d := x.claim.person, x.desk
	switch {
	case p == nil:
		cause = errNobody
	case c == nil:
	case p.Frozen:
		cause = errFrozen
	case !x.claim.acts():
		cause = errAuthzID
	case x.page == nil && d.people.Barred(p, c):
		cause = errBarred // counted like a wrong one, or its delays would tell
	case d.people.RunOut(c):
		// No failure to be slowed for: whoever says it knew it, and a client
		// that tries on must not hold up its neighbours.
		return "", x.refuse(errRunOut)
	default:
		d.throttle.Passed(x.attempt())
		d.o.SignIns.Add(1)
		d.people.Used(c)
		x.used = c
		x.tell(activity.Done, "", c)
		x.log("signed in", "account", p.Address.String())
		return p.Address.String(), nil
	}
	d.throttle.Failed(x.attempt())
	return "", x.refuse(cause)
}

// refuse logs why and returns the one answer. Nothing is logged of a login
// that is nobody's: people type their password into the wrong field.
func (x *Exchange) refuse(cause error) error {
	x.desk.o.Refused.Add(1)
	x.tellRefused(cause)
	args := []any{"reason", cause}
	if p := x.claim.person; p != nil {
		args = append(args, "account", p.Address.String())
	}
	event := "sign-in refused"
	if errors.Is(cause, sasl.ErrBinding) {
		// The one sign that somebody between the two of us speaks TLS with
		// both, and that the client did not mind a certificate not ours.
		event = "channel binding mismatch"
	}
	x.log(event, args...)
	return errRefused(cause)
}

// log writes one event of the exchange.
func (x *Exchange) log(message string, args ...any) {
	args = append(args, "session", x.peer.Session, "client", x.peer.Addr.Addr(), "mechanism", x.mechanism)
	x.desk.o.Log.Log(context.Background(), slog.LevelInfo, message, args...)
}

// attempt is what the throttle is asked about.
func (x *Exchange) attempt() throttle.Attempt {
	a := throttle.Attempt{Name: x.claim.key(), Source: x.from}
	if p := x.claim.person; p != nil {
		a.Owner = p.ID
	}
	return a
}

// key names the claim for the throttle, and for what is made up for nobody.
func (c *claim) key() string { return string(c.address.Domain) + " " + c.address.Local }

// acts reports whether the client asks to act as the account itself: RFC
// 4616, section 2. Nobody acts as another.
func (c *claim) acts() bool {
	if c.authzid == "" {
		return true
	}
	a, err := addr.Parse(c.authzid)
	return err == nil && a.Fold() == c.person.Address
}

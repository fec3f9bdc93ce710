package signin

import (
	"context"
	"net/netip"

	"gatepost/internal/account/factor"
	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/throttle"
	"gatepost/internal/activity"
	"gatepost/internal/envelope"
)

// Shown is what was shown beside a password and was right: a code of an app,
// or a recovery code.
type Shown struct {
	App      *record.Factor // nil: none
	Step     int64          // of the code of the app
	Recovery []byte         // what is kept of the recovery code; nil: none
}

// words say what was shown.
func (s Shown) words() string {
	if s.Recovery != nil {
		return " and recovery code"
	}
	return " and code of " + s.App.Name
}

// SignIn decides about who shows password and code on a page, both together:
// which of them is wrong is not told, by words, by time or by delays. Where
// the account has no second factor the code is not looked at. The error is an
// *envelope.Error.
func (d *Desk) SignIn(ctx context.Context, login, password, code string, client activity.Client) (*record.Person, error) {
	x := d.visit(&client)
	if err := x.identify(ctx, login, ""); err != nil {
		return nil, err
	}
	if err := x.wait(ctx); err != nil {
		return nil, err
	}
	c, err := d.chosen(ctx, &x.claim, password, x.attempt())
	if err != nil {
		return nil, x.later(err)
	}
	// It may have waited long, for its time and for a place to hash in. What was
	// changed meanwhile ended the sessions that there were, and must not be
	// outlived by one that begins now.
	if err := x.identify(ctx, login, ""); err != nil {
		return nil, err
	}
	c = x.claim.still(c)
	cause := errCredential
	shown, right := d.beside(&x.claim, factor.ReadCode(code))
	if c != nil {
		if c, cause, err = x.second(ctx, c, factor.ReadCode(code), shown, right); err != nil {
			return nil, errLater(err)
		}
	}
	if _, err := x.conclude(c, cause); err != nil {
		return nil, err
	}
	return x.claim.person, nil
}

// second decides about what is shown beside a password that was right, and
// makes durable that it was used. It returns the credential only if that is
// right too, else why not; failed says that we could not find out.
func (x *Exchange) second(ctx context.Context, c *record.Credential, code factor.Code, s Shown, right bool) (_ *record.Credential, why, failed error) {
	d, p := x.desk, x.claim.person
	if p.Factors == 0 || p.Frozen || d.people.RunOut(c) && right {
		return c, nil, nil // for conclude
	}
	guess := s.Recovery == nil && code.Digits()
	switch {
	case guess && !d.guesses.enter(p.ID):
		return nil, errGuessed, nil
	case !right:
		return nil, errCode, nil
	}
	x.with = s.words()
	spent, err := d.people.Spend(ctx, p, s, *x.page)
	switch {
	case err != nil:
		return nil, nil, err
	case !spent:
		return nil, errCode, nil
	case guess:
		d.guesses.right(p.ID)
	}
	return c, nil, nil
}

// visit is an exchange with somebody on a page.
func (d *Desk) visit(client *activity.Client) *Exchange {
	x := &Exchange{desk: d, page: client, peer: &envelope.Peer{Addr: netip.AddrPortFrom(client.Address, 0)}}
	x.from = x.source()
	return x
}

// chosen returns the credential of the password that a person chose, nil if
// it is not that. It runs Argon2id once, whoever it is, and remembers nothing:
// on a page a password that was right before must not answer quicker, since
// its code may be wrong.
func (d *Desk) chosen(ctx context.Context, claim *claim, password string, a throttle.Attempt) (*record.Credential, error) {
	p, err := secret.Prepare(password)
	if err != nil {
		return nil, nil // it tells nothing of the account: no hash is needed to hide it
	}
	chosen := &record.Credential{} // nobody's: it matches nothing
	if claim.person != nil {
		for _, c := range claim.person.Credentials {
			if c.Kind == record.Password {
				chosen = c
			}
		}
	}
	done, err := d.enter(ctx, a)
	if err != nil {
		return nil, err
	}
	defer done()
	if !d.hasher.Verify(p, chosen.Argon2) {
		return nil, nil
	}
	return chosen, nil
}

// still returns a credential as whom a client claims to be has it now, nil if
// they do not have it any more.
func (c *claim) still(was *record.Credential) *record.Credential {
	if was == nil || c.person == nil {
		return nil
	}
	for _, now := range c.person.Credentials {
		if now.ID == was.ID {
			return now
		}
	}
	return nil
}

// beside returns what a code shows of whom a client claims to be, and whether
// it is enough. Of nobody, and of one who has no app, made-up ones are looked
// at.
func (d *Desk) beside(claim *claim, code factor.Code) (s Shown, right bool) {
	p := claim.person
	if p == nil {
		p = &record.Person{}
	}
	now := factor.Step(d.o.Clock.Now())
	looked := false
	for _, f := range p.Second {
		if f.Kind != record.TOTP {
			continue
		}
		looked = true
		key, err := factor.Unseal(d.o.Keys, p.ID, f.ID, f.Secret)
		if err != nil {
			d.o.Log.Error("the secret of an app cannot be used; removing that factor and adding it again repairs it",
				"account_id", p.ID, "factor_id", f.ID, "err", err)
			continue
		}
		if step, ok := code.Step(key, now, f.Drift.Load(), f.Counter.Load()); ok {
			s.App, s.Step = f, step
		}
	}
	if !looked {
		code.Step(nil, now, 0, 0) // the time is what counts
	}
	if sum := code.Recovery(d.o.Keys, p.ID, p.Recovery); sum != nil {
		s = Shown{Recovery: sum}
	}
	return s, p.Factors == 0 || s.App != nil || s.Recovery != nil
}

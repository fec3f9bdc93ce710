package signin

import (
	"context"
	"errors"

	"gatepost/internal/account/factor"
	"gatepost/internal/account/record"
	"gatepost/internal/activity"
)

// passkey is what a passkey is called where credentials are told apart.
const passkey record.Kind = "passkey"

// PasskeyStart begins a sign-in with a passkey: of whom a login means, or,
// where it is empty, of whoever the device says. Where a name has none, ones
// are made up that stay the same, so that the list does not tell who has any;
// nor does its length, so whoever has more shows the others without a name.
func (d *Desk) PasskeyStart(ctx context.Context, party *factor.Party, login string) (options []byte, state string, err error) {
	if login == "" {
		return party.Ask(factor.Anybody, nil)
	}
	a, p, err := d.people.Login(ctx, login)
	if err != nil {
		return nil, "", err
	}
	account, allow := int64(factor.Nobody), party.Decoys((&claim{address: a}).key())
	if p != nil {
		if has := Passkeys(p, party.Site()); len(has) > 0 {
			account, allow = p.ID, has[max(0, len(has)-factor.MaxDecoys):]
		}
	}
	return party.Ask(account, allow)
}

// Passkeys returns the ids of the passkeys that somebody has for a host name.
func Passkeys(p *record.Person, site string) (list [][]byte) {
	for _, f := range p.Second {
		if f.Kind == record.Passkey && f.Site == site {
			list = append(list, f.Handle)
		}
	}
	return list
}

// Holders is asked about passkeys.
type Holders interface {
	// Holder returns whose a passkey is, nil if nobody's.
	Holder(ctx context.Context, handle []byte) (*record.Person, error)
	// Signed makes durable that a passkey has signed so often. It is false
	// where it had before.
	Signed(ctx context.Context, f *record.Factor, counter int64) (bool, error)
}

// Passkey decides about who shows a passkey on a page: that alone is enough,
// since a finger or a PIN unlocked it. The refusal is the one of SignIn.
func (d *Desk) Passkey(ctx context.Context, party *factor.Party, holders Holders, state string, response []byte, client activity.Client) (*record.Person, error) {
	x := d.visit(&client)
	answer, malformed := factor.ReadAnswer(response)
	var f *record.Factor
	if malformed == nil {
		p, err := holders.Holder(ctx, answer.ID)
		if err != nil {
			return nil, errLater(err)
		}
		if p != nil {
			x.claim = claim{address: p.Address, person: p}
			f = shown(p, answer.ID)
		}
	}
	if err := x.wait(ctx); err != nil {
		return nil, err
	}
	c, err := d.signed(ctx, party, holders, &x.claim, f, answer, state)
	if err != nil {
		return nil, errLater(err)
	}
	if _, err := x.conclude(c, factor.ErrResponse); err != nil {
		return nil, err
	}
	return x.claim.person, nil
}

// shown returns the passkey that was shown.
func shown(p *record.Person, handle []byte) *record.Factor {
	for _, f := range p.Second {
		if f.Kind == record.Passkey && string(f.Handle) == string(handle) {
			return f
		}
	}
	return nil
}

// signed checks an answer, and makes durable that it was given. It returns nil
// if it is not right.
func (d *Desk) signed(ctx context.Context, party *factor.Party, holders Holders, c *claim, f *record.Factor, answer *factor.Answer, state string) (*record.Credential, error) {
	if f == nil {
		return nil, nil
	}
	check, err := factor.UnsealPasskey(d.o.Keys, c.person.ID, f.ID, f.Secret)
	if err != nil {
		d.o.Log.Error("a passkey in the store cannot be used; removing it and adding it again repairs it",
			"account_id", c.person.ID, "factor_id", f.ID, "err", err)
		return nil, nil
	}
	counter, err := party.Verify(answer, state, c.person.ID, check, f.Counter.Load())
	switch {
	case errors.Is(err, factor.ErrBusy):
		return nil, err
	case err != nil:
		return nil, nil
	case !c.person.Frozen:
		first, err := holders.Signed(ctx, f, counter)
		if !first || err != nil {
			return nil, err
		}
	}
	return &record.Credential{Kind: passkey, Name: f.Name}, nil
}

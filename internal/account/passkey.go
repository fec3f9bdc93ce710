package account

import (
	"context"
	"errors"

	"gatepost/internal/account/enrol"
	"gatepost/internal/account/record"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// PasskeyStart begins a sign-in with a passkey: of whom a login means, or,
// where it is empty, of whoever the device says. The options are JSON, as
// PublicKeyCredential.parseRequestOptionsFromJSON takes them. The list in
// them does not tell whether there is an account, or what it has.
func (d *Directory) PasskeyStart(ctx context.Context, login string) (options []byte, state string, err error) {
	if d.party == nil {
		return nil, "", errNoParty
	}
	return d.signin.PasskeyStart(ctx, d.party, login)
}

var errNoParty = errors.New("passkeys do not work with this host name")

// PasskeySignIn decides about the answer to PasskeyStart, which is JSON as
// PublicKeyCredential.toJSON gives it. The error is an *envelope.Error, the
// one of SignIn.
func (d *Directory) PasskeySignIn(ctx context.Context, state string, response []byte, c activity.Client) (Account, error) {
	if d.party == nil {
		return Account{}, errNoParty
	}
	p, err := d.signin.Passkey(ctx, d.party, desk{d}, state, response, c)
	if err != nil {
		return Account{}, err
	}
	return d.effective(p.Account), nil
}

// Holder returns whose a passkey is, nil if nobody's.
func (d desk) Holder(ctx context.Context, handle []byte) (p *record.Person, err error) {
	err = d.view(ctx, func(tx *store.Tx) error {
		p, err = record.FindPasskey(tx, handle)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return p, err
}

// Signed makes durable that a passkey has signed so often.
func (d desk) Signed(ctx context.Context, f *record.Factor, counter int64) (first bool, err error) {
	err = d.db.Update(ctx, func(tx *store.Tx) error {
		first, err = record.UsePasskey(tx, f.ID, counter, d.o.Clock.Now().Unix())
		return err
	})
	return first, err
}

// PasskeyAdd begins to add a passkey to an account. The options are JSON, as
// PublicKeyCredential.parseCreationOptionsFromJSON takes them. Nothing is kept
// before PasskeyConfirm.
func (d *Directory) PasskeyAdd(ctx context.Context, a addr.Address) (options []byte, state string, err error) {
	if d.party == nil {
		return nil, "", errNoParty
	}
	p, err := d.person(ctx, a)
	if err != nil {
		return nil, "", err
	}
	return d.enrol.StartPasskey(d.party, p)
}

// PasskeyConfirm adds the passkey that was begun; the response is JSON as
// PublicKeyCredential.toJSON gives it. Recovery codes are returned as by
// TOTPConfirm.
func (d *Directory) PasskeyConfirm(ctx context.Context, a addr.Address, state, name string, response []byte, c activity.Client) (codes []string, err error) {
	if d.party == nil {
		return nil, errNoParty
	}
	before, err := d.person(ctx, a)
	if err != nil {
		return nil, err
	}
	made, err := enrol.ReadPasskey(d.party, before, state, response)
	if err != nil {
		return nil, err
	}
	var ended []Ended
	err = d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		if p.ID != before.ID { // removed and made again meanwhile
			return errNoAccount(a)
		}
		if codes, err = d.enrol.AddPasskey(tx, p, d.party.Site(), name, made); err != nil {
			return err
		}
		ended = endedOf(p, record.Password) // it opens no mail any more
		return d.noteBy(tx, activity.FactorAdded, p.Account, enrol.Passkey+" "+name, c)
	})
	if err == nil {
		d.End(ended...)
	}
	return codes, err
}

// PasskeySites returns for how many accounts there are passkeys, by the host
// name that they were made for: they work at that one alone.
func (d *Directory) PasskeySites(ctx context.Context) (sites map[string]int, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		sites, err = record.PasskeySites(tx)
		return err
	})
	return sites, err
}

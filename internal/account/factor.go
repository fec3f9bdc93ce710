package account

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gatepost/internal/account/enrol"
	"gatepost/internal/account/record"
	"gatepost/internal/account/signin"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// AppSetup is what an app is set up with: its secret as text, the URI that its
// QR code shows, and the state that TOTPConfirm wants.
type AppSetup = enrol.Setup

// Factor is what may be shown of a second factor.
type Factor struct {
	ID      int64
	Kind    string // totp or passkey
	Name    string
	Site    string // the host name that a passkey works at
	Created time.Time
	Used    time.Time // zero: never
}

// Factors are the second factors of an account.
type Factors struct {
	List  []Factor // the oldest first
	Codes int      // recovery codes that are left
}

// SetFactorRoles changes which roles must have a second factor.
func (d *Directory) SetFactorRoles(roles []Role) { d.factorRoles.Store(&roles) }

// Owes reports whether the role of an account wants a second factor that it
// does not have. Its password opens no mail then, and a page lets it do
// nothing but add one.
func (d *Directory) Owes(a Account) bool {
	roles := d.factorRoles.Load()
	return a.Factors == 0 && roles != nil && slices.Contains(*roles, a.Role)
}

// Barred reports whether a credential opens no mail: the password of whoever
// has a second factor, or owes one, since a program for mail shows only that.
func (d desk) Barred(p *record.Person, c *record.Credential) bool {
	return c.Kind == record.Password && (p.Factors > 0 || d.Owes(p.Account))
}

// SignIn decides about who shows a password and a code on a page: of an app,
// or a recovery code. Where the account has no second factor the code is not
// looked at; see Owes. The error is an *envelope.Error, the same whatever was
// wrong.
func (d *Directory) SignIn(ctx context.Context, login, password, code string, c activity.Client) (Account, error) {
	p, err := d.signin.SignIn(ctx, login, password, code, c)
	if err != nil {
		return Account{}, err
	}
	return p.Account, nil
}

// Spend makes durable that a code was used; a recovery code is told of.
func (d desk) Spend(ctx context.Context, p *record.Person, s signin.Shown, c activity.Client) (first bool, err error) {
	err = d.db.Update(ctx, func(tx *store.Tx) error {
		if first, err = d.enrol.Spend(tx, p.ID, s.App, s.Step, s.Recovery); !first || err != nil {
			return err
		}
		if s.Recovery == nil {
			return nil
		}
		left, err := record.ReadRecoveryCodes(tx, p.ID)
		if err != nil {
			return err
		}
		return d.noteBy(tx, activity.RecoveryUsed, p.Account, fmt.Sprint(len(left)), c)
	})
	switch {
	case err != nil || !first:
	case s.Recovery != nil:
		d.changed([]int64{p.ID})
	default: // what is remembered of the app stays right
		s.App.Counter.Store(s.Step)
	}
	return first, err
}

// TOTPStart begins to add an app to an account. Nothing is kept of it before
// TOTPConfirm.
func (d *Directory) TOTPStart(ctx context.Context, a addr.Address) (AppSetup, error) {
	p, err := d.person(ctx, a)
	if err != nil {
		return AppSetup{}, err
	}
	return d.enrol.StartTOTP(p)
}

// TOTPConfirm adds the app that was begun, once it shows the right code. Where
// it is the first factor of the account, recovery codes are returned, the only
// time that anybody sees them; from then on the password opens no mail.
func (d *Directory) TOTPConfirm(ctx context.Context, a addr.Address, state, name, code string, c activity.Client) (codes []string, err error) {
	var ended []Ended
	err = d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		if codes, err = d.enrol.ConfirmTOTP(tx, p, state, name, code); err != nil {
			return err
		}
		ended = endedOf(p, record.Password) // it opens no mail any more
		return d.noteBy(tx, activity.FactorAdded, p.Account, enrol.App+" "+name, c)
	})
	if err == nil {
		d.End(ended...)
	}
	return codes, err
}

// RecoveryCodes makes new recovery codes, and those before open nothing any
// more. They are returned the only time that anybody sees them.
func (d *Directory) RecoveryCodes(ctx context.Context, a addr.Address, c activity.Client) (codes []string, err error) {
	err = d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		if len(p.Second) == 0 {
			return fmt.Errorf("%s has no second factor; recovery codes come with the first", a.Unicode())
		}
		if codes, err = d.enrol.Codes(tx, p); err != nil {
			return err
		}
		return d.noteBy(tx, activity.CodesMade, p.Account, "", c)
	})
	return codes, err
}

// Factors returns the second factors of an account.
func (d *Directory) Factors(ctx context.Context, a addr.Address) (Factors, error) {
	p, err := d.person(ctx, a)
	if err != nil {
		return Factors{}, err
	}
	all := Factors{Codes: len(p.Recovery)}
	for _, f := range p.Second {
		all.List = append(all.List, Factor{f.ID, string(f.Kind), f.Name, f.Site, f.Created, f.Used})
	}
	return all, nil
}

// RemoveFactor takes a second factor away. With the last one the recovery
// codes go, and the password opens mail again, if its role owes none.
func (d *Directory) RemoveFactor(ctx context.Context, a addr.Address, id int64, c activity.Client) error {
	return d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		for _, f := range p.Second {
			if f.ID == id {
				return d.removeFactor(tx, p, f, c)
			}
		}
		return fmt.Errorf("%s has no second factor %d", a.Unicode(), id)
	})
}

// RemoveFactors takes all second factors away, for whoever lost them.
func (d *Directory) RemoveFactors(ctx context.Context, a addr.Address, c activity.Client) error {
	return d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		if len(p.Second) == 0 {
			return fmt.Errorf("%s has no second factor", a.Unicode())
		}
		for len(p.Second) > 0 {
			if err := d.removeFactor(tx, p, p.Second[0], c); err != nil {
				return err
			}
			p.Second = p.Second[1:]
		}
		return nil
	})
}

func (d *Directory) removeFactor(tx *store.Tx, p *record.Person, f *record.Factor, c activity.Client) error {
	if err := d.enrol.Remove(tx, p, f); err != nil {
		return err
	}
	return d.noteBy(tx, activity.FactorRemoved, p.Account, enrol.Words(f), c)
}

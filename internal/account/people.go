package account

import (
	"context"
	"errors"
	"fmt"

	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/passwords"
	"gatepost/internal/store"
)

func errNoAccount(a addr.Address) error {
	return fmt.Errorf("there is no account %s", a.Unicode())
}

// AddAccount makes an account with a password, and the quota and sending
// limit that the configuration gives.
func (d *Directory) AddAccount(ctx context.Context, a addr.Address, password string, role Role) (Account, error) {
	a = a.Fold()
	if err := checkName(a.Local); err != nil {
		return Account{}, err
	}
	if _, err := ParseRole(string(role)); err != nil {
		return Account{}, err
	}
	p, rating, err := d.choose(password, passwords.Person{Address: a})
	if err != nil {
		return Account{}, err
	}
	// Asked before hashing, for a quick answer, and again with the insert.
	if err := d.db.View(ctx, func(tx *store.Tx) error { return free(tx, a) }); err != nil {
		return Account{}, err
	}
	who := &record.Person{
		Account: Account{Address: a, Role: role, Quota: Configured, SendLimit: Configured, Created: d.o.Clock.Now()},
		Salt:    d.signin.Salt(a), Iterations: secret.ScramIterations,
	}
	fresh, err := d.signin.NewPassword(ctx, p, rating, who.Salt, who.Iterations)
	if err != nil {
		return Account{}, err
	}
	err = d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		if err := free(tx, a); err != nil {
			return nil, err
		}
		id, err := record.InsertAccount(tx, who)
		if err != nil {
			return nil, err
		}
		if _, err = d.signin.Keep(tx, id, fresh, who.Created); err != nil {
			return nil, err
		}
		who.ID = id
		return []int64{id}, d.note(tx, activity.AccountAdded, who.Account, string(role))
	})
	if err != nil {
		return Account{}, err
	}
	return d.Account(ctx, a)
}

// free reports why an address cannot be given to a new account or alias.
func free(tx *store.Tx, a addr.Address) error {
	switch dom, err := findDomain(tx, a.Domain); {
	case err != nil:
		return err
	case dom.Parked:
		return fmt.Errorf("in the domain %s nobody sends or gets mail; to change that: gatepost domain set %s --parked=false", a.Domain.Unicode(), a.Domain.Unicode())
	}
	switch _, err := record.ReadPerson(tx, a); {
	case err == nil:
		return fmt.Errorf("there is an account %s already", a.Unicode())
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	targets, err := record.ReadTargets(tx, a)
	if len(targets) > 0 {
		return fmt.Errorf("there is an alias %s already", AliasName(a))
	}
	return err
}

// Accounts returns all accounts, by domain and name.
func (d *Directory) Accounts(ctx context.Context) (list []Account, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		list, err = record.ReadAccounts(tx, "")
		return err
	})
	for i := range list {
		list[i] = d.effective(list[i])
	}
	return list, err
}

// Account returns the account with exactly this address.
func (d *Directory) Account(ctx context.Context, a addr.Address) (Account, error) {
	p, err := d.person(ctx, a)
	if err != nil {
		return Account{}, err
	}
	return d.effective(p.Account), nil
}

func (d *Directory) person(ctx context.Context, a addr.Address) (p *record.Person, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		p, err = findPerson(tx, a)
		return err
	})
	return p, err
}

func findPerson(tx *store.Tx, a addr.Address) (*record.Person, error) {
	p, err := record.ReadPerson(tx, a.Fold())
	if errors.Is(err, store.ErrNotFound) {
		err = errNoAccount(a)
	}
	return p, err
}

// onAccount is update for a change of one account that exists.
func (d *Directory) onAccount(ctx context.Context, a addr.Address, f func(*store.Tx, *record.Person) error) error {
	return d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		p, err := findPerson(tx, a)
		if err != nil {
			return nil, err
		}
		return []int64{p.ID}, f(tx, p)
	})
}

// Settings are changes to an account; what is nil stays.
type Settings struct {
	Role      *Role
	Quota     *int64 // octets; 0: no limit; Configured
	SendLimit *int   // recipients a day; 0: no limit; Configured
	// Recovery is where alerts go beside the account's own mailbox; the zero
	// address: nowhere.
	Recovery *addr.Address
}

// SetAccount changes an account's settings.
func (d *Directory) SetAccount(ctx context.Context, a addr.Address, s Settings) error {
	var ended []Ended
	err := d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		if s.Role != nil && *s.Role != p.Role {
			if _, err := ParseRole(string(*s.Role)); err != nil {
				return err
			}
			p.Role = *s.Role
			if err := d.note(tx, activity.Role, p.Account, string(p.Role)); err != nil {
				return err
			}
			if d.Owes(p.Account) {
				ended = endedOf(p, record.Password) // it opens no mail before there is a second factor
			}
		}
		if s.Recovery != nil {
			if err := d.setRecovery(tx, p, *s.Recovery); err != nil {
				return err
			}
		}
		if s.Quota != nil {
			p.Quota = *s.Quota
		}
		if s.SendLimit != nil {
			p.SendLimit = *s.SendLimit
		}
		for _, n := range []int64{p.Quota, int64(p.SendLimit)} {
			if n < 0 && n != Configured {
				return fmt.Errorf("%d is not a limit; 0 means none", n)
			}
		}
		return record.UpdateAccount(tx, p.Account)
	})
	if err == nil {
		d.End(ended...)
	}
	return err
}

// RemoveAccount removes an account with its credentials and factors. It leaves the lists
// it was on, and lists with nobody left go too, so that whoever has the
// address next does not inherit them. Its mail is the mailbox's affair.
func (d *Directory) RemoveAccount(ctx context.Context, a addr.Address) error {
	d.freezing.Lock()
	defer d.freezing.Unlock()
	who, err := d.Account(ctx, a)
	if err != nil {
		return err
	}
	d.orphan(who)
	err = d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		if err := record.DropTarget(tx, p.Address); err != nil {
			return err
		}
		if err := record.DeleteAccount(tx, p.ID); err != nil {
			return err
		}
		return d.note(tx, activity.AccountRemoved, p.Account, "")
	})
	if err == nil {
		d.End(Ended{Account: a})
	}
	return err
}

package account

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatepost/internal/account/record"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/mtasts"
	"gatepost/internal/store"
)

func errNoDomain(name addr.Domain) error {
	return fmt.Errorf("there is no domain %s here; add it first with: gatepost domain add %s", name.Unicode(), name.Unicode())
}

// AddDomain makes a domain ours, with postmaster and abuse.
func (d *Directory) AddDomain(ctx context.Context, name addr.Domain) error {
	if _, literal := name.IP(); literal || name == "" {
		return fmt.Errorf("%q is not a domain name", name)
	}
	return d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		all, err := record.DomainNames(tx)
		if err != nil {
			return nil, err
		}
		if len(all) >= maxDomains {
			return nil, fmt.Errorf("there are %d domains here, which is the most", len(all))
		}
		err = record.InsertDomain(tx, name, d.o.Clock.Now())
		if store.IsUnique(err) {
			err = fmt.Errorf("the domain %s is here already", name.Unicode())
		}
		return nil, err
	})
}

// Domains returns all domains, by name.
func (d *Directory) Domains(ctx context.Context) (list []Domain, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		list, err = record.ReadDomains(tx)
		return err
	})
	return list, err
}

// Domain returns one domain.
func (d *Directory) Domain(ctx context.Context, name addr.Domain) (dom Domain, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		dom, err = findDomain(tx, name)
		return err
	})
	return dom, err
}

func findDomain(tx *store.Tx, name addr.Domain) (Domain, error) {
	dom, err := record.ReadDomain(tx, name)
	if errors.Is(err, store.ErrNotFound) {
		err = errNoDomain(name)
	}
	return dom, err
}

// Park says that nobody sends or gets mail in a domain, or that somebody does
// again. Its records in the DNS say so to the world, so that nobody can have
// an account or an alias in it.
func (d *Directory) Park(ctx context.Context, name addr.Domain, parked bool) error {
	return d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		dom, err := findDomain(tx, name)
		if err != nil {
			return nil, err
		}
		aliases, err := record.ReadAliases(tx)
		if err != nil {
			return nil, err
		}
		used := dom.Accounts > 0 || slices.ContainsFunc(aliases, func(a Alias) bool { return a.Address.Domain == name })
		if parked && used {
			return nil, fmt.Errorf("the domain %s has accounts or aliases; remove them first, for their mail would be refused everywhere", name.Unicode())
		}
		return nil, record.UpdateDomain(tx, name, parked)
	})
}

// SetPromise changes the mode of MTA-STS that a domain publishes.
func (d *Directory) SetPromise(ctx context.Context, name addr.Domain, mode mtasts.Mode) error {
	return d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		dom, err := findDomain(tx, name)
		if err != nil || dom.STS == mode {
			return nil, err // and it stays known since when
		}
		return nil, record.SetDomainMode(tx, name, mode, d.o.Clock.Now())
	})
}

// RemoveDomain makes a domain no longer ours. Its aliases go with it, and its
// accounts if withAccounts says so: otherwise they must be gone before.
// Aliases elsewhere keep their targets in it, which from then on are another
// server's.
func (d *Directory) RemoveDomain(ctx context.Context, name addr.Domain, withAccounts bool) error {
	d.freezing.Lock()
	defer d.freezing.Unlock()
	if withAccounts {
		all, err := d.Accounts(ctx)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(a Account) bool { return a.Address.Domain != name })
		d.orphan(all...)
	}
	var ended []Ended
	err := d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		dom, err := findDomain(tx, name)
		if err != nil {
			return nil, err
		}
		if dom.Accounts > 0 && !withAccounts {
			return nil, fmt.Errorf("the domain %s still has %d accounts; remove them first", name.Unicode(), dom.Accounts)
		}
		people, err := record.ReadAccounts(tx, name)
		if err != nil {
			return nil, err
		}
		var ids []int64
		for _, a := range people {
			if err := record.DeleteAccount(tx, a.ID); err != nil {
				return nil, err
			}
			if err := d.note(tx, activity.AccountRemoved, a, ""); err != nil {
				return nil, err
			}
			ids, ended = append(ids, a.ID), append(ended, Ended{Account: a.Address})
		}
		return ids, record.DeleteDomain(tx, name)
	})
	if err == nil {
		d.End(ended...)
	}
	return err
}

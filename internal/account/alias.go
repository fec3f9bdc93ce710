package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatepost/internal/account/record"
	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// AliasName returns an alias as operators write it: the catch-all of a domain
// is "@example.org".
func AliasName(a addr.Address) string {
	if a.Local == "" {
		return "@" + a.Domain.Unicode()
	}
	return a.Unicode()
}

// ParseAlias reads what AliasName writes.
func ParseAlias(s string) (addr.Address, error) {
	name, catchAll := strings.CutPrefix(s, "@")
	if !catchAll {
		a, err := addr.Parse(s)
		if err != nil {
			return a, fmt.Errorf("%q is not an address: %w", s, err)
		}
		return a.Fold(), nil
	}
	d, err := addr.ParseDomain(name)
	if err != nil {
		return addr.Address{}, fmt.Errorf("%q is not the catch-all of a domain: %w", s, err)
	}
	return addr.Address{Domain: d}, nil
}

// AddAlias makes an alias, of which there may not be one yet. An empty local
// part is the catch-all of the domain.
func (d *Directory) AddAlias(ctx context.Context, alias addr.Address, targets []addr.Address) error {
	alias = alias.Fold()
	if alias.Local != "" {
		if err := checkLocal(alias.Local); err != nil {
			return err
		}
	}
	return d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		if err := free(tx, alias); err != nil {
			return nil, err
		}
		targets, err := d.checkTargets(tx, alias, targets)
		if err != nil {
			return nil, err
		}
		if err := record.InsertAlias(tx, Alias{Address: alias, Targets: targets, Created: d.o.Clock.Now()}); err != nil {
			return nil, err
		}
		return nil, d.noteAlias(tx, alias, nil, targets)
	})
}

// SetAlias gives an alias, or postmaster or abuse, other targets.
func (d *Directory) SetAlias(ctx context.Context, alias addr.Address, targets []addr.Address) error {
	alias = alias.Fold()
	return d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		targets, err := d.checkTargets(tx, alias, targets)
		if err != nil {
			return nil, err
		}
		before, err := record.ReadTargets(tx, alias)
		if err != nil {
			return nil, err
		}
		err = record.DeleteTargets(tx, alias)
		switch {
		case err == nil:
			if err := record.InsertTargets(tx, alias, targets); err != nil {
				return nil, err
			}
			return nil, d.noteAlias(tx, alias, before, targets)
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		case !d.isRole(alias):
			return nil, errNoAlias(alias)
		}
		if err := free(tx, alias); err != nil {
			return nil, err
		}
		if err := record.InsertAlias(tx, Alias{Address: alias, Targets: targets, Created: d.o.Clock.Now()}); err != nil {
			return nil, err
		}
		return nil, d.noteAlias(tx, alias, nil, targets)
	})
}

// RemoveAlias removes an alias. postmaster and abuse go back to the
// administrator.
func (d *Directory) RemoveAlias(ctx context.Context, alias addr.Address) error {
	alias = alias.Fold()
	return d.update(ctx, func(tx *store.Tx) ([]int64, error) {
		err := record.DeleteAlias(tx, alias)
		switch {
		case errors.Is(err, store.ErrNotFound) && d.isRole(alias):
			return nil, fmt.Errorf("%s cannot be removed: every domain has it (RFC 5321, RFC 2142)", AliasName(alias))
		case errors.Is(err, store.ErrNotFound):
			return nil, errNoAlias(alias)
		case err != nil:
			return nil, err
		}
		return nil, d.noteAlias(tx, alias, nil, nil)
	})
}

func errNoAlias(a addr.Address) error { return fmt.Errorf("there is no alias %s", AliasName(a)) }

// checkTargets returns the targets of an alias as they are kept.
func (d *Directory) checkTargets(tx *store.Tx, alias addr.Address, targets []addr.Address) ([]addr.Address, error) {
	switch {
	case len(targets) == 0:
		return nil, fmt.Errorf("the alias %s needs at least one target", AliasName(alias))
	case len(targets) > maxRecipients:
		return nil, fmt.Errorf("an alias may have %d targets, not %d", maxRecipients, len(targets))
	}
	list := make([]addr.Address, len(targets))
	for i, t := range targets {
		var err error
		if list[i], err = d.checkTarget(tx, t); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// checkTarget returns a target as it is kept. One of ours must be somebody:
// a typing error should not wait for a message to be found.
func (d *Directory) checkTarget(tx *store.Tx, t addr.Address) (addr.Address, error) {
	if t.Local == "" || t.Domain == "" {
		return t, fmt.Errorf("%q is not an address that mail can go to", AliasName(t))
	}
	if t.Domain != d.o.Hostname {
		_, err := record.ReadDomain(tx, t.Domain)
		if errors.Is(err, store.ErrNotFound) {
			return t, nil // another server's, and spelled as it likes
		}
		if err != nil {
			return t, err
		}
	}
	t = t.Fold()
	for _, a := range spellings(t) {
		if e, err := d.read(tx, a); e != nil || err != nil {
			return t, err
		}
	}
	return t, fmt.Errorf("the target %s is in a domain of ours, but nobody has it; add it first with: gatepost account add %s", t.Unicode(), t.Unicode())
}

// Alias returns one alias, or what a role is without one.
func (d *Directory) Alias(ctx context.Context, alias addr.Address) (Alias, error) {
	all, err := d.Aliases(ctx)
	if err != nil {
		return Alias{}, err
	}
	alias = alias.Fold()
	i := slices.IndexFunc(all, func(a Alias) bool { return a.Address == alias })
	if i < 0 {
		return Alias{}, errNoAlias(alias)
	}
	return all[i], nil
}

// Aliases returns all aliases and roles, by domain and name.
func (d *Directory) Aliases(ctx context.Context) (list []Alias, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		if list, err = record.ReadAliases(tx); err != nil {
			return err
		}
		roles, err := d.readRoles(tx, list)
		list = append(list, roles...)
		return err
	})
	slices.SortFunc(list, func(a, b Alias) int {
		return strings.Compare(string(a.Address.Domain)+"@"+a.Address.Local, string(b.Address.Domain)+"@"+b.Address.Local)
	})
	return list, err
}

// readRoles returns postmaster and abuse of every domain where neither an
// alias nor an account answers for them.
func (d *Directory) readRoles(tx *store.Tx, aliases []Alias) ([]Alias, error) {
	names, err := record.DomainNames(tx)
	if err != nil {
		return nil, err
	}
	taken := map[addr.Address]bool{}
	for _, a := range aliases {
		taken[a.Address] = true
	}
	var list []Alias
	for _, name := range names {
		for _, local := range []string{"abuse", "postmaster"} {
			a := addr.Address{Local: local, Domain: name}
			if taken[a] {
				continue
			}
			e, err := d.read(tx, a)
			if err != nil {
				return nil, err
			}
			if e.person == nil {
				list = append(list, Alias{Address: a, Targets: e.targets, Role: true})
			}
		}
	}
	return list, nil
}

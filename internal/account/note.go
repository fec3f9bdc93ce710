package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatepost/internal/account/record"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// Activity keeps what people review.
type Activity interface {
	// Tried is told of each sign-in that was decided. It does not wait, and
	// keeps no reference to e.
	Tried(e *activity.Event)
	// Note writes down what is done in the transaction that does it.
	Note(tx *store.Tx, e *activity.Event) error
}

// note writes down what is done to an account, and by whom, which the context
// of the transaction tells (activity.By).
func (d *Directory) note(tx *store.Tx, kind activity.Kind, a Account, detail string) error {
	return d.noteBy(tx, kind, a, detail, activity.Client{})
}

// noteBy writes down what somebody does to an account.
func (d *Directory) noteBy(tx *store.Tx, kind activity.Kind, a Account, detail string, c activity.Client) error {
	if d.o.Activity == nil {
		return nil
	}
	e := &activity.Event{Kind: kind, Owner: a.ID, Detail: detail, Client: c}
	if a.ID != 0 {
		e.Account = a.Address.Unicode()
	}
	return d.o.Activity.Note(tx, e)
}

// noteAlias writes down where an alias leads now, and tells each of our
// people whose mail it takes elsewhere: those that it led or leads to, where
// it leads out of the house too, to an address that it did not lead to before.
func (d *Directory) noteAlias(tx *store.Tx, alias addr.Address, before, after []addr.Address) error {
	if d.o.Activity == nil {
		return nil
	}
	if len(after) == 0 {
		return d.note(tx, activity.AliasRemoved, Account{}, AliasName(alias))
	}
	leads := AliasName(alias) + " to " + list(after)
	if err := d.note(tx, activity.AliasSet, Account{}, leads); err != nil {
		return err
	}
	away, err := d.away(tx, before, after)
	if err != nil || len(away) == 0 {
		return err
	}
	seen := map[addr.Address]bool{}
	for _, a := range slices.Concat(before, after) {
		a = withoutTag(a.Fold())
		p, err := record.ReadPerson(tx, a)
		if seen[a] || errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		seen[a] = true
		if err := d.note(tx, activity.Forwarding, p.Account, AliasName(alias)+" to "+list(away)); err != nil {
			return err
		}
	}
	return nil
}

// away returns the new targets that are not in domains of ours.
func (d *Directory) away(tx *store.Tx, before, after []addr.Address) (list []addr.Address, err error) {
	old := map[addr.Address]bool{}
	for _, a := range before {
		old[a] = true
	}
	for _, a := range after {
		if old[a] || a.Domain == d.o.Hostname {
			continue
		}
		_, err := record.ReadDomain(tx, a.Domain)
		switch {
		case errors.Is(err, store.ErrNotFound):
			list = append(list, a)
		case err != nil:
			return nil, err
		}
	}
	return list, nil
}

// list writes addresses as people read them.
func list(addresses []addr.Address) string {
	names := make([]string, len(addresses))
	for i, a := range addresses {
		names[i] = a.Unicode()
	}
	return strings.Join(names, ", ")
}

// tried returns who is told of sign-ins.
func tried(a Activity) func(*activity.Event) {
	if a == nil {
		return func(*activity.Event) {}
	}
	return a.Tried
}

// deviceName returns what a device of a person is called.
func deviceName(p *record.Person, id int64) string {
	for _, c := range p.Credentials {
		if c.ID == id {
			return c.Name
		}
	}
	return ""
}

// setRecovery sets where alerts of a person go too. Where they went before is
// told of it.
func (d *Directory) setRecovery(tx *store.Tx, p *record.Person, to addr.Address) error {
	if withoutTag(to.Fold()) == p.Address {
		return fmt.Errorf("alerts go to %s anyway; a recovery address is another one", p.Address.Unicode())
	}
	was, err := activity.ReadRecovery(tx, p.ID)
	if err != nil || was == to.String() || was == "" && to.IsNull() {
		return err
	}
	shown, kept := "", ""
	if !to.IsNull() {
		shown, kept = to.Unicode(), to.String()
	}
	if err := d.note(tx, activity.Recovery, p.Account, shown); err != nil {
		return err
	}
	return activity.SetRecovery(tx, p.ID, kept)
}

// Recovery returns where alerts of an account go beside its own mailbox, the
// zero address for nowhere.
func (d *Directory) Recovery(ctx context.Context, account int64) (a addr.Address, err error) {
	var kept string
	err = d.db.View(ctx, func(tx *store.Tx) error {
		kept, err = activity.ReadRecovery(tx, account)
		return err
	})
	if err != nil || kept == "" {
		return a, err
	}
	return addr.Parse(kept)
}

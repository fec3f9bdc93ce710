package account

import (
	"context"
	"errors"

	"gatepost/internal/account/record"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// Outbox is what accounts send, by the address of the account. It is told of
// what is durable already, of one change at a time.
type Outbox interface {
	// Freeze keeps back what an account has sent and what it still hands over,
	// and Thaw lets it go.
	Freeze(account string)
	Thaw(account string)
	// Orphan keeps back what a frozen account has sent that is gone now, for
	// an operator to decide.
	Orphan(account string)
}

// SetOutbox tells an outbox of what is frozen, and of each change from then
// on. It is called before anything is sent.
func (d *Directory) SetOutbox(ctx context.Context, o Outbox) error {
	d.freezing.Lock()
	defer d.freezing.Unlock()
	var list []addr.Address
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		list, err = record.ReadFrozen(tx)
		return err
	})
	for _, a := range list {
		o.Freeze(a.String())
	}
	d.outbox = o
	return err
}

// Freeze keeps an account from signing in, ends its sessions, and keeps what it
// has sent from leaving. Its mail still arrives.
func (d *Directory) Freeze(ctx context.Context, a addr.Address) error {
	return d.setFrozen(ctx, a, true, "")
}

// Release lets a frozen account sign in and send again.
func (d *Directory) Release(ctx context.Context, a addr.Address) error {
	return d.setFrozen(ctx, a, false, "")
}

// Lock is Freeze for an account that is known by its id; why goes into the
// log of activity. It returns the address. ErrUnknown says that the account is
// gone.
func (d *Directory) Lock(ctx context.Context, id int64, why string) (a addr.Address, err error) {
	if a, err = d.AddressOf(ctx, id); err != nil {
		return a, err
	}
	return a, d.setFrozen(ctx, a, true, why)
}

// AddressOf returns the address of an account that is known by its id;
// ErrUnknown says that the account is gone.
func (d *Directory) AddressOf(ctx context.Context, id int64) (a addr.Address, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) (err error) {
		a, err = record.ReadAddress(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = ErrUnknown
	}
	return a, err
}

// setFrozen freezes or releases an account; one that is so already stays so,
// and nobody is told again.
func (d *Directory) setFrozen(ctx context.Context, a addr.Address, frozen bool, why string) error {
	d.freezing.Lock()
	defer d.freezing.Unlock()
	err := d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		if p.Frozen == frozen {
			return nil
		}
		p.Frozen = frozen
		if err := record.UpdateAccount(tx, p.Account); err != nil {
			return err
		}
		kind := activity.Released
		if frozen {
			kind = activity.Frozen
		}
		return d.note(tx, kind, p.Account, why)
	})
	if err != nil {
		return err
	}
	switch {
	case d.outbox == nil:
	case frozen: // before the sessions end: what one of them still hands over must not slip through
		d.outbox.Freeze(a.Fold().String())
	default:
		d.outbox.Thaw(a.Fold().String())
	}
	if frozen {
		d.End(Ended{Account: a})
	}
	return nil
}

// orphan tells the outbox of accounts that are about to be removed: after it, a
// crash would leave nobody who knows that they were frozen. d.freezing is held.
func (d *Directory) orphan(gone ...Account) {
	for _, a := range gone {
		if a.Frozen && d.outbox != nil {
			d.outbox.Orphan(a.Address.String())
		}
	}
}

package control

import (
	"context"

	"gatepost/internal/account"
	"gatepost/internal/addr"
)

// Frozen is what became of what an account has sent when it was frozen or
// released.
type Frozen struct {
	Address string `json:"address"`
	Frozen  bool   `json:"frozen"`
	Queued  int    `json:"queued"` // messages of the account that wait
	// UnderWay is how many of these are being delivered just now: they are not
	// called back, since the other side may have them already.
	UnderWay int `json:"under_way"`
}

func (d *Desk) freezeAccount(ctx context.Context, a Name, emit Emit) error {
	acc, err := d.change(ctx, a, d.Directory.Freeze)
	if err != nil {
		return err
	}
	waiting, busy := d.Queue.Of(acc.Address.String())
	return emit(Frozen{acc.Address.Unicode(), acc.Frozen, waiting, busy}, nil)
}

func (d *Desk) releaseAccount(ctx context.Context, a Name, emit Emit) error {
	waiting, busy := 0, 0
	acc, err := d.change(ctx, a, func(ctx context.Context, address addr.Address) error {
		waiting, busy = d.Queue.Of(address.Fold().String()) // before it leaves
		return d.Directory.Release(ctx, address)
	})
	if err != nil {
		return err
	}
	return emit(Frozen{acc.Address.Unicode(), acc.Frozen, waiting, busy}, nil)
}

// change changes an account and returns it.
func (d *Desk) change(ctx context.Context, a Name, do func(context.Context, addr.Address) error) (account.Account, error) {
	address, err := parseAddress(a.Name)
	if err != nil {
		return account.Account{}, err
	}
	if err := do(ctx, address); err != nil {
		return account.Account{}, err
	}
	return d.Directory.Account(ctx, address)
}

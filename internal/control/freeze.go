package control

import (
	"context"

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
	return d.setFrozen(ctx, a, emit, d.Directory.Freeze)
}

func (d *Desk) releaseAccount(ctx context.Context, a Name, emit Emit) error {
	return d.setFrozen(ctx, a, emit, d.Directory.Release)
}

func (d *Desk) setFrozen(ctx context.Context, a Name, emit Emit, change func(context.Context, addr.Address) error) error {
	address, err := parseAddress(a.Name)
	if err != nil {
		return err
	}
	if err := change(ctx, address); err != nil {
		return err
	}
	acc, err := d.Directory.Account(ctx, address)
	if err != nil {
		return err
	}
	waiting, busy := d.Queue.Of(acc.Address.String())
	return emit(Frozen{acc.Address.Unicode(), acc.Frozen, waiting, busy}, nil)
}

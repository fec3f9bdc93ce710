package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gatepost/internal/control/intake"
	"gatepost/internal/mailbox"
)

// Import are the arguments of mailbox.import. The messages follow, each an
// intake.Letter with its content; the answer are items of intake.Filed.
type Import struct {
	Account string `json:"account"`
	Again   bool   `json:"again"` // also what was imported before
}

func (d *Desk) importMailbox(ctx context.Context, a Import, emit Emit) error {
	acc, err := d.account(ctx, a.Account)
	if err != nil {
		return err
	}
	box, err := d.Boxes.Import(ctx, acc.ID, acc.Quota, a.Again)
	if err != nil {
		return fmt.Errorf("%s: %w", acc.Address.Unicode(), err)
	}
	defer box.Close()
	next := given(ctx)
	err = intake.Run(ctx, box, func() (json.RawMessage, io.Reader, error) {
		it, err := next()
		return it.JSON, it.Body, err
	}, func(f intake.Filed) error { return emit(f, nil) })
	if errors.Is(err, mailbox.ErrQuota) {
		return fmt.Errorf("the mailbox of %[1]s is full; give it room (gatepost account set %[1]s --quota SIZE) and run the same command again, which goes on from here", acc.Address.Unicode())
	}
	return err
}

package local

import (
	"context"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/mailbox"
)

// captured is the folder that captured mail is filed into.
const captured = "Captured"

// Capture stands in for delivery to other servers where nothing may leave
// the machine: it files every message into the folder Captured of one
// account, once for each recipient, with a field that says so. Nobody tells
// it what is settled: the mailbox forgets what was captured at the next
// start.
type Capture struct {
	local *Local
	owner addr.Address
}

// Capture returns a deliverer that keeps what would leave in the mailbox of
// owner, one of our accounts.
func (l *Local) Capture(owner addr.Address) *Capture { return &Capture{l, owner} }

// Deliver files a message for each recipient, whatever its domain.
func (c *Capture) Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome {
	return each(a, func(to addr.Address) envelope.Outcome {
		acct, err := c.local.o.Directory.Find(ctx, c.owner)
		if err != nil {
			return outcome(c.owner, err)
		}
		return outcome(c.owner, c.local.file(ctx, a, mailbox.Filing{
			Account:   acct.ID,
			Quota:     acct.Quota,
			Folder:    captured,
			Recipient: to.String(),
			Header:    trace(a.Envelope, "X-Gatepost-Captured: for "+to.String()+", kept here and not sent"),
		}))
	})
}

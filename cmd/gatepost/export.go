package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/moving"
)

func (a *app) mailboxExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export ACCOUNT FILE",
		Short: "Copy a whole mailbox into a file or a Maildir",
		Long: `Copy all folders of an account. FILE becomes one mbox (mboxrd) of all of
them; with a name that ends in "/", or an existing directory, it becomes a
Maildir (Maildir++) with a sub-folder for each folder. No message that exists
is overwritten. What was imported comes out as it came in, octet for octet.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			out, err := moving.NewExport(args[1], time.Now())
			if err != nil {
				return err
			}
			n, octets := 0, int64(0)
			p := newProgress(c, "Exporting")
			err = a.operate(c, func(ctx context.Context, op *operate.Operator) error {
				return op.Do(ctx, "mailbox.export", control.Name{Name: args[0]}, func(it control.Item) error {
					var m control.Exported
					if err := json.Unmarshal(it.JSON, &m); err != nil {
						return err
					}
					n, octets = n+1, octets+m.Size
					p.tell(octets, 0)
					return out.Add(&moving.Kept{Folder: m.Folder, UID: m.UID, Received: m.Received, Flags: m.Flags, Ends: m.Ends, Content: it.Body})
				})
			})
			p.end()
			if closed := out.Close(err == nil); err == nil {
				err = closed
			}
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "Exported %s to %s.\n", plural(n, "message"), escape(args[1]))
			}
			return err
		},
	}
}

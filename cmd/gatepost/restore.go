package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatepost/internal/backup"
	"gatepost/internal/daemon/operate"
)

func (a *app) restore() *cobra.Command {
	var stdin, asJSON bool
	var identity string
	c := &cobra.Command{
		Use:   "restore FILE DIR",
		Short: "Bring up a backup in a new directory",
		Long: `Bring up a backup in a new or empty directory, which becomes an installation of
its own: DIR/gatepost.toml and all that belongs to it. Everything is compared
with the manifest first; a backup that is damaged or cut short leaves nothing.

The messages that were on their way are held until you release them: what has
left the old server since the backup was made would be sent again. Every
folder gets a new UIDVALIDITY, so that mail programs load it anew.`,
		Example: `  gatepost restore gatepost-mx.example.org-20261122-032900.tar /var/lib/gatepost
  gatepost check --deep --config /var/lib/gatepost/gatepost.toml`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			phrase, err := passphrase(c, stdin)
			if err != nil {
				return err
			}
			var r *backup.Restored
			err = readBackup(args[0], identity, phrase, func(in io.Reader) (err error) {
				p := newProgress(c, "Restoring")
				defer p.end()
				r, err = operate.Restore(c.Context(), in, args[1], p.tell)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if asJSON {
				if err := printJSON(c.OutOrStdout(), r); err != nil {
					return err
				}
			} else if err := tellRestored(c.OutOrStdout(), r, args[1]); err != nil {
				return err
			}
			return tellDamage(c, r.Manifest)
		},
	}
	c.Flags().BoolVar(&stdin, "passphrase-stdin", false, "decrypt with the passphrase on standard input")
	c.Flags().StringVar(&identity, "identity", "", "the `FILE` with the age identity that opens the backup")
	jsonFlag(c, &asJSON)
	return c
}

// tellRestored says what is there and what to do next.
func tellRestored(w io.Writer, r *backup.Restored, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "gatepost.toml")
	fmt.Fprintf(w, `Restored in %s, as %s was at %s:

  %s, %s, %s in mailboxes
  %s in the queue, held

Next:

1. See to it that the old server does not run any more, and that it will not.
2. Read %s: names, addresses and certificates may be those of the old machine.
3. Look at everything:
     gatepost check --deep --config %s
4. Start it:
     gatepost serve --config %s
5. Look at the queue. What has left the old server after the backup was made
   would be sent again; drop that, and release the rest:
     gatepost queue list --held --config %s
     gatepost queue release all --config %s
`, escape(dir), escape(r.Hostname), r.Made.UTC().Format("2006-01-02 15:04:05 UTC"),
		count(r.Domains, "domain"), count(r.Accounts, "account"), count(r.Messages, "message"), count(r.Queued, "message"),
		escape(file), escape(file), escape(file), escape(file), escape(file))
	return nil
}

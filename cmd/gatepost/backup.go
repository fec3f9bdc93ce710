package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/backup"
	"gatepost/internal/blob"
	"gatepost/internal/config"
	"gatepost/internal/daemon/operate"
)

func (a *app) backup() *cobra.Command {
	var to []string
	var verify, stdin, asJSON bool
	var identity string
	c := &cobra.Command{
		Use:   "backup FILE|DIR",
		Short: "Copy everything into one file, while the server runs",
		Long: `Copy everything into one file, while the server runs: configuration, keys,
accounts, mailboxes and the messages on their way. Whatever was acknowledged
when the command began is in it. In a directory the file gets a name of its
own, with the host and the time.

The file is as secret as the server itself. With --to it can only be read by
the holder of that age key (made with age-keygen), with --passphrase-stdin by
whoever knows the passphrase on standard input.

With --verify the file is read, and compared with its own manifest.`,
		Example: `  gatepost backup /mnt/backups/
  gatepost backup --to age1… /mnt/backups/
  gatepost backup --verify /mnt/backups/gatepost-mx.example.org-20261122-032900.tar`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			phrase, err := passphrase(c, stdin)
			if err != nil {
				return err
			}
			if verify {
				return a.verify(c, args[0], identity, phrase, asJSON)
			}
			return a.save(c, args[0], to, phrase, asJSON)
		},
	}
	c.Flags().StringArrayVar(&to, "to", nil, "encrypt to an age `RECIPIENT`; may be given more than once")
	c.Flags().BoolVar(&stdin, "passphrase-stdin", false, "encrypt or decrypt with the passphrase on standard input")
	c.Flags().BoolVar(&verify, "verify", false, "read a backup and compare it with its manifest")
	c.Flags().StringVar(&identity, "identity", "", "the `FILE` with the age identity that opens the backup")
	jsonFlag(c, &asJSON)
	c.MarkFlagsMutuallyExclusive("to", "passphrase-stdin")
	c.MarkFlagsMutuallyExclusive("to", "verify")
	return c
}

// passphrase reads one from standard input, if it is there.
func passphrase(c *cobra.Command, there bool) (*string, error) {
	if !there {
		return nil, nil
	}
	p, err := password(c, true)
	return &p, err
}

// save makes a backup.
func (a *app) save(c *cobra.Command, path string, to []string, phrase *string, asJSON bool) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		path = filepath.Join(path, backupName(cfg, time.Now(), phrase != nil || len(to) > 0))
	}
	var m *backup.Manifest
	err = backup.Save(blob.OS, path, func(w io.Writer) error {
		plain, err := backup.Encrypt(w, to, phrase)
		if err != nil {
			return err
		}
		p := newProgress(c, "Copying")
		defer p.end()
		if m, err = operate.Backup(c.Context(), cfg, plain, p.tell); err != nil {
			return err
		}
		return plain.Close()
	})
	if err != nil {
		return err
	}
	return a.tellBackup(c, path, "Saved to "+path, m, asJSON)
}

// backupName is what a backup is called in a directory.
func backupName(cfg *config.Config, now time.Time, encrypted bool) string {
	name := fmt.Sprintf("gatepost-%s-%s.tar", cfg.Hostname, now.UTC().Format("20060102-150405"))
	if encrypted {
		name += ".age"
	}
	return name
}

// verify reads a backup.
func (a *app) verify(c *cobra.Command, path, identity string, phrase *string, asJSON bool) error {
	var m *backup.Manifest
	err := readBackup(path, identity, phrase, func(r io.Reader) (err error) {
		p := newProgress(c, "Reading")
		defer p.end()
		m, err = backup.Verify(c.Context(), r, p.tell)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return a.tellBackup(c, path, path+" is whole", m, asJSON)
}

// readBackup opens a backup, encrypted or not.
func readBackup(path, identity string, phrase *string, f func(io.Reader) error) error {
	identities, err := identities(identity, phrase)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := backup.Decrypt(file, identities)
	if err != nil {
		return err
	}
	return f(plain)
}

func identities(path string, phrase *string) ([]backup.Identity, error) {
	if path == "" {
		return backup.Identities(nil, phrase)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := backup.Identities(f, phrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// tellBackup prints what is in a backup. That something in it was damaged
// already fails the command, so that whoever throws older ones away does not.
func (a *app) tellBackup(c *cobra.Command, path, done string, m *backup.Manifest, asJSON bool) error {
	if asJSON {
		err := printJSON(c.OutOrStdout(), struct {
			File string `json:"file"`
			*backup.Manifest
		}{path, m})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.OutOrStdout(), "%s: %s of %s at %s, with %s in the queue.\n",
			escape(done), size(m.Octets), escape(m.Hostname), m.Made.UTC().Format("2006-01-02 15:04:05 UTC"), count(m.Queued, "message"))
	}
	return tellDamage(c, m)
}

func tellDamage(c *cobra.Command, m *backup.Manifest) error {
	if m.Damaged == 0 {
		return nil
	}
	for _, text := range m.Damage {
		fmt.Fprintln(c.ErrOrStderr(), escape(text))
	}
	return fmt.Errorf("the backup is whole, but in it %s of what is stored was damaged or missing already when it was made; keep older backups, and run gatepost check --deep on the server", count(m.Damaged, "piece"))
}

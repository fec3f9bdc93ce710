package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatepost/internal/audit"
	"gatepost/internal/config"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/daemon/settings"
)

func (a *app) init() *cobra.Command {
	var s operate.Setup
	var pw newPassword
	c := &cobra.Command{
		Use:   "init DIR --hostname HOST --domain DOMAIN --account ADDRESS",
		Short: "Set up a server in a directory",
		Long: `Set up a server: write DIR/gatepost.toml, make the domain and the first
account, who administers it, and print the DNS records and the next step.`,
		Example: `  gatepost init /var/lib/gatepost --hostname mx.example.org \
      --domain example.org --account you@example.org`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s.Dir = args[0]
			policy := settings.Passwords(config.Default())
			policy.File = "" // nobody has loaded one yet
			var err error
			if s.Password, err = pw.read(c, policy, s.Account); err != nil {
				return err
			}
			cfg, records, err := operate.Init(c.Context(), s)
			if err != nil {
				return err
			}
			file, err := filepath.Abs(cfg.File())
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "Gatepost is set up in %s: domain %s, account %s.\n\n", s.Dir, s.Domain, s.Account)
			pw.tell(c, s.Password)
			fmt.Fprintf(out, "Publish these DNS records where %s is administered:\n\n", s.Domain)
			printRecords(out, audit.ToPublish(records))
			fmt.Fprintf(out, "\nThen start it, and look at it:\n\n  gatepost serve --config %s\n  gatepost check --config %s\n", file, file)
			return nil
		},
	}
	c.Flags().StringVar(&s.Hostname, "hostname", "", "the `NAME` of this server, as MX records will point to it")
	c.Flags().StringVar(&s.Domain, "domain", "", "the first `DOMAIN` whose mail is ours")
	c.Flags().StringVar(&s.Account, "account", "", "the first account, an `ADDRESS` in that domain")
	pw.flags(c)
	for _, f := range []string{"hostname", "domain", "account"} {
		c.MarkFlagRequired(f)
	}
	return c
}

// printRecords writes records as a zone file with a sentence before each.
func printRecords(w io.Writer, list []audit.Record) {
	for _, r := range list {
		if r.Hold != "" {
			fmt.Fprintf(w, "; %s\n; Not to be published: %s.\n; %s\n", r.Why, escape(r.Hold), r.Line())
			continue
		}
		fmt.Fprintf(w, "; %s\n%s\n", r.Why, r.Line())
	}
}

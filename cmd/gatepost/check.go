package main

import (
	"github.com/spf13/cobra"

	"gatepost/internal/daemon/operate"
)

func (a *app) check() *cobra.Command {
	var asJSON, deep bool
	c := &cobra.Command{
		Use:   "check [--deep]",
		Short: "Look for what is wrong with this server and say how to mend it",
		Long: `Look at the configuration, the ports, the certificate, the disk, the clock,
the name and its reverse, the DNS records of every domain, and the way out to
port 25. The exit code is 1 if something would lose, refuse or expose mail.

With --deep it also reads all that is stored, and compares it with what was
once written: every record of the spool, every row of the store, every
message. It changes nothing, and works while the server runs.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if !deep {
				findings, err := operate.Check(c.Context(), cfg)
				if err != nil {
					return err
				}
				return report(c.OutOrStdout(), findings, asJSON)
			}
			p := newProgress(c, "Reading")
			findings, err := operate.CheckDeep(c.Context(), cfg, p.tell)
			p.end()
			if err != nil {
				return err
			}
			return report(c.OutOrStdout(), findings, asJSON)
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "read everything that is stored")
	jsonFlag(c, &asJSON)
	return c
}

package main

import (
	"github.com/spf13/cobra"

	"gatepost/internal/daemon"
)

func (a *app) check() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Look for what is wrong with this server and say how to mend it",
		Long: `Look at the configuration, the ports, the certificate, the disk, the clock,
the name and its reverse, the DNS records of every domain, and the way out to
port 25. The exit code is 1 if something would lose, refuse or expose mail.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			findings, err := daemon.Check(c.Context(), cfg)
			if err != nil {
				return err
			}
			return report(c.OutOrStdout(), findings, asJSON)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

package main

import (
	"github.com/spf13/cobra"

	"gatepost/internal/daemon/trial"
)

func (a *app) try() *cobra.Command {
	return &cobra.Command{
		Use:   "try",
		Short: "See Gatepost work, in a throw-away directory on this machine",
		Long: `Start a complete server on high ports of this machine, in a directory that is
removed afterwards, with a made-up domain and one account. It sends itself a
message through its own front door, shows what happened on the way, and stays
up for your own mail client until it is interrupted. Nothing leaves the
machine: what is sent to other domains is kept in the folder Captured.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return trial.Run(c.Context(), c.OutOrStdout())
		},
	}
}

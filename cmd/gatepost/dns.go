package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/daemon"
)

func (a *app) dns() *cobra.Command {
	var asJSON, check bool
	c := &cobra.Command{
		Use:   "dns DOMAIN",
		Short: "Print the DNS records that a domain needs, or check them",
		Long: `Print the DNS records that a domain needs, ready to paste into a zone file.
With --check: ask the DNS for them and say what is wrong.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			domain, err := addr.ParseDomain(args[0])
			if err != nil {
				return fmt.Errorf("%q is not a domain", args[0])
			}
			if !check {
				list := daemon.Records(cfg, domain)
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				printRecords(c.OutOrStdout(), list)
				return nil
			}
			findings, err := daemon.CompareRecords(c.Context(), cfg, domain)
			if err != nil {
				return err
			}
			return report(c.OutOrStdout(), findings, asJSON)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "say what is wrong with those that exist")
	jsonFlag(c, &asJSON)
	return c
}

// report prints findings and fails if one of them is a failure.
func report(w io.Writer, list []audit.Finding, asJSON bool) error {
	if asJSON {
		if err := printJSON(w, list); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			fmt.Fprintf(w, "%-8s %s\n", f.Level, escape(f.Text))
			if f.Fix != "" {
				fmt.Fprintf(w, "         %s\n", escape(f.Fix))
			}
		}
	}
	if audit.Worst(list) == audit.Failure {
		return quietError{}
	}
	return nil
}

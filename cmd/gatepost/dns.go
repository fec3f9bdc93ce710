package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/daemon/operate"
)

func (a *app) dns() *cobra.Command {
	var asJSON, check, zone, publish bool
	c := &cobra.Command{
		Use:   "dns DOMAIN",
		Short: "Print the DNS records that a domain needs, or check them",
		Long: `Print the DNS records that a domain needs, ready to paste into a zone file.
With --zone: as a file to be included in the domain's zone ($INCLUDE).
With --check: ask the DNS for them and say what to change.
With --publish: add those that are missing to the DNS, through the name server
in [dns.update]. What exists is left as it is, and told.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			domain, err := addr.ParseDomain(args[0])
			if _, literal := domain.IP(); err != nil || literal {
				return fmt.Errorf("%q is not a domain", args[0])
			}
			list, err := operate.Records(c.Context(), cfg, domain)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			switch {
			case check:
				findings, err := operate.CompareRecords(c.Context(), cfg, list)
				if err != nil {
					return err
				}
				return report(out, findings, asJSON)
			case publish:
				findings, err := operate.PublishRecords(c.Context(), cfg, list)
				if err != nil {
					return err
				}
				if len(findings) == 0 && !asJSON {
					fmt.Fprintln(out, "Everything is published already.")
				}
				return report(out, findings, asJSON)
			case zone:
				return audit.WriteZone(out, domain, list)
			case asJSON:
				return printJSON(out, audit.ToPublish(list))
			}
			printRecords(out, list)
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "say what to change in those that exist")
	c.Flags().BoolVar(&zone, "zone", false, "write them as a file to be included in the domain's zone")
	c.Flags().BoolVar(&publish, "publish", false, "add those that are missing to the DNS")
	jsonFlag(c, &asJSON)
	c.MarkFlagsMutuallyExclusive("zone", "check", "publish")
	c.MarkFlagsMutuallyExclusive("zone", "json")
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

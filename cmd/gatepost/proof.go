package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/proof"
)

func (a *app) proof() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "proof ID",
		Short: "What protection a message really got",
		Long: `Say what protection a message really got on its way to us and from us, in one
sentence for each hop. ID is the id that Gatepost gave it, or its Message-ID.
It is known for 30 days after the delivery.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "proof", control.Name{Name: args[0]}, asJSON, func(p control.Proof) error {
				printHops(c.OutOrStdout(), p.Hops)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	c.AddCommand(a.proofForget(), a.proofUnverified())
	return c
}

// printHops prints a line for each hop.
func printHops(out io.Writer, hops []control.Hop) {
	for _, h := range hops {
		fmt.Fprintf(out, "%s  %s\n", h.Time.Format("2006-01-02 15:04:05 UTC"), escape(h.Sentence))
	}
}

func (a *app) proofForget() *cobra.Command {
	return &cobra.Command{
		Use:   "forget DOMAIN",
		Short: "Forget what TLS a domain has offered before",
		Long: `Forget what TLS a domain has offered before. Gatepost remembers it for 14 days
and does not send there with less, since that is what an attack looks like. If
you know that the domain has really given up TLS, this lets its mail go. What
it promises by DANE or MTA-STS holds all the same.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "proof.forget", control.Name{Name: args[0]}, "Forgotten: "+args[0]+".")
		},
	}
}

func (a *app) proofUnverified() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "unverified",
		Short: "List what went to servers that did not prove who they are",
		Long: `List the mail of the last 30 days that went to servers that did not prove who
they are: what would have been stopped by tls = "verify" under [remote].`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := newTable(c.OutOrStdout(), "DOMAIN", "HOST", "MESSAGES", "LAST", "HOW")
			return list(a, c, "proof.unverified", control.None{}, asJSON, func(u proof.Unverified) {
				how := "in the clear: " + u.Met
				if u.TLS {
					how = "over TLS: " + u.Met
				}
				t.row(u.Domain, u.Host, u.Messages, u.Last.Format("2006-01-02"), how)
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

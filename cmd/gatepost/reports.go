package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/courier"
	"gatepost/internal/reputation"
)

func (a *app) reports() *cobra.Command {
	return a.group("reports", "What other servers report of your domains, and what this one reports", a.reportsDMARC(), a.reportsTLS(), a.reportsSent())
}

// domainArgument returns the domain that is asked for, if there is one.
func domainArgument(args []string) control.Name {
	if len(args) == 0 {
		return control.Name{}
	}
	return control.Name{Name: args[0]}
}

func (a *app) reportsDMARC() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "dmarc [DOMAIN]",
		Short: "Who sends mail in a domain's name, what fails, what to do",
		Long: `Who sends mail in a domain's name, what of it fails, and whether it is safe to
move to a stricter policy: what the reports of the last 30 days come to that
arrived at dmarc-reports@DOMAIN.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			none := true
			return list(a, c, "reports.dmarc", domainArgument(args), asJSON, func(s reputation.DMARC) {
				none = false
				reported(c, s.Summary)
				fmt.Fprintf(c.OutOrStdout(), "  %s, %d failed; policy %s; %s reported singly\n",
					count(s.Messages, "message"), s.Failed, cmp.Or(escape(s.Policy), "not known"), count(s.Failures, "failure"))
				t := newTable(c.OutOrStdout(), "  SOURCE", "MESSAGES", "FAILED", "WHAT TO DO")
				for _, from := range s.Sources {
					t.row("  "+cmp.Or(from.Source, "others"), from.Messages, from.Failed, from.Advice)
				}
				t.flush()
			}, func() error { return noReports(c, none) })
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) reportsTLS() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "tls [DOMAIN]",
		Short: "Whether other servers reach a domain safely",
		Long: `Whether other servers reach a domain safely, what fails, and whether MTA-STS
can go to enforce: what the reports of the last 30 days come to that arrived
at tls-reports@DOMAIN.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			none := true
			return list(a, c, "reports.tls", domainArgument(args), asJSON, func(s reputation.TLS) {
				none = false
				reported(c, s.Summary)
				fmt.Fprintf(c.OutOrStdout(), "  %s succeeded, %d failed\n", count(s.Succeeded, "session"), s.Failed)
				t := newTable(c.OutOrStdout(), "  FAILURE", "HOST", "SESSIONS", "WHAT TO DO")
				for _, f := range s.Failures {
					t.row("  "+f.Result, cmp.Or(f.Host, "-"), f.Failed, f.Advice)
				}
				t.flush()
			}, func() error { return noReports(c, none) })
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) reportsSent() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "sent [DOMAIN]",
		Short: "What was reported to other domains",
		Long: `What this server reported in the last 14 days to other domains, or to one:
how TLS with their mail hosts went, and who sent mail in their name (DMARC).
Reports go to those who ask for them in the DNS; see [reports] in docs/config.md.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t := newTable(c.OutOrStdout(), "DAY", "DOMAIN", "REPORT", "TO", "WHAT BECAME OF IT")
			none := true
			return list(a, c, "reports.sent", domainArgument(args), asJSON, func(s courier.Sent) {
				none = false
				t.row(s.Day, s.Domain, s.Kind, cmp.Or(strings.TrimPrefix(s.To, "mailto:"), "-"), became(s))
			}, func() error {
				if none {
					fmt.Fprintln(c.OutOrStdout(), "No domain was due for a report in the last 14 days.")
					return nil
				}
				t.flush()
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// became says what became of a report.
func became(s courier.Sent) string {
	said := map[courier.State]string{
		courier.Waiting: "It waits and is tried again", courier.Queued: "It is on its way", courier.Taken: "It was taken", courier.Failed: "It was not sent",
	}[s.State]
	if s.Reason != "" {
		return said + ": " + strings.TrimSuffix(s.Reason, ".") + "."
	}
	return said + "."
}

// reported prints what summaries of both kinds begin with.
func reported(c *cobra.Command, s reputation.Summary) {
	fmt.Fprintf(c.OutOrStdout(), "%s: %s\n  %s by %s on %s", escape(s.Domain), escape(s.Advice),
		count(s.Reports, "report"), count(int64(s.Reporters), "server"), count(int64(s.Days), "day"))
	if s.Unproved > 0 {
		fmt.Fprintf(c.OutOrStdout(), "; %d more, not counted, of senders that are not proved", s.Unproved)
	}
	fmt.Fprintln(c.OutOrStdout())
}

// noReports says so if there are none.
func noReports(c *cobra.Command, none bool) error {
	if none {
		fmt.Fprintln(c.OutOrStdout(), "No reports have come in the last 30 days. Others send them once the records that gatepost dns shows are published.")
	}
	return nil
}

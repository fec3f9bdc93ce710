package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
)

func (a *app) domain() *cobra.Command {
	return a.group("domain", "The domains whose mail is ours",
		a.domainAdd(), a.domainList(), a.domainShow(), a.domainSet(), a.domainRemove())
}

func (a *app) domainAdd() *cobra.Command {
	return &cobra.Command{
		Use:   "add DOMAIN",
		Short: "Take mail for a domain",
		Long: `Take mail for a domain. It gets postmaster and abuse at once; they reach
its first administrator. dmarc-reports and tls-reports exist too, and are read
by the server. Its DNS records are printed by: gatepost dns DOMAIN`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "domain.add", control.Name{Name: args[0]},
				"Added "+args[0]+". Its DNS records: gatepost dns "+args[0])
		},
	}
}

func (a *app) domainList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the domains",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := newTable(c.OutOrStdout(), "DOMAIN", "ACCOUNTS", "CATCH-ALL")
			return list(a, c, "domain.list", control.None{}, asJSON, func(d control.DomainInfo) {
				t.row(d.Unicode, d.Accounts, strings.Join(d.CatchAll, ", "))
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) domainShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show DOMAIN",
		Short: "Show a domain",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "domain.show", control.Name{Name: args[0]}, asJSON, func(d control.DomainInfo) error {
				t := newTable(c.OutOrStdout(), "DOMAIN", d.Unicode)
				t.row("in the DNS", d.Domain)
				t.row("accounts", d.Accounts)
				t.row("catch-all", strings.Join(d.CatchAll, ", "))
				t.row("parked", map[bool]string{true: "yes", false: "no"}[d.Parked])
				t.row("MTA-STS", d.MTASTS+"; "+d.MTASTSRecord)
				if d.MTASTSGone != nil {
					t.row("", "its record may be removed after "+d.MTASTSGone.Format("2006-01-02 15:04 UTC"))
				}
				t.row("added", d.Created.Format("2006-01-02 15:04 UTC"))
				return t.flush()
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) domainSet() *cobra.Command {
	var (
		catchAll []string
		mode     string
		parked   bool
	)
	c := &cobra.Command{
		Use:   "set DOMAIN [--catch-all ADDRESS] [--mta-sts MODE] [--parked]",
		Short: "Change a domain",
		Long: `Change a domain. The catch-all gets the mail for addresses that nobody has;
--catch-all "" ends it.

--mta-sts says what other servers are promised about TLS to this one, by the
policy at https://mta-sts.DOMAIN: testing (deliver anyway, and report), enforce
(deliver only over verified TLS) or none. A policy goes away by none: others
remember the old one until the time that domain show tells. Whatever is
chosen, the record in the DNS changes with it; see domain show.

In a parked domain nobody sends or gets mail, and its DNS records tell the
world to refuse what comes in its name; --parked=false ends it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set := control.DomainSet{Name: args[0]}
			if c.Flags().Changed("catch-all") {
				set.CatchAll = slices.DeleteFunc(append([]string{}, catchAll...), func(t string) bool { return t == "" })
			}
			if c.Flags().Changed("mta-sts") {
				set.MTASTS = &mode
			}
			if c.Flags().Changed("parked") {
				set.Parked = &parked
			}
			return a.do(c, "domain.set", set, "Changed "+args[0]+".")
		},
	}
	c.Flags().StringArrayVar(&catchAll, "catch-all", nil, "`ADDRESS` that gets what nobody else does; may be repeated")
	c.Flags().StringVar(&mode, "mta-sts", "", "`MODE` of its MTA-STS policy: testing, enforce or none")
	c.Flags().BoolVar(&parked, "parked", false, "nobody sends or gets mail in it")
	c.MarkFlagsOneRequired("catch-all", "mta-sts", "parked")
	return c
}

func (a *app) domainRemove() *cobra.Command {
	var withAccounts bool
	c := &cobra.Command{
		Use:   "remove DOMAIN",
		Short: "Take no more mail for a domain",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "domain.remove", control.DomainRemove{Name: args[0], WithAccounts: withAccounts}, "Removed "+args[0]+".")
		},
	}
	c.Flags().BoolVar(&withAccounts, "with-accounts", false, "remove its accounts and their mail too")
	return c
}

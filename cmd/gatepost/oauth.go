package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/daemon/programs"
)

func (a *app) oauth() *cobra.Command {
	return a.group("oauth", "Programs that get a token in place of a password",
		a.group("client", "The programs that may ask for tokens", a.clientAdd(), a.clientList(), a.clientRemove()))
}

func (a *app) clientAdd() *cobra.Command {
	var add programs.ClientAdd
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Let a program ask for tokens",
		Long: `Let a program ask for tokens, under a name that people are shown. Programs on
people's own devices need none of this: they may use the id mail-program.

A redirect is where the program takes its answer, to the letter. One without
redirects can only have people type a code (device flow). No secret is made:
a program that is handed out to people can keep none.`,
		Example: `  gatepost oauth client add "Our webmail" --redirect https://webmail.example.org/done`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			add.Name = args[0]
			return a.operate(c, func(ctx context.Context, op *operate.Operator) error {
				return op.Do(ctx, "oauth.client.add", add, func(it control.Item) error {
					var i programs.ClientInfo
					if err := json.Unmarshal(it.JSON, &i); err != nil {
						return err
					}
					fmt.Fprintf(c.OutOrStdout(), "Added %s. Its client id is %s\n", escape(i.Name), escape(i.ID))
					return nil
				})
			})
		},
	}
	c.Flags().StringArrayVar(&add.Redirects, "redirect", nil, "an `ADDRESS` where it takes answers; may be given more than once")
	c.Flags().StringVar(&add.ID, "id", "", "its client `ID`, where the program has one already")
	return c
}

func (a *app) clientList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the programs that may ask for tokens",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := newTable(c.OutOrStdout(), "ID", "NAME", "REDIRECTS")
			return list(a, c, "oauth.client.list", control.None{}, asJSON, func(i programs.ClientInfo) {
				name := i.Name
				if i.BuiltIn {
					name += " (built in)"
				}
				t.row(i.ID, name, strings.Join(i.Redirects, " "))
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) clientRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID",
		Short: "Remove a program, and end what people allowed it",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "oauth.client.remove", control.Name{Name: args[0]}, "Removed "+args[0]+".")
		},
	}
}

func (a *app) accountGrant() *cobra.Command {
	return a.group("grant", "The programs that somebody allowed to use their mail", a.grantList(), a.grantRevoke())
}

func (a *app) grantList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list ADDRESS",
		Short: "List the programs that may use the mail of an account",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t := newTable(c.OutOrStdout(), "ID", "PROGRAM", "SCOPE", "SINCE", "USED")
			return list(a, c, "grant.list", control.Name{Name: args[0]}, asJSON, func(i programs.GrantInfo) {
				t.row(strconv.FormatInt(i.ID, 10), i.Program, i.Scope, i.Created.Format("2006-01-02 15:04 UTC"), i.Used.Format("2006-01-02 15:04 UTC"))
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) grantRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ADDRESS ID",
		Short: "Take a program's access away; its sessions end at once",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return fmt.Errorf("%q is not the number of a grant; gatepost account grant list %s shows them", args[1], args[0])
			}
			return a.do(c, "grant.revoke", programs.GrantRevoke{Address: args[0], ID: id}, "Revoked.")
		},
	}
}

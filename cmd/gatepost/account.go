package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatepost/internal/config"
	"gatepost/internal/control"
)

func (a *app) account() *cobra.Command {
	return a.group("account", "The people who have a mailbox and can sign in",
		a.accountAdd(), a.accountList(), a.accountShow(), a.accountSet(), a.accountPassword(), a.breached(), a.factor(),
		a.device(), a.clientCertificate(), a.freeze(), a.release(),
		a.accountGrant(), a.accountRemove())
}

func (a *app) accountAdd() *cobra.Command {
	var pw newPassword
	var admin bool
	c := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Make an account",
		Long: `Make an account in a domain of ours. The password is asked for, read from
standard input with --password-stdin, or made with --generate.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			role := "user"
			if admin {
				role = "admin"
			}
			return a.withPassword(c, &pw, args[0], "account.add", "Added "+args[0]+".", func(chosen string) any {
				return control.AccountAdd{Address: args[0], Password: chosen, Role: role}
			})
		},
	}
	pw.flags(c)
	c.Flags().BoolVar(&admin, "admin", false, "make it an administrator")
	return c
}

func (a *app) accountList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := newTable(c.OutOrStdout(), "ACCOUNT", "ROLE", "USED", "QUOTA", "STATE", "PASSWORD")
			return list(a, c, "account.list", control.None{}, asJSON, func(i control.AccountInfo) {
				t.row(i.Address, i.Role, size(i.Used), bound(i.Quota, size), state(i), passwordState(i.Password))
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// bound writes a limit of which zero is none.
func bound(n int64, write func(int64) string) string {
	if n == 0 {
		return "none"
	}
	return write(n)
}

func state(i control.AccountInfo) string {
	if i.Frozen {
		return "frozen"
	}
	return "active"
}

func (a *app) accountShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ADDRESS",
		Short: "Show an account",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "account.show", control.Name{Name: args[0]}, asJSON, func(i control.AccountInfo) error {
				t := newTable(c.OutOrStdout(), "ACCOUNT", i.Address)
				t.row("role", i.Role)
				t.row("state", state(i))
				t.row("used", size(i.Used))
				t.row("quota", bound(i.Quota, size))
				t.row("recipients a day", bound(int64(i.SendingPerDay), func(n int64) string { return fmt.Sprint(n) }))
				t.row("password", passwordState(i.Password))
				if p := i.Password; p != nil {
					t.row("password set", p.Set.Format("2006-01-02 15:04 UTC"))
					if p.RunsOut != nil {
						t.row("password runs out", p.RunsOut.Format("2006-01-02 15:04 UTC"))
					}
				}
				t.row("second factors", factorState(i))
				t.row("alerts also to", cmp.Or(i.Recovery, "-"))
				t.row("added", i.Created.Format("2006-01-02 15:04 UTC"))
				return t.flush()
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) accountSet() *cobra.Command {
	var role, quota, sending, recovery string
	c := &cobra.Command{
		Use:   "set ADDRESS",
		Short: "Change an account's role, limits or recovery address",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set := control.AccountSet{Address: args[0]}
			if c.Flags().Changed("role") {
				set.Role = &role
			}
			var err error
			if set.Quota, err = limit(c, "quota", quota); err != nil {
				return err
			}
			n, err := limit(c, "sending-per-day", sending)
			if err != nil {
				return err
			}
			if n != nil {
				perDay := int(*n)
				set.SendingPerDay = &perDay
			}
			if c.Flags().Changed("recovery") {
				if recovery == "none" {
					recovery = ""
				}
				set.Recovery = &recovery
			}
			return a.do(c, "account.set", set, "Changed "+args[0]+".")
		},
	}
	c.Flags().StringVar(&role, "role", "", "`ROLE`: admin or user")
	c.Flags().StringVar(&quota, "quota", "", "`SIZE` that it may store, as \"5GiB\"; \"none\", or \"default\"")
	c.Flags().StringVar(&sending, "sending-per-day", "", "`NUMBER` of recipients that it may send to in a day; \"none\", or \"default\"")
	c.Flags().StringVar(&recovery, "recovery", "", "an `ADDRESS`, best at another server, that is told too when something happens to the account; or \"none\"")
	c.MarkFlagsOneRequired("role", "quota", "sending-per-day", "recovery")
	return c
}

// limit reads the value of a flag that is a limit; nil if it was not given.
func limit(c *cobra.Command, flag, value string) (*int64, error) {
	if !c.Flags().Changed(flag) {
		return nil, nil
	}
	var n int64
	switch strings.ToLower(value) {
	case "none":
	case "default":
		n = -1
	default:
		var s config.Size
		if err := s.UnmarshalText([]byte(value)); err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		if n = int64(s); n == 0 {
			return nil, fmt.Errorf("--%s: write \"none\" for no limit", flag)
		}
	}
	return &n, nil
}

func (a *app) accountRemove() *cobra.Command {
	var withMail bool
	c := &cobra.Command{
		Use:   "remove ADDRESS",
		Short: "Remove an account; one that has mail only with --with-mail",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "account.remove", control.AccountRemove{Address: args[0], WithMail: withMail}, "Removed "+args[0]+".")
		},
	}
	c.Flags().BoolVar(&withMail, "with-mail", false, "remove its mail too")
	return c
}

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
)

func (a *app) alias() *cobra.Command {
	return a.group("alias", "Addresses that stand for others",
		a.aliasWrite("add", "Make an alias", "Added"),
		a.aliasList(), a.aliasShow(),
		a.aliasWrite("set", "Replace the targets of an alias", "Changed"),
		a.aliasRemove())
}

func (a *app) aliasWrite(name, short, done string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ALIAS TARGET...",
		Short: short,
		Long: short + `. Its targets are addresses here or elsewhere; several make it a
list. The alias "@example.org" is the catch-all of a domain: it gets the mail
for addresses that nobody has.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "alias."+name, control.AliasSet{Alias: args[0], Targets: args[1:]}, done+" "+args[0]+".")
		},
	}
}

func (a *app) aliasList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the aliases",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := newTable(c.OutOrStdout(), "ALIAS", "TARGETS")
			return list(a, c, "alias.list", control.None{}, asJSON, func(i control.AliasInfo) {
				t.row(i.Alias, targets(i))
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// targets tells where an alias leads; one without targets of its own leads
// to an administrator.
func targets(i control.AliasInfo) string {
	if i.Role {
		if len(i.Targets) == 0 {
			return "(an administrator, once there is one)"
		}
		return strings.Join(i.Targets, ", ") + " (administrator)"
	}
	return strings.Join(i.Targets, ", ")
}

func (a *app) aliasShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ALIAS",
		Short: "Show an alias",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "alias.show", control.Name{Name: args[0]}, asJSON, func(i control.AliasInfo) error {
				t := newTable(c.OutOrStdout(), "ALIAS", i.Alias)
				t.row("targets", targets(i))
				return t.flush()
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) aliasRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ALIAS",
		Short: "Remove an alias",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "alias.remove", control.Name{Name: args[0]}, "Removed "+args[0]+".")
		},
	}
}

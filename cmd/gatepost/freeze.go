package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
)

func (a *app) freeze() *cobra.Command {
	return a.setFrozen("freeze", "Stop an account from signing in and sending; its mail still arrives",
		`Stop an account at once, as when somebody else may be in it. Nobody signs in
to it, its sessions end, and what it sent and has not left yet is held in the
queue (gatepost queue list --held). Its mail still arrives, and nothing is lost.
What is being delivered at this moment is not called back, since the other side
may have it already.

The way back: gatepost account release ADDRESS.`,
		func(f control.Frozen) string {
			s := "Froze " + f.Address + "."
			if held := f.Queued - f.UnderWay; held > 0 {
				s += " " + plural(held, "message") + " that it sent will not leave before it is released; see them with: gatepost queue list --held."
			}
			if f.UnderWay > 0 {
				s += " " + plural(f.UnderWay, "message") + " being delivered just now cannot be called back."
			}
			return s
		})
}

func (a *app) release() *cobra.Command {
	return a.setFrozen("release", "Let a frozen account sign in and send again",
		`Let a frozen account sign in again, and let what it sent leave that was held in
the queue meanwhile. Look at that first (gatepost queue list --held) and drop
what its owner did not write (gatepost queue drop ID); and set another password
(gatepost account password ADDRESS).`,
		func(f control.Frozen) string {
			s := "Released " + f.Address + "."
			if f.Queued > 0 {
				s += " " + plural(f.Queued, "message") + " that it sent may leave now."
			}
			return s
		})
}

func (a *app) setFrozen(name, short, long string, done func(control.Frozen) string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   name + " ADDRESS",
		Short: short,
		Long:  long,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "account."+name, control.Name{Name: args[0]}, asJSON, func(f control.Frozen) error {
				_, err := fmt.Fprintln(c.OutOrStdout(), escape(done(f)))
				return err
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/queue"
)

func (a *app) queue() *cobra.Command {
	return a.group("queue", "The messages on their way",
		a.queueList(), a.queueShow(),
		a.queueChange("retry", "ID|DOMAIN|all", "Try a message, a destination or everything again now", "Trying again"),
		a.queueChange("hold", "ID", "Keep a message back until it is released", "Held"),
		a.queueChange("release", "ID|all", "Let held messages go on", "Released"),
		a.queueDrop())
}

func (a *app) queueList() *cobra.Command {
	var asJSON bool
	var args control.QueueList
	c := &cobra.Command{
		Use:   "list",
		Short: "List the messages that wait for delivery",
		Long: `List the messages that wait for delivery, and why. With --failed: those that
could not be delivered and may not be bounced, because their sender is not
proven; they are kept for 30 days.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := newTable(c.OutOrStdout(), "ID", "AGE", "SIZE", "FROM", "TO", "STATE", "WHY")
			return list(a, c, "queue.list", args, asJSON, func(m queue.Message) {
				for _, r := range m.Recipients {
					t.row(m.ID, age(time.Since(m.Received)), size(m.Size), sender(m.From), recipient(r), status(m, r), r.Reason)
				}
			}, t.flush)
		},
	}
	c.Flags().BoolVar(&args.Failed, "failed", false, "what could not be delivered and may not be bounced")
	c.Flags().BoolVar(&args.Held, "held", false, "only what is held")
	c.Flags().StringVar(&args.Domain, "domain", "", "only recipients in this `DOMAIN`")
	jsonFlag(c, &asJSON)
	return c
}

// recipient writes who gets a message, and through which alias.
func recipient(r queue.Recipient) string {
	if r.Alias == "" {
		return r.To
	}
	return r.To + " (for " + r.Alias + ")"
}

func sender(from string) string {
	if from == "" {
		return "<>"
	}
	return from
}

func status(m queue.Message, r queue.Recipient) string {
	if m.Held {
		return "held"
	}
	return r.Status
}

// age writes a time span as people read it.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

func (a *app) queueShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show a message that waits for delivery",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "queue.show", control.Name{Name: args[0]}, asJSON, func(m control.QueuedMessage) error {
				out := c.OutOrStdout()
				t := newTable(out, "ID", m.ID.String())
				t.row("from", sender(m.From))
				t.row("came from", strings.TrimSpace(m.Origin+" "+m.Account+" "+m.Client))
				t.row("received", m.Received.Format("2006-01-02 15:04:05 UTC"))
				t.row("size", size(m.Size))
				if m.Held {
					t.row("held", "yes, until it is released")
				}
				if err := t.flush(); err != nil {
					return err
				}
				for _, r := range m.Recipients {
					fmt.Fprintf(out, "\n%s: %s after %s\n  %s\n", escape(recipient(r)), r.Status, plural(r.Attempts, "attempt"), escape(r.Reason))
					if r.Reached != "" {
						fmt.Fprintf(out, "  Its destination was last reached %s.\n", escape(r.Reached))
					}
				}
				if len(m.Hops) > 0 {
					fmt.Fprintln(out)
				}
				printHops(out, m.Hops)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// queueChange returns a command that changes what becomes of messages.
func (a *app) queueChange(name, operand, short, done string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " " + operand,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "queue."+name, control.Name{Name: args[0]}, false, counted(c, done))
		},
	}
}

// counted prints how many messages a command was about.
func counted(c *cobra.Command, done string) func(control.Count) error {
	return func(n control.Count) error {
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s.\n", done, plural(n.Messages, "message"))
		return err
	}
}

// plural writes a number of things.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func (a *app) queueDrop() *cobra.Command {
	return &cobra.Command{
		Use:   "drop ID [RECIPIENT...]",
		Short: "Remove a message, or some of its recipients; nobody is told",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "queue.drop", control.QueueDrop{ID: args[0], Recipients: args[1:]}, false, counted(c, "Dropped"))
		},
	}
}

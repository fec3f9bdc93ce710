package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/activity"
	"gatepost/internal/config"
	"gatepost/internal/daemon/guard"
)

func (a *app) activity() *cobra.Command {
	var asked guard.Asked
	var since string
	var asJSON bool
	c := &cobra.Command{
		Use:   "activity [ACCOUNT]",
		Short: "Who signed in, who tried to, and what was changed",
		Long: `Show who signed in to an account, or to any, who tried to and could not, and
what was changed of accounts and aliases; the last comes last. What is alike
within an hour is one line. With --json and --since all everything that is
kept is exported.

Kinds: ` + guard.KindNames() + `.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				asked.Account = args[0]
			}
			var err error
			if asked.Since, err = beginning(since, time.Now()); err != nil {
				return err
			}
			none := true
			return list(a, c, "activity", asked, asJSON, func(v activity.View) {
				none = false
				fmt.Fprintf(c.OutOrStdout(), "%s  %s\n", v.Time.Format("2006-01-02 15:04:05 UTC"), escape(v.Sentence))
			}, func() error {
				if none {
					fmt.Fprintln(c.OutOrStdout(), "There is nothing.")
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&since, "since", "7d", "how far back: a `TIME` as \"24h\" or \"30d\", a day as \"2026-11-01\", or \"all\"")
	c.Flags().StringVar(&asked.Kind, "kind", "", "only one `KIND` of things")
	c.Flags().BoolVar(&asked.Failed, "failed", false, "only what did not succeed")
	jsonFlag(c, &asJSON)
	return c
}

// beginning reads how far back somebody wants to look; the zero time is as
// far as there is anything.
func beginning(s string, now time.Time) (time.Time, error) {
	if s == "all" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day, nil
	}
	var back config.Span
	if err := back.UnmarshalText([]byte(s)); err != nil {
		return time.Time{}, fmt.Errorf("--since: %q is neither a length of time, as \"24h\" or \"30d\", nor a day, as \"2026-11-01\", nor \"all\"", s)
	}
	return now.Add(-time.Duration(back)), nil
}

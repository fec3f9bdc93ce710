package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/daemon/settings"
)

func (a *app) accountPassword() *cobra.Command {
	var pw newPassword
	c := &cobra.Command{
		Use:   "password ADDRESS",
		Short: "Set an account's password",
		Long: `Set an account's password. It is asked for, read from standard input with
--password-stdin, or made with --generate. What it must be is in [password]
of the configuration.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withPassword(c, &pw, args[0], "account.password", "The password of "+args[0]+" is set.", func(chosen string) any {
				return control.AccountPassword{Address: args[0], Password: chosen}
			})
		},
	}
	pw.flags(c)
	return c
}

// withPassword carries out a verb that takes a new password for an address,
// and shows the password if it was made here.
func (a *app) withPassword(c *cobra.Command, pw *newPassword, address, verb, done string, args func(chosen string) any) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	chosen, err := pw.read(c, settings.Passwords(cfg), address)
	if err != nil {
		return err
	}
	if err := a.do(c, verb, args(chosen), done); err != nil {
		return err
	}
	pw.tell(c, chosen)
	return nil
}

// passwordState says in a word or three how a password is.
func passwordState(p *control.PasswordInfo) string {
	if p == nil {
		return "none"
	}
	var list []string
	add := func(is bool, word string) {
		if is {
			list = append(list, word)
		}
	}
	add(p.Weak, "weak")
	add(p.Old, "old")
	add(p.Reused, "reused")
	add(p.Strength == nil, "not rated")
	if len(list) == 0 {
		return "good"
	}
	return strings.Join(list, ", ")
}

func (a *app) breached() *cobra.Command {
	return a.group("breached", "The list of breached passwords that nobody may choose",
		a.breachedLoad(), a.breachedShow(), a.breachedRemove())
}

func (a *app) breachedLoad() *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE|DIR|-",
		Short: "Load the passwords of Have I Been Pwned",
		Long: `Load a list of breached passwords, beside the common ones that ship inside.
It is what Have I Been Pwned offers for download, SHA-1 or NTLM: one text
ordered by hash, a directory with a file for each range, or a text on standard
input. What is kept of it is a filter of 2.3 octets a password; the memory it
takes does not grow with the list. A running server uses it at once.`,
		Example: `  haveibeenpwned-downloader pwned && gatepost account breached load pwned.txt
  7z x -so pwned-passwords-sha1-ordered-by-hash-v8.7z | gatepost account breached load -`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			p := newProgress(c, "Loading")
			info, err := operate.LoadBreached(cfg, args[0], c.InOrStdin(), p.tell)
			p.end()
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "Loaded %s (%s) into a filter of %s.\n", count(int64(info.Passwords), "password"), info.Hash, size(info.Octets))
			return nil
		},
	}
}

// breachedInfo is a list as it is shown.
type breachedInfo struct {
	List      string `json:"list"` // common, or loaded
	Hash      string `json:"hash"`
	Passwords uint64 `json:"passwords"`
	Octets    int64  `json:"octets"`
	Made      string `json:"made,omitempty"`
}

func (a *app) breachedShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the lists, and compare the loaded one with its checksums",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			common, own, err := settings.Passwords(cfg).Lists(true)
			if err != nil {
				return err
			}
			list := []breachedInfo{{"common", common.Hash.String(), common.Passwords, common.Octets, ""}}
			if own != nil {
				list = append(list, breachedInfo{"loaded", own.Hash.String(), own.Passwords, own.Octets, own.Made.Format("2006-01-02T15:04:05Z")})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			t := newTable(c.OutOrStdout(), "LIST", "HASH", "PASSWORDS", "SIZE", "MADE")
			for _, l := range list {
				t.row(l.List, l.Hash, l.Passwords, size(l.Octets), l.Made)
			}
			return t.flush()
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) breachedRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove",
		Short: "Remove the loaded list; the common one stays",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if err := settings.Passwords(cfg).Unload(); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "Removed the list that was loaded.")
			return nil
		},
	}
}

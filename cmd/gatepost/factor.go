package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
)

func (a *app) factor() *cobra.Command {
	g := a.group("factor", "Second factors: what a password alone cannot do",
		a.factorList(), a.factorAdd(), a.factorRemove(), a.factorCodes())
	g.Long = `Second factors of an account: the codes of an app, passkeys. Once there is one,
the password opens no mail any more: programs for mail need a password of
their own.`
	return g
}

// factorState says in a few words what an account has.
func factorState(i control.AccountInfo) string {
	switch {
	case i.OwesFactor:
		return "none, and its role must have one"
	case i.Factors == 0:
		return "none"
	}
	return strconv.Itoa(i.Factors)
}

func (a *app) factorList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list ADDRESS",
		Short: "List the second factors of an account",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "factor.list", control.Name{Name: args[0]}, asJSON, func(i control.FactorsInfo) error {
				t := newTable(c.OutOrStdout(), "ID", "KIND", "NAME", "ADDED", "LAST USED")
				for _, f := range i.Factors {
					used := "never"
					if f.Used != nil {
						used = f.Used.Format("2006-01-02 15:04 UTC")
					}
					t.row(f.ID, f.Kind, f.Name, f.Created.Format("2006-01-02 15:04 UTC"), used)
				}
				if err := t.flush(); err != nil {
					return err
				}
				switch {
				case i.Required:
					fmt.Fprintln(c.OutOrStdout(), "Its role must have one: until then its password opens no mail.")
				case len(i.Factors) > 0:
					fmt.Fprintf(c.OutOrStdout(), "It has %s left.\n", count(int64(i.RecoveryCodes), "recovery code"))
				}
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) factorAdd() *cobra.Command {
	return a.group("add", "Give an account a second factor", a.factorTOTP())
}

func (a *app) factorTOTP() *cobra.Command {
	var name string
	var stdin, asJSON bool
	c := &cobra.Command{
		Use:   "totp ADDRESS",
		Short: "Add an app that shows codes",
		Long: `Add an app that shows a code of six digits (TOTP). A QR code is shown for it,
and then the code that it shows is asked for, or read from standard input with
--code-stdin, once the secret has been printed. Only then is it on. With the
first factor come recovery codes, which are shown once: on paper they are for
whoever loses the phone.

From then on the password opens no mail: programs for mail need a password of
their own.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.operate(c, func(ctx context.Context, op *operate.Operator) error {
				return addTOTP(ctx, c, op, args[0], name, stdin, asJSON)
			})
		},
	}
	c.Flags().StringVar(&name, "name", "phone", "what the app or its device is called, `NAME`")
	c.Flags().BoolVar(&stdin, "code-stdin", false, "read the code from standard input")
	jsonFlag(c, &asJSON)
	return c
}

// addTOTP shows the secret, asks for a code and adds the app. As JSON there
// are two objects, one on a line: the secret, and the recovery codes.
func addTOTP(ctx context.Context, c *cobra.Command, op *operate.Operator, address, name string, stdin, asJSON bool) error {
	setup, err := one[control.AppSetup](ctx, op, "factor.totp", control.Name{Name: address})
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	if asJSON {
		if err := json.NewEncoder(out).Encode(map[string]string{"secret": setup.Secret, "uri": setup.URI}); err != nil {
			return err
		}
	} else if err := showSetup(out, setup); err != nil {
		return err
	}
	code, err := readCode(c, stdin)
	if err != nil {
		return err
	}
	codes, err := one[control.Codes](ctx, op, "factor.confirm", control.AppConfirm{Address: address, State: setup.State, Name: name, Code: code})
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(out).Encode(codes)
	}
	fmt.Fprintln(out, escape("Added. From now on the password of "+address+" alone opens nothing, and no program for mail."))
	showCodes(out, codes.Codes)
	return nil
}

// one carries out a verb that has one item.
func one[T any](ctx context.Context, op *operate.Operator, verb string, args any) (v T, err error) {
	err = op.Do(ctx, verb, args, func(it control.Item) error { return json.Unmarshal(it.JSON, &v) })
	return v, err
}

func showSetup(out io.Writer, s control.AppSetup) error {
	fmt.Fprint(out, "Scan this with the app:\n\n")
	if err := printQR(out, s.URI); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nor type the secret:\n\n    %s\n\nor open:\n\n    %s\n\n", grouped(s.Secret), escape(s.URI))
	return nil
}

// grouped puts a space after each four letters.
func grouped(s string) string {
	var list []string
	for len(s) > 4 {
		list, s = append(list, s[:4]), s[4:]
	}
	return strings.Join(append(list, s), " ")
}

// maxCode bounds what is read as a code.
const maxCode = 100

// readCode reads the code that an app shows: as one line of standard input, or
// from the terminal. It is good for a minute and may be seen.
func readCode(c *cobra.Command, fromStdin bool) (string, error) {
	in := c.InOrStdin()
	if !fromStdin {
		f, ok := in.(*os.File)
		if !ok || !term.IsTerminal(int(f.Fd())) {
			return "", fmt.Errorf("there is no terminal to ask for the code; use --code-stdin")
		}
		fmt.Fprint(c.ErrOrStderr(), "The code that it shows: ")
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxCode)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("cannot read the code: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func showCodes(out io.Writer, codes []string) {
	if len(codes) == 0 {
		return
	}
	fmt.Fprint(out, "\nIts recovery codes, which are shown only now; each opens once, with the password, in place of the app:\n\n")
	for _, code := range codes {
		fmt.Fprintf(out, "    %s\n", code)
	}
	fmt.Fprintln(out)
}

func (a *app) factorRemove() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "remove ADDRESS [ID]",
		Short: "Take a second factor away, or all of them",
		Long: `Take a second factor away, or with --all all of them, from somebody who has
lost them. With the last one the recovery codes go, and the password alone
opens the account again. The account is told.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			remove := control.FactorRemove{Address: args[0], All: all}
			switch {
			case all == (len(args) == 2):
				return fmt.Errorf("say which one, by its ID in gatepost account factor list, or --all")
			case !all:
				var err error
				if remove.ID, err = strconv.ParseInt(args[1], 10, 64); err != nil {
					return fmt.Errorf("%q is not the ID of a second factor", args[1])
				}
			}
			done := "Removed the second factor of " + args[0] + "."
			if all {
				done = "Removed all second factors of " + args[0] + ": its password alone opens it again."
			}
			return a.do(c, "factor.remove", remove, done)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all of them")
	return c
}

func (a *app) factorCodes() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "codes ADDRESS",
		Short: "Make new recovery codes; those before open nothing any more",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "factor.codes", control.Name{Name: args[0]}, asJSON, func(codes control.Codes) error {
				showCodes(c.OutOrStdout(), codes.Codes)
				return nil
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

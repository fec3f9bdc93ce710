package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatepost/internal/addr"
	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/passwords"
)

// maxPassword bounds what is read as a password, in octets.
const maxPassword = 4096

// operate opens the way to the store, through the running server or not, and
// hands it to f.
func (a *app) operate(c *cobra.Command, f func(context.Context, *operate.Operator) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	op, err := operate.Open(c.Context(), cfg)
	if err != nil {
		return err
	}
	err = f(c.Context(), op)
	if closed := op.Close(); err == nil {
		err = closed
	}
	return err
}

// do carries out a verb whose items are not shown.
func (a *app) do(c *cobra.Command, verb string, args any, done string) error {
	err := a.operate(c, func(ctx context.Context, op *operate.Operator) error {
		return op.Do(ctx, verb, args, func(control.Item) error { return nil })
	})
	if err == nil && done != "" {
		fmt.Fprintln(c.OutOrStdout(), escape(done))
	}
	return err
}

// list carries out a verb and prints its items as one JSON array, or each
// with row and everything with end.
func list[T any](a *app, c *cobra.Command, verb string, args any, asJSON bool, row func(T), end func() error) error {
	return a.operate(c, func(ctx context.Context, op *operate.Operator) error {
		if asJSON {
			return listJSON(ctx, c.OutOrStdout(), op, verb, args)
		}
		err := op.Do(ctx, verb, args, func(it control.Item) error {
			var v T
			if err := json.Unmarshal(it.JSON, &v); err != nil {
				return err
			}
			row(v)
			return nil
		})
		if err != nil {
			return err
		}
		return end()
	})
}

// listJSON prints items as they come, so that a long list needs no memory.
func listJSON(ctx context.Context, out io.Writer, op *operate.Operator, verb string, args any) error {
	w := bufio.NewWriter(out)
	separator := "[\n  "
	err := op.Do(ctx, verb, args, func(it control.Item) error {
		w.WriteString(separator)
		separator = ",\n  "
		_, err := w.Write(visible(it.JSON))
		return err
	})
	if err != nil {
		return err
	}
	if separator == "[\n  " {
		w.WriteString("[]\n")
	} else {
		w.WriteString("\n]\n")
	}
	return w.Flush()
}

// show carries out a verb that has one item and prints it as JSON or with
// print.
func show[T any](a *app, c *cobra.Command, verb string, args any, asJSON bool, print func(T) error) error {
	return a.operate(c, func(ctx context.Context, op *operate.Operator) error {
		return op.Do(ctx, verb, args, func(it control.Item) error {
			if asJSON {
				return printJSON(c.OutOrStdout(), it.JSON)
			}
			var v T
			if err := json.Unmarshal(it.JSON, &v); err != nil {
				return err
			}
			return print(v)
		})
	})
}

// newPassword says where a new password comes from.
type newPassword struct {
	stdin    bool
	generate bool
}

func (p *newPassword) flags(c *cobra.Command) {
	c.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input")
	c.Flags().BoolVar(&p.generate, "generate", false, "make a strong password and show it, this once")
	c.MarkFlagsMutuallyExclusive("password-stdin", "generate")
}

// read returns a password: one that is made as the policy wants it, or what a
// person gives.
func (p *newPassword) read(c *cobra.Command, policy *passwords.Policy, address string) (string, error) {
	if !p.generate {
		return password(c, p.stdin)
	}
	a, err := addr.Parse(address)
	if err != nil {
		return "", fmt.Errorf("%q is not an address: %w", address, err)
	}
	return passwords.Generate(rand.Reader, policy, passwords.Person{Address: a})
}

// tell shows a password that was made, once it is set.
func (p *newPassword) tell(c *cobra.Command, pw string) {
	if p.generate {
		fmt.Fprintf(c.OutOrStdout(), "Its password, which is shown only now:\n\n    %s\n\n", pw)
	}
}

// password reads a password: from standard input as one line, or from the
// terminal twice without showing it. It is never an argument, which every
// user of the machine could read.
func password(c *cobra.Command, fromStdin bool) (string, error) {
	if fromStdin {
		b, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxPassword+1))
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		if len(b) > maxPassword {
			return "", fmt.Errorf("the password is longer than %d octets", maxPassword)
		}
		p := strings.TrimSuffix(string(b), "\n")
		return strings.TrimSuffix(p, "\r"), nil
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fmt.Errorf("there is no terminal to ask for the password; use --password-stdin or --generate")
	}
	first, err := ask(c, in, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask(c, in, "Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", fmt.Errorf("the two passwords are not the same")
	}
	return first, nil
}

func ask(c *cobra.Command, in *os.File, prompt string) (string, error) {
	fmt.Fprint(c.ErrOrStderr(), prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(c.ErrOrStderr())
	return string(b), err
}

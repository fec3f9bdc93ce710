// Command gatepost is a mail server that keeps mail safe, and the tool that
// sets it up and looks after it. Each file here is one command: its flags,
// its help, one call into the packages below, and the output.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"gatepost/internal/config"
)

// version is set when the binary is built.
var version = "unknown"

// Exit codes: 1 says that what was asked for failed, 2 that it was asked for
// in the wrong way.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run carries out one command and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	a := &app{}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var quiet quietError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &quiet):
		return exitFailed
	case !a.started:
		fmt.Fprintf(errs, "gatepost: %s\nTry gatepost help.\n", escape(err.Error()))
		return exitUsage
	}
	fmt.Fprintf(errs, "gatepost: %s\n", escape(err.Error()))
	return exitFailed
}

// quietError fails a command whose output has already said why.
type quietError struct{}

func (quietError) Error() string { return "failed" }

// app is what the commands share.
type app struct {
	config  string // --config
	started bool   // the arguments were right and the command began
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "gatepost",
		Short: "A mail server that keeps mail safe",
		Long: `Gatepost is a mail server that keeps mail safe.

To see it work, in a throw-away directory on this machine:
    gatepost try

To set it up for good:
    gatepost init /var/lib/gatepost --hostname mx.example.org \
        --domain example.org --account you@example.org
    gatepost serve --config /var/lib/gatepost/gatepost.toml`,
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(*cobra.Command, []string) { a.started = true },
		Args:             cobra.NoArgs,
		RunE:             needsMore(a),
	}
	root.PersistentFlags().StringVar(&a.config, "config", "", "the configuration `FILE` (default ./gatepost.toml, then /etc/gatepost/gatepost.toml, then /var/lib/gatepost/gatepost.toml)")
	root.AddCommand(a.try(), a.init(), a.serve(), a.check(), a.domain(), a.account(), a.alias(),
		a.dns(), a.certificate(), a.queue(), a.proof(), a.mailbox(), a.message(), a.reports(), a.activity(), a.oauth(), a.backup(), a.restore(), a.unit(), a.man(), a.version())
	return root
}

// needsMore is the run of a command that only has others below it.
func needsMore(a *app) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		c.SetOut(c.ErrOrStderr())
		if err := c.Help(); err != nil {
			return err
		}
		a.started = false
		return fmt.Errorf("say what to do: %s COMMAND", c.CommandPath())
	}
}

// group returns a command that only has others below it.
func (a *app) group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: needsMore(a)}
	g.AddCommand(commands...)
	return g
}

// load reads the configuration that --config names.
func (a *app) load() (*config.Config, error) {
	path, err := config.Find(a.config)
	if err != nil {
		return nil, err
	}
	return config.Read(path)
}

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatepost/internal/config"
	"gatepost/internal/daemon/unit"
)

func (a *app) unit() *cobra.Command {
	var binary, user, out string
	c := &cobra.Command{
		Use:   "unit",
		Short: "Print the systemd unit that runs the server",
		Long: `Print the systemd unit that runs the server as an ordinary user who may do
nothing but that. For each address in [listen] that is "systemd:NAME" there is a
socket unit too: systemd then opens the port, and connections wait while the
server restarts.

    useradd --system --home-dir /var/lib/gatepost --shell /usr/sbin/nologin gatepost
    gatepost unit --out /etc/systemd/system
    chown -R gatepost: /var/lib/gatepost
    systemctl daemon-reload
    systemctl enable --now gatepost`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.loadOrDefault()
			if err != nil {
				return err
			}
			if binary == "" {
				if binary, err = os.Executable(); err != nil {
					return err
				}
			}
			files, err := unit.Files(cfg, binary, user)
			if err != nil {
				return err
			}
			return writeUnits(c.OutOrStdout(), files, out)
		},
	}
	c.Flags().StringVar(&binary, "binary", "", "where the program will be (default where it is now)")
	c.Flags().StringVar(&user, "user", "gatepost", "the user who runs it")
	c.Flags().StringVar(&out, "out", "", "write the files into this `DIR` instead of printing them")
	return c
}

// loadOrDefault reads the configuration. Where --config names one that is not
// there yet, it is what gatepost init writes.
func (a *app) loadOrDefault() (*config.Config, error) {
	cfg, err := a.load()
	if errors.Is(err, fs.ErrNotExist) && a.config != "" {
		return config.Parse(a.config, []byte("hostname = \"mx.example.org\"\n"))
	}
	return cfg, err
}

// writeUnits prints files, or writes them into a directory.
func writeUnits(w io.Writer, files []unit.File, dir string) error {
	for _, f := range files {
		if dir == "" {
			if _, err := fmt.Fprintf(w, "# %s\n%s\n", f.Name, f.Text); err != nil {
				return err
			}
			continue
		}
		path := filepath.Join(dir, f.Name)
		if err := os.WriteFile(path, []byte(f.Text), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(w, path)
	}
	return nil
}

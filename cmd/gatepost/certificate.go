package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/hostkey"
)

func (a *app) certificate() *cobra.Command {
	return a.group("certificate", "The certificates that this server shows, and the keys of its own",
		a.certificateList(), a.certificateKeys(), a.certificateRoll(), a.certificateTLSA())
}

func (a *app) certificateList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the certificates, from whom they are and until when they are good",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			list, err := operate.Certificates(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			t := newTable(c.OutOrStdout(), "NAMES", "UNTIL", "FROM", "ISSUER")
			for _, cert := range list {
				until := "unknown: " + cert.Fault
				if cert.Until != nil {
					until = cert.Until.Format(time.DateOnly)
				}
				t.row(strings.Join(cert.Names, " "), until, cert.From, cert.Issuer)
			}
			return t.flush()
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// keyLine is one of the host's keys as a list shows it.
type keyLine struct {
	State  hostkey.State `json:"state"`
	Record string        `json:"record"` // value of its TLSA record
	Due    bool          `json:"due"`
	Seen   *time.Time    `json:"seen"`
	Ready  *time.Time    `json:"ready"`
}

func keyLines(info *control.HostInfo) []keyLine {
	list := []keyLine{}
	for _, k := range info.Keys {
		list = append(list, keyLine{k.State, k.Record.String(), k.Due, k.Seen, k.Ready})
	}
	return list
}

func (a *app) certificateKeys() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "keys",
		Short: "List the keys of the host's certificate: in use, next, retired",
		Long: `List the keys of the host's certificate. The next one exists long before it is
used, so that its TLSA record can be in the DNS by then: gatepost dns prints
both records.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			info, err := operate.HostKeys(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), keyLines(info))
			}
			t := newTable(c.OutOrStdout(), "STATE", "IN THE DNS SINCE", "USABLE FROM", "TLSA")
			for _, k := range keyLines(info) {
				t.row(k.State, orDash(k.Seen), orDash(k.Ready), k.Record)
			}
			return t.flush()
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func orDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func (a *app) certificateRoll() *cobra.Command {
	return &cobra.Command{
		Use:   "roll",
		Short: "Have the next key used as soon as it may be",
		Long: `Have the next key of the host's certificate used as soon as nobody can be left
who does not know it from the DNS. It would be after 180 days without this.
Where no TLSA record is published, nobody knows any key, and it is at once.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if err := operate.RollKey(c.Context(), cfg); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "The next key comes into use as soon as everybody can know it from the DNS. See: gatepost certificate keys")
			return nil
		},
	}
}

func (a *app) certificateTLSA() *cobra.Command {
	return &cobra.Command{
		Use:   "tlsa FILE",
		Short: "Print the TLSA record of a certificate or private key of yours",
		Long: `Print the value of the TLSA record of a certificate or a private key in PEM:
of the next one, before it takes the place of that in [tls]. It needs no
configuration.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := operate.RecordOf(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), r)
			return nil
		},
	}
}

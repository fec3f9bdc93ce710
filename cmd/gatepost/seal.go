package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"gatepost/internal/addr"
	"gatepost/internal/daemon/operate"
)

// sealFlags are the flags of message seal as given.
type sealFlags struct {
	key, domain, selector, id, time, resolver string
}

func (a *app) messageSeal() *cobra.Command {
	var flags sealFlags
	c := &cobra.Command{
		Use:   "seal FILE",
		Short: "Seal a message with ARC, for passing it on",
		Long: `Seal a message in a file (- is the standard input) with ARC, and write it with
the new set in front. Seals that it has are verified first. What the set says of
the message is what the Authentication-Results fields of the server --id say:
take out such fields when mail comes from elsewhere, or anybody can write them.
No configuration is needed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := flags.seal()
			if err != nil {
				a.started = false
				return err
			}
			in, err := openFile(c, args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			sealed, err := operate.SealMessage(c.Context(), o, in)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(sealed)
			return err
		},
	}
	c.Flags().StringVar(&flags.key, "key", "", "a `FILE` with the private key in PEM, RSA or Ed25519")
	c.Flags().StringVar(&flags.domain, "domain", "", "the `DOMAIN` to seal as")
	c.Flags().StringVar(&flags.selector, "selector", "", "the `SELECTOR` that the key is published under")
	c.Flags().StringVar(&flags.id, "id", "", "the `NAME` of the server that verified the message (default: the domain)")
	c.Flags().StringVar(&flags.time, "time", "", "the `TIME` of the seal, RFC 3339 or Unix seconds (default: now)")
	c.Flags().StringVar(&flags.resolver, "resolver", "", "the DNS resolver to ask, `HOST:PORT` (default: the system's)")
	return c
}

// seal reads the flags.
func (f *sealFlags) seal() (o operate.Seal, err error) {
	if f.key == "" || f.domain == "" || f.selector == "" {
		return o, errors.New("--key, --domain and --selector are needed")
	}
	o.KeyFile, o.Selector, o.ID = f.key, f.selector, f.id
	if o.Domain, err = addr.ParseDomain(f.domain); err != nil {
		return o, fmt.Errorf("--domain: %q is not a domain", f.domain)
	}
	if o.ID == "" {
		o.ID = string(o.Domain)
	}
	if f.time != "" {
		if o.Time, err = parseTime(f.time); err != nil {
			return o, err
		}
	}
	if f.resolver != "" {
		server, err := parseServer(f.resolver)
		if err != nil {
			return o, err
		}
		o.Resolver = []netip.AddrPort{server}
	}
	return o, nil
}

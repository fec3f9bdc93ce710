package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/config"
	"gatepost/internal/control"
)

func (a *app) device() *cobra.Command {
	return a.group("device", "The passwords that programs and devices have of their own",
		a.deviceAdd(), a.deviceList(), a.deviceShow(), a.deviceRemove())
}

// termFlags are what a device may do.
type termFlags struct {
	scope    string
	expires  string
	networks []string
}

func (f *termFlags) flags(c *cobra.Command, ends string) {
	c.Flags().StringVar(&f.scope, "scope", "both", "what it is good for: `SCOPE` send, read or both")
	c.Flags().StringVar(&f.expires, "expires", "", "when it ends: a `TIME` from now as \"90d\", or the last day as \"2027-01-31\"; "+ends)
	c.Flags().StringSliceVar(&f.networks, "network", nil, "a `NETWORK` as \"192.0.2.0/24\" from which it works, and from no other; may be given several times")
}

func (f *termFlags) terms(now time.Time) (t control.DeviceTerms, err error) {
	t = control.DeviceTerms{Scope: f.scope, Networks: f.networks}
	t.Expires, err = end(f.expires, now)
	return t, err
}

// end reads when something ends; the zero time is never.
func end(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1), nil // the day itself is the last
	}
	var ahead config.Span
	if err := ahead.UnmarshalText([]byte(s)); err != nil {
		return time.Time{}, fmt.Errorf("--expires: %q is neither a length of time, as \"24h\" or \"90d\", nor a day, as \"2027-01-31\"", s)
	}
	return now.Add(time.Duration(ahead)), nil
}

func (a *app) deviceAdd() *cobra.Command {
	var f termFlags
	var asQR, asJSON bool
	c := &cobra.Command{
		Use:   "add ADDRESS NAME",
		Short: "Make a password for one device or program, and show it, this once",
		Long: `Make a password that one device or program has for itself, so that it can be
taken away alone, and show it, this once. The account's own password is then
needed in none of them. docs/devices.md tells more.`,
		Example: `  gatepost account device add anna@example.org "Anna's phone" --qr
  gatepost account device add scanner@example.org scanner --scope send --network 192.0.2.0/24`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := f.terms(time.Now())
			if err != nil {
				return err
			}
			add := control.DeviceAdd{Address: args[0], Name: args[1], Terms: t}
			return show(a, c, "account.device.add", add, asJSON, func(i control.DeviceInfo) error {
				out := c.OutOrStdout()
				fmt.Fprintf(out, "The password of %s for %s, which is shown only now:\n\n    %s\n\n", escape(args[0]), escape(i.Name), i.Password)
				if asQR {
					if err := printQR(out, i.Password); err != nil {
						return err
					}
					fmt.Fprintln(out)
				}
				fmt.Fprintf(out, "To take it away: gatepost account device remove %s %d\n", escape(args[0]), i.ID)
				return nil
			})
		},
	}
	f.flags(c, "never, if it is not given")
	c.Flags().BoolVar(&asQR, "qr", false, "show it as a QR code too, for a phone's camera")
	jsonFlag(c, &asJSON)
	c.MarkFlagsMutuallyExclusive("qr", "json")
	return c
}

func (a *app) deviceList() *cobra.Command {
	return a.listOfDevices("account.device.list", "List the device passwords of an account")
}

// listOfDevices returns a command that lists what devices sign in with.
func (a *app) listOfDevices(verb, short string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list ADDRESS",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t := newTable(c.OutOrStdout(), "ID", "NAME", "SCOPE", "LAST USED", "EXPIRES", "NETWORKS")
			return list(a, c, verb, control.Name{Name: args[0]}, asJSON, func(i control.DeviceInfo) {
				t.row(i.ID, i.Name, i.Scope, lastUsed(i), expires(i), fromWhere(i))
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func lastUsed(i control.DeviceInfo) string {
	if i.Used == nil {
		return "never"
	}
	return i.Used.Format("2006-01-02 15:00 UTC")
}

func expires(i control.DeviceInfo) string {
	switch {
	case i.Expires == nil:
		return "never"
	case i.Expired:
		return "expired " + i.Expires.Format("2006-01-02 15:04 UTC")
	}
	return i.Expires.Format("2006-01-02 15:04 UTC")
}

func fromWhere(i control.DeviceInfo) string {
	if len(i.Networks) == 0 {
		return "any"
	}
	return strings.Join(i.Networks, ", ")
}

func (a *app) deviceShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ADDRESS DEVICE",
		Short: "Show a device password's terms; DEVICE is its number or name. The password itself is not kept",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return show(a, c, "account.device.show", control.DeviceName{Address: args[0], Device: args[1]}, asJSON, func(i control.DeviceInfo) error {
				t := newTable(c.OutOrStdout(), "DEVICE", i.Name)
				t.row("id", i.ID)
				t.row("scope", i.Scope)
				t.row("networks", fromWhere(i))
				t.row("expires", expires(i))
				t.row("last used", lastUsed(i))
				t.row("added", i.Created.Format("2006-01-02 15:04 UTC"))
				return t.flush()
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) deviceRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ADDRESS DEVICE",
		Short: "Take a device password away; DEVICE is its number or name. Its sessions end at once",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "account.device.remove", control.DeviceName{Address: args[0], Device: args[1]},
				"Took away the password of "+args[1]+"; its sessions are ended.")
		},
	}
}

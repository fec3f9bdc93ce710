package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/addr"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/verdict"
)

func (a *app) message() *cobra.Command {
	return a.group("message", "Look at messages in files", a.messageCheck(), a.messageSeal())
}

// checkFlags are the flags of message check as given.
type checkFlags struct {
	ip, helo, from, time, resolver string
	trust                          []string
}

func (a *app) messageCheck() *cobra.Command {
	var flags checkFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Verify who a message is from, and say what would become of it",
		Long: `Verify who a message in a file (- is the standard input) is from, with SPF,
DKIM, DMARC and ARC, and say what would become of it here. No configuration is
needed. The exit code is 0 whatever the verdict.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := flags.question()
			if err != nil {
				a.started = false
				return err
			}
			in, err := openFile(c, args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			v, err := operate.CheckMessage(c.Context(), q, in)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), newChecked(v))
			}
			printVerdict(escaped{c.OutOrStdout()}, v)
			return nil
		},
	}
	c.Flags().StringVar(&flags.ip, "ip", "", "the `ADDRESS` of the client that handed it over")
	c.Flags().StringVar(&flags.helo, "helo", "", "the `NAME` that the client greeted with")
	c.Flags().StringVar(&flags.from, "from", "", "the `ADDRESS` in MAIL FROM (default: the null sender)")
	c.Flags().StringVar(&flags.time, "time", "", "the `TIME` to judge signatures by, RFC 3339 or Unix seconds (default: now)")
	c.Flags().StringVar(&flags.resolver, "resolver", "", "the DNS resolver to ask, `HOST:PORT` (default: the system's)")
	c.Flags().StringSliceVar(&flags.trust, "trust", nil, "a `DOMAIN` whose ARC seals are believed")
	jsonFlag(c, &asJSON)
	return c
}

// openFile opens a file that an argument names.
func openFile(c *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.InOrStdin()), nil
	}
	return os.Open(name)
}

// question reads the flags.
func (f *checkFlags) question() (q operate.Question, err error) {
	q.Client.Helo = f.helo
	if f.ip != "" {
		if q.Client.IP, err = netip.ParseAddr(f.ip); err != nil {
			return q, fmt.Errorf("--ip: %q is not an IP address", f.ip)
		}
	}
	if from := strings.TrimSuffix(strings.TrimPrefix(f.from, "<"), ">"); from != "" {
		if q.Client.From, err = addr.Parse(from); err != nil {
			return q, fmt.Errorf("--from: %q is not an address", f.from)
		}
	}
	if f.time != "" {
		if q.Time, err = parseTime(f.time); err != nil {
			return q, err
		}
	}
	if f.resolver != "" {
		server, err := parseServer(f.resolver)
		if err != nil {
			return q, err
		}
		q.Resolver = append(q.Resolver, server)
	}
	for _, s := range f.trust {
		d, err := addr.ParseDomain(s)
		if err != nil {
			return q, fmt.Errorf("--trust: %q is not a domain", s)
		}
		q.Trusted = append(q.Trusted, d)
	}
	return q, nil
}

func parseTime(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("--time: %q is neither a time as in 2026-11-25T12:00:00Z nor Unix seconds", s)
	}
	return t, nil
}

// parseServer reads the address of a DNS server; its port is 53 unless given.
func parseServer(s string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(ip, 53), nil
	}
	host, port, err := net.SplitHostPort(s)
	if host == "localhost" {
		s = net.JoinHostPort("127.0.0.1", port)
	}
	server, bad := netip.ParseAddrPort(s)
	if err != nil || bad != nil {
		return server, fmt.Errorf("--resolver: %q is not an IP address and a port", s)
	}
	return server, nil
}

// checked is a verdict as JSON.
type checked struct {
	SPF struct {
		Result string `json:"result"`
		Domain string `json:"domain"`
	} `json:"spf"`
	DKIM  []checkedSignature `json:"dkim"`
	DMARC struct {
		Result string `json:"result"`
		Policy string `json:"policy"`
		Domain string `json:"domain"`
	} `json:"dmarc"`
	ARC        string   `json:"arc"`
	FromDomain string   `json:"from_domain"`
	Verdict    string   `json:"verdict"`
	Reasons    []string `json:"reasons"`
}

type checkedSignature struct {
	Result   string `json:"result"`
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Reason   string `json:"reason"`
}

func newChecked(v *verdict.Verdict) *checked {
	f := &v.Facts
	c := &checked{
		DKIM: []checkedSignature{}, ARC: f.ARC.Status.String(), FromDomain: string(f.Author.Domain),
		Verdict: v.Action.String(), Reasons: v.Reasons,
	}
	c.SPF.Result, c.SPF.Domain = f.SPF.Status.String(), f.SPF.Domain
	for _, s := range f.DKIM {
		c.DKIM = append(c.DKIM, checkedSignature{s.Status.String(), string(s.Domain), s.Selector, s.Reason})
	}
	c.DMARC.Result, c.DMARC.Policy, c.DMARC.Domain = f.DMARC.Status.String(), f.DMARC.Policy.String(), string(f.DMARC.Domain)
	if c.DMARC.Domain == "" { // no record was found: then it is whose was looked for
		c.DMARC.Domain = c.FromDomain
	}
	return c
}

// printVerdict says it in sentences.
func printVerdict(w io.Writer, v *verdict.Verdict) {
	f := &v.Facts
	what := map[verdict.Action]string{
		verdict.Accept: "It would be accepted",
		verdict.Junk:   "It would be accepted and filed into Junk",
		verdict.Reject: "It would be refused",
		verdict.Defer:  "It would be refused for now, to be tried again",
	}
	fmt.Fprintf(w, "%s: %s.\n\n", what[v.Action], strings.Join(v.Reasons, "; "))
	say := func(method, result, reason string) {
		fmt.Fprintf(w, "%-6s %s", method, result)
		if reason != "" {
			fmt.Fprintf(w, ": %s", reason)
		}
		fmt.Fprintln(w, ".")
	}
	say("SPF", f.SPF.Status.String(), f.SPF.Reason)
	for _, s := range f.DKIM {
		say("DKIM", s.Status.String(), fmt.Sprintf("%s, key %s: %s", s.Domain, s.Selector, s.Reason))
	}
	if len(f.DKIM) == 0 {
		say("DKIM", "none", "it is not signed")
	}
	if f.Problem == nil {
		say("DMARC", f.DMARC.Status.String(), f.DMARC.Reason)
	}
	say("ARC", f.ARC.Status.String(), f.ARC.Reason)
}

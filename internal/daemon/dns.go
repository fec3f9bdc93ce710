package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/dnsupdate"
	"gatepost/internal/resolve"
	"gatepost/internal/signing"
)

// dnsCache bounds the memory for answers of the DNS, in octets.
const dnsCache = 32 << 20

func resolverOptions(cfg *config.Config, c clock.Clock) (resolve.Options, error) {
	o := resolve.Options{
		ResolvConf: systemResolvers, Random: rand.Reader, Clock: c, CacheBytes: dnsCache,
		Dial: (&net.Dialer{}).DialContext,
	}
	var err error
	if o.Servers, err = addrPorts(cfg.DNS.Resolvers); err != nil {
		return o, err
	}
	o.TrustAD, err = addrPorts(cfg.DNS.TrustAD)
	return o, err
}

func addrPorts(list []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range list {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("resolver %s: %w", s, err)
		}
		out = append(out, ap)
	}
	return out, nil
}

// Updater returns what changes records in the DNS, nil if the configuration
// names no server for it. Each call reads the key anew.
func Updater(cfg *config.Config) (*dnsupdate.Client, error) {
	u := cfg.DNS.Update
	if u.Server == "" {
		return nil, nil
	}
	line, err := readPassword(cfg.Path(u.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("dns.update.key_file: %w", err)
	}
	secret, err := dnsupdate.ParseSecret(line)
	if err != nil {
		return nil, fmt.Errorf("dns.update.key_file: %s: %w", u.KeyFile, err)
	}
	return dnsupdate.New(dnsupdate.Options{
		Server: u.Server, Key: u.Key, Algorithm: u.Algorithm, Secret: secret,
		Dial: (&net.Dialer{}).DialContext, Clock: clock.System,
	})
}

// machineAddrs returns the addresses of this machine's interfaces.
func machineAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil // it only widens what is taken for somebody else
	}
	var out []netip.Addr
	for _, a := range list {
		if p, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(p.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}

// ownAddrs returns where an MX record would lead to ourselves: the addresses
// on which we take mail on the port of SMTP.
func ownAddrs(cfg *config.Config) []netip.Addr {
	var out []netip.Addr
	for _, a := range cfg.Listen.MX {
		host, p, err := net.SplitHostPort(a)
		if err != nil || p != strconv.Itoa(smtpPort) {
			continue
		}
		if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
			out = append(out, ip.Unmap())
		} else {
			out = append(out, machineAddrs()...)
		}
	}
	return out
}

// site returns what the DNS records of our domains depend on.
func site(cfg *config.Config) audit.Site {
	s := audit.Site{
		Hostname:    addr.Domain(cfg.Hostname),
		Submission:  port(cfg.Listen.Submission),
		Submissions: port(cfg.Listen.Submissions),
		Authority:   audit.Authority(cfg.TLS.ACME),
	}
	for _, ip := range machineAddrs() {
		if ip.IsGlobalUnicast() && !ip.IsPrivate() && (ip.Is4() || cfg.Remote.IPv6) {
			s.Addrs = append(s.Addrs, ip)
		}
	}
	return s
}

// port returns the port of the first address that has one.
func port(list []string) int {
	for _, a := range list {
		if _, p, err := net.SplitHostPort(a); err == nil {
			n, _ := strconv.Atoi(p)
			return n
		}
	}
	return 0
}

// Records returns the DNS records that a domain needs, whether it is here
// already or not.
func Records(ctx context.Context, cfg *config.Config, domain addr.Domain) ([]audit.Record, error) {
	op, err := Operate(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	all, err := ourDomains(ctx, cfg, op)
	if err != nil {
		return nil, err
	}
	d := audit.Domain{Name: domain}
	if i := slices.IndexFunc(all, func(d audit.Domain) bool { return d.Name == domain }); i >= 0 {
		d = all[i]
		if err := addKeys(ctx, op, &d); err != nil {
			return nil, err
		}
	}
	list := site(cfg).Records(d)
	if d.Parked {
		return list, nil
	}
	keys, err := hostTLSA(ctx, cfg, op)
	if err != nil {
		return nil, err
	}
	o, err := resolverOptions(cfg, clock.System)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, judgeTime)
	defer cancel()
	keys.Judge(within, resolve.New(o))
	return append(list, keys.Records()...), nil
}

// judgeTime bounds how long it takes to find out whether others would heed
// TLSA records.
const judgeTime = 5 * time.Second

// addKeys adds what the mail of a domain is signed with.
func addKeys(ctx context.Context, op *Operator, d *audit.Domain) error {
	if d.Parked {
		return nil
	}
	return op.Do(ctx, "domain.keys", control.Name{Name: string(d.Name)}, func(it control.Item) error {
		k, err := control.KeyOf(it)
		d.Keys = append(d.Keys, audit.Key{Selector: k.Selector, Text: k.Record, Why: whyKey(k)})
		return err
	})
}

// whyKey says what a key is for now.
func whyKey(k control.KeyInfo) string {
	switch k.State {
	case signing.Used:
		return "Mail is signed, and others verify it with this key (DKIM)."
	case signing.Retired:
		return "Messages on their way were signed with this key; its record may be removed after " + k.Gone.Format(time.DateOnly) + " (DKIM)."
	}
	return "Mail is signed with this key as soon as the DNS shows it (DKIM)."
}

// ourDomains returns all domains of ours.
func ourDomains(ctx context.Context, cfg *config.Config, op *Operator) (list []audit.Domain, err error) {
	err = op.Do(ctx, "domain.list", control.None{}, func(it control.Item) error {
		info, err := control.DomainOf(it)
		d := audit.Domain{Name: addr.Domain(info.Domain), Parked: info.Parked}
		// A policy that is gone from everybody's memory needs no record.
		gone := info.MTASTSGone != nil && clock.System.Now().After(*info.MTASTSGone)
		if len(cfg.Listen.HTTPS) > 0 && !gone {
			d.MTASTS = info.MTASTSRecord
		}
		list = append(list, d)
		return err
	})
	return list, err
}

// CompareRecords asks the DNS for records and says what is wrong.
func CompareRecords(ctx context.Context, cfg *config.Config, list []audit.Record) ([]audit.Finding, error) {
	o, err := resolverOptions(cfg, clock.System)
	if err != nil {
		return nil, err
	}
	return audit.Compare(ctx, resolve.New(o), list), nil
}

// PublishRecords adds the records that are missing to their zones, and tells
// what became of each that was not right.
func PublishRecords(ctx context.Context, cfg *config.Config, list []audit.Record) ([]audit.Finding, error) {
	client, err := Updater(cfg)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, errors.New("nothing can be published: the configuration names no name server in [dns.update]")
	}
	o, err := resolverOptions(cfg, clock.System)
	if err != nil {
		return nil, err
	}
	r := resolve.New(o)
	publish, findings := audit.Plan(ctx, r, list)
	zones := map[string][]audit.Record{}
	for _, rec := range publish {
		zone, err := dnsupdate.Zone(ctx, r, rec.Name)
		if err != nil {
			return nil, fmt.Errorf("cannot find the zone of %s: %w", rec.Name, err)
		}
		zones[zone] = append(zones[zone], rec)
	}
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		update, err := changes(zones[zone])
		if err == nil {
			err = client.Update(ctx, zone, update)
		}
		for _, rec := range zones[zone] {
			f := audit.Finding{Check: "dns." + string(rec.Kind), Level: audit.OK, Text: "Published: " + rec.Line()}
			if err != nil {
				f = audit.Finding{Check: f.Check, Level: audit.Failure, Text: capital(err.Error()) + ".", Fix: "Publish: " + rec.Line()}
			}
			findings = append(findings, f)
		}
	}
	return findings, nil
}

// changes is the update that publishes records.
func changes(list []audit.Record) (u dnsupdate.Update, err error) {
	for _, rec := range list {
		rr, err := dns.NewRR(rec.Line())
		if err != nil {
			return u, err
		}
		if rec.Kind == audit.KindMTASTS { // nothing else is at its name
			u.Clear = append(u.Clear, dnsupdate.RRset{Name: rec.Name, Type: dns.TypeTXT})
		}
		u.Add = append(u.Add, rr)
		for _, old := range rec.Old {
			gone := rec
			gone.Value = old
			if rr, err = dns.NewRR(gone.Line()); err != nil {
				return u, err
			}
			u.Remove = append(u.Remove, rr)
		}
	}
	return u, nil
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

package operate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/dnsupdate"
	"gatepost/internal/resolve"
	"gatepost/internal/signing"
)

// site returns what the DNS records of our domains depend on.
func site(cfg *config.Config) audit.Site {
	s := audit.Site{
		Hostname:    addr.Domain(cfg.Hostname),
		Submission:  settings.Port(cfg.Listen.Submission),
		Submissions: settings.Port(cfg.Listen.Submissions),
		Authority:   audit.Authority(cfg.TLS.ACME),
	}
	for _, ip := range settings.MachineAddrs() {
		if ip.IsGlobalUnicast() && !ip.IsPrivate() && (ip.Is4() || cfg.Remote.IPv6) {
			s.Addrs = append(s.Addrs, ip)
		}
	}
	return s
}

// Records returns the DNS records that a domain needs, whether it is here
// already or not.
func Records(ctx context.Context, cfg *config.Config, domain addr.Domain) ([]audit.Record, error) {
	op, err := Open(ctx, cfg)
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
	o, err := settings.Resolver(cfg, clock.System)
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
	o, err := settings.Resolver(cfg, clock.System)
	if err != nil {
		return nil, err
	}
	return audit.Compare(ctx, resolve.New(o), list), nil
}

// PublishRecords adds the records that are missing to their zones, and tells
// what became of each that was not right.
func PublishRecords(ctx context.Context, cfg *config.Config, list []audit.Record) ([]audit.Finding, error) {
	client, err := settings.Updater(cfg)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, errors.New("nothing can be published: the configuration names no name server in [dns.update]")
	}
	o, err := settings.Resolver(cfg, clock.System)
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

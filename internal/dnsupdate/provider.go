package dnsupdate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

// Provider is a Client by the names that ACME's part knows: a
// libdns.RecordAppender and a libdns.RecordDeleter.
type Provider struct{ Client *Client }

// AppendRecords adds records to a zone, all or none.
func (p Provider) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	rrs, err := records(zone, list)
	if err == nil {
		err = p.Client.Update(ctx, zone, Update{Add: rrs})
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// DeleteRecords removes records from a zone, by what they hold; those that
// are not there any more are no fault.
func (p Provider) DeleteRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	rrs, err := records(zone, list)
	if err == nil {
		err = p.Client.Update(ctx, zone, Update{Remove: rrs})
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// records reads what ACME needs, which are texts.
func records(zone string, list []libdns.Record) ([]dns.RR, error) {
	var out []dns.RR
	for _, r := range list {
		rr := r.RR()
		if rr.Type != "TXT" {
			return nil, fmt.Errorf("only TXT records are made this way, not %q", rr.Type)
		}
		name := dns.CanonicalName(libdns.AbsoluteName(rr.Name, dns.CanonicalName(zone)))
		if _, ok := dns.IsDomainName(name); !ok {
			return nil, fmt.Errorf("%q is no name for a record", rr.Name)
		}
		out = append(out, &dns.TXT{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(rr.TTL / time.Second)},
			Txt: texts(rr.Data),
		})
	}
	return out, nil
}

// maxText is the length of one string of a TXT record: RFC 1035, section 3.3.14.
const maxText = 255

// texts splits a value into the strings of one record, and writes down as
// miekg/dns reads it what would be an escape there.
func texts(s string) []string {
	var out []string
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for len(s) > maxText {
		out = append(out, escape.Replace(s[:maxText]))
		s = s[maxText:]
	}
	return append(out, escape.Replace(s))
}

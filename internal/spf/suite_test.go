package spf

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

// suite is one section of the OpenSPF test suite; testdata/README.md tells
// where it is from and how it became JSON.
type suite struct {
	Description string
	Tests       map[string]struct {
		Spec, Description any
		Helo, Host        string
		MailFrom          string
		Result            any // one, or several that are right
		Explanation       *string
	}
	ZoneData map[string][]any
}

func loadSuite(t testing.TB) []suite {
	t.Helper()
	b, err := os.ReadFile("testdata/rfc7208-tests.json")
	if err != nil {
		t.Fatal(err)
	}
	var s []suite
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// zone is the DNS of one section.
type zone struct {
	records map[string]map[uint16][]dns.RR
	timeout map[string]bool
}

// newZone reads the zone data. As the suite wants it, records of type SPF
// stand for TXT records too, unless the name has some of its own.
func newZone(t testing.TB, data map[string][]any) *zone {
	z := &zone{map[string]map[uint16][]dns.RR{}, map[string]bool{}}
	for name, list := range data {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		types := map[uint16][]dns.RR{}
		z.records[name] = types
		hasTXT := false
		for _, item := range list {
			m, _ := item.(map[string]any)
			hasTXT = hasTXT || m["TXT"] != nil
		}
		for _, item := range list {
			if item == "TIMEOUT" {
				z.timeout[name] = true
				continue
			}
			for typ, value := range item.(map[string]any) {
				if typ == "SPF" {
					if hasTXT {
						continue
					}
					typ = "TXT"
				}
				if value == "NONE" {
					continue
				}
				rr := record2RR(t, typ, value)
				types[rr.Header().Rrtype] = append(types[rr.Header().Rrtype], rr)
			}
		}
	}
	return z
}

func record2RR(t testing.TB, typ string, value any) dns.RR {
	h := dns.RR_Header{Class: dns.ClassINET, Rrtype: dns.StringToType[typ]}
	switch typ {
	case "A":
		return &dns.A{Hdr: h, A: net.ParseIP(value.(string))}
	case "AAAA":
		return &dns.AAAA{Hdr: h, AAAA: net.ParseIP(value.(string))}
	case "MX":
		v := value.([]any)
		return &dns.MX{Hdr: h, Preference: uint16(v[0].(float64)), Mx: dns.Fqdn(v[1].(string))}
	case "PTR":
		return &dns.PTR{Hdr: h, Ptr: dns.Fqdn(value.(string))}
	case "CNAME":
		return &dns.CNAME{Hdr: h, Target: dns.Fqdn(value.(string))}
	case "TXT":
		rr := &dns.TXT{Hdr: h}
		parts, ok := value.([]any)
		if !ok {
			parts = []any{value}
		}
		for _, p := range parts {
			rr.Txt = append(rr.Txt, present(p.(string)))
		}
		return rr
	}
	t.Fatalf("record of type %s", typ)
	return nil
}

// present escapes the octets that the JSON holds as code points.
func present(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 0xff {
			panic("not an octet")
		}
		fmt.Fprintf(&b, "\\%03d", r)
	}
	return b.String()
}

func (z *zone) Lookup(_ context.Context, name string, qtype uint16) (resolve.Answer, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for range 8 {
		types, ok := z.records[name]
		if rrs := types[qtype]; len(rrs) > 0 {
			return resolve.Answer{Name: name, RRs: rrs}, nil
		}
		if z.timeout[name] {
			return resolve.Answer{}, &resolve.Error{Name: name, Type: qtype, Kind: resolve.ErrTemporary}
		}
		alias := types[dns.TypeCNAME]
		if len(alias) == 0 {
			return resolve.Answer{}, &resolve.Error{Name: name, Type: qtype, Kind: resolve.ErrNotFound, NXDomain: !ok}
		}
		name = strings.ToLower(strings.TrimSuffix(alias[0].(*dns.CNAME).Target, "."))
	}
	return resolve.Answer{}, &resolve.Error{Name: name, Type: qtype, Kind: resolve.ErrTemporary}
}

// suiteQuery is the query of a case: the local part ends at the last "@".
func suiteQuery(host, helo, from string) Query {
	q := Query{IP: netip.MustParseAddr(host), Helo: helo, Receiver: "mx.example.org", Now: time.Unix(1_000_000_000, 0)}
	if from == "" {
		q.Domain = helo
		return q
	}
	if i := strings.LastIndexByte(from, '@'); i >= 0 {
		q.Local, q.Domain = from[:i], from[i+1:]
	} else {
		q.Domain = from
	}
	return q
}

// TestSuite passes all 203 cases of the OpenSPF suite for RFC 7208. Where the
// suite allows several results, the RFC's preferred one comes first, and any
// is taken.
func TestSuite(t *testing.T) {
	t.Parallel()
	n := 0
	for _, s := range loadSuite(t) {
		z := newZone(t, s.ZoneData)
		for name, tt := range s.Tests {
			n++
			t.Run(s.Description+"/"+name, func(t *testing.T) {
				want, ok := tt.Result.([]any)
				if !ok {
					want = []any{tt.Result}
				}
				got := Check(t.Context(), z, suiteQuery(tt.Host, tt.Helo, tt.MailFrom))
				if !slices.Contains(want, any(got.Status.String())) {
					t.Errorf("%v (%s); want %v", got.Status, got.Reason, want)
				}
				if tt.Explanation != nil {
					// DEFAULT is the receiver's own words, of which we have
					// none here; hexadecimal digits may be of either case.
					want := strings.Replace(*tt.Explanation, "DEFAULT", "", 1)
					if !strings.EqualFold(got.Explanation, want) {
						t.Errorf("explains %q; want %q", got.Explanation, want)
					}
				}
				if got.Reason == "" || (got.Status == TempError || got.Status == PermError) != (got.Err != nil) {
					t.Errorf("%+v", got)
				}
			})
		}
	}
	if n != 203 {
		t.Errorf("%d cases; the suite has 203", n)
	}
}

package dane

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

const (
	digest  = "0d6fce02b9b3e1d2b3fd6f1b2f0f3fb4f0a6d1b7e7a1b0c4d7e8f90123456789"
	digest2 = "1d6fce02b9b3e1d2b3fd6f1b2f0f3fb4f0a6d1b7e7a1b0c4d7e8f90123456789"
)

// TestLookup: what the DNS says of a host, and what follows.
func TestLookup(t *testing.T) {
	t.Parallel()
	const zone = `mx.example. A 192.0.2.1
six.example. AAAA 2001:db8::1
both.example. A 192.0.2.1
both.example. AAAA 2001:db8::1
plain.example. A 192.0.2.1
alias.example. CNAME mx.other.example.
mx.other.example. A 192.0.2.2
chain.example. CNAME alias.example.
inward.example. CNAME mx.unsigned.example.
mx.unsigned.example. A 192.0.2.3
outward.unsigned.example. CNAME mx.example.
_25._tcp.mx.example. TLSA 3 1 1 ` + digest + `
_25._tcp.mx.example. TLSA 1 1 1 ` + digest2 + `
_25._tcp.six.example. TLSA 3 1 1 ` + digest + `
_25._tcp.both.example. TLSA 3 1 1 ` + digest + `
_587._tcp.plain.example. TLSA 3 1 1 ` + digest + `
_25._tcp.alias.example. TLSA 2 1 1 ` + digest + `
_25._tcp.mx.other.example. TLSA 3 1 1 ` + digest + `
_25._tcp.inward.example. TLSA 3 1 1 ` + digest + `
_25._tcp.mx.unsigned.example. TLSA 3 1 1 ` + digest2 + `
borrowed.example. A 192.0.2.1
_25._tcp.borrowed.example. CNAME _25._tcp.mx.example.
lent.example. A 192.0.2.1
_25._tcp.lent.example. CNAME _25._tcp.mx.unsigned.example.
odd.example. A 192.0.2.1
_25._tcp.odd.example. TLSA 0 0 1 ` + digest + `
_25._tcp.odd.example. TLSA 3 1 9 ` + digest
	const nothing, unknown = "nothing", "unknown"
	cases := []struct {
		name, host string
		change     func(*resolve.Fake)
		want       string // "nothing", "unknown", or base, names and how many records are usable
	}{
		{"published", "mx.example", nil, "mx.example mx.example,d.example 1/2"},
		{"by any case", "MX.Example", nil, "mx.example mx.example,d.example 1/2"},
		{"with IPv6 only", "six.example", nil, "six.example six.example,d.example 1/1"},
		{"with both", "both.example", nil, "both.example both.example,d.example 1/1"},
		{"for another port", "plain.example", nil, nothing},
		{"all unusable", "odd.example", nil, "odd.example odd.example,d.example 0/2"},
		{"the next hop itself", "d.example", func(f *resolve.Fake) {
			f.Add("d.example. A 192.0.2.1\n_25._tcp.d.example. TLSA 3 1 1 " + digest)
		}, "d.example d.example 1/1"},
		{"an alias", "alias.example", nil, "mx.other.example mx.other.example,alias.example,d.example 1/1"},
		{"an alias, at its own name", "alias.example", func(f *resolve.Fake) {
			f.Remove("_25._tcp.mx.other.example", dns.TypeTLSA)
		}, "alias.example alias.example,mx.other.example,d.example 1/1"},
		{"an alias of an alias", "chain.example", nil, "mx.other.example mx.other.example,chain.example,d.example 1/1"},
		{"an alias whose end cannot be asked", "alias.example", func(f *resolve.Fake) {
			f.Fail("_25._tcp.mx.other.example", dns.TypeTLSA, resolve.ErrTemporary)
		}, unknown},
		{"a signed alias into what is not", "inward.example", nil, "inward.example inward.example,d.example 1/1"},
		{"an alias that is not signed", "outward.unsigned.example", nil, nothing},
		{"an alias that cannot be asked", "inward.example", func(f *resolve.Fake) {
			f.Fail("inward.example", dns.TypeCNAME, resolve.ErrBogus)
		}, unknown},
		{"records by an alias", "borrowed.example", nil, "borrowed.example borrowed.example,d.example 1/2"},
		{"into what is not signed", "lent.example", nil, nothing},

		{"the host is not signed", "mx.unsigned.example", nil, nothing},
		{"nor are its servers asked", "mx.unsigned.example", func(f *resolve.Fake) {
			f.Fail("_25._tcp.mx.unsigned.example", dns.TypeTLSA, resolve.ErrTemporary)
		}, nothing},
		{"the records are not signed", "mx.example", func(f *resolve.Fake) { f.Unsign("_25._tcp.mx.example") }, nothing},
		{"denied", "mx.example", func(f *resolve.Fake) { f.Remove("_25._tcp.mx.example", dns.TypeTLSA) }, nothing},
		{"no address", "none.example", nil, nothing},
		{"bogus", "mx.example", func(f *resolve.Fake) { f.Fail("_25._tcp.mx.example", dns.TypeTLSA, resolve.ErrBogus) }, unknown},
		{"no answer", "mx.example", func(f *resolve.Fake) { f.Fail("_25._tcp.mx.example", dns.TypeTLSA, resolve.ErrTemporary) }, unknown},
		{"a bogus address", "mx.example", func(f *resolve.Fake) { f.Fail("mx.example", dns.TypeA, resolve.ErrBogus) }, unknown},
		{"one family fails, the other is signed", "both.example", func(f *resolve.Fake) {
			f.Fail("both.example", dns.TypeA, resolve.ErrTemporary)
		}, "both.example both.example,d.example 1/1"},
		{"one fails, the other is not signed", "both.unsigned.example", func(f *resolve.Fake) {
			f.Add("both.unsigned.example. AAAA 2001:db8::1")
			f.Fail("both.unsigned.example", dns.TypeA, resolve.ErrTemporary)
		}, unknown},
		{"one fails, the other is denied", "six.example", func(f *resolve.Fake) {
			f.Remove("six.example", dns.TypeAAAA)
			f.Fail("six.example", dns.TypeA, resolve.ErrTemporary)
		}, unknown},
		{"more than are read", "many.example", func(f *resolve.Fake) {
			f.Add("many.example. A 192.0.2.1\n" + strings.Repeat("_25._tcp.many.example. TLSA 3 1 1 "+digest+"\n", maxRecords+1))
		}, "many.example many.example,d.example 64/64"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := resolve.NewFake(zone)
			f.Secure = true
			f.Unsign("unsigned.example")
			if tc.change != nil {
				tc.change(f)
			}
			s, err := Lookup(t.Context(), f, Target{"D.example", tc.host, 25, true})
			got := nothing
			switch {
			case err != nil:
				got = unknown
			case s != nil:
				got = s.Base + " " + strings.Join(s.Names, ",") + " " + string(rune('0'+len(s.Records))) + "/" + string(rune('0'+len(s.Published)))
				if len(s.Records) == maxRecords {
					got = s.Base + " " + strings.Join(s.Names, ",") + " 64/64"
				}
			}
			if got != tc.want {
				t.Errorf("%s, %v\nwant %s", got, err, tc.want)
			}
			if err != nil && !errors.Is(err, resolve.ErrTemporary) {
				t.Error(err)
			}
		})
	}
}

// TestIPv4Only: an address that is not used is not asked for.
func TestIPv4Only(t *testing.T) {
	t.Parallel()
	f := resolve.NewFake("mx.example. A 192.0.2.1\n_25._tcp.mx.example. TLSA 3 1 1 " + digest)
	f.Secure = true
	asked := &recorder{Resolver: f}
	if s, err := Lookup(t.Context(), asked, Target{"d.example", "mx.example", 25, false}); s == nil || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	if slices.Contains(asked.types, dns.TypeAAAA) || len(asked.types) != 2 {
		t.Error(asked.types)
	}
}

type recorder struct {
	resolve.Resolver
	types []uint16
}

func (r *recorder) Lookup(ctx context.Context, name string, qtype uint16) (resolve.Answer, error) {
	r.types = append(r.types, qtype)
	return r.Resolver.Lookup(ctx, name, qtype)
}

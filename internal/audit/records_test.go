package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	secured := site
	secured.Authority = Authority("https://acme-v02.api.letsencrypt.org/directory")
	for name, c := range map[string]struct {
		site Site
		d    Domain
		want string
	}{
		"ours": {site, ours, `example.org. 3600 IN MX 10 mx.example.org.
mx.example.org. 3600 IN A 192.0.2.1
example.org. 3600 IN TXT "v=spf1 mx -all"
mx.example.org. 3600 IN TXT "v=spf1 a -all"
_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"
_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@example.org"
_submissions._tcp.example.org. 3600 IN SRV 0 1 465 mx.example.org.`},
		// Its SPF record covers the host; a second one would void both.
		"the host itself": {Site{Hostname: "example.org"}, ours, `example.org. 3600 IN MX 10 example.org.
example.org. 3600 IN TXT "v=spf1 mx -all"
_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"
_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@example.org"`},
		"no mail": {secured, Domain{Name: "example.net", Parked: true}, `example.net. 3600 IN MX 0 .
example.net. 3600 IN TXT "v=spf1 -all"
_dmarc.example.net. 3600 IN TXT "v=DMARC1; p=reject"`},
		"keys": {Site{Hostname: "example.org"}, Domain{Name: "example.org", Keys: []Key{{Selector: "s", Text: "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 300), Why: "Signed."}}}, `example.org. 3600 IN MX 10 example.org.
example.org. 3600 IN TXT "v=spf1 mx -all"
s._domainkey.example.org. 3600 IN TXT "v=DKIM1; k=rsa; p=` + strings.Repeat("A", 237) + `" "` + strings.Repeat("A", 63) + `"
_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"
_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@example.org"`},
		"an authority": {Site{Hostname: "mx.example.org", Submission: 587, Authority: secured.Authority}, ours, `example.org. 3600 IN MX 10 mx.example.org.
example.org. 3600 IN TXT "v=spf1 mx -all"
mx.example.org. 3600 IN TXT "v=spf1 a -all"
_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"
_smtp._tls.example.org. 3600 IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@example.org"
mx.example.org. 3600 IN CAA 0 issue "letsencrypt.org"
_submission._tcp.example.org. 3600 IN SRV 0 1 587 mx.example.org.`},
	} {
		var lines []string
		for _, r := range c.site.Records(c.d) {
			if r.Why == "" || r.Kind == "" {
				t.Errorf("%s has no sentence or no kind", r.Line())
			}
			lines = append(lines, r.Line())
			if _, err := dns.NewRR(r.Line()); err != nil {
				t.Errorf("not a line of a zone file: %s: %v", r.Line(), err)
			}
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	for directory, want := range map[string]string{
		"": "", "https://127.0.0.1:14000/dir": "", "::": "",
		"https://ACME-v02.api.letsencrypt.org/directory": "letsencrypt.org",
	} {
		if got := Authority(directory); got != want {
			t.Errorf("%q: %q, want %q", directory, got, want)
		}
	}
}

// finding returns what is found out about the first record of a kind.
func finding(t *testing.T, zone string, d Domain, k Kind) Finding {
	t.Helper()
	for _, f := range Compare(t.Context(), resolve.NewFake(zone), site.Records(d)) {
		if f.Check == "dns."+string(k) {
			return f
		}
	}
	t.Fatalf("nothing about %s", k)
	return Finding{}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, f := range Compare(t.Context(), resolve.NewFake(rightZone), site.Records(ours)) {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
	}
	const host = "mx.example.org. IN A 192.0.2.1\n"
	for _, tt := range []struct {
		name, zone string
		kind       Kind
		level      Level
		text, fix  string
	}{
		{"no MX", "", KindMX, Failure, "The MX record of example.org is missing. Other servers", "Publish: example.org. 3600 IN MX 10 mx.example.org."},
		{"another host", "example.org. IN MX 10 other.example.org.", KindMX, Failure, "is 10 other.example.org., not 10 mx.example.org.", "Publish: "},
		{"one host of two", "example.org. IN MX 5 other.example.org.\nexample.org. IN MX 20 MX.example.org.", KindMX, OK, "names this server", ""},
		{"another address", "mx.example.org. IN A 192.0.2.9", KindAddress, Failure, "is 192.0.2.9, not 192.0.2.1", "Publish: "},
		{"no SPF among texts", `example.org. IN TXT "hello"`, KindSPF, Failure, "SPF record of example.org is missing", "Publish: "},
		{"two SPF", "example.org. IN TXT \"v=spf1 mx -all\"\nexample.org. IN TXT \"v=spf1 -all\"", KindSPF, Failure, "has 2 SPF records", "Keep only one"},
		{"SPF that says the same", host + `example.org. IN TXT "v=spf1 ip4:192.0.2.0/28 ~all"`, KindSPF, OK, "lets this server send", ""},
		{"SPF for others alone", host + `example.org. IN TXT "v=spf1 ip4:198.51.100.1 ~all"`, KindSPF, Failure, "does not let this server (192.0.2.1) send", "Add mx before"},
		{"SPF for everybody", host + `example.org. IN TXT "v=spf1 +all"`, KindSPF, Failure, "lets everybody send", "in its place"},
		{"SPF with a fault", host + `example.org. IN TXT "v=spf1 ipv4:192.0.2.1"`, KindSPF, Failure, "not valid", "in its place"},
		{"SPF of a host without address", `example.org. IN TXT "v=spf1 a -all"`, KindSPF, Warning, "nobody could say", "Publish the addresses of mx.example.org first"},
		{"no DMARC", "", KindDMARC, Warning, "DMARC record of _dmarc.example.org is missing", "p=none; rua=mailto:dmarc-reports@example.org"},
		{"DMARC that asks for more", `_dmarc.example.org. IN TXT "v=DMARC1;p=reject;rua=mailto:a@b.example,mailto:DMARC-Reports@example.org!10m"`, KindDMARC, Warning, "do not come to this server", "Add to its rua="},
		{"DMARC moved on", `_dmarc.example.org. IN TXT "v=DMARC1;p=reject;rua=mailto:a@b.example,mailto:dmarc-reports@example.org"`, KindDMARC, OK, "asks for p=reject and sends the reports here", ""},
		{"DMARC without reports", `_dmarc.example.org. IN TXT "v=DMARC1; p=none"`, KindDMARC, Warning, "reports do not come", "mailto:dmarc-reports@example.org"},
		{"DMARC with a fault", `_dmarc.example.org. IN TXT "v=DMARC1; p=maybe"`, KindDMARC, Failure, "not valid", "in its place"},
		{"TLS-RPT elsewhere", `_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:a@b.example"`, KindTLSRPT, Warning, "do not come", "mailto:tls-reports@example.org"},
		{"TLS-RPT here too", `_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:a@b.example,mailto:tls-reports@example.org"`, KindTLSRPT, OK, "here", ""},
		{"TLS-RPT with a fault", `_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua="`, KindTLSRPT, Warning, "not valid", "in its place"},
		{"another port", "_submissions._tcp.example.org. IN SRV 0 1 4650 mx.example.org.", KindSRV, Warning, "4650", "Unless you know better"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := finding(t, tt.zone, ours, tt.kind)
			if f.Level != tt.level || !strings.Contains(f.Text, tt.text) || !strings.Contains(f.Fix, tt.fix) || (f.Fix == "") != (f.Level == OK) {
				t.Errorf("%+v", f)
			}
		})
	}
	broken := resolve.NewFake(rightZone)
	broken.Fail("example.org", dns.TypeMX, resolve.ErrTemporary)
	if f := Compare(t.Context(), broken, site.Records(ours))[0]; f.Level != Warning {
		t.Errorf("no answer is no proof: %+v", f)
	}
}

// The policy of MTA-STS is told of where there is one, and its host may lead
// here in any way.
func TestPolicyRecords(t *testing.T) {
	t.Parallel()
	d := Domain{Name: "example.org", MTASTS: "v=STSv1; id=20261122"}
	const host = "mx.example.org. IN A 192.0.2.1\n"
	for _, tt := range []struct {
		zone  string
		kind  Kind
		level Level
		text  string
	}{
		{host, KindPolicy, Warning, "is missing"},
		{host + "mta-sts.example.org. IN CNAME mx.example.org.", KindPolicy, OK, "leads to this server"},
		{host + "mta-sts.example.org. IN A 192.0.2.1", KindPolicy, OK, "leads to this server"},
		{host + "mta-sts.example.org. IN A 192.0.2.2", KindPolicy, Warning, "is at 192.0.2.2, where this server is not"},
		{"mta-sts.example.org. IN A 192.0.2.2", KindPolicy, Warning, "Nobody could say"},
		{"", KindMTASTS, Warning, "MTA-STS record of _mta-sts.example.org is missing"},
		{`_mta-sts.example.org. IN TXT "v=STSv1; id=20261122"`, KindMTASTS, OK, "is right"},
		{`_mta-sts.example.org. IN TXT "v=STSv1; id=20261121"`, KindMTASTS, Warning, "the policy that they know"},
	} {
		if f := finding(t, tt.zone, d, tt.kind); f.Level != tt.level || !strings.Contains(f.Text, tt.text) {
			t.Errorf("%s: %+v", tt.zone, f)
		}
	}
}

// What is missing is published, and an old id; what is another's stays.
func TestPlan(t *testing.T) {
	t.Parallel()
	d := Domain{Name: "example.org", MTASTS: "v=STSv1; id=2"}
	zone := resolve.NewFake(`mx.example.org. IN A 192.0.2.1
example.org. IN MX 10 other.example.org.
example.org. IN TXT "v=spf1 ip4:198.51.100.1 -all"
_mta-sts.example.org. IN TXT "v=STSv1; id=1"
_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc-reports@example.org"`)
	publish, left := Plan(t.Context(), zone, site.Records(d))
	var got []string
	for _, r := range publish {
		got = append(got, r.Name)
	}
	for _, f := range left {
		got = append(got, f.Check)
	}
	want := "mx.example.org _smtp._tls.example.org mta-sts.example.org _mta-sts.example.org _submissions._tcp.example.org dns.mx dns.spf"
	if g := strings.Join(got, " "); g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

// A domain without mail must say so in all three records.
func TestCompareParked(t *testing.T) {
	t.Parallel()
	d := Domain{Name: "example.net", Parked: true}
	const zone = "example.net. IN MX 0 .\nexample.net. IN TXT \"v=spf1 -all\"\n_dmarc.example.net. IN TXT \"v=DMARC1; p=reject; sp=reject\"\n"
	for kind, change := range map[Kind]string{
		KindMX:    "example.net. IN MX 10 mx.example.org.\n",
		KindSPF:   "example.net. IN TXT \"v=spf1 mx -all\"\n",
		KindDMARC: "_dmarc.example.net. IN TXT \"v=DMARC1; p=none\"\n",
	} {
		if f := finding(t, zone, d, kind); f.Level != OK {
			t.Errorf("%+v", f)
		}
		if f := finding(t, zone+change, d, kind); f.Level == OK || f.Fix == "" {
			t.Errorf("%+v", f)
		}
		if f := finding(t, change, d, kind); f.Level == OK || f.Fix == "" {
			t.Errorf("%+v", f)
		}
	}
}

// What is written is what is read, in strings that the DNS can carry.
func TestQuote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "v=spf1 -all", `a"b\c;d`, "tab\there", "\x00\xff", strings.Repeat("x", 255), strings.Repeat(`y"`, 400)} {
		rr, err := dns.NewRR("example.org. 60 IN TXT " + Quote(s))
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		b := make([]byte, 4096)
		n, err := dns.PackRR(rr, b, 0, nil, false)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		packed, _, err := dns.UnpackRR(b[:n], 0)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		var got strings.Builder
		for data := b[n-int(packed.Header().Rdlength) : n]; len(data) > 0; data = data[1+int(data[0]):] {
			got.Write(data[1 : 1+int(data[0])])
		}
		if got.String() != s {
			t.Errorf("%q became %q", s, got.String())
		}
	}
}

// A name server reads the file as the records that are printed.
func TestWriteZone(t *testing.T) {
	t.Parallel()
	long := text(KindSPF, "k._domainkey.example.org", "v=DKIM1; p="+strings.Repeat("A", 392), "A key.")
	far := Site{Hostname: "mx.example.net", Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, Submissions: 465}
	list := append(far.Records(ours), long)
	var b strings.Builder
	if err := WriteZone(&b, "example.org", list); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	p := dns.NewZoneParser(strings.NewReader(b.String()), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		got = append(got, rr.String())
	}
	if err := p.Err(); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	for _, r := range list {
		if !strings.HasSuffix(r.Name, "example.net") {
			rr, _ := dns.NewRR(r.Line())
			want = append(want, rr.String())
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
	if !strings.Contains(b.String(), "; (this belongs to another zone) mx.example.net. 3600 IN AAAA 2001:db8::1\n") {
		t.Errorf("%s", b.String())
	}
}

// A key may be cut into other strings, but in it upper and lower case differ.
func TestCompareKeys(t *testing.T) {
	t.Parallel()
	text := "v=DKIM1; k=rsa; p=" + strings.Repeat("Ab", 150)
	want := Site{Hostname: "example.org"}.Records(Domain{Name: "example.org", Keys: []Key{{"s", text, "Signed."}}})
	for zone, level := range map[string]Level{
		text[:100] + `" "` + text[100:200] + `" "` + text[200:]:           OK,
		strings.ToLower(text)[:200] + `" "` + strings.ToLower(text)[200:]: Warning,
		"v=DKIM1; p=": Warning,
	} {
		names := resolve.NewFake("s._domainkey.example.org. TXT \"" + zone + "\"")
		for _, f := range Compare(t.Context(), names, want) {
			if f.Check == "dns.dkim" && f.Level != level {
				t.Errorf("%s: %+v", zone, f)
			}
		}
	}
}

package verdict

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/dkim"
	"gatepost/internal/dmarc"
	"gatepost/internal/resolve"
)

const reporting = `
a.example. TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.a.example. TXT "v=DMARC1; p=reject; sp=quarantine; adkim=s; fo=1; rua=mailto:d@a.example"
q.example. TXT "v=spf1 -all"
_dmarc.q.example. TXT "v=DMARC1; p=quarantine; rua=mailto:d@q.example"
_dmarc.n.example. TXT "v=DMARC1; p=none; rua=mailto:d@n.example"
_dmarc.t.example. TXT "v=DMARC1; p=quarantine; t=y; rua=mailto:d@t.example"
_dmarc.silent.example. TXT "v=DMARC1; p=reject"
_dmarc.ours.example. TXT "v=DMARC1; p=none; rua=mailto:d@ours.example"
`

// What a report tells of a message: what was done, and why if that is not
// what the policy asks for.
func TestRow(t *testing.T) {
	t.Parallel()
	f := resolve.NewFake(reporting)
	k := key(f, "a.example")
	for _, c := range []struct {
		name, ip, from, header string
		domain                 string // where the policy is; none if empty
		disposition, override  string
		dkim, spf              bool
	}{
		{"its server", "192.0.2.1", "x@a.example", "From: x@a.example\r\n", "a.example", "pass", "", false, true},
		{"signed", "192.0.2.3", "", sign(t, k, "From: x@a.example\r\n"), "a.example", "pass", "", true, false},
		{"forged", "192.0.2.3", "x@q.example", "From: x@a.example\r\n", "a.example", "reject", "", false, false},
		{"below", "192.0.2.3", "x@q.example", "From: x@b.a.example\r\n", "a.example", "quarantine", "", false, false},
		{"a list", "192.0.2.3", "l@q.example", "From: x@a.example\r\nList-Id: <l>\r\n", "a.example", "quarantine", "mailing_list", false, false},
		{"broken", "192.0.2.3", "l@q.example", sign(t, k, "From: x@a.example\r\nSubject: s\r\n") + "Subject: t\r\n", "a.example", "quarantine", "local_policy", false, false},
		{"wary", "192.0.2.3", "x@a.example", "From: x@q.example\r\n", "q.example", "quarantine", "", false, false},
		{"calm", "192.0.2.3", "x@a.example", "From: x@n.example\r\n", "n.example", "none", "", false, false},
		{"shows another", "192.0.2.3", "x@a.example", "From: \"x@q.example\" <x@n.example>\r\n", "n.example", "quarantine", "local_policy", false, false},
		{"a test", "192.0.2.3", "x@a.example", "From: x@t.example\r\n", "t.example", "none", "policy_test_mode", false, false},
		{"as ours", "192.0.2.3", "x@a.example", "From: x@ours.example\r\n", "ours.example", "reject", "local_policy", false, false},
		{"a report", "192.0.2.1", "x@a.example", "From: x@a.example\r\nSubject: Report Domain: b.example\r\n Submitter: a.example\r\n", "", "", "", false, false},
		{"a forged report", "192.0.2.3", "x@q.example", "From: x@a.example\r\nSubject: Report Domain: b.example\r\n", "a.example", "reject", "", false, false},
		{"no reports", "192.0.2.3", "x@a.example", "From: x@silent.example\r\n", "", "", "", false, false},
		{"no policy", "192.0.2.3", "x@a.example", "From: x@none.example\r\n", "", "", "", false, false},
		{"nobody", "192.0.2.3", "x@a.example", "From: nobody\r\n", "", "", "", false, false},
	} {
		v := finish(t, checker(f), c.ip, c.from, c.header)
		p, row, ok := v.Row(netip.MustParseAddr("::ffff:"+c.ip), "from.example")
		if ok != (c.domain != "") || p.Domain != c.domain {
			t.Errorf("%s: %+v, %v", c.name, p, ok)
			continue
		}
		if !ok {
			continue
		}
		override := ""
		for _, o := range row.Overrides {
			override += o.Type
		}
		if row.Disposition != c.disposition || override != c.override || row.DKIM != c.dkim || row.SPF != c.spf ||
			row.IP.String() != c.ip || row.Count != 1 || row.EnvelopeFrom != "from.example" || row.EnvelopeTo != "" {
			t.Errorf("%s: %+v", c.name, row)
		}
	}
}

// The policy is told as it was found, what others chose to write is bounded,
// and what proves most comes first.
func TestRowDetails(t *testing.T) {
	t.Parallel()
	f := resolve.NewFake(reporting)
	k := key(f, "a.example")
	v := finish(t, checker(f), "192.0.2.3", "x@q.example", sign(t, k, "From: x@a.example\r\n"))
	p, row, _ := v.Row(netip.MustParseAddr("192.0.2.3"), "")
	want := aggregate.Published{Domain: "a.example", Policy: "reject", Subdomains: "quarantine", NonExistent: "quarantine",
		DKIM: "s", SPF: "r", FailureCases: "1", Discovery: "treewalk"}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]aggregate.Signature{{Domain: "a.example", Selector: "s", Result: "pass"}}, row.Signatures); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]aggregate.Sender{{Domain: "q.example", Scope: "mfrom", Result: "fail"}}, row.Senders); d != "" {
		t.Error(d)
	}
	good := v.Facts.DKIM[0]
	v.Facts.DKIM = nil
	for i := range 20 {
		v.Facts.DKIM = append(v.Facts.DKIM, dkim.Result{Status: dkim.Fail, Domain: addr.Domain(fmt.Sprintf("d%d.example", i)), Selector: "s"})
	}
	v.Facts.DKIM = append(v.Facts.DKIM, dkim.Result{Status: dkim.Fail}, good)
	if _, row, _ := v.Row(netip.MustParseAddr("192.0.2.3"), ""); len(row.Signatures) != maxSignatures || row.Signatures[0].Result != "pass" {
		t.Errorf("%+v", row.Signatures)
	}
	if _, _, ok := v.Row(netip.Addr{}, ""); ok {
		t.Error("a row of no address")
	}
	v.Action = Defer
	if _, _, ok := v.Row(netip.MustParseAddr("192.0.2.3"), ""); ok {
		t.Error("a row of a message that will come again")
	}
}

// What a trusted forwarder vouches for, and what an operator chose, is told
// as such.
func TestRowOverrides(t *testing.T) {
	t.Parallel()
	rec, err := dmarc.ParseRecord("v=DMARC1; p=reject; rua=mailto:d@a.example")
	if err != nil {
		t.Fatal(err)
	}
	accept := Accept
	facts := Facts{Author: dmarc.Author{Domain: "a.example"}, DMARC: dmarc.Result{
		Status: dmarc.Fail, From: "a.example", Domain: "a.example", Record: rec, Published: dmarc.Reject, Policy: dmarc.Reject,
	}}
	for want, set := range map[string]func(*Facts){
		"none trusted_forwarder": func(f *Facts) { f.Forwarder = "f.example" },
		"none local_policy":      func(f *Facts) { f.Choice = &accept },
		"reject":                 func(*Facts) {},
	} {
		f := facts
		set(&f)
		_, row, ok := Judge(f).Row(netip.MustParseAddr("192.0.2.3"), "")
		got := row.Disposition
		for _, o := range row.Overrides {
			got += " " + o.Type
		}
		if !ok || got != want || strings.Contains(fmt.Sprint(row), "f.example") {
			t.Errorf("%s: %+v", want, row)
		}
	}
}

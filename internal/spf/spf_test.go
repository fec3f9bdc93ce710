package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

var client = netip.MustParseAddr("192.0.2.1")

func TestWhoIsAsked(t *testing.T) {
	t.Parallel()
	z := resolve.NewFake(`a.example TXT "v=spf1 ip4:192.0.2.1 -all"
mta.example TXT "v=spf1 exists:%{l}.%{h}._s.mta.example -all"
postmaster.mta.example._s.mta.example A 127.0.0.2`)
	for _, tt := range []struct {
		q              Query
		status         Status
		sender, domain string
		auth           string
	}{
		{ForMailFrom(client, "mta.example", addr.MustParse("Joe@A.example")), Pass, "Joe@a.example", "a.example", "mailfrom=Joe@a.example"},
		{ForMailFrom(client, "MTA.example.", addr.Address{}), Fail, "postmaster@mta.example", "mta.example", "mailfrom=postmaster@mta.example"},
		{ForMailFrom(client, "mta.example", addr.Address{}), Pass, "postmaster@mta.example", "mta.example", "mailfrom=postmaster@mta.example"},
		{ForHelo(client, "a.example"), Pass, "postmaster@a.example", "a.example", "helo=a.example"},
		{ForHelo(client, "[192.0.2.1]"), None, "postmaster@[192.0.2.1]", "[192.0.2.1]", "helo=[192.0.2.1]"},
		{ForHelo(netip.MustParseAddr("::ffff:192.0.2.1"), "a.example"), Pass, "postmaster@a.example", "a.example", "helo=a.example"},
		{ForHelo(client, "localhost"), None, "postmaster@localhost", "localhost", "helo=localhost"},
		{ForHelo(client, "a.ex\rample"), None, "postmaster@a.ex\rample", "a.ex\rample", "helo=a.ex\rample"},
		{ForHelo(client, ""), None, "postmaster@", "", "helo="},
	} {
		r := Check(t.Context(), z, tt.q)
		if r.Status != tt.status || r.Sender != tt.sender || r.Domain != tt.domain {
			t.Errorf("%+v: %+v", tt.q, r)
		}
		a := r.Auth()
		if got := a.Props[0].Name + "=" + a.Props[0].Value; got != tt.auth || a.Props[0].Type != "smtp" || a.Method != "spf" || a.Value != tt.status.String() {
			t.Errorf("%+v: %+v", tt.q, a)
		}
	}
}

func TestMechanismAndReason(t *testing.T) {
	t.Parallel()
	z := resolve.NewFake(`a.example TXT "v=spf1 include:b.example ~IP4:198.51.100.0/24 ?ip6:2001:db8::/32 -all exp=why.a.example"
b.example TXT "v=spf1 ip4:192.0.2.0/24 -all exp=never.example"
why.a.example TXT "%{i} is not %{d}'s, says %{r} at %{t}"
c.example TXT "v=spf1 redirect=a.example"
d.example TXT "v=spf1 a:none.example"
e.example TXT "v=spf1 ip4:192.0.2.300 -all"
f.example TXT "v=spf1 redirect=none.example"`)
	z.Fail("t.example", dns.TypeTXT, resolve.ErrTemporary)
	for _, tt := range []struct{ ip, domain, status, mechanism, reason, explanation string }{
		{"192.0.2.1", "a.example", "pass", "include:b.example", "192.0.2.1 may send for a.example (include:b.example)", ""},
		{"198.51.100.1", "a.example", "softfail", "~IP4:198.51.100.0/24", "198.51.100.1 should not send for a.example (~IP4:198.51.100.0/24)", ""},
		{"2001:db8::1", "a.example", "neutral", "?ip6:2001:db8::/32", "a.example does not say whether 2001:db8::1 may send for it (?ip6:2001:db8::/32)", ""},
		{"203.0.113.1", "a.example", "fail", "-all", "203.0.113.1 may not send for a.example (-all)", "203.0.113.1 is not a.example's, says mx.example.org at 1000000000"},
		{"203.0.113.1", "c.example", "fail", "-all", "203.0.113.1 may not send for c.example (-all)", "203.0.113.1 is not a.example's, says mx.example.org at 1000000000"},
		{"192.0.2.1", "d.example", "neutral", "default", "d.example does not say whether 192.0.2.1 may send for it (default)", ""},
		{"192.0.2.1", "e.example", "permerror", "", `SPF of e.example is broken: malformed argument in "ip4:192.0.2.300" (e.example)`, ""},
		{"192.0.2.1", "f.example", "permerror", "", `SPF of f.example is broken: redirect=none.example leads to no record`, ""},
		{"192.0.2.1", "none.example", "none", "", "none.example publishes no SPF record", ""},
		{"192.0.2.1", "t.example", "temperror", "", "SPF of t.example could not be looked up: t.example TXT: no answer from the DNS", ""},
	} {
		q := ForMailFrom(netip.MustParseAddr(tt.ip), "mta.example", addr.MustParse("joe@"+tt.domain))
		q.Receiver, q.Now = "mx.example.org", time.Unix(1e9, 0)
		r := Check(t.Context(), z, q)
		if r.Status.String() != tt.status || r.Mechanism != tt.mechanism || r.Reason != tt.reason || r.Explanation != tt.explanation {
			t.Errorf("%s: %+v", tt.domain, r)
		}
		if (r.Status == TempError) != errors.Is(r.Err, resolve.ErrTemporary) {
			t.Errorf("%s: %v", tt.domain, r.Err)
		}
	}
}

// What the owner of a domain says ends up in a reply and a log.
func TestExplanationIsHarmless(t *testing.T) {
	t.Parallel()
	for i, txt := range []string{`"two" "parts are one"`, `"a\013\010b"`, `"\255"`, `"%{x}"`, `"%{l}"`, `"` + strings.Repeat("x", 200) + `" "` + strings.Repeat("x", 200) + `" "` + strings.Repeat("x", 200) + `"`} {
		z := resolve.NewFake("a.example TXT \"v=spf1 -all exp=why.a.example\"\nwhy.a.example TXT " + txt)
		q := ForMailFrom(client, "mta.example", addr.MustParse("j\u00f6rg@a.example"))
		r := Check(t.Context(), z, q)
		want := ""
		if i == 0 {
			want = "twoparts are one"
		}
		if r.Status != Fail || r.Explanation != want {
			t.Errorf("%s: %+v", txt, r)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	chain := ""
	for i := range 12 {
		chain += fmt.Sprintf("r%d.example TXT \"v=spf1 redirect=r%d.example\"\n", i, i+1)
	}
	chain += "r12.example TXT \"v=spf1 +all\"\n"
	many := "many.example TXT \"v=spf1 mx -all\"\nten.example TXT \"v=spf1 mx -all\"\n"
	for i := range 11 {
		many += fmt.Sprintf("many.example MX 1 m%d.example\nm%d.example A 192.0.2.%d\n", i, i, i+100)
		if i < 10 {
			many += fmt.Sprintf("ten.example MX 1 m%d.example\n", i)
		}
	}
	z := resolve.NewFake(chain + many + `self.example TXT "v=spf1 include:self.example -all"
two.example TXT "v=spf1 a:n1.example a:n2.example +all"
three.example TXT "v=spf1 a:n1.example a:n2.example exists:n3.example +all"
stale.example TXT "v=spf1 mx +all"
stale.example MX 1 n1.example
stale.example MX 2 n2.example
stale.example MX 3 n3.example
`)
	for domain, want := range map[string]Status{
		"r2.example":    Pass, // 10 look-ups
		"r1.example":    PermError,
		"self.example":  PermError,
		"ten.example":   Fail,
		"many.example":  PermError,
		"two.example":   Pass,
		"three.example": PermError,
		"stale.example": Pass, // one term that finds nothing, however many questions
	} {
		before := z.Queries.Load()
		r := Check(t.Context(), z, ForHelo(client, domain))
		if r.Status != want {
			t.Errorf("%s: %+v", domain, r)
		}
		if r.Status == PermError && !errors.Is(r.Err, errLimit) {
			t.Errorf("%s: %v", domain, r.Err)
		}
		if n := z.Queries.Load() - before; n > 12 {
			t.Errorf("%s: %d questions", domain, n)
		}
	}
	if r := Check(t.Context(), resolve.NewFake("ptr.example TXT \"v=spf1 ptr -all\"\n"+pointers(12)), ForHelo(client, "ptr.example")); r.Status != Fail {
		t.Errorf("the eleventh name was looked at: %+v", r)
	}
}

// pointers gives the client names, of which only those after the tenth lead
// back to it.
func pointers(n int) string {
	s := ""
	for i := range n {
		ip := "198.51.100.1"
		if i >= maxPTR {
			ip = client.String()
		}
		s += fmt.Sprintf("1.2.0.192.in-addr.arpa PTR p%d.ptr.example\np%d.ptr.example A %s\n", i, i, ip)
	}
	return s
}

func TestBrokenOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := Check(ctx, stubborn{}, ForHelo(client, "a.example")); r.Status != TempError || !errors.Is(r.Err, context.Canceled) {
		t.Errorf("%+v", r)
	}
}

// stubborn answers only when it is told to give up.
type stubborn struct{}

func (stubborn) Lookup(ctx context.Context, name string, qtype uint16) (resolve.Answer, error) {
	<-ctx.Done()
	return resolve.Answer{}, &resolve.Error{Name: name, Type: qtype, Kind: resolve.ErrTemporary, Cause: context.Cause(ctx)}
}

func TestMacros(t *testing.T) {
	t.Parallel()
	c := newCheck(t.Context(), resolve.NewFake(""), ForMailFrom(netip.MustParseAddr("192.0.2.3"), "mta.example", addr.MustParse("strong-bad@email.example.com")))
	six := newCheck(t.Context(), resolve.NewFake(""), ForMailFrom(netip.MustParseAddr("2001:db8::cb01"), "mta.example", addr.MustParse("strong-bad@email.example.com")))
	for spec, want := range map[string]string{ // the examples of RFC 7208, section 7.4
		"%{s}":                              "strong-bad@email.example.com",
		"%{o}":                              "email.example.com",
		"%{d}":                              "email.example.com",
		"%{d4}":                             "email.example.com",
		"%{d3}":                             "email.example.com",
		"%{d2}":                             "example.com",
		"%{d1}":                             "com",
		"%{dr}":                             "com.example.email",
		"%{d2r}":                            "example.email",
		"%{l}":                              "strong-bad",
		"%{l-}":                             "strong.bad",
		"%{lr}":                             "strong-bad",
		"%{lr-}":                            "bad.strong",
		"%{l1r-}":                           "strong",
		"%{ir}.%{v}._spf.%{d2}":             "3.2.0.192.in-addr._spf.example.com",
		"%{lr-}.lp._spf.%{d2}":              "bad.strong.lp._spf.example.com",
		"%{lr-}.lp.%{ir}.%{v}._spf.%{d2}":   "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
		"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}":  "3.2.0.192.in-addr.strong.lp._spf.example.com",
		"%{d2}.trusted-domains.example.net": "example.com.trusted-domains.example.net",
		"%{S}":                              "strong-bad%40email.example.com",
		strings.Repeat("%{d}.", 20) + "x.example": "com." + strings.Repeat("email.example.com.", 13) + "x.example",
	} {
		if err := checkMacros(spec); err != nil {
			t.Errorf("%s: %v", spec, err)
		}
		if got := c.expand(spec, "email.example.com"); got != want {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
	if got, want := six.expand("%{ir}.%{v}._spf.%{d2}", "email.example.com"), "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"; got != want {
		t.Errorf("%q", got)
	}
	for _, spec := range []string{"%", "%{", "%{}", "%{x}", "%{d0}", "%{d2", "%{dx}", "%(d)", "a b", "a\x80", "%{c}", "%{t}", "%{r}", "%{d1rr}"} {
		if checkMacros(spec) == nil {
			t.Errorf("%q passes", spec)
		}
	}
}

// FuzzRecord holds that no record makes a check ask for more than it may,
// panic, or say something that would break a line.
func FuzzRecord(f *testing.F) {
	for _, s := range loadSuite(f) {
		for _, list := range s.ZoneData {
			for _, r := range list {
				if m, ok := r.(map[string]any); ok {
					for _, v := range m {
						if txt, ok := v.(string); ok && isRecord(txt) {
							f.Add(txt)
						}
					}
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, txt string) {
		z := &everywhere{txt: txt}
		q := ForMailFrom(client, "mta.example", addr.MustParse("a.b-c@d.example"))
		r := Check(t.Context(), z, q)
		// The terms, ten hosts of each mx, ten names of the client, exp.
		if most := 1 + maxLookups*(maxMX+2) + maxPTR + 2; z.asked > most {
			t.Errorf("%d questions", z.asked)
		}
		if strings.ContainsAny(r.Reason+r.Explanation, "\r\n\x00") {
			t.Errorf("%q %q", r.Reason, r.Explanation)
		}
		if r.Status == Pass && r.Mechanism == "" {
			t.Errorf("%+v", r)
		}
	})
}

// everywhere is a DNS in which every name has the same record and a mail
// host.
type everywhere struct {
	txt   string
	asked int
}

func (e *everywhere) Lookup(_ context.Context, name string, qtype uint16) (resolve.Answer, error) {
	e.asked++
	h := dns.RR_Header{Rrtype: qtype}
	switch qtype {
	case dns.TypeTXT:
		return resolve.Answer{RRs: []dns.RR{&dns.TXT{Hdr: h, Txt: []string{strings.ReplaceAll(e.txt, `\`, `\\`)}}}}, nil
	case dns.TypeMX:
		return resolve.Answer{RRs: []dns.RR{&dns.MX{Hdr: h, Mx: "mx.example."}}}, nil
	case dns.TypePTR:
		return resolve.Answer{RRs: []dns.RR{&dns.PTR{Hdr: h, Ptr: "p.example."}}}, nil
	}
	return resolve.Answer{}, &resolve.Error{Name: name, Type: qtype, Kind: resolve.ErrNotFound}
}

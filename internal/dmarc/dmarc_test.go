package dmarc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/dkim"
	"gatepost/internal/resolve"
	"gatepost/internal/spf"
)

// asked is a resolver that remembers what it was asked.
type asked struct {
	*resolve.Fake
	mu    sync.Mutex
	names []string
}

func (a *asked) Lookup(ctx context.Context, name string, qtype uint16) (resolve.Answer, error) {
	a.mu.Lock()
	a.names = append(a.names, name)
	a.mu.Unlock()
	return a.Fake.Lookup(ctx, name, qtype)
}

// zone publishes records: "domain: record" a line.
func zone(lines ...string) *resolve.Fake {
	f := resolve.NewFake("")
	for _, l := range lines {
		d, txt, _ := strings.Cut(l, ": ")
		f.Add("_dmarc." + d + ` TXT "` + strings.ReplaceAll(txt, ";", `\;`) + `"`)
	}
	return f
}

func passSPF(d string) spf.Result { return spf.Result{Status: spf.Pass, Domain: d} }

func signedBy(domains ...string) []dkim.Result {
	var list []dkim.Result
	for _, d := range domains {
		list = append(list, dkim.Result{Status: dkim.Pass, Domain: addr.Domain(d), Signature: &dkim.Signature{Length: -1}})
	}
	return list
}

// The walk of RFC 9989, section 4.10, and those of section 5.1.8 and
// appendix B.4.2.
func TestWalkAsks(t *testing.T) {
	t.Parallel()
	for from, want := range map[addr.Domain][]string{
		"a.b.c.d.e.f.g.h.i.j.mail.example.com": {
			"a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com", "i.j.mail.example.com",
			"j.mail.example.com", "mail.example.com", "example.com", "com"},
		"mail.a.b.c.d.e.f.g.example.com": {
			"mail.a.b.c.d.e.f.g.example.com", "c.d.e.f.g.example.com", "d.e.f.g.example.com", "e.f.g.example.com",
			"f.g.example.com", "g.example.com", "example.com", "com"},
		"a.b.c.d.e.f.g.com": {
			"a.b.c.d.e.f.g.com", "b.c.d.e.f.g.com", "c.d.e.f.g.com", "d.e.f.g.com", "e.f.g.com", "f.g.com", "g.com", "com"},
		"a.mail.example.com": {"a.mail.example.com", "mail.example.com", "example.com", "com"},
		"com":                {"com"},
	} {
		r := &asked{Fake: zone()}
		res := Check(t.Context(), r, from, spf.Result{}, nil)
		for i := range want {
			want[i] = "_dmarc." + want[i]
		}
		if diff := cmp.Diff(want, r.names); diff != "" || res.Status != None {
			t.Errorf("%s: %+v\n%s", from, res, diff)
		}
	}
}

// The examples of RFC 9989, section 4.10.2 and appendix B.4.
func TestOrganization(t *testing.T) {
	t.Parallel()
	bank := []string{"bank.example: v=DMARC1; p=reject; psd=y", "giant.bank.example: v=DMARC1; p=reject"}
	signing := []string{"example.com: v=DMARC1; p=none", "signing.example.com: v=DMARC1; p=none"}
	for _, tt := range []struct {
		zone []string
		d    addr.Domain
		want addr.Domain
	}{
		{[]string{"mail.example.com: v=DMARC1; p=none", "example.com: v=DMARC1; p=none"}, "a.mail.example.com", "example.com"},
		{[]string{"mail.example.com: v=DMARC1; p=none; psd=n", "example.com: v=DMARC1; p=none"}, "a.mail.example.com", "mail.example.com"},
		{[]string{"com: v=DMARC1; p=none; psd=y"}, "a.mail.example.com", "example.com"},
		{[]string{"example.com: v=DMARC1; p=none; psd=y"}, "mail.example.com", "mail.example.com"},
		{signing, "example.com", "example.com"},
		{signing, "signing.example.com", "example.com"},
		{signing, "a.b.c.d.e.f.g.h.i.j.k.example.com", "example.com"},
		{bank, "giant.bank.example", "giant.bank.example"},
		{bank, "mail.giant.bank.example", "giant.bank.example"},
		{bank, "mail.mega.bank.example", "mega.bank.example"},
		{bank, "bank.example", "bank.example"}, // its own record does not put it below itself
		{nil, "a.mail.example.com", "a.mail.example.com"},
		{[]string{"example.com: v=DMARC1"}, "a.example.com", "example.com"},                                 // valid without p=: section 4.7
		{[]string{"example.com: v=DMARC2; p=none"}, "a.example.com", "a.example.com"},                       // no record
		{[]string{"example.com: v=DMARC1", "example.com: v=DMARC1; t=y"}, "a.example.com", "a.example.com"}, // two are none
		{[]string{"example.com: v=DMARC1", "example.com: v=spf1 -all"}, "a.example.com", "example.com"},
	} {
		w := walker{ctx: t.Context(), r: zone(tt.zone...), found: map[addr.Domain]found{}}
		if got, err := w.organization(tt.d); err != nil || got != tt.want {
			t.Errorf("%s in %v: %s, %v; want %s", tt.d, tt.zone, got, err, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	example := []string{"example.com: v=DMARC1; p=reject; sp=quarantine; np=none", "strict.example.com: v=DMARC1; p=quarantine; adkim=s; aspf=s"}
	exists := "a.example.com A 192.0.2.1\nb.sub.example.com A 192.0.2.1\n"
	bank := []string{"bank.example: v=DMARC1; p=reject; sp=quarantine; psd=y", "giant.bank.example: v=DMARC1; p=none"}
	none := spf.Result{}
	for _, tt := range []struct {
		name   string
		zone   []string
		from   addr.Domain
		spf    spf.Result
		dkim   []dkim.Result
		status Status
		domain addr.Domain
		policy Policy
		by     string
	}{
		{"B.4.1", append(example, "signing.example.com: v=DMARC1"), "example.com", passSPF("example.com"), signedBy("signing.example.com"), Pass, "example.com", Reject, "spf dkim"},
		{"B.4.2", example, "a.b.c.d.e.f.g.h.i.j.k.example.com", passSPF("example.com"), signedBy("signing.example.com"), Pass, "example.com", PolicyNone, "spf dkim"},
		{"B.4.3", bank, "giant.bank.example", passSPF("mail.giant.bank.example"), signedBy("mail.mega.bank.example"), Pass, "giant.bank.example", PolicyNone, "spf"},
		{"another's signature", bank, "giant.bank.example", none, signedBy("mail.mega.bank.example"), Fail, "giant.bank.example", PolicyNone, ""},
		{"sp= of a public suffix", bank, "x.mega.bank.example", none, nil, Fail, "bank.example", Quarantine, ""},
		{"p=", example, "example.com", none, nil, Fail, "example.com", Reject, ""},
		{"sp=", example, "a.example.com", none, nil, Fail, "example.com", Quarantine, ""},
		{"sp= of a name with others below it", example, "sub.example.com", none, nil, Fail, "example.com", Quarantine, ""},
		{"np=", example, "nobody.example.com", none, nil, Fail, "example.com", PolicyNone, ""},
		{"p= of a subdomain", example, "strict.example.com", none, nil, Fail, "strict.example.com", Quarantine, ""},
		{"strict, the same", example, "strict.example.com", passSPF("strict.example.com"), signedBy("strict.example.com"), Pass, "strict.example.com", Quarantine, "spf dkim"},
		{"strict, another", example, "strict.example.com", passSPF("example.com"), signedBy("example.com", "x.strict.example.com"), Fail, "strict.example.com", Quarantine, ""},
		{"case of the domain", example, "example.com", passSPF("Example.COM"), nil, Pass, "example.com", Reject, "spf"},
		{"a sibling", example, "a.example.com", passSPF("b.sub.example.com"), nil, Pass, "example.com", Quarantine, "spf"},
		{"a name that ends alike", example, "example.com", passSPF("notexample.com"), signedBy("myexample.com"), Fail, "example.com", Reject, ""},
		{"a top level's signature", example, "example.com", none, signedBy("com"), Fail, "example.com", Reject, ""},
		{"the second signature", example, "example.com", none, signedBy("other.example", "example.com"), Pass, "example.com", Reject, "dkim"},
		{"HELO", example, "example.com", spf.Result{Status: spf.Pass, Identity: spf.Helo, Domain: "example.com"}, nil, Fail, "example.com", Reject, ""},
		{"SPF softfail", example, "example.com", spf.Result{Status: spf.SoftFail, Domain: "example.com"}, nil, Fail, "example.com", Reject, ""},
		{"no record", example, "example.net", passSPF("example.net"), signedBy("example.net"), None, "", PolicyNone, ""},
		{"no valid policy", []string{"x.example: v=DMARC1; p=never"}, "x.example", none, nil, None, "x.example", PolicyNone, ""},
		{"no valid policy, but reports", []string{"x.example: v=DMARC1; p=never; rua=mailto:a@x.example"}, "x.example", none, nil, Fail, "x.example", PolicyNone, ""},
		{"t=y, reject", []string{"x.example: v=DMARC1; p=reject; t=y"}, "x.example", none, nil, Fail, "x.example", Quarantine, ""},
		{"t=y, quarantine", []string{"x.example: v=DMARC1; p=quarantine; t=y"}, "x.example", none, nil, Fail, "x.example", PolicyNone, ""},
		{"t=y, none", []string{"x.example: v=DMARC1; p=none; t=y"}, "x.example", none, nil, Fail, "x.example", PolicyNone, ""},
	} {
		z := zone(tt.zone...)
		z.Add(exists)
		r := Check(t.Context(), z, tt.from, tt.spf, tt.dkim)
		if r.Status != tt.status || r.Domain != tt.domain || r.Policy != tt.policy || r.Reason == "" || r.Err != nil {
			t.Errorf("%s: %+v", tt.name, r)
		}
		by := strings.TrimSpace(map[bool]string{true: "spf "}[r.SPF] + map[bool]string{true: "dkim"}[r.DKIM])
		if by != tt.by {
			t.Errorf("%s: by %q, want %q", tt.name, by, tt.by)
		}
	}
}

// Signatures that passed and yet vouch for nothing.
func TestWeakSignatures(t *testing.T) {
	t.Parallel()
	z := zone("example.com: v=DMARC1; p=reject")
	for name, weaken := range map[string]func(*dkim.Result){
		"failed":  func(r *dkim.Result) { r.Status = dkim.Fail },
		"l=":      func(r *dkim.Result) { r.Signature.Length = 1 << 40 },
		"t=y":     func(r *dkim.Result) { r.Testing = true },
		"doubled": func(r *dkim.Result) { r.Doubled = "Subject" },
	} {
		list := signedBy("example.com")
		weaken(&list[0])
		r := Check(t.Context(), z, "example.com", spf.Result{}, list)
		if r.Status != Fail || r.DKIM || !r.Signed || r.Policy != Reject {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := Check(t.Context(), z, "example.com", spf.Result{}, signedBy("other.example")); r.Signed {
		t.Errorf("%+v", r)
	}
}

func TestTemporaryErrors(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for _, tt := range []struct {
		name   string
		fail   string
		qtype  uint16
		from   addr.Domain
		spf    spf.Result
		dkim   []dkim.Result
		status Status
	}{
		{"the record", "_dmarc.example.com", dns.TypeTXT, "example.com", passSPF("example.com"), nil, TempError},
		{"on the way up", "_dmarc.com", dns.TypeTXT, "a.example.com", passSPF("a.example.com"), nil, TempError},
		{"whether the name exists", "a.example.com", dns.TypeA, "a.example.com", spf.Result{}, nil, TempError},
		{"whether it exists, but it passes", "a.example.com", dns.TypeA, "a.example.com", passSPF("a.example.com"), nil, Pass},
		{"the organization of what passed", "_dmarc.x.example.com", dns.TypeTXT, "example.com", spf.Result{}, signedBy("x.example.com"), TempError},
		{"of one of two", "_dmarc.x.example.com", dns.TypeTXT, "example.com", passSPF("example.com"), signedBy("x.example.com"), Pass},
		// Whoever writes as another must not keep that from being found out
		// with a domain of their own that does not answer.
		{"of a stranger", "_dmarc.evil.com", dns.TypeTXT, "example.com", passSPF("evil.com"), signedBy("evil.com"), Fail},
		{"of a broken signature", "_dmarc.x.example.com", dns.TypeTXT, "example.com", spf.Result{}, []dkim.Result{{Status: dkim.Fail, Domain: "x.example.com"}}, Fail},
		{"SPF itself", "", 0, "example.com", spf.Result{Status: spf.TempError, Domain: "a.example.com", Err: lost}, nil, TempError},
		{"SPF of a stranger", "", 0, "example.com", spf.Result{Status: spf.TempError, Domain: "evil.com", Err: lost}, nil, Fail},
		{"the key", "", 0, "example.com", spf.Result{}, []dkim.Result{{Status: dkim.TempError, Domain: "example.com", Err: lost}}, TempError},
		{"the key of a stranger", "", 0, "example.com", spf.Result{}, []dkim.Result{{Status: dkim.TempError, Domain: "evil.com", Err: lost}}, Fail},
		{"the key, but SPF passes", "", 0, "example.com", passSPF("example.com"), []dkim.Result{{Status: dkim.TempError, Domain: "example.com", Err: lost}}, Pass},
	} {
		z := zone("example.com: v=DMARC1; p=reject; np=none")
		if tt.fail != "" {
			z.Fail(tt.fail, tt.qtype, resolve.ErrTemporary)
		}
		r := Check(t.Context(), z, tt.from, tt.spf, tt.dkim)
		if r.Status != tt.status {
			t.Errorf("%s: %+v", tt.name, r)
		}
		if (r.Status == TempError) != (errors.Is(r.Err, resolve.ErrTemporary) || errors.Is(r.Err, lost)) {
			t.Errorf("%s: %v", tt.name, r.Err)
		}
	}
}

// However many names a message brings, the questions stay few.
func TestQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	z := zone("example.com: v=DMARC1; p=reject; np=none")
	var many []string
	for i := range dkim.MaxSignatures {
		many = append(many, strings.Repeat(string(rune('a'+i))+".", 20)+"example.com")
	}
	before := z.Queries.Load()
	Check(t.Context(), z, addr.Domain(strings.Repeat("z.", 20)+"example.com"), passSPF(strings.Repeat("y.", 20)+"example.com"), signedBy(many...))
	if n := z.Queries.Load() - before; n > (dkim.MaxSignatures+2)*maxWalk+1 {
		t.Errorf("%d questions", n)
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	z := zone("example.com: v=DMARC1; p=reject; t=y")
	a := Check(t.Context(), z, "example.com", spf.Result{}, nil).Auth()
	if a.Method != "dmarc" || a.Value != "fail" || a.Get("header", "from") != "example.com" || a.Get("policy", "dmarc") != "quarantine" ||
		a.Reason != "nothing shows that it is by example.com, which asks to quarantine such mail" {
		t.Errorf("%+v", a)
	}
	a = Check(t.Context(), z, "example.com", passSPF("example.com"), nil).Auth()
	if a.Value != "pass" || a.Reason != "" {
		t.Errorf("%+v", a)
	}
	a = Check(t.Context(), z, "example.net", spf.Result{}, nil).Auth()
	if a.Value != "none" || a.Get("policy", "dmarc") != "" {
		t.Errorf("%+v", a)
	}
}

func TestParseRecord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want Record
	}{
		{"v=DMARC1; p=reject", Record{Policy: Reject, Subdomains: Reject, NonExistent: Reject}},
		{"V = DMARC1 ;p=Quarantine;;", Record{Policy: Quarantine, Subdomains: Quarantine, NonExistent: Quarantine}},
		{"v=DMARC1; sp=reject; p=none; np=quarantine", Record{Subdomains: Reject, NonExistent: Quarantine}},
		{"v=DMARC1; p=none; sp=reject", Record{Subdomains: Reject, NonExistent: Reject}},
		{"v=DMARC1;p=none;adkim=s;aspf=S;t=y;psd=n;pct=0;rf=afrf;ri=1;moo=1", Record{DKIM: Strict, SPF: Strict, Testing: true, PSD: NoSuffix}},
		{"v=DMARC1;p=none;adkim=x;aspf=;t=x;psd=u;fo=0:1:d:s", Record{FailureCases: "0:1:d:s"}},
		{"v=DMARC1;p=none;psd=y", Record{PSD: PublicSuffix}},
		{"v=DMARC1", Record{Invalid: true}},
		{"v=DMARC1; p=never", Record{Invalid: true}},
		{"v=DMARC1; p=reject; sp=never", Record{Invalid: true}},
		{"v=DMARC1; p=reject; p=none", Record{Policy: Reject, Subdomains: Reject, NonExistent: Reject}},
		{"v=DMARC1; p=reject\x01", Record{Invalid: true}},
		{"v=DMARC1; p=none; rua=mailto:a@x.example!10m , https://x.example/r,moo, mailto:b@x.example; ruf=mailto:c@x.example",
			Record{Aggregate: []string{"mailto:a@x.example!10m", "https://x.example/r", "mailto:b@x.example"}, Failure: []string{"mailto:c@x.example"}}},
	} {
		if tt.want.FailureCases == "" {
			tt.want.FailureCases = "0"
		}
		got, err := ParseRecord(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, *got); diff != "" {
			t.Errorf("%s: %s", tt.in, diff)
		}
	}
	for in, want := range map[string]error{
		"":                 ErrNoRecord,
		"v=DMARC2; p=none": ErrNoRecord,
		"v=dmarc1; p=none": ErrNoRecord,
		"p=none; v=DMARC1": ErrNoRecord,
		"v=DMARC1 p=none":  ErrNoRecord,
		"v=spf1 -all":      ErrNoRecord,
		"v=DMARC1;" + strings.Repeat("x", maxRecord): ErrTooLong,
	} {
		if _, err := ParseRecord(in); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", in, err, want)
		}
	}
}

func TestMailto(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"mailto:a@x.example":            "a@x.example",
		"MAILTO:a%2Bb@x.example?subj=x": "a+b@x.example",
		"mailto:a@x.example%0d%0aRCPT":  "",
		"mailto:":                       "",
		"https://x.example":             "",
		"mailto:a@x.example,b@x":        "",
	} {
		if a, ok := Mailto(in); a.String() != want || ok != (want != "") {
			t.Errorf("%s: %v %v", in, a, ok)
		}
	}
}

// FuzzRecord holds that any record is read the same again when it is written
// with what was read of it, and that a check with it ends.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", "v=DMARC1; p=quarantine; psd=y; sp=none; np=reject; t=y; adkim=s; fo=1:d",
		"v=DMARC1;", "V= DMARC1 ; p = reject;;rua=a:b,c:d!1m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		rec, err := ParseRecord(txt)
		if err != nil {
			return
		}
		if rec.Invalid && rec.Policy+rec.Subdomains+rec.NonExistent != PolicyNone || len(rec.Aggregate) > maxURIs {
			t.Errorf("%+v", rec)
		}
		for _, u := range slices.Concat(rec.Aggregate, rec.Failure) {
			if a, ok := Mailto(u); ok && strings.ContainsAny(a.String(), "\r\n") {
				t.Errorf("%q", a)
			}
		}
		z := resolve.NewFake("")
		z.Add("_dmarc.a.example TXT \"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\010`, "\r", `\013`).Replace(txt[:min(len(txt), 250)]) + "\"")
		for _, from := range []addr.Domain{"a.example", "b.a.example"} {
			r := Check(t.Context(), z, from, spf.Result{}, nil)
			if r.Status == Pass || r.Policy > r.Published {
				t.Errorf("%+v", r)
			}
		}
	})
}

package verdict

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/resolve"
)

var now = time.Date(2026, 11, 22, 3, 29, 0, 0, time.UTC)

const zone = `
a.example. TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.a.example. TXT "v=DMARC1; p=reject"
q.example. TXT "v=spf1 -all"
_dmarc.q.example. TXT "v=DMARC1; p=quarantine"
ours.example. TXT "v=spf1 -all"
1.2.0.192.in-addr.arpa. PTR mx.a.example.
mx.a.example. A 192.0.2.1
2.2.0.192.in-addr.arpa. PTR mx.a.example.
`

const body = "Hello\r\n"

// key is one that a domain publishes under the selector s.
func key(f *resolve.Fake, d addr.Domain) dkim.SigningKey {
	k := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	f.Add("s._domainkey." + string(d) + `. TXT "v=DKIM1; k=ed25519; p=` +
		base64.StdEncoding.EncodeToString(k.Public().(ed25519.PublicKey)) + `"`)
	return dkim.SigningKey{Domain: d, Selector: "s", Signer: k}
}

func sign(t *testing.T, k dkim.SigningKey, header string) string {
	t.Helper()
	s, err := dkim.NewSigner([]byte(header), []dkim.SigningKey{k}, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte(body))
	field, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return string(field) + header
}

func checker(f *resolve.Fake, trusted ...addr.Domain) *Checker {
	return &Checker{Resolver: f, Now: func() time.Time { return now }, Trusted: trusted,
		IsOwn: func(_ context.Context, d addr.Domain) (bool, error) { return d == "ours.example", nil }}
}

func finish(t *testing.T, c *Checker, ip, from, header string) *Verdict {
	t.Helper()
	client := Client{IP: netip.MustParseAddr(ip), Helo: "mx.a.example"}
	if from != "" {
		client.From = addr.MustParse(from)
	}
	section := []byte(header)
	k := c.Begin(client, section)
	clear(section) // the check has its own
	k.Write([]byte(body[:2]))
	k.Write([]byte(body[2:]))
	v, err := k.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCheck(t *testing.T) {
	t.Parallel()
	f := resolve.NewFake(zone)
	k := key(f, "a.example")
	from := "From: x@a.example\r\nSubject: s\r\n"
	for _, c := range []struct {
		name, ip, from, header string
		want                   Action
		spf, dmarc, iprev      string
	}{
		{"its server", "192.0.2.1", "x@a.example", from, Accept, "pass", "pass", "pass"},
		{"its server, mapped", "::ffff:192.0.2.1", "x@a.example", from, Accept, "pass", "pass", "pass"},
		{"another's", "192.0.2.2", "x@a.example", from, Reject, "fail", "fail", "fail"},
		{"signed", "192.0.2.3", "x@a.example", sign(t, k, from), Accept, "fail", "pass", "permerror"},
		{"another's name", "192.0.2.1", "x@a.example", "From: x@q.example\r\n", Junk, "pass", "fail", "pass"},
		{"a list", "192.0.2.3", "", "From: x@a.example\r\nList-Id: <l.example>\r\n", Junk, "none", "fail", "permerror"},
		{"ours", "192.0.2.1", "x@a.example", "From: anna@ours.example\r\n", Reject, "pass", "none", "pass"},
		{"our name", "192.0.2.1", "x@a.example", "From: \"anna@ours.example\" <x@a.example>\r\n", Junk, "pass", "pass", "pass"},
		{"below ours", "192.0.2.1", "x@a.example", "From: anna@accounts.ours.example\r\n", Reject, "pass", "none", "pass"},
		{"shows below ours", "192.0.2.1", "x@a.example", "From: \"anna@accounts.ours.example\" <x@a.example>\r\n", Junk, "pass", "pass", "pass"},
		{"like ours", "192.0.2.1", "x@a.example", "From: anna@notours.example\r\n", Accept, "pass", "none", "pass"},
		{"two From", "192.0.2.1", "x@a.example", from + "From: x@q.example\r\n", Reject, "pass", "permerror", "pass"},
	} {
		v := finish(t, checker(f), c.ip, c.from, c.header)
		rs := v.Facts.Results("mx.ours.example")
		for method, want := range map[string]string{"spf": c.spf, "dmarc": c.dmarc, "iprev": c.iprev} {
			if got := rs.Find(method); len(got) == 0 || got[0].Value != want {
				t.Errorf("%s: %s is %+v, want %s", c.name, method, got, want)
			}
		}
		if v.Action != c.want {
			t.Errorf("%s: %v, %q", c.name, v.Action, v.Reasons)
		}
		fields := v.Fields("mx.ours.example")
		_, value, _ := strings.Cut(string(fields), ":")
		value, _, _ = strings.Cut(value, "\r\nX-")
		if parsed, err := authres.Parse(strings.ReplaceAll(value, "\r\n", "")); err != nil || parsed.ID != "mx.ours.example" {
			t.Errorf("%s: %q: %v", c.name, fields, err)
		}
	}
}

func TestTrustedForwarder(t *testing.T) {
	t.Parallel()
	f := resolve.NewFake(zone)
	k := key(f, "list.example")
	header := "From: x@a.example\r\nSubject: [list] s\r\n"
	for name, c := range map[string]struct {
		said    string
		trusted []addr.Domain
		want    Action
	}{
		"trusted":                {"pass", []addr.Domain{"list.example"}, Accept},
		"trusted, found failing": {"fail", []addr.Domain{"list.example"}, Junk},
		"not trusted":            {"pass", nil, Junk},
	} {
		said := authres.Results{ID: "list.example", Results: []authres.Result{{
			Method: "dmarc", Value: c.said, Props: []authres.Prop{{Type: "header", Name: "from", Value: "a.example"}},
		}}}
		s, err := arc.NewSealer([]byte(header), k, arc.Result{}, said, now)
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte(body))
		set, err := s.Seal()
		if err != nil {
			t.Fatal(err)
		}
		v := finish(t, checker(f, c.trusted...), "192.0.2.9", "l@list.example", string(set)+header)
		if v.Facts.ARC.Status != arc.Pass || v.Action != c.want {
			t.Errorf("%s: ARC %v, %v, %q", name, v.Facts.ARC.Status, v.Action, v.Reasons)
		}
	}
}

func TestBrokenZone(t *testing.T) {
	t.Parallel()
	f := resolve.NewFake(zone)
	f.Fail("_dmarc.a.example", dns.TypeTXT, resolve.ErrTemporary)
	v := finish(t, checker(f), "192.0.2.2", "x@q.example", "From: x@a.example\r\n")
	if v.Action != Defer || v.reply.Code != 451 {
		t.Errorf("%v, %v, %q", v.Action, v.Err(), v.Reasons)
	}
}

func TestOwnDomainsUnknown(t *testing.T) {
	t.Parallel()
	c := checker(resolve.NewFake(zone))
	broken := errors.New("no store")
	c.IsOwn = func(context.Context, addr.Domain) (bool, error) { return false, broken }
	k := c.Begin(Client{IP: netip.MustParseAddr("192.0.2.1")}, []byte("From: x@a.example\r\n"))
	if v, err := k.Finish(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%+v, %v", v, err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("From: x@a.example\r\nSubject: s\r\n", "mx.a.example", body)
	f.Add("From: \"y@ours.example\" <x@q.example>\r\nList-Id: <l>\r\nDKIM-Signature: v=1; d=a.example; s=s\r\n", "[192.0.2.1]", "")
	f.Add("From: x@a.example\r\nFrom: y@q.example\r\nSender: z@q.example\r\n", "", "\r\n")
	c := checker(resolve.NewFake(zone))
	f.Fuzz(func(t *testing.T, header, helo, body string) {
		k := c.Begin(Client{IP: netip.MustParseAddr("192.0.2.1"), Helo: helo}, []byte(header))
		k.Write([]byte(body))
		v, err := k.Finish(t.Context())
		if err != nil || len(v.Reasons) == 0 {
			t.Fatalf("%+v, %v", v, err)
		}
		if (v.Action >= Reject) != (v.Err() != nil) {
			t.Errorf("%v is answered %v", v.Action, v.Err())
		}
		for line := range strings.Lines(string(v.Fields("mx.ours.example"))) {
			if !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\n\x00") {
				t.Errorf("%q", line)
			}
		}
	})
}

// A choice for everybody is for those without one of their own, and never
// for us.
func TestChoiceForEverybody(t *testing.T) {
	t.Parallel()
	c := checker(resolve.NewFake(zone))
	for _, everybody := range []Action{Accept, Junk, Reject} {
		c.Choices = map[addr.Domain]Action{Everybody: everybody, "b.example": Junk}
		for from, want := range map[string]Action{
			"a.example": everybody, "x.a.example": everybody, "without.policy.test": everybody, "x.b.example": Junk,
			"ours.example": Reject, "x.ours.example": Reject,
		} {
			if v := finish(t, c, "192.0.2.9", "x@q.example", "From: x@"+from+"\r\n"); v.Action != want {
				t.Errorf("%v for everybody, %s: %v, %q", everybody, from, v.Action, v.Reasons)
			}
		}
	}
}

// A choice is for a domain and those below it, the nearest first.
func TestChoices(t *testing.T) {
	t.Parallel()
	c := checker(resolve.NewFake(zone))
	c.Choices = map[addr.Domain]Action{"a.example": Accept, "b.example": Junk, "bank.b.example": Reject, "ours.example": Accept}
	for from, want := range map[string]Action{
		"a.example": Accept, "x.y.a.example": Accept, "b.example": Junk, "x.b.example": Junk, "bank.b.example": Reject,
		"x.bank.b.example": Reject, "example": Accept, "notb.example": Accept, "ours.example": Accept,
	} {
		if v := finish(t, c, "192.0.2.9", "x@q.example", "From: x@"+from+"\r\n"); v.Action != want {
			t.Errorf("%s: %v, %q", from, v.Action, v.Reasons)
		}
	}
}

package authres

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/message"
)

func TestField(t *testing.T) {
	t.Parallel()
	rs := Results{ID: "mx.example.org", Results: []Result{
		{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "a.b+c@example.net"}, {"smtp", "helo", "mta.example.net"}}},
		{Method: "dkim", Value: "fail", Reason: `the "body" changed`, Props: []Prop{{"header", "d", "example.net"}, {"header", "b", "ab/cd+ef"}}},
		{Method: "dmarc", Value: "none", Props: []Prop{{"header", "from", "xn--bcher-kva.example"}}},
		{Method: "iprev", Value: "pass", Props: []Prop{{"policy", "iprev", "2001:db8::1"}}},
	}}
	want := "Authentication-Results: mx.example.org;\r\n" +
		"\tspf=pass smtp.mailfrom=a.b+c@example.net smtp.helo=mta.example.net;\r\n" +
		"\tdkim=fail reason=\"the \\\"body\\\" changed\" header.d=example.net\r\n" +
		"\theader.b=\"ab/cd+ef\";\r\n" +
		"\tdmarc=none header.from=xn--bcher-kva.example;\r\n" +
		"\tiprev=pass policy.iprev=\"2001:db8::1\"\r\n"
	if diff := cmp.Diff(want, string(rs.Field())); diff != "" {
		t.Error(diff)
	}
	f, _ := message.Find(rs.Field(), "Authentication-Results")
	got, err := Parse(f.Value())
	if diff := cmp.Diff(rs, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got := string(Results{ID: "mx.example.org"}.Field()); got != "Authentication-Results: mx.example.org; none\r\n" {
		t.Errorf("%q", got)
	}
	arc := string(Results{ID: "mx", Results: []Result{{Method: "arc", Value: "none"}}}.AppendARC(nil, "3"))
	if arc != "ARC-Authentication-Results: i=3; mx;\r\n\tarc=none\r\n" {
		t.Errorf("%q", arc)
	}
}

// What a client says of itself must not end the field or begin another one.
func TestFieldCannotBeBroken(t *testing.T) {
	t.Parallel()
	evil := "x\r\nAuthentication-Results: mx; dkim=pass\x00\u202e\"; dmarc=pass (\\"
	rs := Results{ID: evil, Results: []Result{{Method: "spf", Value: "fail", Reason: evil, Props: []Prop{{"smtp", "mailfrom", evil}}}}}
	header := rs.Field()
	if err := message.Check(header); err != nil || message.Count(header, "Authentication-Results") != 1 {
		t.Fatalf("%v\n%s", err, header)
	}
	f, _ := message.Find(header, "Authentication-Results")
	got, err := Parse(f.Value())
	if err != nil || len(got.Results) != 1 || got.Results[0].Value != "fail" || len(got.Results[0].Props) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want Results
	}{
		// RFC 8601, appendix B, the comments among them.
		{"example.org 1; none", Results{ID: "example.org"}},
		{`example.com; spf=pass smtp.mailfrom=example.net`, Results{"example.com", []Result{{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.net"}}}}}},
		{`foo.example.net (foobar) 1 (baz); dkim (Because I like it) / 1 (One yay) = (wait for it) fail policy (A dot can go here) . (like that) expired (this surprised me) = (as I wasn't expecting it) 1362471462`,
			Results{"foo.example.net", []Result{{Method: "dkim", Value: "fail", Props: []Prop{{"policy", "expired", "1362471462"}}}}}},
		{`example.com; sender-id=fail header.from=example.com; dkim=pass (good signature) header.d=example.com`, Results{"example.com", []Result{
			{Method: "sender-id", Value: "fail", Props: []Prop{{"header", "from", "example.com"}}},
			{Method: "dkim", Value: "pass", Props: []Prop{{"header", "d", "example.com"}}},
		}}},
		{`example.com; dkim=pass reason="good; (really)" header.i=@mail-router.example.net`, Results{"example.com", []Result{
			{Method: "dkim", Value: "pass", Reason: "good; (really)", Props: []Prop{{"header", "i", "@mail-router.example.net"}}},
		}}},
		{`mx; spf=pass smtp.mailfrom="a b"@example.net`, Results{"mx", []Result{{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "a b@example.net"}}}}}},
		{`mx; DKIM=Pass header.B=x/y+z==`, Results{"mx", []Result{{Method: "dkim", Value: "pass", Props: []Prop{{"header", "b", "x/y+z=="}}}}}},
		// As one very large provider writes it.
		{`mx.example.com 1; spf=pass smtp.mailfrom=example.net; dmarc=pass action=none header.from=example.net; compauth=pass reason=100`, Results{"mx.example.com", []Result{
			{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.net"}}},
			{Method: "dmarc", Value: "pass", Props: []Prop{{"", "action", "none"}, {"header", "from", "example.net"}}},
			{Method: "compauth", Value: "pass", Reason: "100"},
		}}},
	} {
		got, err := Parse(tt.in)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.in, err, diff)
		}
	}
	rs, _ := Parse("mx; dkim=pass header.d=a; spf=fail; dkim=fail header.d=b")
	if dkim := rs.Find("dkim"); len(dkim) != 2 || dkim[1].Get("header", "d") != "b" || dkim[0].Get("header", "s") != "" {
		t.Errorf("%+v", dkim)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]error{
		"":                              ErrSyntax,
		"mx":                            ErrSyntax,
		"; none":                        ErrSyntax,
		"mx 2; none":                    ErrSyntax,
		"mx 1 1; none":                  ErrSyntax,
		"mx; none; spf=pass":            ErrSyntax,
		"mx; spf=pass; none":            ErrSyntax,
		"mx; spf=pass;":                 ErrSyntax,
		"mx; spf":                       ErrSyntax,
		"mx; spf=":                      ErrSyntax,
		"mx; =pass":                     ErrSyntax,
		"mx; spf/2=pass":                ErrSyntax,
		"mx; spf=pass smtp.=x":          ErrSyntax,
		"mx; spf=pass smtp.mailfrom":    ErrSyntax,
		"mx; spf=pass smtp.mailfrom=":   ErrSyntax,
		"mx; spf=pass .mailfrom=x":      ErrSyntax,
		`mx; spf=pass reason="x`:        ErrSyntax,
		`mx; spf=pass reason="x\`:       ErrSyntax,
		"mx; spf=pass (":                ErrSyntax,
		"mx (; spf=pass":                ErrSyntax,
		"mx; spf=pass\r\n x.y=z":        ErrSyntax,
		"mx; spf=pass reason=\"\x01\"":  ErrSyntax,
		strings.Repeat("(", 30):         ErrSyntax,
		strings.Repeat("x", MaxValue+1): ErrTooMuch,
		"mx" + strings.Repeat("; spf=pass", MaxResults+1):           ErrTooMuch,
		"mx; spf=pass" + strings.Repeat(" smtp.helo=x", MaxProps+1): ErrTooMuch,
	} {
		if got, err := Parse(in); !errors.Is(err, want) {
			t.Errorf("%.60q: %+v, %v; want %v", in, got, err, want)
		}
	}
}

func TestStrip(t *testing.T) {
	t.Parallel()
	ours := []string{
		"Authentication-Results: mx.example.org; spf=pass\r\n",
		"authentication-results:\tMX.Example.Org. 1;\r\n\tdkim=pass\r\n",
		"Authentication-Results : (x) \"mx.example.org\"; dkim=pass\r\n",
		"Authentication-Results: mx.example.org/1; dkim=pass\r\n",
		"Authentication-Results: other.example.org; dkim=pass\r\n",
		"Authentication-Results: (mx.example.org; dkim=pass\r\n", // cannot be read
		"Authentication-Results:\r\n",
	}
	others := []string{
		"From: a@example.org\r\n",
		"Authentication-Results: mx.example.net; spf=pass\r\n",
		"Authentication-Results: notmx.example.org; spf=pass\r\n",
		"X-Authentication-Results: mx.example.org; spf=pass\r\n",
		"Authentication-Results: (mx.example.org) example.net; spf=pass\r\n",
	}
	var header string
	for i := range max(len(ours), len(others)) {
		if i < len(ours) {
			header += ours[i]
		}
		if i < len(others) {
			header += others[i]
		}
	}
	rest := "\r\nAuthentication-Results: mx.example.org; in=body\r\n"
	got := string(Strip([]byte(header+rest), "mx.example.org", "other.example.org"))
	if want := strings.Join(others, "") + rest; got != want {
		t.Error(cmp.Diff(want, got))
	}
	if untouched := []byte(others[0]); &Strip(untouched, "mx.example.org")[0] != &untouched[0] {
		t.Error("copied a section that needed no change")
	}
}

// FuzzParse holds that what was read is written as one sound field, and reads
// as the same again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"example.org 1; none", `mx; dkim=pass reason="a \"b\"" header.d=example.org (c) header.b="x/y"`,
		`mx(a(b)); spf/1=fail smtp.mailfrom="a b"@example.net`, "mx; dmarc=pass action=none header.from=x", `"";x=y`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		Claims(s, "mx.example.org")
		rs, err := Parse(s)
		if err != nil {
			return
		}
		header := rs.Field()
		if err := message.Check(header); err != nil {
			t.Fatalf("%q is written %q: %v", s, header, err)
		}
		field, _ := message.Find(header, "Authentication-Results")
		again, err := Parse(field.Value())
		for _, r := range rs.Results {
			for _, p := range r.Props {
				if p.Type == "" || strings.Contains(r.Method+r.Value+p.Type+p.Name, "_") {
					return // read by way of leniency
				}
			}
			if strings.Contains(r.Method+r.Value, "_") {
				return
			}
		}
		if err != nil || len(again.Results) != len(rs.Results) {
			t.Errorf("%q is written %q and reads as %+v, %v", s, header, again, err)
		}
	})
}

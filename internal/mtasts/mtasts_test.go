package mtasts

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	full := Policy{Enforce, []Pattern{"mail.example.com", "*.example.net", "backupmx.example.com"}, 7 * day}
	cases := []struct {
		name, text string
		want       Policy // Mode 3: refused
	}{
		// RFC 8461, section 3.2.
		{"the RFC's", "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n", full},
		{"CR LF", "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n", full},
		{"another order, no end of line", "max_age:604800\nmx:mail.example.com\nmode:enforce\nversion:STSv1\nmx:*.Example.NET\nmx:backupmx.example.com", full},
		{"blanks", "version: \tSTSv1 \nmode: enforce\t\nmx: mail.example.com\n\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n\n", full},
		{"extensions", "version: STSv1\nmode: enforce\nx-y_z.1: grüße; to = all\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n", full},
		{"the first counts", "version: STSv1\nmode: enforce\nmode: none\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\nmax_age: 1\nversion: STSv2\n", full},
		{"testing", "version: STSv1\nmode: testing\nmx: a.example\nmax_age: 0\n", Policy{Testing, []Pattern{"a.example"}, 0}},
		{"none", "version: STSv1\nmode: none\nmax_age: 86400\n", Policy{None, nil, day}},
		{"none with mx", "version: STSv1\nmode: none\nmx: a.example\nmax_age: 86400\n", Policy{None, []Pattern{"a.example"}, day}},
		{"oldest", "version: STSv1\nmode: none\nmax_age: 31557600\n", Policy{None, nil, MaxAge}},
		{"older", "version: STSv1\nmode: none\nmax_age: 9999999999\n", Policy{None, nil, MaxAge}},

		{"nothing", "", Policy{Mode: 3}},
		{"no version", "mode: enforce\nmx: a.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"another version", "version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"no mode", "version: STSv1\nmx: a.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"an empty mode", "version: STSv1\nmode: \nmx: a.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"another mode", "version: STSv1\nmode: Enforce\nmx: a.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"another case", "Version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"no mx", "version: STSv1\nmode: testing\nmax_age: 1\n", Policy{Mode: 3}},
		{"no max_age", "version: STSv1\nmode: none\n", Policy{Mode: 3}},
		{"signed max_age", "version: STSv1\nmode: none\nmax_age: -1\n", Policy{Mode: 3}},
		{"long max_age", "version: STSv1\nmode: none\nmax_age: 00000000001\n", Policy{Mode: 3}},
		{"no field", "version: STSv1\nmode: none\nmax_age: 1\nhello\n", Policy{Mode: 3}},
		{"no name", "version: STSv1\nmode: none\nmax_age: 1\n: x\n", Policy{Mode: 3}},
		{"a bad name", "version: STSv1\nmode: none\nmax_age: 1\na b: x\n", Policy{Mode: 3}},
		{"a long name", "version: STSv1\nmode: none\nmax_age: 1\n" + strings.Repeat("a", 33) + ": x\n", Policy{Mode: 3}},
		{"a control character", "version: STSv1\nmode: none\nmax_age: 1\na: x\x1b[0m\n", Policy{Mode: 3}},
		{"a bare CR", "version: STSv1\rmode: none\rmax_age: 1\r", Policy{Mode: 3}},
		{"HTML", "<!DOCTYPE html>\n<html>\n", Policy{Mode: 3}},
		{"an mx that is no name", "version: STSv1\nmode: testing\nmx: a b\nmax_age: 1\n", Policy{Mode: 3}},
		{"everybody's mx", "version: STSv1\nmode: testing\nmx: *\nmax_age: 1\n", Policy{Mode: 3}},
		{"an address", "version: STSv1\nmode: testing\nmx: [192.0.2.1]\nmax_age: 1\n", Policy{Mode: 3}},
		{"a star within", "version: STSv1\nmode: testing\nmx: a.*.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"U-labels", "version: STSv1\nmode: testing\nmx: mü.example\nmax_age: 1\n", Policy{Mode: 3}},
		{"too many mx", "version: STSv1\nmode: testing\nmax_age: 1\n" + strings.Repeat("mx: a.example\n", maxMX+1), Policy{Mode: 3}},
		{"too many lines", "version: STSv1\nmode: none\nmax_age: 1\n" + strings.Repeat("a: b\n", maxLines), Policy{Mode: 3}},
		{"too long", "version: STSv1\nmode: none\nmax_age: 1\na: " + strings.Repeat("x", MaxSize) + "\n", Policy{Mode: 3}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParsePolicy(tc.text)
			if tc.want.Mode == 3 {
				if !errors.Is(err, ErrPolicy) || !cmp.Equal(got, Policy{}) {
					t.Errorf("taken: %+v, %v", got, err)
				}
				return
			}
			if d := cmp.Diff(tc.want, got); d != "" || err != nil {
				t.Error(d, err)
			}
			if again, err := ParsePolicy(got.String()); !cmp.Equal(again, got) || err != nil {
				t.Errorf("as we would serve it: %+v, %v", again, err)
			}
		})
	}
}

// RFC 8461, section 4.1.
func TestMatches(t *testing.T) {
	t.Parallel()
	p := Policy{MX: []Pattern{"mx.example.com", "*.example.net"}}
	for host, want := range map[string]bool{
		"mx.example.com":    true,
		"MX.Example.COM.":   true,
		"example.com":       false,
		"a.mx.example.com":  false,
		"mx.example.net":    true,
		"foo.example.net":   true,
		"example.net":       false,
		".example.net":      false,
		"a.b.example.net":   false,
		"example.net.evil":  false,
		"badexample.net":    false,
		"mx.example.com.au": false,
		"":                  false,
		".":                 false,
		"[192.0.2.1]":       false,
	} {
		if p.Matches(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
	if (Policy{}).Matches("mx.example.com") || Pattern("").Matches("") {
		t.Error("no pattern matches")
	}
}

func TestParseRecord(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"v=STSv1; id=20160831085700Z;":             "20160831085700Z", // RFC 8461, section 3.1
		"v=STSv1;id=1":                             "1",
		"v=STSv1 ; \tid=1 ; a=b;":                  "1",
		"v=STSv1; x-1_2.3=!:<>~; id=a":             "a",
		"v=STSv1; id=" + strings.Repeat("a", 32):   strings.Repeat("a", 32),
		"v=STSv1; id=" + strings.Repeat("a", 33):   "",
		"v=STSv1; id=" + strings.Repeat("a", 5000): "",
		"v=STSv1; a=" + strings.Repeat("a", 5000):  "",
		"v=STSv1; ID=1":                            "",
		"v=STSv1; id=":                             "",
		"v=STSv1; id=a_b":                          "",
		"v=STSv1; id = 1":                          "",
		"v=STSv1; id=1; id=2":                      "",
		"v=STSv1":                                  "",
		"v=STSv1;":                                 "",
		"v=STSv1;;id=1":                            "",
		"v=STSv1; id=1;;":                          "",
		"v=STSv1; id=1; a":                         "",
		"v=STSv1; id=1; a=b=c":                     "",
		"v=STSv1; id=1; a=b c":                     "",
		"v=STSv1; id=1; a=\xff":                    "",
		"v=STSv1; id=1; " + "a." + "=b":            "1",
		"v=STSv1; id=1; .a=b":                      "",
		" v=STSv1; id=1":                           "",
		"v=stsv1; id=1":                            "",
		"v=STSv2; id=1":                            "",
		"id=1; v=STSv1":                            "",
		"":                                         "",
		"v=spf1 -all":                              "",
		"v=STSv1; id=1; " + strings.Repeat("b", 33) + "=c": "",
	} {
		r, err := ParseRecord(text)
		if r.ID != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
		if want == "" {
			continue
		}
		if again, err := ParseRecord(r.String()); again != r || err != nil {
			t.Errorf("as we would publish it: %q: %v", r, err)
		}
	}
}

// TestOurOwn: the record changes with the policy and only then.
func TestOurOwn(t *testing.T) {
	t.Parallel()
	p := Policy{Testing, []Pattern{"mx.example.org"}, 24 * time.Hour}
	const want = "version: STSv1\r\nmode: testing\r\nmx: mx.example.org\r\nmax_age: 86400\r\n"
	if p.String() != want {
		t.Errorf("%q", p)
	}
	if got := p.Record().String(); got != "v=STSv1; id=56a100b2cf83d05bba22" {
		t.Error(got)
	}
	seen := map[string]bool{}
	for _, q := range []Policy{
		p, {Enforce, p.MX, p.MaxAge}, {Testing, []Pattern{"*.example.org"}, p.MaxAge}, {Testing, p.MX, 2 * p.MaxAge},
	} {
		if id := q.Record().ID; seen[id] {
			t.Errorf("%q stands for two policies", id)
		} else if seen[id] = true; !isID(id) {
			t.Errorf("%q is no ID", id)
		}
	}
}

// TestRemove is RFC 8461, section 8.3.
func TestRemove(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	p := Policy{Enforce, []Pattern{"mx.example.org"}, 30 * 24 * time.Hour}
	r := p.Remove(now)
	if r.Policy.String() != "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n" || !r.Until.Equal(now.Add(p.MaxAge)) {
		t.Errorf("%q until %v", r.Policy, r.Until)
	}
	if r.Policy.Record() == p.Record() {
		t.Error("nobody would look")
	}
	p.MaxAge = time.Hour
	if r := p.Remove(now); !r.Until.Equal(now.Add(24 * time.Hour)) {
		t.Errorf("the policy of none is kept for a day: %v", r.Until)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add("version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800\n")
	f.Add("version: STSv1\r\nmode: none\r\nmax_age: 0\r\n")
	f.Add("max_age:1\nversion:STSv1\nmode:testing\nmx:xn--4ca.example\nx: ü")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			if !errors.Is(err, ErrPolicy) || !cmp.Equal(p, Policy{}) {
				t.Errorf("%+v, %v", p, err)
			}
			return
		}
		if len(p.MX) > maxMX || p.MaxAge < 0 || p.MaxAge > MaxAge || p.Mode != None && len(p.MX) == 0 {
			t.Errorf("%+v", p)
		}
		if again, err := ParsePolicy(p.String()); !cmp.Equal(again, p) || err != nil {
			t.Errorf("%q: %+v, %v", p, again, err)
		}
		for i, m := range p.MX {
			name, wild := strings.CutPrefix(string(m), "*.")
			if wild {
				name = "x." + name
			}
			if !p.Matches(name) || Pattern(m).Matches("x."+name) {
				t.Errorf("pattern %d, %q", i, m)
			}
		}
		if _, err := ParseRecord(p.Record().String()); err != nil {
			t.Error(err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;")
	f.Add("v=STSv1 ;id=1; a=b")
	f.Add("v=STSv1;")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if (err == nil) != isID(r.ID) {
			t.Errorf("%q, %v", r.ID, err)
		}
		if again, e := ParseRecord(r.String()); err == nil && (again != r || e != nil) {
			t.Errorf("%s: %v, %v", strconv.Quote(text), again, e)
		}
	})
}

func TestOurs(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, mode := range []Mode{None, Testing, Enforce} {
		p := Ours(mode, "mx.example.org")
		read, err := ParsePolicy(p.String())
		if err != nil || read.Mode != mode || read.Matches("mx.example.org") != (mode != None) || read.MaxAge != p.MaxAge {
			t.Errorf("%v: %+v, %v", mode, read, err)
		}
		ids[p.Record().ID] = true
		if got, err := ParseMode(mode.String()); got != mode || err != nil {
			t.Errorf("%v is read as %v, %v", mode, got, err)
		}
	}
	if len(ids) != 3 || Ours(Enforce, "a.example").Record() == Ours(Enforce, "b.example").Record() {
		t.Error("a record does not change with its policy")
	}
	if _, err := ParseMode("Enforce"); err == nil {
		t.Error("a mode that is none was read")
	}
	// RFC 8461, section 8.3: no sooner than the old policy can expire.
	since := time.Unix(1_800_000_000, 0)
	if Gone(since).Before(since.Add(Ours(Enforce).MaxAge)) || Gone(since).Before(since.Add(Ours(Testing).MaxAge)) {
		t.Errorf("gone at %v", Gone(since))
	}
}

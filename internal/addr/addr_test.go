package addr

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, local, domain, out string
	}{
		{"user@example.org", "user", "example.org", "user@example.org"},
		{"User@EXAMPLE.Org", "User", "example.org", "User@example.org"},
		{"a.b+tag@x", "a.b+tag", "x", "a.b+tag@x"},
		{"!#$%&'*+-/=?^_`{|}~@x.y", "!#$%&'*+-/=?^_`{|}~", "x.y", "!#$%&'*+-/=?^_`{|}~@x.y"},
		{`"a b"@x`, "a b", "x", `"a b"@x`},
		{`"a\"b\\c"@x`, `a"b\c`, "x", `"a\"b\\c"@x`},
		{`"plain"@x`, "plain", "x", "plain@x"},
		{`"a@b"@x`, "a@b", "x", `"a@b"@x`},
		{`"> BODY=8BITMIME"@x`, "> BODY=8BITMIME", "x", `"> BODY=8BITMIME"@x`},
		{`""@x`, "", "x", `""@x`},
		{`".a"@x`, ".a", "x", `".a"@x`},
		{"用户@例子.广告", "用户", "xn--fsqu00a.xn--4rr70v", "用户@xn--fsqu00a.xn--4rr70v"},
		{"u@Bücher.Example", "u", "xn--bcher-kva.example", "u@xn--bcher-kva.example"},
		{"u@XN--BCHER-KVA.example", "u", "xn--bcher-kva.example", "u@xn--bcher-kva.example"},
		{"u@faß.de", "u", "xn--fa-hia.de", "u@xn--fa-hia.de"},
		{"u@[192.0.2.1]", "u", "[192.0.2.1]", "u@[192.0.2.1]"},
		{"u@[IPv6:2001:DB8::1]", "u", "[IPv6:2001:db8::1]", "u@[IPv6:2001:db8::1]"},
		{"u@[ipv6:::1]", "u", "[IPv6:::1]", "u@[IPv6:::1]"},
	} {
		a, err := Parse(tt.in)
		if err != nil || a.Local != tt.local || string(a.Domain) != tt.domain || a.String() != tt.out {
			t.Errorf("%q: %+v written %q, %v", tt.in, a, a, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", MaxLocal+1)
	for in, want := range map[string]error{
		"":                                     ErrSyntax,
		"@x":                                   ErrSyntax,
		"user":                                 ErrNoDomain,
		`"user"`:                               ErrNoDomain,
		"user@":                                ErrDomain,
		".u@x":                                 ErrSyntax,
		"u.@x":                                 ErrSyntax,
		"u..v@x":                               ErrSyntax,
		"u v@x":                                ErrSyntax,
		"u@v@x":                                ErrDomain,
		"u(comment)@x":                         ErrSyntax,
		"<u@x>":                                ErrSyntax,
		`"u@x`:                                 ErrSyntax,
		`"u"v@x`:                               ErrSyntax,
		`v"u"@x`:                               ErrSyntax,
		"\"u\r\nRCPT TO:<v@x>\"@x":             ErrSyntax,
		"\"u\\\r\"@x":                          ErrSyntax,
		"\"u\x00\"@x":                          ErrSyntax,
		"u\x01@x":                              ErrSyntax,
		"u\u0085@x":                            ErrSyntax,
		"u\u202ev@x":                           ErrSyntax,
		"\"\u2028\"@x":                         ErrSyntax,
		"u\xff@x":                              ErrUTF8,
		"u@x\xff":                              ErrIDNA,
		"u@x.":                                 ErrDomain,
		"u@.x":                                 ErrDomain,
		"u@x..y":                               ErrDomain,
		"u@-x":                                 ErrDomain,
		"u@x-":                                 ErrDomain,
		"u@x_y":                                ErrDomain,
		"u@x y":                                ErrDomain,
		"u@x>":                                 ErrDomain,
		"u@xn---":                              ErrIDNA,
		"u@xn--a":                              ErrIDNA,
		"u@[1.2.3]":                            ErrDomain,
		"u@[::1]":                              ErrDomain,
		"u@[IPv6:1.2.3.4]":                     ErrDomain,
		"u@[IPv6:fe80::1%eth0]":                ErrDomain,
		"u@[x:y]":                              ErrDomain,
		"u@[1.2.3.4":                           ErrDomain,
		"u@[1.2.3.4]x":                         ErrDomain,
		long + "@x":                            ErrTooLong,
		"u@" + strings.Repeat("a", MaxLabel+1): ErrDomain,
		"u@" + strings.Repeat("a.", MaxPath/2) + "a": ErrTooLong,
	} {
		if a, err := Parse(in); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v; want %v", in, a, err, want)
		}
	}
}

func TestDomain(t *testing.T) {
	t.Parallel()
	if u := Domain("xn--bcher-kva.example").Unicode(); u != "bücher.example" {
		t.Error(u)
	}
	for _, ip := range []string{"192.0.2.1", "2001:db8::1"} {
		want := netip.MustParseAddr(ip)
		if got, ok := Literal(want).IP(); !ok || got != want {
			t.Errorf("%s: %v %v", ip, got, ok)
		}
	}
	if got := Literal(netip.MustParseAddr("::ffff:192.0.2.1")); got != "[192.0.2.1]" {
		t.Error(got)
	}
	if _, ok := Domain("example.org").IP(); ok {
		t.Error("a name is not an address")
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	a, b := MustParse("J\u00d6rg@x"), MustParse("jo\u0308rg@x")
	if a == b || a.Fold() != b.Fold() {
		t.Errorf("%q and %q fold to %q and %q", a, b, a.Fold(), b.Fold())
	}
	if !MustParse("user@bücher.example").IsASCII() || a.IsASCII() {
		t.Error("IsASCII looks at the local part, and only there")
	}
}

// FuzzParse holds what the rest of the house relies on: what was parsed is
// written as one mailbox that parses to the same, and holds nothing that
// could end a line or an argument.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"user@example.org", `"a \"b"@x`, "用户@例子.广告", "u@[IPv6:::1]", "u@xn--bcher-kva", "u@xn---"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		out := a.String()
		if b, err := Parse(out); err != nil || a != b {
			t.Errorf("%q is written %q and reads as %+v, %v", s, out, b, err)
		}
		if strings.ContainsFunc(out, unicode.IsControl) {
			t.Errorf("%q is written %q", s, out)
		}
		if strings.ContainsAny(a.Local, " <>") && !strings.HasPrefix(out, `"`) {
			t.Errorf("%q is not quoted: %q", s, out)
		}
		if d, err := ParseDomain(string(a.Domain)); err != nil || d != a.Domain {
			t.Errorf("domain %q reads as %q, %v", a.Domain, d, err)
		}
	})
}

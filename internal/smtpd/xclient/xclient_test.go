package xclient

import (
	"fmt"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"ADDR=192.0.2.1":                        "192.0.2.1 0 \"\"",
		"addr=IPV6:2001:db8::1 PORT=25":         "2001:db8::1 25 \"\"",
		"ADDR=ipv6:::ffff:192.0.2.1":            "192.0.2.1 0 \"\"",
		"NAME=mail.example.org HELO=x.example":  "invalid IP 0 \"x.example\"",
		"HELO=[192.0.2.1]":                      "invalid IP 0 \"[192.0.2.1]\"",
		"ADDR=[UNAVAILABLE]":                    "invalid IP 0 \"\"",
		"NAME=[TEMPUNAVAIL] PORT=[UNAVAILABLE]": "invalid IP 0 \"\"",
		"":                                      "",
		"ADDR":                                  "",
		"ADDR=":                                 "",
		"ADDR=192.0.2.1 ADDR=192.0.2.2":         "",
		"ADDR=192.0.2.1  PORT=1":                "",
		"ADDR=fe80::1%25eth0":                   "",
		"ADDR=fe80::1+25eth0":                   "",
		"PORT=65536":                            "",
		"PORT=-1":                               "",
		"HELO=a+0D+0Ab":                         "",
		"HELO=a+20b":                            "",
		"LOGIN=anna@example.org":                "",
		"PROTO=SMTP":                            "",
		"DESTADDR=192.0.2.1":                    "",
	} {
		x, bad := Parse(args)
		got := fmt.Sprintf("%v %d %q", x.Addr, x.Port, x.Helo)
		if bad != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q: %s, want %s", args, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"ADDR=192.0.2.1 PORT=25 HELO=x.example NAME=[UNAVAILABLE]", "ADDR=IPV6:2001:db8::1", "HELO=a+0D"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		x, bad := Parse(args)
		if bad != nil {
			return
		}
		for _, c := range []byte(x.Helo) {
			if c <= ' ' || c > '~' {
				t.Errorf("%q: HELO is %q", args, x.Helo)
			}
		}
	})
}

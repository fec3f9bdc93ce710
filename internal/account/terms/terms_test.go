package terms

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func networks(t *testing.T, list ...string) []netip.Prefix {
	t.Helper()
	out, err := ParseNetworks(list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAllow(t *testing.T) {
	t.Parallel()
	home := networks(t, "192.0.2.0/24", "2001:db8::/32", "198.51.100.7")
	for _, c := range []struct {
		name    string
		terms   Terms
		purpose Scope
		from    string
		want    error
	}{
		{"everything, for ever, from anywhere", Terms{Scope: Both}, Send, "203.0.113.1", nil},
		{"sends", Terms{Scope: Send}, Send, "203.0.113.1", nil},
		{"sends only", Terms{Scope: Send}, Read, "203.0.113.1", ErrScope},
		{"reads", Terms{Scope: Read}, Read, "203.0.113.1", nil},
		{"reads only", Terms{Scope: Read}, Send, "203.0.113.1", ErrScope},
		{"of a damaged row", Terms{Scope: ""}, Send, "203.0.113.1", ErrScope},
		{"a second before its end", Terms{Scope: Both, Expires: now.Add(time.Second)}, Send, "203.0.113.1", nil},
		{"at its end", Terms{Scope: Both, Expires: now}, Send, "203.0.113.1", ErrExpired},
		{"after its end", Terms{Scope: Both, Expires: now.Add(-time.Hour)}, Send, "203.0.113.1", ErrExpired},
		{"from home", Terms{Scope: Both, Networks: home}, Send, "192.0.2.255", nil},
		{"from home, in the form of a dual socket", Terms{Scope: Both, Networks: home}, Send, "::ffff:192.0.2.9", nil},
		{"from home by IPv6", Terms{Scope: Both, Networks: home}, Send, "2001:db8:1::1", nil},
		{"from the one address", Terms{Scope: Both, Networks: home}, Send, "198.51.100.7", nil},
		{"from beside it", Terms{Scope: Both, Networks: home}, Send, "198.51.100.8", ErrNetwork},
		{"from elsewhere", Terms{Scope: Both, Networks: home}, Send, "203.0.113.1", ErrNetwork},
		{"from elsewhere by IPv6", Terms{Scope: Both, Networks: home}, Send, "2001:db9::1", ErrNetwork},
		{"from home on a link", Terms{Scope: Both, Networks: networks(t, "fe80::/10")}, Send, "fe80::1%eth0", nil},
	} {
		if got := c.terms.Allow(c.purpose, netip.MustParseAddr(c.from), now); got != c.want {
			t.Errorf("%s: %v, not %v", c.name, got, c.want)
		}
	}
	if got := (&Terms{Scope: Both, Networks: home}).Allow(Send, netip.Addr{}, now); got != ErrNetwork {
		t.Errorf("from nobody knows where: %v", got)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"send", "read", "both"} {
		if got, err := ParseScope(s); err != nil || string(got) != s {
			t.Errorf("%s: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Send", "all", "send,read"} {
		if _, err := ParseScope(s); err == nil {
			t.Errorf("%q is a scope", s)
		}
	}
	got := networks(t, "192.0.2.0/24", "::ffff:198.51.100.7", "192.0.2.0/24", "198.51.100.7/32", "2001:DB8::/32")
	if want := []string{"192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"}; !reflect.DeepEqual(Strings(got), want) {
		t.Errorf("%q", Strings(got))
	}
	for _, s := range []string{"", "home", "192.0.2.1/24", "192.0.2.0/33", "::ffff:192.0.2.0/120", "fe80::1%eth0", "fe80::%eth0/64", "192.0.2.0/24 "} {
		if _, err := ParseNetworks([]string{s}); err == nil {
			t.Errorf("%q is a network", s)
		}
	}
	if _, err := ParseNetworks(slices.Repeat([]string{"192.0.2.1"}, MaxNetworks+1)); err == nil {
		t.Error("too many")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "192.0.2.0/24", "192.0.2.0/24 2001:db8::/32", "::ffff:192.0.2.1", "fe80::1%eth0", "0.0.0.0/0 ::/0", "1.2.3.4/24"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(Text(list))
		if err != nil || !slices.Equal(list, again) || len(list) > MaxNetworks {
			t.Errorf("%q: %v, then %v, %v", s, list, again, err)
		}
		if strings.Contains(s, "%") {
			t.Errorf("%q has a zone", s)
		}
	})
}

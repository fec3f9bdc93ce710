package reach

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

// TestDial: which addresses of a name are dialled, and what is told when
// none is.
func TestDial(t *testing.T) {
	t.Parallel()
	zone := resolve.NewFake(`
one.example. A 192.0.2.1
two.example. A 192.0.2.1
two.example. A 192.0.2.2
two.example. AAAA 2001:db8::1
mixed.example. A 127.0.0.1
mixed.example. A 192.0.2.2
inside.example. A 10.0.0.1
inside.example. AAAA ::1
many.example. A 192.0.2.11
many.example. A 192.0.2.12
many.example. A 192.0.2.13
many.example. A 192.0.2.14
many.example. A 192.0.2.2`)
	zone.Fail("lost.example", dns.TypeA, resolve.ErrTemporary)
	refused := errors.New("refused")
	cases := []struct {
		name, address string
		dialled       []string
		want          error
	}{
		{"answers", "two.example:443", []string{"[2001:db8::1]:443", "192.0.2.1:443", "192.0.2.2:443"}, nil},
		{"does not", "one.example:443", []string{"192.0.2.1:443"}, refused},
		{"one inside", "mixed.example:80", []string{"192.0.2.2:80"}, nil},
		{"all inside", "inside.example:443", nil, ErrForbidden},
		{"an address inside", "127.0.0.1:443", nil, ErrForbidden},
		{"an address", "192.0.2.2:443", []string{"192.0.2.2:443"}, nil},
		{"too many", "many.example:443", []string{"192.0.2.11:443", "192.0.2.12:443", "192.0.2.13:443", "192.0.2.14:443"}, refused},
		{"no such name", "none.example:443", nil, resolve.ErrNotFound},
		{"no answer", "lost.example:443", nil, resolve.ErrTemporary},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var dialled []string
			d := &Dialer{Resolver: zone, IPv6: true, Dial: func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
				dialled = append(dialled, to.String())
				if to.Addr() != netip.MustParseAddr("192.0.2.2") {
					return nil, refused
				}
				c, _ := net.Pipe()
				return c, nil
			}}
			c, err := d.DialContext(t.Context(), "tcp", tc.address)
			if !errors.Is(err, tc.want) || (c == nil) != (tc.want != nil) || !slices.Equal(dialled, tc.dialled) {
				t.Errorf("%v, dialled %v", err, dialled)
			}
		})
	}
	for _, bad := range []string{"", "one.example", "one.example:", "one.example:x", "one.example:65536"} {
		if _, err := (&Dialer{Resolver: zone}).DialContext(t.Context(), "tcp", bad); err == nil {
			t.Errorf("%q was dialled", bad)
		}
	}
}

// TestPermits is the table of what a name may not make us connect to.
func TestPermits(t *testing.T) {
	t.Parallel()
	listed := Guard{Private: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("127.0.0.1/32")}}
	closed := Guard{}
	cases := []struct {
		ip      string
		always  bool // without being listed
		private bool // with
	}{
		{"198.51.100.7", true, true},
		{"8.8.8.8", true, true},
		{"2001:db8::1", true, true},
		{"2a00:1450::1", true, true},
		{"64:ff9b::808:808", true, true},
		{"2002:808:808::1", true, true},
		{"172.32.0.1", true, true},
		{"100.128.0.1", true, true},

		{"127.0.0.1", false, true},
		{"127.0.0.2", false, false},
		{"10.0.0.1", false, false},
		{"10.1.2.3", false, true},
		{"172.16.0.1", false, false},
		{"172.31.255.255", false, false},
		{"192.168.1.1", false, false},
		{"169.254.169.254", false, false},
		{"100.64.0.1", false, false},
		{"100.127.255.255", false, false},
		{"0.0.0.0", false, false},
		{"0.1.2.3", false, false},
		{"192.0.0.8", false, false},
		{"224.0.0.1", false, false},
		{"239.255.255.255", false, false},
		{"240.0.0.1", false, false},
		{"255.255.255.255", false, false},
		{"::", false, false},
		{"::1", false, false},
		{"::1%lo", false, false},
		{"fe80::1", false, false},
		{"fe80::1%eth0", false, false},
		{"febf::1", false, false},
		{"fec0::1", false, false},
		{"fc00::1", false, false},
		{"fd00::1", false, true},
		{"fd00::1%eth0", false, true},
		{"fd00:0:0:1::1", false, false},
		{"ff02::1", false, false},
		{"::ffff:127.0.0.1", false, true},
		{"::ffff:10.0.0.1", false, false},
		{"::ffff:10.1.0.1", false, true},
		{"::ffff:8.8.8.8", true, true},
		{"::10.0.0.1", false, false},
		{"::8.8.8.8", false, false},
		{"64:ff9b::7f00:1", false, true},
		{"64:ff9b::a00:1", false, false},
		{"64:ff9b::a9fe:a9fe", false, false},
		{"64:ff9b:1::808:808", false, false},
		{"2002:7f00:1::1", false, true},
		{"2002:a00:1::1", false, false},
		{"2002:c0a8:101::1", false, false},
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2", false, false},
	}
	for _, tc := range cases {
		ip := netip.MustParseAddr(tc.ip)
		if got := closed.Permits(ip); got != tc.always {
			t.Errorf("%s: %v", tc.ip, got)
		}
		if got := listed.Permits(ip); got != tc.private {
			t.Errorf("%s with lists: %v", tc.ip, got)
		}
	}
	if closed.Permits(netip.Addr{}) {
		t.Error("no address at all")
	}
}

package remote

import (
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"gatepost/internal/envelope"
	"gatepost/internal/resolve"
	"gatepost/internal/smtpclient"
)

const body = "Subject: x\r\n\r\ntext\r\n"

// TestFind: which hosts are tried for a destination, in which order, and what
// is left when there is none.
func TestFind(t *testing.T) {
	t.Parallel()
	const zone = `
one.example. MX 10 host.example.
two.example. MX 20 b.example.
two.example. MX 10 a.example.
even.example. MX 10 a.example.
even.example. MX 10 b.example.
even.example. MX 10 c.example.
plain.example. A 192.0.2.1
null.example. MX 0 .
empty.example. TXT "nothing"
broken.example. MX 10 gone.example.
half.example. MX 10 gone.example.
half.example. MX 20 a.example.
unsure.example. MX 10 gone.example.
unsure.example. MX 20 later.example.
families.example. MX 10 both.example.
loop.example. MX 10 us.example.
alias.example. MX 10 alsous.example.
backup.example. MX 5 a.example.
backup.example. MX 10 us.example.
backup.example. MX 10 b.example.
backup.example. MX 20 c.example.
backup2.example. MX 5 dead.example.
backup2.example. MX 10 alsous.example.
backup2.example. MX 10 a.example.
backup3.example. MX 10 alsous.example.
backup3.example. MX 20 a.example.
inside.example. MX 10 internal.example.
insideout.example. MX 10 internal.example.
insideout.example. MX 20 a.example.
host.example. A 192.0.2.1
a.example. A 192.0.2.1
b.example. A 192.0.2.2
c.example. A 192.0.2.3
dead.example. A 192.0.2.4
both.example. AAAA 2001:db8::1
both.example. AAAA 2001:db8::2
both.example. A 192.0.2.1
alsous.example. A 192.0.2.99
internal.example. A 127.0.0.1
internal.example. AAAA ::1
`
	cases := []struct {
		destination string
		want        string
		dialled     string // last octets or so
	}{
		{"one.example", "relayed by host.example: 250 2.0.0 queued", "192.0.2.1:25"},
		{"two.example", "relayed by a.example: 250 2.0.0 queued", "192.0.2.1:25"},
		{"even.example", "relayed by a.example: 250 2.0.0 queued", "192.0.2.1:25"},
		{"plain.example", "relayed by plain.example: 250 2.0.0 queued", "192.0.2.1:25"},
		{"half.example", "relayed by a.example: 250 2.0.0 queued", "192.0.2.1:25"},
		{"backup.example", "relayed by a.example: 250 2.0.0 queued", "192.0.2.1:25"},
		{"insideout.example", "relayed by a.example: 250 2.0.0 queued", "192.0.2.1:25"},
		{"families.example", "relayed by both.example: 250 2.0.0 queued", "[2001:db8::1]:25 192.0.2.1:25"},
		{"[192.0.2.1]", "relayed by [192.0.2.1]: 250 2.0.0 queued", "192.0.2.1:25"},
		{"route:r", "relayed by a.example: 250 2.0.0 queued", "192.0.2.1:587"},
		{"route:ip", "relayed by [192.0.2.1]: 250 2.0.0 queued", "192.0.2.1:25"},

		{"null.example", "failed: 556 5.1.10 the domain null.example does not take mail", ""},
		{"none.example", "failed: 550 5.1.2 the domain none.example does not exist", ""},
		{"empty.example", "failed by empty.example: 550 5.4.4 the mail host empty.example has no address", ""},
		{"broken.example", "failed by gone.example: 550 5.4.4 the mail host gone.example has no address", ""},
		{"servfail.example", "deferred all: 451 4.4.3 the address of servfail.example cannot be looked up at the moment", ""},
		{"bogus.example", "deferred all: 451 4.4.3 what the DNS says of bogus.example is not what its owner signed (DNSSEC)", ""},
		{"unsure.example", "deferred all: 451 4.4.3 the address of later.example cannot be looked up at the moment", ""},
		{"dead.example", "deferred all by dead.example: 451 4.4.1 no connection to dead.example (192.0.2.4): connection refused", "192.0.2.4:25"},
		{"loop.example", "failed: 554 5.4.6 mail for loop.example is directed to this server, which does not know the domain", ""},
		{"alias.example", "failed: 554 5.4.6 mail for alias.example is directed to this server, which does not know the domain", ""},
		{"[192.0.2.99]", "failed: 554 5.4.6 mail for [192.0.2.99] is directed to this server, which does not know the domain", ""},
		{"backup2.example", "deferred all by dead.example: 451 4.4.1 no connection to dead.example (192.0.2.4): connection refused", "192.0.2.4:25"},
		{"backup3.example", "failed: 554 5.4.6 mail for backup3.example is directed to this server, which does not know the domain", ""},
		{"inside.example", "failed by internal.example: 550 5.4.4 internal.example has the address 127.0.0.1, which is not on the Internet ([remote] private)", ""},
		{"[127.0.0.1]", "failed by [127.0.0.1]: 550 5.4.4 [127.0.0.1] has the address 127.0.0.1, which is not on the Internet ([remote] private)", ""},
		{"localhost", "failed by localhost: 550 5.4.4 localhost has the address 127.0.0.1, which is not on the Internet ([remote] private)", ""},
		{"route:inside", "deferred all by [127.0.0.1]: 450 4.4.4 [127.0.0.1] has the address 127.0.0.1, which is not on the Internet ([remote] private)", ""},
		{"route:gone", "deferred all by gone.example: 450 4.4.4 the mail host gone.example has no address", ""},
		{"route:us", "relayed by alsous.example: 250 2.0.0 queued", "192.0.2.99:2525"},
		{"route:none", "deferred all: 451 4.3.5 the route none is not configured", ""},
	}
	for _, tc := range cases {
		t.Run(tc.destination, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, zone)
			w.dns.Fail("servfail.example", dns.TypeMX, resolve.ErrTemporary)
			w.dns.Fail("bogus.example", dns.TypeMX, resolve.ErrBogus)
			w.dns.Fail("later.example", dns.TypeA, resolve.ErrTemporary)
			w.dns.Add("localhost. A 127.0.0.1")
			w.host("192.0.2.1", &server{})
			w.host("192.0.2.99", &server{})
			s := w.sender(func(o *Options) {
				o.Routes = []Route{
					{Name: "r", Via: "A.example:587"}, {Name: "ip", Via: "192.0.2.1"}, {Name: "inside", Via: "127.0.0.1:2525"},
					{Name: "gone", Via: "gone.example"}, {Name: "us", Via: "alsous.example:2525"},
				}
			})
			got := s.Deliver(t.Context(), attempt(tc.destination, body, "b@b.example"))
			if len(got) != 1 || show(got[0]) != tc.want {
				t.Errorf("%s\nwant %s", show(got[0]), tc.want)
			}
			if d := strings.Join(w.dialled, " "); d != tc.dialled {
				t.Errorf("dialled %s, want %s", d, tc.dialled)
			}
		})
	}
}

// TestNextHost: what makes the next host be tried, and what does not.
func TestNextHost(t *testing.T) {
	t.Parallel()
	at := func(verb, reply string) func(int, string) string {
		return func(_ int, line string) string {
			if strings.HasPrefix(line, verb) {
				return reply
			}
			return ""
		}
	}
	cases := []struct {
		name          string
		first, second *server
		want          string
	}{
		{"refused connection", nil, &server{}, "relayed by b.example: 250 2.0.0 queued"},
		{"5xx greeting", &server{greeting: "554 5.7.1 not you"}, &server{}, "relayed by b.example: 250 2.0.0 queued"},
		{"4xx greeting", &server{greeting: "!421 4.3.2 busy"}, &server{}, "relayed by b.example: 250 2.0.0 queued"},
		{"EHLO and HELO refused", &server{answer: func(_ int, line string) string { return "550 no" }}, &server{}, "relayed by b.example: 250 2.0.0 queued"},
		{"hangs up", &server{greeting: "!"}, &server{}, "relayed by b.example: 250 2.0.0 queued"},
		{"no SMTP", &server{greeting: "!SSH-2.0-OpenSSH"}, &server{}, "relayed by b.example: 250 2.0.0 queued"},
		{"all refuse", &server{greeting: "554 5.7.1 not you"}, &server{greeting: "521 5.3.2 no mail here"}, "failed by b.example: 521 5.3.2 no mail here"},
		{"one may do later", &server{greeting: "450 4.3.2 later"}, &server{greeting: "554 5.7.1 not you"}, "deferred all by a.example: 450 4.3.2 later"},
		{"none answers", nil, nil, "deferred all by b.example: 451 4.4.1 no connection to b.example (192.0.2.2): connection refused"},
		{"hang up both", &server{greeting: "!"}, &server{greeting: "!"}, "deferred all by b.example: 451 4.4.2 b.example: the connection broke at its greeting"},

		{"MAIL 4xx", &server{answer: at("MAIL", "450 4.7.1 greylisted")}, &server{}, "deferred by a.example: 450 4.7.1 greylisted"},
		{"MAIL 5xx", &server{answer: at("MAIL", "550 5.7.1 no")}, &server{}, "failed by a.example: 550 5.7.1 no"},
		{"MAIL 421", &server{answer: at("MAIL", "!421 4.7.0 slow down")}, &server{}, "deferred all by a.example: 421 4.7.0 slow down"},
		{"MAIL lost", &server{answer: at("MAIL", "!")}, &server{}, "deferred all by a.example: 451 4.4.2 a.example: the connection broke at MAIL"},
		{"RCPT 4xx", &server{answer: at("RCPT", "450 4.2.2 full")}, &server{}, "deferred by a.example: 450 4.2.2 full"},
		{"RCPT 452", &server{answer: at("RCPT", "452 too many")}, &server{}, "deferred by a.example: 452 too many"},
		{"RCPT 5xx", &server{answer: at("RCPT", "550 5.1.1 who?")}, &server{}, "failed by a.example: 550 5.1.1 who?"},
		{"RCPT 421", &server{answer: at("RCPT", "!421 4.7.0 slow down")}, &server{}, "deferred all by a.example: 421 4.7.0 slow down"},
		{"RCPT lost", &server{answer: at("RCPT", "!")}, &server{}, "deferred by a.example: 451 4.4.2 a.example: the connection broke at RCPT"},
		{"end 4xx", &server{answer: at(".", "451 4.3.0 not now")}, &server{}, "deferred by a.example: 451 4.3.0 not now"},
		{"end 5xx", &server{answer: at(".", "550 5.7.1 spam")}, &server{}, "failed by a.example: 550 5.7.1 spam"},
		{"end 421", &server{answer: at(".", "!421 4.3.2 going down")}, &server{}, "deferred all by a.example: 421 4.3.2 going down"},
		{"end lost", &server{answer: at(".", "!")}, &server{}, "deferred by a.example: 451 4.4.2 a.example: the connection broke at the end of the content"},
		{"hostile reply", &server{answer: at("MAIL", "550 a\x1b[2J\u202eb\xff")}, &server{}, "failed by a.example: 550 a?[2J?b?"},
		{"long reply", &server{answer: at("MAIL", "550 "+strings.Repeat("ä", 1000))}, &server{}, "failed by a.example: 550 " + strings.Repeat("ä", 256) + "…"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 a.example.\nd.example. MX 20 b.example.\na.example. A 192.0.2.1\nb.example. A 192.0.2.2")
			if tc.first != nil {
				w.host("192.0.2.1", tc.first)
			}
			if tc.second != nil {
				w.host("192.0.2.2", tc.second)
			}
			s := w.sender()
			got := s.Deliver(t.Context(), attempt("d.example", body, "b@d.example"))
			if show(got[0]) != tc.want {
				t.Errorf("%s\nwant %s", show(got[0]), tc.want)
			}
			if tc.first != nil && tc.first.connections() != 1 {
				t.Errorf("%d connections to the first host", tc.first.connections())
			}
			if tc.first != nil && len(tc.first.heard("MAIL")) > 0 && tc.second.connections() > 0 {
				t.Error("the second host was asked about the message, too")
			}
		})
	}
}

// TestTransactions: how many recipients, and messages, share what.
func TestTransactions(t *testing.T) {
	t.Parallel()
	many := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("r%d@d%d.example", i, i%3))
		}
		return list
	}
	limit := func(max int, reply string) func(int, string) string {
		count := map[int]int{}
		return func(n int, line string) string {
			if strings.HasPrefix(line, "RCPT") {
				if count[n]++; count[n] > max {
					return reply
				}
			}
			return ""
		}
	}
	cases := []struct {
		name   string
		server *server
		to     []string
		want   map[string]int // outcomes
		mails  []int          // connection of each transaction
	}{
		{"all at once", &server{offers: "PIPELINING DSN"}, many(100), map[string]int{"delivered by host.example: 250 2.0.0 queued": 100}, []int{1}},
		{"more than all hosts must take", &server{offers: "PIPELINING"}, many(250), map[string]int{"relayed by host.example: 250 2.0.0 queued": 250}, []int{1, 1, 1}},
		{"RCPTMAX", &server{offers: "PIPELINING LIMITS_RCPTMAX=4"}, many(10), map[string]int{"relayed by host.example: 250 2.0.0 queued": 10}, []int{1, 1, 1}},
		{"RCPTDOMAINMAX", &server{offers: "LIMITS_RCPTDOMAINMAX=2"}, many(9), map[string]int{"relayed by host.example: 250 2.0.0 queued": 9}, []int{1, 1}},
		{"RCPTDOMAINMAX and RCPTMAX", &server{offers: "LIMITS_RCPTDOMAINMAX=1_RCPTMAX=2"}, many(9), map[string]int{"relayed by host.example: 250 2.0.0 queued": 9}, []int{1, 1, 1, 1, 1, 1}},
		{"MAILMAX", &server{offers: "LIMITS_RCPTMAX=2_MAILMAX=2"}, many(7), map[string]int{"relayed by host.example: 250 2.0.0 queued": 7}, []int{1, 1, 2, 2}},
		{"452", &server{offers: "PIPELINING", answer: limit(4, "452 4.5.3 too many")}, many(10), map[string]int{"relayed by host.example: 250 2.0.0 queued": 10}, []int{1, 1, 1}},
		{"452 without more", &server{answer: limit(4, "452 too many")}, many(10), map[string]int{"relayed by host.example: 250 2.0.0 queued": 10}, []int{1, 1, 1}},
		{"552", &server{answer: limit(4, "552 5.5.3 too many")}, many(8), map[string]int{"relayed by host.example: 250 2.0.0 queued": 8}, []int{1, 1}},
		{"452 of a mailbox", &server{answer: limit(4, "452 4.2.2 full")}, many(6), map[string]int{"relayed by host.example: 250 2.0.0 queued": 4, "deferred by host.example: 452 4.2.2 full": 2}, []int{1}},
		{"452 for all", &server{answer: limit(0, "452 4.5.3 too many")}, many(3), map[string]int{"deferred by host.example: 452 4.5.3 too many": 3}, []int{1}},
		{"421 in the second", &server{offers: "LIMITS_RCPTMAX=2", answer: func(n int, line string) string {
			if n == 2 && strings.HasPrefix(line, "RCPT") {
				return "!421 4.7.0 enough"
			}
			return ""
		}}, many(6), map[string]int{"relayed by host.example: 250 2.0.0 queued": 2, "deferred all by host.example: 421 4.7.0 enough": 4}, []int{1, 1}},
		{"lost in the second", &server{offers: "LIMITS_RCPTMAX=2", answer: func(n int, line string) string {
			if n == 2 && strings.HasPrefix(line, "DATA") {
				return "!"
			}
			return ""
		}}, many(6), map[string]int{"relayed by host.example: 250 2.0.0 queued": 2, "deferred by host.example: 451 4.4.2 host.example: the connection broke at DATA": 4}, []int{1, 1}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 host.example.\nhost.example. A 192.0.2.1")
			w.host("192.0.2.1", tc.server)
			s := w.sender()
			got := map[string]int{}
			for _, o := range s.Deliver(t.Context(), attempt("d.example", body, tc.to...)) {
				got[show(o)]++
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
			var mails []int
			for _, line := range tc.server.heard("MAIL") {
				var id int
				fmt.Sscan(line, &id)
				mails = append(mails, id)
			}
			if d := cmp.Diff(tc.mails, mails); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestReasons: what the public hears of errors that name our own side.
func TestReasons(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"connection refused": &net.OpError{Err: syscall.ECONNREFUSED},
		"unreachable":        &net.OpError{Err: syscall.EHOSTUNREACH},
		"no answer":          &net.OpError{Err: os.ErrDeadlineExceeded},
		"it failed":          &net.OpError{Err: syscall.EADDRNOTAVAIL},
	} {
		if got := dialReason(err); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
	for want, err := range map[string]error{
		"the certificate is not valid at this time": x509.CertificateInvalidError{Reason: x509.Expired},
		"the certificate is not valid":              x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign},
		"the handshake failed":                      io.EOF,
	} {
		if got := tlsReason(&smtpclient.Error{Step: "x", Err: err}); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
	for _, s := range []string{"x" + strings.Repeat("ä", 300), strings.Repeat("ä", 300), strings.Repeat("x", 513)} {
		if got := clip(s); len(got) > maxText+len("…") || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
			t.Errorf("%q", got)
		}
	}
}

// TestNoIPv6: where it is switched off nothing is sent over it.
func TestNoIPv6(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "d.example. AAAA 2001:db8::1\nd.example. A 192.0.2.4\nsix.example. AAAA 2001:db8::1")
	s := w.sender(func(o *Options) { o.IPv6 = false })
	for destination, want := range map[string]string{
		"d.example":          "deferred all by d.example: 451 4.4.1 no connection to d.example (192.0.2.4): connection refused",
		"six.example":        "failed by six.example: 550 5.4.4 the mail host six.example has no address",
		"[IPv6:2001:db8::1]": "failed by [IPv6:2001:db8::1]: 550 5.4.4 IPv6 is switched off here, and [IPv6:2001:db8::1] needs it",
	} {
		if got := show(s.Deliver(t.Context(), attempt(destination, body, "b@d.example"))[0]); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if d := cmp.Diff([]string{"192.0.2.4:25"}, w.dialled); d != "" {
		t.Error(d)
	}
}

// TestGroup: whatever the order of the answer, hosts come by preference, each
// once, and equal ones in any order.
func TestGroup(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &Sender{o: Options{OwnNames: []string{"us.example"}, Pick: func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }}}
		var list []resolve.Exchange
		limit := 1 << 16 // the preference from which on hosts are left out
		for i := range rapid.IntRange(0, 8).Draw(t, "hosts") {
			e := resolve.Exchange{Host: fmt.Sprintf("h%d", i), Preference: uint16(rapid.IntRange(0, 3).Draw(t, "preference"))}
			if rapid.IntRange(0, 5).Draw(t, "us") == 0 {
				e.Host = "us.example"
				limit = min(limit, int(e.Preference))
			}
			list = append(list, e)
		}
		preference, want := map[string]uint16{}, 0
		for _, e := range list {
			if int(e.Preference) < limit {
				preference[e.Host] = e.Preference
				want++
			}
		}
		last, got := -1, 0
		for _, group := range s.group(list) {
			for _, h := range group {
				p, ok := preference[h.name]
				if !ok || p != preference[group[0].name] {
					t.Errorf("%s does not belong into %v", h.name, group)
				}
				got++
			}
			if p := int(preference[group[0].name]); p <= last {
				t.Errorf("preference %d after %d", p, last)
			} else {
				last = p
			}
		}
		if got != want {
			t.Errorf("%d hosts, want %d", got, want)
		}
	})
}

func TestAlternate(t *testing.T) {
	t.Parallel()
	a, b, c := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3")
	x, y, z := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	for _, tc := range []struct{ in, want []netip.Addr }{
		{[]netip.Addr{a}, []netip.Addr{a}},
		{[]netip.Addr{a, b}, []netip.Addr{a, b}},
		{[]netip.Addr{x, y, z}, []netip.Addr{x, y, z}},
		{[]netip.Addr{a, x}, []netip.Addr{a, x}},
		{[]netip.Addr{a, b, c, x}, []netip.Addr{a, x, b, c}},
		{[]netip.Addr{a, x, y, z}, []netip.Addr{a, x, y, z}},
		{[]netip.Addr{a, b, c, x, y, z}, []netip.Addr{a, x, b, y}},
	} {
		if got := alternate(tc.in); !slices.Equal(got, tc.want) {
			t.Errorf("%v: %v, want %v", tc.in, got, tc.want)
		}
	}
}

func TestNotifies(t *testing.T) {
	t.Parallel()
	for n := range envelope.Notify(16) {
		var want []string
		for i, word := range []string{"NEVER", "SUCCESS", "FAILURE", "DELAY"} {
			if n&(1<<i) != 0 {
				want = append(want, word)
			}
		}
		if n > 1 && n&envelope.NotifyNever != 0 {
			want = nil // which the grammar does not let in
		}
		if got := notifies[n]; got != strings.Join(want, ",") {
			t.Errorf("%d: %s", n, got)
		}
	}
}

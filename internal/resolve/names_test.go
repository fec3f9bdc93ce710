package resolve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"gatepost/internal/clock"
)

const errnoRefused = syscall.ECONNREFUSED

func TestNames(t *testing.T) {
	t.Parallel()
	f := NewFake(zone)
	f.Fail("half.example", dns.TypeAAAA, ErrTemporary)
	f.Fail("mx2.example", dns.TypeAAAA, ErrTemporary)
	ctx := t.Context()
	show := func(v any, err error) string {
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%v", v)
	}
	mx := func(name string) string { v, err := MX(ctx, f, name); return show(v, err) }
	ip := func(name string, v6 bool) string { v, err := Addrs(ctx, f, name, v6); return show(v, err) }
	ptr := func(a string) string { v, err := PTR(ctx, f, netip.MustParseAddr(a)); return show(v, err) }
	txt := func(name string) string { v, err := TXT(ctx, f, name); return show(v, err) }
	cases := []struct{ what, got, want string }{
		{"MX", mx("Example."), "[{mx1.example 10} {mx2.example 20}]"},
		{"null MX", mx("null.example"), ErrNullMX.Error()},
		{"null MX among others", mx("both.example"), "[{mx1.example 5}]"},
		{"no MX", mx("mx1.example"), "mx1.example MX: no such name or record"},
		{"no domain", mx("none.example"), "none.example MX: no such name or record (NXDOMAIN)"},
		{"both families", ip("mx1.example", true), "[2001:db8::1 192.0.2.1]"},
		{"IPv4 alone", ip("mx1.example", false), "[192.0.2.1]"},
		{"alias", ip("www.example", false), "[192.0.2.1]"},
		{"one family fails", ip("mx2.example", true), "[192.0.2.2]"},
		{"one fails, the other is not there", ip("half.example", true), "half.example AAAA: no answer from the DNS"},
		{"no address", ip("example", true), "example A: no such name or record"},
		{"PTR", ptr("192.0.2.1"), "[mx1.example]"},
		{"PTR of a mapped address", ptr("::ffff:192.0.2.1"), "[mx1.example]"},
		{"no PTR", ptr("2001:db8::1"), "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR: no such name or record (NXDOMAIN)"},
		{"TXT", txt("example"), "[v=spf1 -all]"},
	}
	for _, tc := range cases {
		got := strings.Replace(tc.got, "arpa.", "arpa", 1)
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, got, tc.want)
		}
	}
}

// TestServer asks a real DNS server, over UDP and, for what does not fit,
// over TCP, and gets each octet of a text back.
func TestServer(t *testing.T) {
	t.Parallel()
	var texts sync.Map // name to []string
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		want, _ := texts.Load(name)
		for _, text := range want.([]string) {
			m.Answer = append(m.Answer, &dns.TXT{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60},
				Txt: escaped(text),
			})
		}
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(int(q.IsEdns0().UDPSize()))
		}
		w.WriteMsg(m)
	})
	c := New(Options{
		Servers: []netip.AddrPort{listen(t, handler)}, Random: rand.Reader, Clock: clock.System, CacheBytes: 1 << 20,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	})
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		name := fmt.Sprintf("t%d.example", count)
		var want []string
		for _, b := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 700), 1, 4).Draw(t, "texts") {
			want = append(want, string(b))
		}
		if count%2 == 0 {
			want = append(want, strings.Repeat("x", udpSize))
		}
		texts.Store(name+".", want)
		got, err := TXT(context.Background(), c, name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
	if tcp := c.Counters.TCP.Load(); tcp < int64(count/2) || c.Counters.Queries.Load() != tcp+int64(count) {
		t.Errorf("%d of %d queries over TCP", tcp, c.Counters.Queries.Load())
	}
}

// escaped returns the strings of a record in the library's form.
func escaped(text string) []string {
	var list []string
	for len(text) > 0 {
		n := min(255, len(text))
		var b strings.Builder
		for _, c := range []byte(text[:n]) {
			fmt.Fprintf(&b, `\%03d`, c)
		}
		list, text = append(list, b.String()), text[n:]
	}
	return list
}

// listen serves handler on one port, UDP and TCP.
func listen(t *testing.T, handler dns.Handler) netip.AddrPort {
	for range 10 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			l.Close() // somebody has that port
			continue
		}
		for _, s := range []*dns.Server{{Listener: l, Handler: handler}, {PacketConn: p, Handler: handler}} {
			started, stopped := make(chan struct{}), make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go func() {
				s.ActivateAndServe()
				close(stopped)
			}()
			<-started
			t.Cleanup(func() { s.Shutdown(); <-stopped })
		}
		return netip.MustParseAddrPort(l.Addr().String())
	}
	t.Fatal("no port is free for both UDP and TCP")
	return netip.AddrPort{}
}

func TestSystem(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := clock.NewFake(time.Now())
	s := servers{path: path}
	write := func(text string, changed time.Time) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, want ...string) {
		t.Helper()
		list, err := s.list(now.Now())
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", when, err, d)
		}
	}
	expect("no file", "127.0.0.1:53")
	write("# c\nsearch example\nnameserver 192.0.2.1\nnameserver  fe80::1%eth0 # x\nnameserver bad\nnameserver\n", now.Now())
	expect("looked at a moment ago", "127.0.0.1:53")
	now.Advance(confAge)
	expect("a file", "192.0.2.1:53", "[fe80::1%eth0]:53")
	write("nameserver 192.0.2.2", now.Now())
	now.Advance(confAge)
	expect("changed", "192.0.2.2:53")
	write("nameserver 192.0.2.3", now.Now().Add(-confAge))
	now.Advance(confAge)
	s.forget()
	expect("reloaded", "192.0.2.3:53")
	now.Jump(-time.Hour)
	write("nameserver 192.0.2.4", now.Now())
	expect("after the clock went back", "192.0.2.4:53")
}

func TestErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	q := question{"example", dns.TypeMX}
	bogus, missing := error(q.fail(ErrBogus, cause)), error(q.denied(true, true))
	switch {
	case !errors.Is(bogus, ErrBogus), !errors.Is(bogus, ErrTemporary), errors.Is(bogus, ErrNotFound), !errors.Is(bogus, cause):
		t.Error("a bogus answer is temporary and no denial")
	case errors.Is(missing, ErrTemporary), !errors.Is(missing, ErrNotFound), !NXDomain(fmt.Errorf("x: %w", missing)), NXDomain(bogus):
		t.Error("a denial is final")
	}
}

// TestWatcher: one answer that is not signed, or denial, makes all of it so.
func TestWatcher(t *testing.T) {
	t.Parallel()
	f := NewFake("a.example. A 192.0.2.1\nb.unsigned.example. A 192.0.2.1")
	f.Secure = true
	f.Unsign("unsigned.example")
	for _, tc := range []struct {
		names  []string
		secure bool
	}{
		{nil, true},
		{[]string{"a.example", "none.example"}, true},
		{[]string{"a.example", "b.unsigned.example", "a.example"}, false},
		{[]string{"none.unsigned.example"}, false},
	} {
		w := &Watcher{Resolver: f}
		for _, name := range tc.names {
			Addrs(t.Context(), w, name, false)
		}
		if w.Secure() != tc.secure {
			t.Errorf("%v: %v", tc.names, w.Secure())
		}
	}
	f.Fail("a.example", dns.TypeA, ErrTemporary)
	w := &Watcher{Resolver: f}
	if _, err := w.Lookup(t.Context(), "a.example", dns.TypeA); err == nil || w.Secure() {
		t.Error("nobody vouches for no answer")
	}
}

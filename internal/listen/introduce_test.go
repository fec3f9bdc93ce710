package listen

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// What a proxy passes on is served, and counted, as its client's.
func TestIntroduce(t *testing.T) {
	t.Parallel()
	l := local(t)
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	d, log := open(t, l, func(o *Options) {
		o.Bounds = NewBounds(Limits{Connections: 100, PerAddress: 1, PerNetwork: 1, Proxies: here})
		o.Serve = func(c net.Conn) {
			defer c.Close()
			fmt.Fprintf(c, "%s at %s\n", c.RemoteAddr(), c.LocalAddr())
			io.Copy(c, c)
		}
	})
	say := func(words string) net.Conn {
		t.Helper()
		c := dial(t, l)
		if _, err := io.WriteString(c, words); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := say("PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\nEHLO\n")
	hears(t, first, "192.0.2.1:12345 at 198.51.100.2:25\nEHLO\n")
	other := say("PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n")
	hears(t, other, "[2001:db8::1]:12345 at [2001:db8::2]:25\n")
	own := say("PROXY UNKNOWN\r\n") // the proxy sees whether we are there
	hears(t, own, own.LocalAddr().String())
	hears(t, say("PROXY TCP4 192.0.2.1 198.51.100.2 12346 25\r\n"), "421 4.7.0 no\r\n") // one too many of 192.0.2.1
	lost := say("EHLO client.example\r\n")
	if b, err := io.ReadAll(lost); len(b) > 0 {
		t.Errorf("without a header: %q, %v", b, err)
	}
	first.Close()
	hears(t, awaitLeft(t, d, 2, func() net.Conn { return say("PROXY TCP4 192.0.2.1 198.51.100.2 12347 25\r\n") }), "192.0.2.1:12347")
	d.Close()
	if !strings.Contains(log.String(), "does not say whose connection it is") {
		t.Errorf("%s", log)
	}
}

// awaitLeft waits until no more than some connections are open.
func awaitLeft(t *testing.T, d *Door, left int, then func() net.Conn) net.Conn {
	t.Helper()
	for d.o.Bounds.Open() > left {
	}
	return then()
}

// Nobody else is believed.
func TestIntroduceItself(t *testing.T) {
	t.Parallel()
	l := local(t)
	open(t, l, func(o *Options) {
		o.Bounds = NewBounds(Limits{Connections: 9, PerAddress: 9, PerNetwork: 9, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	})
	c := dial(t, l)
	io.WriteString(c, "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n")
	hears(t, c, "hello\nPROXY TCP4")
}

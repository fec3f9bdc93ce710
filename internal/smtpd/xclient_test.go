package smtpd

import (
	"net/netip"
	"strings"
	"testing"

	"gatepost/internal/envelope"
)

// Who is listed speaks for others, from then on as they.
func TestXClient(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, func(o *Options) { o.XClient = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	var connected []string
	s.rules.connect = func(p *envelope.Peer) error {
		connected = append(connected, p.Addr.String())
		return nil
	}
	c := s.dial(t, false).hello()
	if r := c.say("EHLO proxy.example", "250"); !strings.Contains(r.Text, "XCLIENT NAME ADDR PORT HELO") {
		t.Errorf("%q", r.Text)
	}
	c.say("XCLIENT ADDR=nonsense", "501")
	c.say("XCLIENT LOGIN=anna@example.org", "501")
	c.say("MAIL FROM:<a@example.com>", "250")
	c.say("XCLIENT ADDR=192.0.2.1", "503")
	c.say("RSET", "250")
	c.say("XCLIENT ADDR=192.0.2.1 PORT=4711 HELO=client.example NAME=[UNAVAILABLE]", "220")
	c.say("MAIL FROM:<a@example.com>", "503") // all begins anew
	c.say("EHLO proxy.example", "250")
	c.say("MAIL FROM:<a@example.com>", "250")
	c.say("RCPT TO:<b@example.org>", "250")
	c.say("DATA", "354")
	c.say("Subject: x\r\n\r\nx\r\n.", "250")
	if got := string(s.store.all()[0].Header); !strings.Contains(got, "from client.example ([192.0.2.1])") {
		t.Errorf("%s", got)
	}
	c.say("XCLIENT ADDR=IPV6:2001:db8::1", "220") // for the next one
	if len(connected) != 3 || connected[1] != "192.0.2.1:4711" || connected[2] != "[2001:db8::1]:0" {
		t.Errorf("%q", connected)
	}
}

// Nobody else does, and it is not offered; nor is somebody who was introduced
// as one that is listed.
func TestXClientRefused(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, func(o *Options) { o.XClient = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	c := s.dial(t, false).hello()
	if r := c.say("EHLO client.example", "250"); strings.Contains(r.Text, "XCLIENT") {
		t.Errorf("%q", r.Text)
	}
	c.say("XCLIENT ADDR=192.0.2.1", "550")
}

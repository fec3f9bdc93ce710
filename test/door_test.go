package test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
)

// Nobody sends to elsewhere through port 25, however the address is written
// and whoever is named as the sender.
func TestNoOpenRelay(t *testing.T) {
	t.Parallel()
	victim := newPeer(t, nil)
	s := start(t, "relay.test", victim.route("remote.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	// A domain that takes all there is must not take these.
	s.gatepost("domain", "add", "catch.test")
	s.gatepost("alias", "add", "@catch.test", s.address())
	for _, to := range []string{
		"<x%remote.test@catch.test>", "<remote.test!x@catch.test>", `<"x@remote.test"@catch.test>`, "<@relay.test:x%remote.test@catch.test>",
		"<x@remote.test>", "x@remote.test", "<x@REMOTE.TEST.>",
		"<x%remote.test@relay.test>", "<x%remote.test@mx.relay.test>", "<x%remote.test@[" + s.ip + "]>", "<x%remote.test>",
		"<@relay.test:x@remote.test>", "<@relay.test,@mx.relay.test:x@remote.test>", "<@[" + s.ip + "]:x@remote.test>",
		`<"x@remote.test"@relay.test>`, `<"x%remote.test"@relay.test>`, `<"x@remote.test">`, `<"x\@remote.test"@relay.test>`,
		"<remote.test!x@relay.test>", "<remote.test!x>", `<"remote.test!x"@relay.test>`, "<@relay.test:remote.test!x>",
		"<x@remote.test@relay.test>", "<x@relay.test@remote.test>", "<x@remote.test%relay.test>", "<x@remote.test,y@relay.test>",
		"<x@[" + victim.addr + "]>", "<x@" + victim.addr + ">", "<x@[IPv6:::ffff:" + victim.addr + "]>",
		"<x@relay.test.remote.test>", "<x@sub.relay.test>", "<x@remote.test\x00@relay.test>",
	} {
		for _, from := range []string{"<>", "<x@remote.test>", "<" + s.address() + ">", "<postmaster@mx.relay.test>", "<x@[" + s.ip + "]>"} {
			c := s.world(t)
			c.say("MAIL FROM:"+from, "250")
			c.say("RCPT TO:"+to, "5")
			c.say("DATA", "503")
			c.conn.Close()
		}
	}
	s.world(t).mail("<>", []string{"<anybody@catch.test>"}, letter("x@remote.test", "caught"))
	s.arrives(s.address(), "caught")
	s.settles()
	if list := s.inbox(s.address()); len(list) != 1 {
		t.Errorf("filed: %+v", list)
	}
	if got := victim.deliveries(); len(got) != 0 {
		t.Errorf("relayed: %+v", got)
	}
}

// Postmaster is reached wherever the server is: RFC 5321, section 4.5.1.
func TestPostmaster(t *testing.T) {
	t.Parallel()
	s := start(t, "post.test", "")
	for i, to := range []string{"<postmaster>", "<Postmaster@post.test>", "<POSTMASTER@[" + s.ip + "]>", "<abuse@post.test>"} {
		subject := fmt.Sprint("complaint ", i)
		s.world(t).mail("<>", []string{to}, letter("x@remote.test", subject))
		s.arrives(s.address(), subject)
	}
}

// Who asks for a password without TLS, or on port 25 at all, teaches clients
// to give it away.
func TestWhereToSignIn(t *testing.T) {
	t.Parallel()
	s := start(t, "signin.test", "")
	credential := plain(s.address(), password)
	for _, c := range []struct {
		name, port string
		encrypt    bool // with STARTTLS
		offered    bool
		auth, mail string // replies
	}{
		{"25", "25", false, false, "503 5.5.1", "250"},
		{"25 with TLS", "25", true, false, "503 5.5.1", "250"},
		{"587", "587", false, false, "538 5.7.11", "530 5.7.0"},
		{"587 with TLS", "587", true, true, "235", "530 5.7.0"},
		{"465", "465", false, true, "235", "530 5.7.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := s.dial(t, c.port)
			hello := d.say("EHLO client.test", "250")
			if c.encrypt {
				if strings.Contains(hello, "AUTH") {
					t.Errorf("before TLS it offers %s", hello)
				}
				d.startTLS()
				hello = d.say("EHLO client.test", "250")
			}
			if offered := strings.Contains(hello, "\n250-AUTH "); offered != c.offered {
				t.Errorf("it offers %s", hello)
			}
			d.say("MAIL FROM:<"+s.address()+">", c.mail)
			d.say("RSET", "250")
			d.say("AUTH PLAIN "+credential, c.auth)
			if c.offered {
				d.say("MAIL FROM:<"+s.address()+">", "250")
			}
		})
	}
	if strings.Contains(s.log.String(), credential) || strings.Contains(s.log.String(), password) {
		t.Error("the log holds the password")
	}
}

// startTLS encrypts the session.
func (c *client) startTLS() {
	c.t.Helper()
	c.say("STARTTLS", "220")
	c.encrypt()
}

// encrypt does the handshake.
func (c *client) encrypt() {
	c.t.Helper()
	if c.r.Buffered() > 0 {
		c.t.Fatal("it says more before TLS")
	}
	conn := tls.Client(c.conn, careless)
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn = conn
	c.r.Reset(conn)
}

// What stands behind STARTTLS in the clear was put there by somebody on the
// way; it is not obeyed as if it had come in TLS (CVE-2011-0411).
func TestStartTLSInjection(t *testing.T) {
	t.Parallel()
	s := start(t, "injection.test", "")
	for _, port := range []string{"25", "587"} {
		for _, injected := range []string{"NOOP\r\n", "EHLO mallory.test\r\nMAIL FROM:<mallory@remote.test>\r\n", "RSET\r\nNO"} {
			c := s.dial(t, port)
			c.say("EHLO client.test", "250")
			c.send("STARTTLS\r\n" + injected)
			c.expect("220")
			c.encrypt()
			c.say("RCPT TO:<"+s.address()+">", "5") // there is no MAIL, and no OP either
			c.say("EHLO client.test", "250-mx.injection.test")
			c.say("QUIT", "221")
			c.closed()
		}
	}
}

// A browser that somebody makes talk to a mail server sends what that
// somebody wants.
func TestHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, "http.test", "")
	for _, port := range []string{"25", "587", "465"} {
		for _, verb := range []string{"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"} {
			c := s.dial(t, port)
			c.send(verb + " / HTTP/1.1\r\nHost: mx.http.test\r\nContent-Length: 99\r\n\r\n" +
				"EHLO browser\r\nMAIL FROM:<x@remote.test>\r\nRCPT TO:<" + s.address() + ">\r\nDATA\r\n" + letter("x@remote.test", "web") + ".\r\n")
			c.expect("502")
			c.closed()
		}
	}
	if list := s.inbox(s.address()); len(list) > 0 {
		t.Errorf("it got %+v", list)
	}
}

// A user writes as nobody else: neither in the envelope nor in what people
// see.
func TestNobodyElse(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	s := start(t, "self.test", p.route("remote.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	s.account("ben@self.test")
	s.gatepost("alias", "add", "sales@self.test", s.address())
	const body = "\r\n\r\nhello\r\n"
	for _, c := range []struct{ name, from, header, want string }{
		{"ben in the envelope", "<ben@self.test>", "From: anna@self.test", "550 5.7.1"},
		{"a stranger in the envelope", "<x@remote.test>", "From: anna@self.test", "550 5.7.1"},
		{"nobody of ours in the envelope", "<nobody@self.test>", "From: anna@self.test", "550 5.7.1"},
		{"ben as author", "<anna@self.test>", "From: ben@self.test", "550 5.7.1"},
		{"a stranger as author", "<anna@self.test>", "From: anna@self.test <x@remote.test>", "550"},
		{"ben beside her", "<anna@self.test>", "From: anna@self.test, ben@self.test", "550 5.7.1"},
		{"ben in a second field", "<anna@self.test>", "From: anna@self.test\r\nFrom: ben@self.test", "550"},
		{"ben in a broken field", "<anna@self.test>", "From: anna@self.test\r\nFrom : ben@self.test", "55"},
		{"ben in a folded field", "<anna@self.test>", "From:\r\n ben@self.test", "550 5.7.1"},
		{"ben as sender", "<anna@self.test>", "From: anna@self.test\r\nSender: ben@self.test", "550 5.7.1"},
		{"ben behind no sender", "<>", "From: ben@self.test", "550 5.7.1"},
		{"herself", "<anna@self.test>", "From: Anna <anna@self.test>", "250"},
		{"herself with a tag", "<anna+x@self.test>", "From: \"ben@self.test\" <anna+y@self.test>", "250"},
		{"an alias of hers", "<sales@self.test>", "From: sales@self.test", "250"},
		{"no sender", "<>", "From: anna@self.test", "250"},
		{"no author", "<anna@self.test>", "Subject: none", "250"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply, err := s.signIn(t, s.address()).transact(c.from, []string{"<x@remote.test>"}, c.header+body)
			if err != nil || !strings.HasPrefix(reply, c.want) {
				t.Errorf("%q, %v; want %s", reply, err, c.want)
			}
		})
	}
	s.settles()
	for _, d := range p.gets(t, 5) {
		if !strings.Contains(d.data, "\r\nFrom: ") || strings.Contains(d.data, "<ben@") {
			t.Errorf("sent: %q", d.data)
		}
	}
}

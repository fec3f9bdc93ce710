package smtpd

import (
	"bufio"
	"crypto/tls"
	"strings"
	"testing"

	"gatepost/internal/envelope"
)

// TestStartTLSInjection: what stands behind STARTTLS in the clear is never
// answered, neither before nor after the handshake (CVE-2011-0411).
func TestStartTLSInjection(t *testing.T) {
	t.Parallel()
	for _, door := range []envelope.Door{envelope.MX, envelope.Submission} {
		for _, injected := range []string{"NOOP\r\n", "EHLO evil\r\nMAIL FROM:<a@b>\r\n", "NO", strings.Repeat("x", 30000)} {
			k := newSite(door, nil).dial(t, false).hello()
			k.send("STARTTLS\r\n" + injected)
			k.expect("220 2.0.0")
			if len(injected) < 1000 { // more might still be on its way, and then fails the handshake
				k.startTLS()
				k.say("VRFY x", "252")
				k.say("MAIL FROM:<a@b>", "503")
				k.say("EHLO x", "250")
			}
		}
	}
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	k := s.dial(t, false).hello()
	k.say("STARTTLS now", "501 5.5.4")
	k.say("MAIL FROM:<a@b>", "250")
	k.say("STARTTLS", "220 2.0.0")
	k.startTLS()
	k.say("RCPT TO:<a@b>", "503") // the transaction is forgotten
	k.say("MAIL FROM:<a@b>", "503")
	if r := k.say("EHLO x", "250"); strings.Contains(r.Text, "STARTTLS") {
		t.Errorf("offered twice: %q", r.Text)
	}
	k.say("STARTTLS", "503 5.5.1")
	k.say("MAIL FROM:<a@b>", "250")
	k.say("RCPT TO:<a@b>", "250")
	k.say("DATA", "354")
	// Content larger than a record, in pieces that end anywhere.
	body := strings.Repeat("0123456789\r\n", 10000)
	for rest := "A: b\r\n\r\n" + body + ".\r\n"; rest != ""; {
		n := min(len(rest), 9973)
		k.send(rest[:n])
		rest = rest[n:]
	}
	k.expect("250")
	if m := s.store.all()[0]; m.content != "A: b\r\n\r\n"+body {
		t.Errorf("%d octets", len(m.content))
	}
	// The last octet of a line in a record of its own must not be waited for.
	k.send("NOOP\r")
	k.send("\n")
	k.expect("250")
	k.say("DATA", "503")
	if s.Counters.TLS.Load() != 1 {
		t.Errorf("%d sessions in TLS", s.Counters.TLS.Load())
	}
}

func TestNoStartTLS(t *testing.T) {
	t.Parallel()
	k := newSite(envelope.MX, func(o *Options) { o.TLS = nil }).dial(t, false)
	k.expect("220")
	if r := k.say("EHLO x", "250"); strings.Contains(r.Text, "STARTTLS") {
		t.Errorf("offered: %q", r.Text)
	}
	k.say("STARTTLS", "502 5.5.1")
}

func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	k := s.dial(t, false).hello()
	k.say("STARTTLS", "220")
	k.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n")
	for { // an alert may come
		if _, err := k.r.ReadByte(); err != nil {
			break
		}
	}
	if s.Counters.TLS.Load() != 0 {
		t.Error("counted as TLS")
	}
}

func TestDoorTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		door    envelope.Door
		resumes bool
	}{{envelope.MX, false}, {envelope.Submission, true}} {
		s := newSite(c.door, nil)
		cache := tls.NewLRUClientSessionCache(1)
		dial := func(max uint16) (*client, *tls.Conn, error) {
			k := s.dial(t, false).hello()
			k.say("STARTTLS", "220")
			conn := tls.Client(k.conn, &tls.Config{InsecureSkipVerify: true, ServerName: "mx.test", ClientSessionCache: cache, MinVersion: tls.VersionTLS10, MaxVersion: max})
			err := conn.Handshake()
			k.conn, k.r = conn, bufio.NewReader(conn)
			return k, conn, err
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			var resumed bool
			for range 2 {
				k, conn, err := dial(version)
				if err != nil {
					t.Fatal(err)
				}
				k.say("EHLO x", "250") // a ticket of TLS 1.3 is read with it
				resumed = conn.ConnectionState().DidResume
				k.say("QUIT", "221")
			}
			if resumed != c.resumes {
				t.Errorf("door %d, %s: resumes %v", c.door, tls.VersionName(version), resumed)
			}
		}
		if _, _, err := dial(tls.VersionTLS11); err == nil {
			t.Errorf("door %d takes TLS 1.1", c.door)
		}
	}
}

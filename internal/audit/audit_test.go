package audit

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gatepost/internal/clock"
	"gatepost/internal/resolve"
)

const rightZone = `
example.org.      IN MX 10 mx.example.org.
example.org.      IN TXT "v=spf1 mx -all"
example.org.      IN TXT "some-verification=1"
mx.example.org.   IN TXT "v=spf1 a -all"
mx.example.org.   IN A 192.0.2.1
_dmarc.example.org. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"
_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@example.org"
_submissions._tcp.example.org. IN SRV 0 1 465 mx.example.org.
1.2.0.192.in-addr.arpa. IN PTR mx.example.org.
gmail.com.        IN MX 5 mx.gmail.com.
mx.gmail.com.     IN A 192.0.2.99
`

var ours = Domain{Name: "example.org"}

var site = Site{Hostname: "mx.example.org", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Submissions: 465}

// sound returns a server that nothing is wrong with.
func sound(t *testing.T) *Self {
	now := time.Unix(1_800_000_000, 0)
	return &Self{
		Site: site, Domains: []Domain{ours}, DataDir: t.TempDir(),
		Doors:       []Door{{"mx", ":25"}, {"submissions", "systemd:submissions"}},
		Certificate: &x509.Certificate{DNSNames: []string{"mx.example.org"}, NotBefore: now.Add(-30 * 24 * time.Hour), NotAfter: now.Add(60 * 24 * time.Hour)},
		Resolver:    resolve.NewFake(rightZone),
		Dial:        func(context.Context, string, string) (net.Conn, error) { return &net.TCPConn{}, nil },
		Listen:      func(string, string) (net.Listener, error) { return &net.TCPListener{}, nil },
		Clock:       clock.NewFake(now),
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		wrong func(*Self)
		check string
		level Level
		text  string
	}{
		{"nothing wrong", func(*Self) {}, "", OK, ""},
		{"port taken", func(s *Self) {
			s.Listen = func(string, string) (net.Listener, error) { return nil, unix.EADDRINUSE }
		}, "port.mx", Failure, "Another program listens on :25"},
		{"port forbidden", func(s *Self) {
			s.Listen = func(string, string) (net.Listener, error) { return nil, unix.EACCES }
		}, "port.mx", Failure, "may not listen"},
		{"running but deaf", func(s *Self) {
			s.Running = true
			s.Dial = refuse("127.0.0.1:25")
		}, "port.mx", Failure, "does not answer"},
		{"running and well", func(s *Self) { s.Running = true }, "port.mx", OK, "answers"},
		{"no certificate", func(s *Self) { s.Certificate = nil }, "certificate", Failure, "no certificate"},
		{"expired", func(s *Self) { s.Certificate.NotAfter = s.Clock.Now() }, "certificate", Failure, "expired"},
		{"expires soon", func(s *Self) { s.Certificate.NotAfter = s.Clock.Now().Add(time.Hour) }, "certificate", Warning, "expires on"},
		{"short-lived", func(s *Self) {
			s.Certificate.NotBefore, s.Certificate.NotAfter = s.Clock.Now().Add(-4*24*time.Hour), s.Clock.Now().Add(2*24*time.Hour)
		}, "certificate", OK, "good until"},
		{"another's expires", func(s *Self) {
			s.Authority, s.Others = true, []*x509.Certificate{{DNSNames: []string{"mta-sts.example.org"}, NotAfter: s.Clock.Now().Add(time.Hour)}}
		}, "certificate", Warning, "The certificate of mta-sts.example.org expires on"},
		{"not issued yet", func(s *Self) { s.SelfSigned, s.Authority = true, true }, "certificate", Warning, "self-signed"},
		{"TLSA of another key", func(s *Self) {
			s.TLSA = newTLSA(t)
			r := resolve.NewFake(rightZone + "_25._tcp.mx.example.org. TLSA " + s.TLSA.Keys[1].Record.String() + "\n")
			r.Secure, s.Resolver = true, r
		}, "dns.tlsa", Failure, "MATCH NO KEY"},
		{"another name", func(s *Self) { s.Certificate.DNSNames = []string{"www.example.org"} }, "certificate", Failure, "not for mx.example.org but for www.example.org"},
		{"self-signed", func(s *Self) { s.SelfSigned = true }, "certificate", Warning, "self-signed"},
		{"no directory", func(s *Self) { s.DataDir += "/none" }, "disk", Failure, "cannot be looked at"},
		{"no such host", func(s *Self) { s.Resolver = resolve.NewFake("") }, "hostname", Failure, "no address"},
		{"another machine", func(s *Self) { s.Site.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.7")} }, "hostname", Warning, "192.0.2.7"},
		{"no reverse", func(s *Self) { s.Resolver = resolve.NewFake("mx.example.org. IN A 192.0.2.1") }, "reverse", Failure, "192.0.2.1 has no name, not mx.example.org"},
		{"reverse of a provider", func(s *Self) {
			s.Resolver = resolve.NewFake("mx.example.org. IN A 192.0.2.1\n1.2.0.192.in-addr.arpa. IN PTR pool-1.provider.example.")
		}, "reverse", Failure, "is called pool-1.provider.example"},
		{"port 25 blocked", func(s *Self) { s.Dial = refuse("192.0.2.99:25") }, "outbound", Failure, "No other mail server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := sound(t)
			tt.wrong(s)
			list := s.Check(t.Context())
			found := tt.check == ""
			for _, f := range list {
				if f.Level != OK && f.Fix == "" {
					t.Errorf("no fix: %+v", f)
				}
				if f.Check == tt.check && f.Level == tt.level && strings.Contains(f.Text, tt.text) {
					found = true
				}
				// The machine that runs the test may have little disk or no
				// time service.
				if tt.check == "" && f.Level != OK && f.Check != "disk" && f.Check != "clock" {
					t.Errorf("%+v", f)
				}
			}
			if !found {
				t.Errorf("no %s %s %q among %+v", tt.level, tt.check, tt.text, list)
			}
		})
	}
}

func refuse(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, _, to string) (net.Conn, error) {
		if to == address {
			return nil, errors.New("connection refused")
		}
		return &net.TCPConn{}, nil
	}
}

func TestWorst(t *testing.T) {
	t.Parallel()
	w, f := Finding{Level: Warning}, Finding{Level: Failure}
	if Worst(nil) != OK || Worst([]Finding{w, {Level: OK}}) != Warning || Worst([]Finding{w, f, w}) != Failure {
		t.Error("the gravest level is not the worst")
	}
}

package remote

import (
	"crypto/tls"
	"io/fs"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/transport"
)

// TestTLS: what is asked of a host, what it has, and whether the message
// goes, and how.
func TestTLS(t *testing.T) {
	t.Parallel()
	const (
		sent   = "relayed by host.example: 250 2.0.0 queued"
		offers = "STARTTLS PIPELINING"
	)
	old := hostTLS.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	other, _ := certificate("other.example")
	broken := &tls.Config{}
	refuses := func(_ int, line string) string {
		if line == "STARTTLS" {
			return "454 4.7.0 TLS is not available"
		}
		return ""
	}
	hangsUp := func(_ int, line string) string {
		if line == "STARTTLS" {
			return "!220 go ahead"
		}
		return ""
	}
	cases := []struct {
		name   string
		need   transport.Terms
		server *server
		want   string
		conns  int
		secure bool
	}{
		{"none", transport.Terms{Level: transport.None}, &server{offers: offers, tls: hostTLS}, sent, 1, false},
		{"opportunistic", transport.Terms{Level: transport.Opportunistic}, &server{offers: offers, tls: hostTLS}, sent, 1, true},
		{"opportunistic, anybody's certificate", transport.Terms{Level: transport.Opportunistic}, &server{offers: offers, tls: other}, sent, 1, true},
		{"opportunistic, not offered", transport.Terms{Level: transport.Opportunistic}, &server{}, sent, 1, false},
		{"opportunistic, refused", transport.Terms{Level: transport.Opportunistic}, &server{offers: offers, answer: refuses}, sent, 1, false},
		{"opportunistic, broken", transport.Terms{Level: transport.Opportunistic}, &server{offers: offers, tls: broken}, sent, 2, false},
		{"opportunistic, hangs up", transport.Terms{Level: transport.Opportunistic}, &server{offers: offers, answer: hangsUp}, sent, 3, false},
		{"opportunistic, TLS 1.1", transport.Terms{Level: transport.Opportunistic}, &server{offers: offers, tls: old}, sent, 2, false},
		{"require", transport.Terms{Level: transport.Require}, &server{offers: offers, tls: other}, sent, 1, true},
		{"require, not offered", transport.Terms{Level: transport.Require}, &server{}, "deferred all by host.example: 451 4.7.4 TLS is required, but host.example does not offer it", 1, false},
		{"require, refused", transport.Terms{Level: transport.Require}, &server{offers: offers, answer: refuses}, "deferred all by host.example: 451 4.7.5 TLS is required, but with host.example it was refused: 454 4.7.0 TLS is not available", 1, false},
		{"require, broken", transport.Terms{Level: transport.Require}, &server{offers: offers, tls: broken}, "deferred all by host.example: 451 4.7.5 TLS is required, but with host.example the handshake failed", 1, false},
		{"require, TLS 1.1", transport.Terms{Level: transport.Require}, &server{offers: offers, tls: old}, "deferred all by host.example: 451 4.7.5 TLS is required, but with host.example the handshake failed", 1, false},
		{"verify", transport.Terms{Level: transport.Verify, Name: "host.example"}, &server{offers: offers, tls: hostTLS}, sent, 1, true},
		{"verify, name", transport.Terms{Level: transport.Verify, Name: "d.example"}, &server{offers: offers, tls: hostTLS}, "deferred all by host.example: 451 4.7.5 TLS is required, but with host.example the certificate is for another name", 1, false},
		{"verify, authority", transport.Terms{Level: transport.Verify, Name: "other.example"}, &server{offers: offers, tls: other}, "deferred all by host.example: 451 4.7.5 TLS is required, but with host.example nobody whom we trust vouches for the certificate", 1, false},
		{"verify, not offered", transport.Terms{Level: transport.Verify, Name: "host.example"}, &server{}, "deferred all by host.example: 451 4.7.4 TLS is required, but host.example does not offer it", 1, false},
		{"verify, broken", transport.Terms{Level: transport.Verify, Name: "host.example"}, &server{offers: offers, tls: broken}, "deferred all by host.example: 451 4.7.5 TLS is required, but with host.example the handshake failed", 1, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 host.example.\nhost.example. A 192.0.2.1")
			h := w.host("192.0.2.1", tc.server)
			var asked []transport.Hop
			s := w.sender(func(o *Options) {
				o.Policy = terms(func(h transport.Hop) *transport.Terms {
					asked = append(asked, h)
					return &tc.need
				})
			})
			got := s.Deliver(t.Context(), attempt("d.example", body, "b@d.example"))
			if show(got[0]) != tc.want {
				t.Errorf("%s\nwant %s", show(got[0]), tc.want)
			}
			if h.connections() != tc.conns || len(asked) != 1 || asked[0] != (transport.Hop{Domain: "d.example", Host: "host.example", Port: 25, IPv6: true}) {
				t.Errorf("%d connections, asked about %v", h.connections(), asked)
			}
			if secure := s.Counters.Handshakes.Load() > 0; secure != tc.secure {
				t.Errorf("TLS %v", secure)
			}
			if deferred := tc.want != sent; deferred && len(h.heard("MAIL")) > 0 {
				t.Error("the sender's address went out all the same")
			}
		})
	}
}

// TestResumption: a session is resumed for the same promise or a weaker one,
// and never for a stricter one.
func TestResumption(t *testing.T) {
	t.Parallel()
	var resumed atomic.Int64
	counting := hostTLS.Clone()
	counting.VerifyConnection = func(s tls.ConnectionState) error {
		if s.DidResume {
			resumed.Add(1)
		}
		return nil
	}
	var need transport.Terms
	_, deliver := one(t, &server{offers: "STARTTLS", tls: counting}, func(o *Options) {
		o.IdlePerDestination = 0
		o.Policy = terms(func(transport.Hop) *transport.Terms { return &need })
	})
	steps := []struct {
		need    transport.Terms
		sent    bool
		resumed int64
	}{
		{transport.Terms{Level: transport.Opportunistic}, true, 0},
		{transport.Terms{Level: transport.Opportunistic}, true, 1},
		{transport.Terms{Level: transport.Verify, Name: "host.example"}, true, 1},
		{transport.Terms{Level: transport.Verify, Name: "host.example"}, true, 2},
		{transport.Terms{Level: transport.Verify, Name: "d.example"}, false, 2},
		{transport.Terms{Level: transport.Require}, true, 3},
	}
	for i, step := range steps {
		need = step.need
		if got := deliver(); (got == queued) != step.sent || resumed.Load() != step.resumed {
			t.Errorf("step %d: %s, %d resumed, want %d", i, got, resumed.Load(), step.resumed)
		}
	}
}

// TestPolicyFails: a host of which nothing can be promised is not used, and
// another one may be.
func TestPolicyFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "d.example. MX 10 a.example.\nd.example. MX 20 b.example.\na.example. A 192.0.2.1\nb.example. A 192.0.2.2")
	w.host("192.0.2.1", &server{})
	w.host("192.0.2.2", &server{})
	unknown := map[string]bool{"a.example": true}
	s := w.sender(func(o *Options) {
		o.Policy = terms(func(h transport.Hop) *transport.Terms {
			t := chance(h)
			if unknown[h.Host] {
				t.Refused = envelope.Refuse(451, "4.4.3", "no TLSA")
			}
			return t
		})
	})
	for _, want := range []string{
		"relayed by b.example: 250 2.0.0 queued",
		"deferred all by b.example: 451 4.4.3 no TLSA",
	} {
		if got := show(s.Deliver(t.Context(), attempt("d.example", body, "b@d.example"))[0]); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		unknown["b.example"] = true
	}
	if d := cmp.Diff([]string{"192.0.2.2:25"}, w.dialled); d != "" {
		t.Error(d)
	}
}

// TestRoute: signing in, and what is kept back when it cannot be done.
func TestRoute(t *testing.T) {
	t.Parallel()
	const offers = "STARTTLS AUTH_PLAIN"
	password := func() (string, error) { return "secret", nil }
	says := func(reply string) func(int, string) string {
		return func(_ int, line string) string {
			if strings.HasPrefix(line, "AUTH") {
				return reply
			}
			return ""
		}
	}
	cases := []struct {
		name   string
		route  Route
		server *server
		want   string
		auth   bool
	}{
		{"signed in", Route{Via: "host.example:587", TLS: transport.Verify, User: "u", Password: password}, &server{offers: offers, tls: hostTLS}, "relayed by host.example: 250 2.0.0 queued", true},
		{"by address", Route{Via: "192.0.2.1:587", TLS: transport.Verify, User: "u", Password: password}, &server{offers: offers, tls: hostTLS}, "relayed by [192.0.2.1]: 250 2.0.0 queued", true},
		{"by another name", Route{Via: "192.0.2.1:587", TLS: transport.Verify, TLSName: "host.example", User: "u", Password: password}, &server{offers: offers, tls: hostTLS}, "relayed by [192.0.2.1]: 250 2.0.0 queued", true},
		{"not signed in", Route{Via: "host.example", TLS: transport.Verify}, &server{offers: offers, tls: hostTLS}, "relayed by host.example: 250 2.0.0 queued", false},
		{"wrong password", Route{Via: "host.example", TLS: transport.Verify, User: "u", Password: password}, &server{offers: offers, tls: hostTLS, answer: says("535 5.7.8 no")}, "deferred all by host.example: 451 4.7.8 signing in to host.example for the route r failed: 535 5.7.8 no", true},
		{"closing", Route{Via: "host.example", TLS: transport.Verify, User: "u", Password: password}, &server{offers: offers, tls: hostTLS, answer: says("!421 4.7.0 bye")}, "deferred all by host.example: 451 4.7.8 signing in to host.example for the route r failed: 421 4.7.0 bye", true},
		{"hangs up", Route{Via: "host.example", TLS: transport.Verify, User: "u", Password: password}, &server{offers: offers, tls: hostTLS, answer: says("!")}, "deferred all by host.example: 451 4.4.2 host.example: the connection broke at AUTH", true},
		{"no AUTH", Route{Via: "host.example", TLS: transport.Verify, User: "u", Password: password}, &server{offers: "STARTTLS", tls: hostTLS}, "deferred all by host.example: 451 4.7.8 signing in to host.example for the route r failed: the server offers no way to sign in that we know (SCRAM-SHA-256, PLAIN, LOGIN)", false},
		{"not verified", Route{Via: "host.example", TLS: transport.Require, User: "u", Password: password}, &server{offers: offers, tls: hostTLS}, "deferred all by host.example: 451 4.7.8 signing in to host.example for the route r failed: the server is not verified, so no credentials are sent", false},
		{"stripped", Route{Via: "host.example", TLS: transport.Verify, User: "u", Password: password}, &server{offers: "AUTH_PLAIN"}, "deferred all by host.example: 451 4.7.4 TLS is required, but host.example does not offer it", false},
		{"no password", Route{Via: "host.example", TLS: transport.Verify, User: "u", Password: func() (string, error) { return "", fs.ErrNotExist }}, &server{offers: offers, tls: hostTLS}, "deferred all by host.example: 451 4.3.5 the password of the route r cannot be read", false},
		{"refused for good", Route{Via: "host.example"}, &server{greeting: "554 5.7.1 not you"}, "deferred all by host.example: 454 4.7.1 not you", false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "host.example. A 192.0.2.1\nhost.example. MX 10 never.example.")
			h := w.host("192.0.2.1", tc.server)
			s := w.sender(func(o *Options) {
				tc.route.Name = "r"
				o.Routes = []Route{tc.route}
				o.Policy = nil // a route is its own
			})
			for range 2 { // over a new and, if it went well, a kept connection
				got := s.Deliver(t.Context(), attempt("route:r", body, "b@b.example"))
				if show(got[0]) != tc.want {
					t.Errorf("%s\nwant %s", show(got[0]), tc.want)
				}
			}
			if auth := len(h.heard("AUTH")) > 0; auth != tc.auth {
				t.Errorf("AUTH %v", auth)
			}
			if relayed := strings.HasPrefix(tc.want, "relayed"); relayed != (h.connections() == 1) || relayed != (len(h.got()) == 2) {
				t.Errorf("%d connections, %d messages", h.connections(), len(h.got()))
			}
		})
	}
}

func TestBadRoute(t *testing.T) {
	t.Parallel()
	for _, via := range []string{"", "a b", "host:0", "host:65536", "host:x", "[::1", "-a.example", "host..example"} {
		if _, err := New(Options{Port: 25, Routes: []Route{{Name: "r", Via: via}}}); err == nil {
			t.Errorf("%q was taken", via)
		}
	}
	for via, want := range map[string]host{
		"Host.Example":   {name: "host.example", port: 25},
		"host.example:1": {name: "host.example", port: 1},
		"192.0.2.1":      {ip: netip.MustParseAddr("192.0.2.1"), port: 25},
		"192.0.2.1:587":  {ip: netip.MustParseAddr("192.0.2.1"), port: 587},
		"2001:db8::1":    {ip: netip.MustParseAddr("2001:db8::1"), port: 25},
		"[2001:db8::1]:": {},
		"[::1]:2525":     {ip: netip.MustParseAddr("::1"), port: 2525},
		"[IPv6:::1]":     {ip: netip.MustParseAddr("::1"), port: 25},
		"[192.0.2.1]":    {ip: netip.MustParseAddr("192.0.2.1"), port: 25},
	} {
		r := Route{Via: via}
		if err := r.parse(25); (err == nil) != (want != host{}) {
			t.Errorf("%q: %v", via, err)
		} else if err == nil && r.target.groups[0][0] != want {
			t.Errorf("%q: %+v", via, r.target.groups[0][0])
		}
	}
}

func FuzzRoute(f *testing.F) {
	for _, via := range []string{"host.example:25", "[::1]:25", "192.0.2.1", "[IPv6:::1]", "a:b:c", "ü.example"} {
		f.Add(via)
	}
	f.Fuzz(func(t *testing.T, via string) {
		r := Route{Via: via}
		if r.parse(25) != nil {
			return
		}
		h := r.target.groups[0][0]
		if h.port == 0 || h.ip.IsValid() == (h.name != "") || r.TLSName == "" {
			t.Errorf("%q: %+v, %q", via, h, r.TLSName)
		}
		if d, err := addr.ParseDomain(h.name); h.name != "" && (err != nil || string(d) != h.name) {
			t.Errorf("%q: %q is no name", via, h.name)
		}
	})
}

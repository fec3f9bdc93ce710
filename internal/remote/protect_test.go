package remote

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"gatepost/internal/envelope"
	"gatepost/internal/mtasts"
	"gatepost/internal/resolve"
	"gatepost/internal/transport"
)

// resets makes a server hang up on a ClientHello with ML-KEM, as a middlebox
// does that cannot bear its size.
func resets(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedCurves, tls.X25519MLKEM768) {
			hello.Conn.Close()
			return nil, errors.New("too large")
		}
		return nil, nil
	}
	return c
}

// TestWithoutMLKEM: a reset is answered by one more try, under the same
// terms.
func TestWithoutMLKEM(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		apply func(*scene)
		tls   *tls.Config
		want  string
		conns int
	}{
		{"opportunistic", nil, ca.host("host.example", time.Hour), "verified", 2},
		{"opportunistic, not verified", nil, ca.host("other.example", time.Hour), "encrypted", 2},
		{"verified", func(s *scene) { s.policy = promise(mtasts.Enforce) }, ca.host("host.example", time.Hour), "verified", 2},
		{"never without verification", func(s *scene) { s.policy = promise(mtasts.Enforce) }, ca.host("other.example", time.Hour), "wait 4.7.5; sts:certificate-host-mismatch", 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.server.tls = resets(tc.tls)
			if tc.apply != nil {
				tc.apply(s)
			}
			s.open()
			if got := s.came(); got != tc.want || s.server.connections() != tc.conns {
				t.Errorf("%s over %d connections", got, s.server.connections())
			}
		})
	}
	t.Run("resets everything", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.server.tls = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hello.Conn.Close()
			return nil, errors.New("no")
		}}
		s.policy = promise(mtasts.Enforce)
		s.open()
		if got := s.came(); got != "wait 4.7.5; sts:validation-failure" || s.server.connections() != 2 {
			t.Errorf("%s over %d connections", got, s.server.connections())
		}
	})
	t.Run("with it where nobody minds", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.open()
		if o := s.deliver(); o.Proof.Group != tls.X25519MLKEM768 || s.server.connections() != 1 {
			t.Errorf("%v over %d connections", o.Proof, s.server.connections())
		}
	})
}

// TestUnmet: what the sender is told, and the operator sees, when a host
// does not meet its terms.
func TestUnmet(t *testing.T) {
	t.Parallel()
	then := time.Now().Add(-24 * time.Hour)
	on := then.UTC().Format("2 January 2006")
	bad := func(s *scene) { s.server.tls = ca.host("other.example", time.Hour) }
	stripped := func(s *scene) { s.server.offers = "" }
	cases := []struct {
		name  string
		apply []func(*scene)
		want  string
	}{
		{"remembered", []func(*scene){stripped, func(s *scene) { s.levels["d.example"] = transport.Reached{Level: transport.Require, At: then} }},
			"deferred all by host.example: 451 4.7.4 TLS is required (d.example had TLS on " + on + "), but host.example does not offer it"},
		{"remembered, verified", []func(*scene){bad, func(s *scene) { s.levels["d.example"] = transport.Reached{Level: transport.Verify, At: then} }},
			"deferred all by host.example: 451 4.7.5 TLS is required (d.example had TLS with a verified certificate on " + on + "), but with host.example the certificate is for another name"},
		{"MTA-STS", []func(*scene){bad, func(s *scene) { s.policy = promise(mtasts.Enforce) }},
			"deferred all by host.example: 451 4.7.5 TLS is required (MTA-STS of d.example), but with host.example the certificate is for another name"},
		{"not in the policy", []func(*scene){func(s *scene) { s.policy = promise(mtasts.Enforce); s.policy.MX[0] = "mx.example" }},
			"deferred all by host.example: 451 4.7.0 host.example is not among the mail hosts that d.example names in its MTA-STS policy"},
		{"DANE", []func(*scene){func(s *scene) { s.tlsa("3 1 1 " + spki(ca.cert)) }},
			"deferred all by host.example: 451 4.7.5 TLS is required (DANE for host.example), but with host.example what it presents matches none of its TLSA records"},
		{"DANE, a name", []func(*scene){bad, func(s *scene) { s.tlsa("2 1 1 " + spki(ca.cert)) }},
			"deferred all by host.example: 451 4.7.5 TLS is required (DANE for host.example), but with host.example the certificate is for another name"},
		{"bogus", []func(*scene){func(s *scene) {
			s.tlsa()
			s.dns.Fail("_25._tcp.host.example", dns.TypeTLSA, resolve.ErrBogus)
		}}, "deferred all by host.example: 451 4.4.3 what the DNS says of the TLSA records of host.example is not what its owner signed (DNSSEC)"},
		{"no answer", []func(*scene){func(s *scene) {
			s.tlsa()
			s.dns.Fail("_25._tcp.host.example", dns.TypeTLSA, resolve.ErrTemporary)
		}}, "deferred all by host.example: 451 4.4.3 the TLSA records of host.example cannot be looked up at the moment, and without them it must not be used"},
		{"REQUIRETLS", []func(*scene){func(s *scene) { s.need = true }},
			"failed by host.example: 550 5.7.10 the message asks for protection (REQUIRETLS), and neither DNSSEC nor MTA-STS vouches for the mail hosts of d.example"},
		{"REQUIRETLS, not offered", []func(*scene){func(s *scene) { s.need = true; s.policy = promise(mtasts.Testing) }},
			"failed by host.example: 550 5.7.30 the message asks for protection on its whole way (REQUIRETLS), which host.example does not offer"},
		{"REQUIRETLS, no TLS", []func(*scene){stripped, func(s *scene) { s.need = true; s.policy = promise(mtasts.Testing) }},
			"failed by host.example: 550 5.7.10 TLS is required (REQUIRETLS), but host.example does not offer it"},
		{"REQUIRETLS to an address", []func(*scene){func(s *scene) { s.need = true; s.to = "[192.0.2.1]" }},
			"failed by [192.0.2.1]: 550 5.7.10 the message asks for protection (REQUIRETLS), and neither DNSSEC nor MTA-STS vouches for the mail hosts of [192.0.2.1]"},
		{"REQUIRETLS over a route", []func(*scene){func(s *scene) { s.need = true; s.to = "route:verify" }},
			"failed by host.example: 550 5.7.30 the message asks for protection on its whole way (REQUIRETLS), which host.example does not offer"},
		{"default", []func(*scene){bad, func(s *scene) { s.floor = transport.Verify }},
			"deferred all by host.example: 451 4.7.5 TLS is required (the default here), but with host.example the certificate is for another name"},
		{"the disk fails", []func(*scene){func(s *scene) { s.memory.err = errors.New("disk") }},
			"deferred all by host.example: 451 4.3.0 what d.example promised (MTA-STS) cannot be read from the disk at the moment"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			for _, f := range tc.apply {
				f(s)
			}
			s.open()
			if got := show(s.deliver()); got != tc.want {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestOtherHosts: a host that does not meet its terms is passed over for one
// that does; those that are refused are not even connected to, and are told
// of once.
func TestOtherHosts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.dns.Add("d.example. MX 5 evil.example.\nevil.example. A 192.0.2.6\nevil.example. A 192.0.2.7\nd.example. MX 7 plain.example.\nplain.example. A 192.0.2.8")
	evil := s.host("192.0.2.6", &server{})
	s.hosts[netip.MustParseAddr("192.0.2.7")] = evil
	plain := s.host("192.0.2.8", &server{})
	s.policy = promise(mtasts.Enforce)
	s.policy.MX = append(s.policy.MX, "plain.example")
	s.open()
	if got, want := s.came(), "verified; sts:starttls-not-supported, sts:validation-failure"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if evil.connections() > 0 || plain.connections() != 1 || len(plain.heard("MAIL")) > 0 {
		t.Error("said too much")
	}
	for _, sum := range s.sums {
		if sum.Failure.Count != 1 {
			t.Errorf("%+v", sum)
		}
	}
}

// TestRemembers: what a domain reached is asked of it again, over new
// connections, until it is forgotten.
func TestRemembers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.open()
	if got := s.came(); got != "verified" {
		t.Fatal(got)
	}
	if got := s.levels["d.example"]; got.Level != transport.Verify {
		t.Fatalf("%+v", got)
	}
	s.server.setOffers("")
	s.sender.Close()
	if got, want := show(s.deliver()), "deferred all by host.example: 451 4.7.4 TLS is required (d.example had TLS with a verified certificate on "+time.Now().UTC().Format("2 January 2006")+"), but host.example does not offer it"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	delete(s.levels, "d.example")
	s.engine.Forget("d.example")
	if o := s.deliver(); o.Status != envelope.Relayed || o.Proof.Version != 0 {
		t.Error(show(o))
	}
}

// setOffers changes offers while the host is in use.
func (s *server) setOffers(offers string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers = offers
}

// TestProofs: each outcome says what its message got, and what was taken is
// kept, once for each connection.
func TestProofs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.server.offers += " REQUIRETLS DSN"
	s.server.answer = func(_ int, line string) string {
		if strings.Contains(line, "c@d.example") {
			return "550 5.1.1 no such user"
		}
		return ""
	}
	s.policy, s.need = promise(mtasts.Testing), true
	s.open()
	a := attempt("d.example", body, "b@d.example", "c@d.example", "e@d.example")
	a.Envelope.RequireTLS = true
	out := s.sender.Deliver(t.Context(), a)
	p := out[0].Proof
	if p == nil || out[1].Proof != p || out[2].Proof != p {
		t.Fatalf("%+v", out)
	}
	want := envelope.Proof{
		At: p.At, Host: "host.example", Addr: p.Addr, Version: tls.VersionTLS13, Cipher: p.Cipher, Group: tls.X25519MLKEM768,
		Chain: p.Chain, Policy: "REQUIRETLS", Met: "the certificate is verified for host.example", Verified: true, RequireTLS: true,
	}
	sum := sha256.Sum256(append(slices.Clone(s.leaf().Raw), ca.cert.Raw...))
	if *p != want || p.Addr.String() != "192.0.2.1" || p.Chain != sum {
		t.Errorf("%+v\nwant %+v", *p, want)
	}
	if mail := s.server.heard("MAIL"); len(mail) != 1 || !strings.Contains(mail[0], " REQUIRETLS") {
		t.Error(mail)
	}
	kept := []string{"[0 2] to host.example (192.0.2.1) over TLS 1.3, " + tls.CipherSuiteName(p.Cipher) + ", X25519MLKEM768: the certificate is verified for host.example; policy: REQUIRETLS"}
	if d := cmp.Diff(kept, s.proofs.list); d != "" {
		t.Error(d)
	}

	// Over a kept connection it is the same.
	again := s.sender.Deliver(t.Context(), a)
	if again[0].Proof != p || s.server.connections() != 1 || len(s.proofs.list) != 2 {
		t.Errorf("%v, %d connections", again[0].Proof, s.server.connections())
	}
	// Without REQUIRETLS it is not, nor is it asked for.
	a.Envelope.RequireTLS = false
	if o := s.sender.Deliver(t.Context(), a)[0]; o.Proof == p || o.Proof.RequireTLS || strings.Contains(s.server.heard("MAIL")[2], "REQUIRETLS") {
		t.Errorf("%+v", o.Proof)
	}
}

// TestProofSentences: how each way of being met is told.
func TestProofSentences(t *testing.T) {
	t.Parallel()
	tls13 := "over TLS 1.3, TLS_AES_128_GCM_SHA256, X25519MLKEM768: "
	cases := []struct {
		name  string
		apply func(*scene)
		want  string
	}{
		{"chance", func(*scene) {}, tls13 + "the certificate is verified for host.example; policy: none"},
		{"with anybody", func(s *scene) { s.server.tls = ca.host("other.example", time.Hour) }, tls13 + "with whoever answered, since the certificate is for another name; policy: none"},
		{"in the clear", func(s *scene) { s.server.offers = "" }, "in the clear: no TLS was offered; policy: none"},
		{"broken", func(s *scene) { s.server.tls = &tls.Config{} }, "in the clear: TLS was offered, and the handshake failed; policy: none"},
		{"TLS 1.2", func(s *scene) { s.server.tls.MaxVersion = tls.VersionTLS12 }, "over TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, X25519: the certificate is verified for host.example; policy: none"},
		{"testing", func(s *scene) {
			s.policy = promise(mtasts.Testing)
			s.server.tls = ca.host("host.example", -time.Hour)
		}, tls13 + "with whoever answered, since the certificate is not valid at this time; policy: MTA-STS (testing)"},
		{"enforce", func(s *scene) { s.policy = promise(mtasts.Enforce) }, tls13 + "the certificate is verified for host.example; policy: MTA-STS (enforce)"},
		{"DANE-EE", func(s *scene) { s.tlsa("3 1 1 " + spki(s.leaf())) }, tls13 + "the TLSA record 3 1 1 of host.example matches; policy: DANE"},
		{"DANE-TA", func(s *scene) { s.tlsa("2 1 1 " + spki(ca.cert)) }, tls13 + "the TLSA record 2 1 1 of host.example matches; policy: DANE"},
		{"DANE, none usable", func(s *scene) {
			s.server.tls = newIssuer("x").host("host.example", time.Hour)
			s.tlsa("1 1 1 " + spki(s.leaf()))
		}, tls13 + "with whoever answered, since nobody whom we trust vouches for the certificate; policy: DANE"},
		{"remembered", func(s *scene) {
			s.levels["d.example"] = transport.Reached{Level: transport.Require, At: time.Now()}
		}, tls13 + "the certificate is verified for host.example; policy: remembered (require)"},
		{"default", func(s *scene) { s.floor = transport.Require }, tls13 + "the certificate is verified for host.example; policy: default (require)"},
		{"route", func(s *scene) { s.to = "route:require" }, tls13 + "the certificate was not looked at; policy: route (require)"},
		{"route, verified", func(s *scene) { s.to = "route:verify" }, tls13 + "the certificate is verified for host.example; policy: route (verify)"},
		{"waived", func(s *scene) {
			s.policy, s.waive = promise(mtasts.Enforce), true
			s.server.offers = ""
		}, "in the clear: no TLS was offered; policy: TLS-Required: No"},
		{"an address", func(s *scene) { s.to = "[192.0.2.1]" }, tls13 + "with whoever answered, since the certificate is for another name; policy: none"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.server.tls = s.server.tls.Clone()
			tc.apply(s)
			s.open()
			o := s.deliver()
			if o.Proof == nil {
				t.Fatal(show(o))
			}
			want := "to " + o.Host + " (192.0.2.1) " + tc.want
			if got := o.Proof.String(); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			if o.Proof.Verified != (strings.Contains(want, "verified") || strings.Contains(want, "matches")) {
				t.Error("and is it verified?")
			}
		})
	}
}

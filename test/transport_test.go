package test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is a CA of a case's own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.certify(time.Hour)
	return a
}

// certify makes a certificate for names, or an authority's own without any.
func (a *authority) certify(life time.Duration, names ...string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(life),
		IsCA: names == nil, BasicConstraintsValid: true,
	}
	by, with := c, key
	if a.cert != nil {
		by, with = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), with)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

// encode writes certificates and a key, if there is one, as PEM.
func (a *authority) encode(key *ecdsa.PrivateKey, certs ...*x509.Certificate) string {
	a.t.Helper()
	var b strings.Builder
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			a.t.Fatal(err)
		}
		pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

// spki is the data of a TLSA record of the kind x 1 1.
func spki(c *x509.Certificate) string {
	return fmt.Sprintf("%x", sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

// nextHop is a domain with one mail host, a door of Postfix: what the host
// presents, what is published, and what is to come of a message.
type nextHop struct {
	name   string // of the domain, below test; its mail host is mx below it
	shows  string // good, wrong name, expired, self-signed; empty: no TLS
	tlsa   string // EE, TA, other: what the TLSA records name; none if empty
	policy string // of MTA-STS, with %s for the host; none if empty
	wants  string // sent, clear, fails, or why it waits
}

const (
	enforce = "version: STSv1\nmode: enforce\nmx: %s\nmax_age: 86400\n"
	observe = "version: STSv1\nmode: testing\nmx: %s\nmax_age: 86400\n"
)

var nextHops = []nextHop{
	{"chance", "self-signed", "", "", "sent"},
	{"chance-stripped", "", "", "", "clear"},

	{"ee", "self-signed", "EE", "", "sent"},
	{"ee-name", "wrong name", "EE", "", "sent"},
	{"ee-expired", "expired", "EE", "", "sent"},
	{"ee-other", "good", "other", "", "what it presents matches none of its TLSA records"},
	{"ee-stripped", "", "other", "", "does not offer it"},
	{"ta", "good", "TA", "", "sent"},
	{"ta-name", "wrong name", "TA", "", "the certificate is for another name"},
	{"ta-expired", "expired", "TA", "", "the certificate is not valid at this time"},
	{"ta-self", "self-signed", "TA", "", "what it presents matches none of its TLSA records"},
	{"unusable", "self-signed", "PKIX", "", "sent"},
	{"unusable-stripped", "", "PKIX", "", "does not offer it"},
	{"bogus", "good", "EE", "", "the TLSA records of mx.bogus.test cannot be looked up at the moment"},
	{"unsigned", "good", "other", "", "sent"},

	{"sts", "good", "", enforce, "sent"},
	{"sts-name", "wrong name", "", enforce, "the certificate is for another name"},
	{"sts-expired", "expired", "", enforce, "the certificate is not valid at this time"},
	{"sts-self", "self-signed", "", enforce, "nobody whom we trust vouches for the certificate"},
	{"sts-stripped", "", "", enforce, "does not offer it"},
	{"sts-list", "good", "", strings.ReplaceAll(enforce, "%s", "*.%s"), "is not among the mail hosts"},
	{"sts-dane", "self-signed", "EE", enforce, "sent"},
	{"testing", "good", "", observe, "sent"},
	{"testing-expired", "expired", "", observe, "sent"},
	{"testing-stripped", "", "", observe, "clear"},
	{"testing-list", "good", "", strings.ReplaceAll(observe, "%s", "*.%s"), "sent"},
	{"gone", "self-signed", "", enforce, "sent"}, // nobody serves the policy

	{"waived-stripped", "", "", enforce, "clear"},
	{"waived-name", "wrong name", "TA", "", "sent"},
	{"required", "good", "EE", "", "fails"}, // Postfix does not offer REQUIRETLS
	{"required-chance", "self-signed", "", "", "fails"},
	{"required-sts", "good", "", enforce, "fails"},

	{"route-require", "wrong name", "", "", "sent"},
	{"route-require-stripped", "", "", "", "does not offer it"},
	{"route-verify", "good", "", "", "sent"},
	{"route-verify-name", "wrong name", "", "", "the certificate is for another name"},
	{"route-verify-stripped", "", "", "", "does not offer it"},
}

func (h nextHop) domain() string { return h.name + ".test" }
func (h nextHop) host() string   { return "mx." + h.name + ".test" }

// route is the configuration of a route to it, if its name says so.
func (h nextHop) route() string {
	rest, ok := strings.CutPrefix(h.name, "route-")
	if !ok {
		return ""
	}
	level, _, _ := strings.Cut(rest, "-")
	return fmt.Sprintf("[[route]]\ndomain = %q\nvia = %q\ntls = %q\n", h.domain(), h.host(), level)
}

// asks returns what a message to it asks for: a parameter of MAIL, and a
// field.
func (h nextHop) asks() (param, field string) {
	switch {
	case strings.HasPrefix(h.name, "waived-"):
		return "", "TLS-Required: No\r\n"
	case strings.HasPrefix(h.name, "required"):
		return " REQUIRETLS", ""
	}
	return "", ""
}

// stage is a Postfix with a door for each next hop, and their DNS.
type stage struct {
	ca      *authority
	postfix *postfix
	records strings.Builder
	below   map[string]string // of zones that are not signed
	policy  string            // address of all policy hosts
	hops    map[string]string // addresses of the doors
}

// add opens the door of a next hop, and publishes what it has.
func (s *stage) add(t *testing.T, h nextHop) {
	ip := newIP()
	s.hops[h.name] = ip
	life, name := time.Hour, h.host()
	switch h.shows {
	case "wrong name":
		name = "other.test"
	case "expired":
		life = -time.Hour
	}
	by := s.ca
	if h.shows == "self-signed" {
		by = &authority{t: t}
	}
	cert, key := by.certify(life, name)
	chain := []*x509.Certificate{cert}
	if by == s.ca {
		chain = append(chain, s.ca.cert)
	}
	level := "may"
	if h.shows == "" {
		level = "none"
	}
	s.postfix.master += fmt.Sprintf("%s:25 inet n - n - - smtpd\n  -o smtpd_tls_security_level=%s -o smtpd_tls_chain_files=%s -o syslog_name=hop-%s\n",
		ip, level, s.postfix.file(h.name+".pem", by.encode(key, chain...)), h.name)

	records := fmt.Sprintf("%[1]s. MX 10 %[2]s.\n%[2]s. A %[3]s\n", h.domain(), h.host(), ip)
	tlsa := map[string]string{
		"EE": "3 1 1 " + spki(cert), "TA": "2 1 1 " + spki(s.ca.cert), "PKIX": "1 1 1 " + spki(cert), "other": "3 1 1 " + spki(s.ca.cert),
	}[h.tlsa]
	if tlsa != "" {
		records += fmt.Sprintf("_25._tcp.%s. TLSA %s\n", h.host(), tlsa)
	}
	policy := s.policy
	if h.name == "gone" {
		policy = newIP()
	}
	if h.policy != "" {
		records += fmt.Sprintf("_mta-sts.%[1]s. TXT \"v=STSv1; id=1\"\nmta-sts.%[1]s. A %[2]s\n", h.domain(), policy)
	}
	if h.name == "unsigned" {
		s.below[h.domain()] = records
		records = h.domain() + ". NS ns.test.\n"
	}
	s.records.WriteString(records)
}

// servePolicies serves the MTA-STS policies of all next hops.
func (s *stage) servePolicies(t *testing.T) {
	t.Helper()
	texts := map[string]string{}
	names := []string{"policies.test"}
	for _, h := range nextHops {
		if h.policy != "" {
			names = append(names, "mta-sts."+h.domain())
			texts["mta-sts."+h.domain()] = fmt.Sprintf(h.policy, h.host())
		}
	}
	cert, key := s.ca.certify(time.Hour, names...)
	ln, err := net.Listen("tcp", s.policy+":443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			if r.URL.Path == "/.well-known/mta-sts.txt" {
				fmt.Fprint(w, texts[r.Host])
			}
		}),
	}
	go server.ServeTLS(ln, "", "")
	t.Cleanup(func() { server.Close() })
}

// What protects a message on its way out, with a signed zone, a validating
// resolver and Postfix behind it: docs/transport.md.
func TestTransport(t *testing.T) {
	t.Parallel()
	s := install(t, "gate.test", "")
	stage := &stage{ca: newAuthority(t), postfix: newPostfix(t, "hops.test", newIP()), below: map[string]string{}, policy: newIP(), hops: map[string]string{}}
	stage.postfix.takes = "static:any"
	fmt.Fprintf(&stage.records, "gate.test. MX 10 mx.gate.test.\nmx.gate.test. A %s\n", s.ip)
	for _, h := range nextHops {
		stage.add(t, h)
	}
	middle := newMan(t, newIP(), stage.hops["chance"])
	fmt.Fprintf(&stage.records, "moves.test. MX 10 mx.moves.test.\nmx.moves.test. A %s\n", middle.ip)
	n := serveNames(t, stage.records.String(), &signing{
		unsigned: stage.below,
		// A TLSA record that is not the one that was signed.
		spoil: func(zone string) string {
			at := strings.Index(zone, "_25._tcp.mx.bogus.test.")
			head, data, _ := strings.Cut(zone[at:], "3 1 1 ")
			other := "0"
			if data[0] == '0' {
				other = "1"
			}
			return zone[:at] + head + "3 1 1 " + other + data[1:]
		},
	})
	stage.servePolicies(t)
	roots := stage.postfix.file("roots.pem", stage.ca.encode(nil, stage.ca.cert))
	config := fmt.Sprintf("roots = %q\n", filepath.ToSlash(roots)) + n.config()
	var hosts []string
	for _, h := range nextHops {
		config += h.route()
		hosts = append(hosts, stage.hops[h.name])
	}
	wire := newTap(t, append(hosts, middle.ip))
	s.configure(config)
	s.serve()
	stage.postfix.serve("may", n)
	stage.postfix.ready()

	for _, h := range nextHops {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			to := "bob@" + h.domain()
			param, field := h.asks()
			id := s.signIn(t, s.address()).mail("<"+s.address()+">"+param, []string{"<" + to + ">"}, field+letter(s.address(), "to "+h.name+" only"))
			switch h.wants {
			case "sent", "clear":
				got := stage.postfix.arrives(t, "Subject: to "+h.name+" only")
				with := map[string]string{"sent": "with ESMTPS ", "clear": "with ESMTP "}[h.wants]
				if hop := lastHop(got); !strings.Contains(hop, with) {
					t.Errorf("it came so:\n%s", hop)
				}
				s.proves(id, got, h)
			case "fails":
				s.bounces(id, to, "REQUIRETLS")
				stage.postfix.heardNothing(t, h.name)
			default:
				s.waits(to, h.wants)
				stage.postfix.heardNothing(t, h.name)
			}
			// Whoever is on the way reads what goes in the clear, and not one
			// word of anything else.
			heard, word := wire.to(t, stage.hops[h.name]), "to "+h.name+" only"
			if !strings.Contains(heard, "EHLO mx.gate.test") && h.wants != "is not among the mail hosts" && h.name != "bogus" && h.name != "required-chance" {
				t.Errorf("the tap heard no session:\n%.500q", heard)
			}
			if read := strings.Contains(heard, word); read != (h.wants == "clear") {
				t.Errorf("the message was read on the way: %v\n%.2000q", read, heard)
			}
		})
	}

	// What a domain offered is asked of it again: an attacker who takes
	// STARTTLS away gets nothing.
	t.Run("remembered", func(t *testing.T) {
		t.Parallel()
		s := s.in(t)
		send := func(subject string) {
			s.signIn(t, s.address()).mail("<"+s.address()+">", []string{"<bob@moves.test>"}, letter(s.address(), subject))
		}
		send("before the attack")
		if hop := lastHop(stage.postfix.arrives(t, "Subject: before the attack")); !strings.Contains(hop, "with ESMTPS ") {
			t.Errorf("it came so:\n%s", hop)
		}
		middle.attack()
		send("during the attack")
		s.waits("bob@moves.test", "TLS is required (moves.test had TLS on ")
		if heard := middle.heard.String(); !strings.Contains(heard, "EHLO mx.gate.test") || strings.Contains(heard, "MAIL FROM") || strings.Contains(heard, "attack") {
			t.Errorf("the attacker heard:\n%s", heard)
		}
		if heard := wire.to(t, middle.ip); strings.Contains(heard, "the attack") {
			t.Errorf("read on the way:\n%.2000q", heard)
		}
		// Until the operator knows better.
		if out := s.gatepost("proof", "forget", "moves.test"); out != "Forgotten: moves.test.\n" {
			t.Errorf("forget: %s", out)
		}
		s.gatepost("queue", "retry", "moves.test")
		if hop := lastHop(stage.postfix.arrives(t, "Subject: during the attack")); !strings.Contains(hop, "with ESMTP ") {
			t.Errorf("it came so:\n%s", hop)
		}
		if heard := wire.to(t, middle.ip); !strings.Contains(heard, "during the attack") {
			t.Errorf("it was not read on the way:\n%.2000q", heard)
		}
		var list []struct {
			Domain, Met string
			TLS         bool
			Messages    int
		}
		s.json(&list, "proof", "unverified")
		found := false
		for _, u := range list {
			found = found || u.Domain == "moves.test" && !u.TLS && u.Messages == 1
		}
		if !found {
			t.Errorf("what a stricter default would have stopped: %+v", list)
		}
	})
}

// man is in the middle between us and a next hop. Once he attacks, he takes
// STARTTLS away and listens.
type man struct {
	ip    string
	to    string // the next hop
	heard transcript

	mu    sync.Mutex
	evil  bool
	conns []net.Conn
}

func newMan(t *testing.T, ip, to string) *man {
	t.Helper()
	m := &man{ip: ip, to: to}
	ln, err := net.Listen("tcp", ip+":25")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go m.between(conn)
		}
	}()
	return m
}

// attack begins, also for whom is connected.
func (m *man) attack() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evil = true
	for _, c := range m.conns {
		c.Close()
	}
}

// between passes on what is said.
func (m *man) between(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", m.to+":25")
	if err != nil {
		return
	}
	defer server.Close()
	m.mu.Lock()
	evil := m.evil
	m.conns = append(m.conns, client)
	m.mu.Unlock()
	go func() {
		var listener io.Writer = io.Discard
		if evil {
			listener = &m.heard
		}
		io.Copy(io.MultiWriter(server, listener), client)
		server.Close()
	}()
	if !evil {
		io.Copy(client, server)
		return
	}
	for lines := bufio.NewScanner(server); lines.Scan(); {
		line := strings.ReplaceAll(strings.TrimRight(lines.Text(), "\r"), "STARTTLS", "XXXXXXXA")
		if _, err := io.WriteString(client, line+"\r\n"); err != nil {
			return
		}
	}
}

// waits waits until a recipient is deferred for a reason.
func (s *server) waits(to, reason string) {
	s.t.Helper()
	await(s.t, func() string {
		for _, m := range s.queue() {
			for _, r := range m.Recipients {
				if r.To == to && r.Status == "deferred" && strings.Contains(r.Reason, reason) {
					return ""
				}
				if r.To == to && r.Status == "deferred" {
					return fmt.Sprintf("%s waits since %q", to, r.Reason)
				}
			}
		}
		return to + " is not deferred\n" + s.log.String()
	})
}

// heardNothing checks that no transaction was begun at a door.
func (p *postfix) heardNothing(t *testing.T, name string) {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "hop-"+name+"/") && strings.Contains(line, " mail=") {
			t.Errorf("it heard of the message: %s", line)
		}
	}
}

package test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/proof"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

// stage is what TestMatrix plays on: a Postfix with a door for each target,
// and their names and policies as they were before the attack and as they are
// now.
type stage struct {
	list    []*target
	ca      *authority
	nobody  *authority // whom nobody trusts
	postfix *postfix
	roots   string // file with the certificate of ca

	sound     string            // address of the door of before the attack
	soundCert *x509.Certificate // what it presents
	closed    string            // an address where nothing is
	certs     map[*target]*x509.Certificate
	servfail  string    // address of a name server that always fails
	policies  [2]string // addresses of the policy hosts, before and now
	wrongHost string    // of one that cannot prove its name
	reports   string    // of the collector of TLS reports

	before, now *names
}

func newStage(t *testing.T, s *server, list []*target) *stage {
	t.Helper()
	st := &stage{
		list: list, ca: newAuthority(t), nobody: newAuthority(t), postfix: newPostfix(t, "hops.test", newIP()),
		sound: newIP(), closed: newIP(), certs: map[*target]*x509.Certificate{}, servfail: newIP(),
		policies: [2]string{newIP(), newIP()}, wrongHost: newIP(), reports: newIP(),
	}
	st.postfix.takes = "static:any"
	st.postfix.main = "max_use = 1\n" // nobody comes twice
	st.roots = st.postfix.file("roots.pem", st.ca.encode(nil, st.ca.cert))
	st.soundDoor()
	for _, c := range list {
		st.door(t, c)
	}
	st.serveFailure(t)
	st.servePolicies(t)
	st.before, st.now = st.serveNames(t, s, 0), st.serveNames(t, s, 1)
	st.postfix.serve("may", st.now)
	return st
}

// config are the lines of configuration with one of the DNS, and more of what
// is under [remote].
func (st *stage) config(n *names, remote string) string {
	config := fmt.Sprintf("roots = %q\n", st.roots) + n.config() + remote
	for _, c := range st.list {
		config += c.route()
	}
	return config
}

// addresses are those where the tap listens.
func (st *stage) addresses() []string {
	var list []string
	for _, c := range st.list {
		list = append(list, c.ip)
	}
	return list
}

// listen adds a door to Postfix.
func (st *stage) listen(ip, name, level, pem, more string) {
	st.postfix.master += fmt.Sprintf("%s:25 inet n - n - - smtpd\n  -o smtpd_tls_security_level=%s -o smtpd_tls_chain_files=%s -o syslog_name=hop-%s %s\n",
		ip, level, pem, name, more)
}

// soundDoor is the host of all targets before the attack.
func (st *stage) soundDoor() {
	var names []string
	for _, c := range st.list {
		if _, arrives := c.before(); arrives {
			names = append(names, c.host, "old."+c.domain)
		}
	}
	cert, key := st.ca.certify(time.Hour, names...)
	st.soundCert = cert
	st.listen(st.sound, "sound", "may", st.postfix.file("sound.pem", st.ca.encode(key, cert, st.ca.cert)), "")
}

// door opens that of a target.
func (st *stage) door(t *testing.T, c *target) {
	by, name, life, level, more := st.ca, c.host, time.Hour, "may", ""
	switch c.shows {
	case "wrong name":
		name = "other.test"
	case "expired":
		life = -time.Hour
	case "self-signed":
		by = &authority{t: t}
	case "unknown":
		by = st.nobody
	case "none":
		level = "none"
	case "broken":
		more = "-o smtpd_tls_protocols=TLSv1"
	}
	cert, key := by.certify(life, name)
	st.certs[c] = cert
	chain := []*x509.Certificate{cert}
	if by.cert != nil {
		chain = append(chain, by.cert)
	}
	if c.offers {
		pair := &tls.Certificate{PrivateKey: key}
		for _, link := range chain {
			pair.Certificate = append(pair.Certificate, link.Raw)
		}
		c.peer = &shielded{ip: c.ip, cert: pair, offers: "REQUIRETLS"}
		c.peer.open(t, "25")
		return
	}
	text := by.encode(key, chain...)
	if c.shows == "refused" {
		text = "no certificate\n"
	}
	ip := c.ip
	if c.middlebox {
		ip = newIP()
		c.middle(t, ip)
	}
	st.listen(ip, c.domain, level, st.postfix.file(c.domain+".pem", text), more)
}

// largeHello is what the middlebox cannot bear: a ClientHello with ML-KEM is
// larger, any other smaller.
const largeHello = 1000

// middle stands between us and a door, and resets what it cannot bear.
func (c *target) middle(t *testing.T, to string) {
	t.Helper()
	ln, err := net.Listen("tcp", c.ip+":25")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	pass := func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("tcp", to+":25")
		if err != nil {
			return
		}
		defer server.Close()
		go io.Copy(client, server)
		for b := make([]byte, 1<<16); ; {
			n, err := client.Read(b)
			if err != nil {
				return
			}
			if hello := n > 5 && b[0] == 22 && b[1] == 3; hello && int(b[3])<<8|int(b[4]) > largeHello {
				c.resets.Add(1)
				client.(*net.TCPConn).SetLinger(0)
				return
			}
			if _, err := server.Write(b[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go pass(client)
		}
	}()
}

// serveFailure opens the name server that always fails.
func (st *stage) serveFailure(t *testing.T) {
	t.Helper()
	fail := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetRcode(r, dns.RcodeServerFailure))
	})
	packets, err := net.ListenPacket("udp", st.servfail+":53")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", st.servfail+":53")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: fail}, {Listener: ln, Handler: fail}} {
		go server.ActivateAndServe()
		t.Cleanup(func() { server.Shutdown() })
	}
}

// serveHTTPS serves names at an address, with a certificate of ca's.
func (st *stage) serveHTTPS(t *testing.T, ip string, names []string, handle http.HandlerFunc) {
	t.Helper()
	cert, key := st.ca.certify(time.Hour, names...)
	ln, err := net.Listen("tcp", ip+":443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}},
		Handler:   handle, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	go server.ServeTLS(ln, "", "")
	t.Cleanup(func() { server.Close() })
}

// servePolicies serves the MTA-STS policies of all targets.
func (st *stage) servePolicies(t *testing.T) {
	t.Helper()
	var names []string
	texts := [2]map[string]string{{}, {}}
	for _, c := range st.list {
		if c.mode() == "" {
			continue
		}
		name := "mta-sts." + c.domain
		names = append(names, name)
		const form = "version: STSv1\nmode: %s\nmx: %s\nmax_age: 86400\n"
		was, is := c.host, c.host
		switch c.policy {
		case "replaced":
			was = "old." + c.domain
		case "list":
			is = "*." + c.host
		}
		texts[0][name], texts[1][name] = fmt.Sprintf(form, c.mode(), was), fmt.Sprintf(form, c.mode(), is)
		if c.policy == "unreadable" {
			texts[1][name] = "mode: enforce\n"
		}
	}
	serve := func(texts map[string]string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			if r.URL.Path == "/.well-known/mta-sts.txt" {
				fmt.Fprint(w, texts[r.Host])
			}
		}
	}
	st.serveHTTPS(t, st.policies[0], names, serve(texts[0]))
	st.serveHTTPS(t, st.policies[1], names, serve(texts[1]))
	st.serveHTTPS(t, st.wrongHost, []string{"other.test"}, serve(texts[1]))
}

// serveNames starts a DNS as it was before the attack, or as it is now.
func (st *stage) serveNames(t *testing.T, s *server, when int) *names {
	t.Helper()
	var signed, open strings.Builder
	fmt.Fprintf(&signed, "gate.test. MX 10 mx.gate.test.\nmx.gate.test. A %s\nreports.test. A %s\nns.servfail.test. A %s\nopen.test. NS ns.test.\n",
		s.ip, st.reports, st.servfail)
	for _, c := range st.list {
		zone := &open
		if c.signed() {
			zone = &signed
		}
		if when == 0 {
			st.soundRecords(zone, c)
		} else {
			st.records(zone, c)
		}
	}
	return serveNames(t, signed.String(), &signing{
		unsigned: map[string]string{"open.test": open.String()}, reasons: true,
		spoil: func(zone string) string {
			for _, c := range st.list {
				switch {
				case when == 0:
				case c.dns == "bogus":
					zone = forge(zone, "_25._tcp."+c.host+".", c.usage()+" 1 1 ")
				case c.dns == "MX":
					zone = forge(zone, "\n"+c.domain+".", "MX\t")
				}
			}
			return zone
		},
	})
}

// forge changes the data of a record, so that it is not what was signed.
func forge(zone, name, kind string) string {
	at := strings.Index(zone, name)
	head, data, _ := strings.Cut(zone[at:], kind)
	other := "0"
	if data[0] == '0' {
		other = "1"
	}
	return zone[:at] + head + kind + other + data[1:]
}

// soundRecords are those of a target before the attack.
func (st *stage) soundRecords(zone *strings.Builder, c *target) {
	some, arrives := c.before()
	if !some {
		return
	}
	host, ip := c.host, st.closed
	if c.policy == "replaced" {
		host = "old." + c.domain
	}
	if arrives {
		ip = st.sound
	}
	fmt.Fprintf(zone, "%s. MX 10 %s.\n%[2]s. A %[3]s\n", c.domain, host, ip)
	if strings.HasPrefix(c.column, "DANE") && c.tlsa == "" {
		fmt.Fprintf(zone, "_25._tcp.%s. TLSA %s\n", host, st.right(c, st.soundCert))
	}
	if strings.HasPrefix(c.column, "route") && host != c.host {
		fmt.Fprintf(zone, "%s. A %s\n", c.host, ip)
	}
	if c.mode() != "" && (c.cached || strings.HasPrefix(c.column, "STS")) {
		fmt.Fprintf(zone, "_mta-sts.%[1]s. TXT \"v=STSv1; id=0\"\nmta-sts.%[1]s. A %[2]s\n", c.domain, st.policies[0])
	}
}

// right is the TLSA record that is.
func (st *stage) right(c *target, cert *x509.Certificate) string {
	if c.usage() == "2" {
		cert = st.ca.cert
	}
	return c.usage() + " 1 1 " + spki(cert)
}

// records are those of a target now.
func (st *stage) records(zone *strings.Builder, c *target) {
	fmt.Fprintf(zone, "%s. MX 10 %s.\n%[2]s. A %[3]s\n", c.domain, c.host, c.ip)
	fmt.Fprintf(zone, "_smtp._tls.%s. TXT \"v=TLSRPTv1; rua=https://reports.test/%[1]s\"\n", c.domain)
	tlsa := map[string]string{
		"right": st.right(c, st.certs[c]), "other": c.usage() + " 1 1 " + spki(st.nobody.cert), "PKIX": "1 1 1 " + spki(st.certs[c]),
	}[c.records()]
	switch {
	case c.dns == "SERVFAIL":
		fmt.Fprintf(zone, "_tcp.%s. NS ns.servfail.test.\n", c.host)
	case tlsa != "":
		fmt.Fprintf(zone, "_25._tcp.%s. TLSA %s\n", c.host, tlsa)
	}
	if c.mode() == "" {
		return
	}
	ip := st.policies[1]
	switch c.policy {
	case "dead":
		ip = st.closed
	case "certificate":
		ip = st.wrongHost
	}
	fmt.Fprintf(zone, "_mta-sts.%[1]s. TXT \"v=STSv1; id=1\"\nmta-sts.%[1]s. A %[2]s\n", c.domain, ip)
}

// arrive waits for a message to each of some targets.
func (p *postfix) arrive(t *testing.T, list []*target, word func(*target) string) {
	t.Helper()
	await(t, func() string {
		var all strings.Builder
		files, _ := filepath.Glob(filepath.Join(p.dir, "mail/inbox/new/*"))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			all.Write(b)
		}
		for _, c := range list {
			if !strings.Contains(all.String(), "Subject: "+word(c)+"\n") {
				return fmt.Sprintf("nothing for %s among %d messages of Postfix\n%s", c.domain, len(files), p.log)
			}
		}
		return ""
	})
}

// arrives waits for the message to a target, and looks at how it came.
func (st *stage) arrives(t *testing.T, c *target) {
	t.Helper()
	if c.peer != nil {
		await(t, func() string {
			heard := c.peer.heard.String()
			if !strings.Contains(c.peer.got.String(), c.word()) || !strings.Contains(heard, "MAIL FROM:") || !strings.Contains(heard, " REQUIRETLS") {
				return "it was told:\n" + heard
			}
			return ""
		})
		return
	}
	with := "with ESMTPS "
	if c.want.Outcome == "clear" {
		with = "with ESMTP "
	}
	if hop := lastHop(st.postfix.arrives(t, "Subject: "+c.word()+"\n")); !strings.Contains(hop, with) {
		t.Errorf("it came so:\n%s", hop)
	}
}

// heardNothing checks that no transaction was begun at the door of a target.
func (st *stage) heardNothing(t *testing.T, c *target) {
	t.Helper()
	if c.peer != nil && strings.Contains(c.peer.heard.String(), "MAIL") {
		t.Errorf("it heard of the message:\n%s", c.peer.heard.String())
	}
	for line := range strings.Lines(st.postfix.log.String()) {
		if strings.Contains(line, "hop-"+c.domain+"/") && strings.Contains(line, " mail=") {
			t.Errorf("it heard of the message: %s", line)
		}
	}
}

// yesterday turns the sums of a stopped server over to the days before, so
// that the reports of today are due: at any hour, of one of the two.
func (s *server) yesterday() {
	s.t.Helper()
	ctx := context.Background()
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(s.dir, "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	sums, today := proof.Sums{DB: db}, tlsrpt.Day(time.Now())
	var moved []tlsrpt.Sum
	for _, day := range []time.Time{today, today.AddDate(0, 0, -1)} { // it may be just after midnight
		domains, err := sums.Domains(ctx, day)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, d := range domains {
			of, err := sums.Of(ctx, day, d)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, sum := range of {
				for _, days := range []int{-1, -2} {
					sum.Day = today.AddDate(0, 0, days)
					moved = append(moved, sum)
				}
			}
		}
	}
	if err := sums.Add(ctx, moved); err != nil {
		s.t.Fatal(err)
	}
}

// received is a TLS report as its collector reads it: RFC 8460, section 4.
type received struct {
	Organization string `json:"organization-name"`
	Policies     []struct {
		Policy struct {
			Type   string   `json:"policy-type"`
			Text   []string `json:"policy-string"`
			Domain string   `json:"policy-domain"`
		} `json:"policy"`
		Summary struct {
			Successful int `json:"total-successful-session-count"`
			Failed     int `json:"total-failure-session-count"`
		} `json:"summary"`
		Details []struct {
			Result string `json:"result-type"`
			MX     string `json:"receiving-mx-hostname"`
			IP     string `json:"receiving-ip"`
			Count  int    `json:"failed-session-count"`
		} `json:"failure-details"`
	} `json:"policies"`
}

// collect starts the server and returns the reports that it sends, by the
// domain that is told.
func (st *stage) collect(t *testing.T, s *server) map[string]*received {
	t.Helper()
	var mu sync.Mutex
	got := map[string]*received{}
	st.serveHTTPS(t, st.reports, []string{"reports.test"}, func(w http.ResponseWriter, r *http.Request) {
		var report received
		z, err := gzip.NewReader(r.Body)
		if err == nil {
			err = json.NewDecoder(z).Decode(&report)
		}
		if err != nil || r.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
			t.Errorf("a report that cannot be read: %v %v", r.Header, err)
		}
		mu.Lock()
		defer mu.Unlock()
		got[strings.TrimPrefix(r.URL.Path, "/")] = &report
	})
	s.serve()
	await(t, func() string {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range st.list {
			if got[c.domain] == nil && len(c.want.Reports) > 0 {
				return fmt.Sprintf("nothing is reported of %s beside %s\n%s", c.condition, c.column, s.log)
			}
		}
		return ""
	})
	s.stop()
	return got
}

// failures are what a report tells of, each once and in order, as a cell has
// them.
func (r *received) failures() (list []string) {
	if r == nil {
		return nil
	}
	for _, p := range r.Policies {
		for _, d := range p.Details {
			list = append(list, strings.Replace(p.Policy.Type, "no-policy-found", "none", 1)+":"+d.Result)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// check checks what else a report of a target says.
func (r *received) check(t *testing.T, c *target) {
	t.Helper()
	_, before := c.before()
	if silent := strings.HasPrefix(c.column, "route") || c.field != "" && c.param == "" && !before; silent && r != nil {
		t.Errorf("%s beside %s is reported: %+v", c.condition, c.column, r)
	}
	if r == nil {
		return
	}
	for _, p := range r.Policies {
		failed := 0
		for _, d := range p.Details {
			failed += d.Count
			if d.MX != c.host || d.IP != "" && d.IP != c.ip {
				t.Errorf("%s beside %s: the report is on %+v, not on %s (%s)", c.condition, c.column, d, c.host, c.ip)
			}
		}
		if failed != p.Summary.Failed || failed+p.Summary.Successful == 0 {
			t.Errorf("%s beside %s: the report does not add up: %+v", c.condition, c.column, p)
		}
		owner := c.domain
		if p.Policy.Type == "tlsa" {
			owner = c.host
		}
		if p.Policy.Domain != owner && p.Policy.Domain != "old."+c.domain {
			t.Errorf("%s beside %s: the policy is of %s, not of %s", c.condition, c.column, p.Policy.Domain, owner)
		}
	}
}

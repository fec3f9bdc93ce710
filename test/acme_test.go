package test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
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
)

// primary is a name server that knows what it is told, by its zone or by
// signed updates.
type primary struct {
	ip string

	mu      sync.Mutex
	zone    []dns.RR
	updates int
}

const updateKey = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIGhlcmUh"

func newPrimary(t *testing.T) *primary {
	t.Helper()
	p := &primary{ip: newIP()}
	for _, network := range []string{"udp", "tcp"} {
		up := make(chan struct{})
		s := &dns.Server{
			Net: network, Addr: p.ip + ":53", Handler: p, NotifyStartedFunc: func() { close(up) },
			TsigSecret:    map[string]string{"gatepost.": updateKey},
			MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
		}
		go s.ListenAndServe()
		<-up
		t.Cleanup(func() { s.Shutdown() })
	}
	return p
}

// add puts records into the zone.
func (p *primary) add(t *testing.T, zone string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(zone) {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		p.zone = append(p.zone, rr)
	}
}

func (p *primary) updated() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.updates
}

// gone waits until nothing is left at a name.
func (p *primary) gone(t *testing.T, name string) {
	t.Helper()
	await(t, func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, rr := range p.zone {
			if rr.Header().Name == name+"." {
				return "still there: " + rr.String()
			}
		}
		return ""
	})
}

func (p *primary) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := new(dns.Msg).SetReply(m)
	a.Authoritative, a.RecursionAvailable = true, true
	switch t := m.IsTsig(); {
	case m.Opcode == dns.OpcodeUpdate && (t == nil || w.TsigStatus() != nil):
		a.Rcode = dns.RcodeNotAuth
	case m.Opcode == dns.OpcodeUpdate:
		p.updates++
		for _, rr := range m.Ns {
			if rr.Header().Class == dns.ClassINET {
				p.zone = append(p.zone, rr)
				continue
			}
			rr.Header().Class = dns.ClassINET
			p.zone = slices.DeleteFunc(p.zone, func(had dns.RR) bool { return dns.IsDuplicate(had, rr) })
		}
		a.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
	default:
		p.answer(a, m.Question[0])
	}
	w.WriteMsg(a)
}

func (p *primary) answer(a *dns.Msg, q dns.Question) {
	exists := false
	for _, rr := range p.zone {
		name := strings.ToLower(q.Name)
		exists = exists || dns.IsSubDomain(name, rr.Header().Name)
		if rr.Header().Name == name && rr.Header().Rrtype == q.Qtype {
			a.Answer = append(a.Answer, rr)
		}
	}
	if !exists {
		a.Rcode = dns.RcodeNameError
	}
	if len(a.Answer) == 0 {
		for _, rr := range p.zone {
			if rr.Header().Rrtype == dns.TypeSOA {
				a.Ns = append(a.Ns, rr)
			}
		}
	}
}

// newPebble starts an ACME server under a name of the name server's, which it
// asks for others; life is how long its certificates are good. It returns its
// directory, the file of who vouches for it, and who vouches for what it
// issues.
func newPebble(t *testing.T, names *primary, name string, life time.Duration) (directory, roots string, issued *x509.CertPool) {
	t.Helper()
	need(t, "pebble")
	ip, dir, ca := newIP(), t.TempDir(), newAuthority(t)
	names.add(t, fmt.Sprintf("%s. 60 IN A %s", name, ip))
	cert, key := ca.certify(time.Hour, name)
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roots = write("ca.pem", ca.encode(nil, ca.cert))
	config := write("pebble.json", fmt.Sprintf(`{"pebble": {"listenAddress": "%[1]s:14000", "managementListenAddress": "%[1]s:15000",
		"certificate": %[2]q, "privateKey": %[2]q, "httpPort": 80, "tlsPort": 443, "certificateValidityPeriod": %[3]d}}`,
		ip, write("own.pem", ca.encode(key, cert)), life/time.Second))
	background(t, "env", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "pebble", "-config", config, "-dnsserver", names.ip+":53")

	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}, DisableKeepAlives: true}}
	issued = x509.NewCertPool()
	await(t, func() string {
		a, err := client.Get("https://" + ip + ":15000/roots/0")
		if err != nil {
			return err.Error()
		}
		defer a.Body.Close()
		root, err := io.ReadAll(a.Body)
		if err != nil || !issued.AppendCertsFromPEM(root) {
			return fmt.Sprintf("no root: %v", err)
		}
		return ""
	})
	return "https://" + name + ":14000/dir", roots, issued
}

// Each of the three challenges gets the host and the policy's host a
// certificate, which the doors show without a restart and again after one,
// and which check tells of.
func TestACME(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, listen, dns string
	}{
		{"http-01", "http = [\"%[1]s:80\"]\nhttps = []", ""},
		{"tls-alpn-01", "http = []\nhttps = [\"%[1]s:443\"]", ""},
		{"dns-01", "http = []\nhttps = []", "update = { server = \"%[1]s\", key = \"gatepost\", key_file = \"dns.key\" }"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			domain := tt.name + ".example"
			s := install(t, domain, "")
			names := newPrimary(t)
			names.add(t, fmt.Sprintf(`%[1]s. 60 IN SOA ns.%[1]s. hostmaster.%[1]s. 1 3600 600 86400 60
%[1]s. 60 IN NS ns.%[1]s.
ns.%[1]s. 60 IN A %[3]s
mx.%[1]s. 60 IN A %[2]s
mta-sts.%[1]s. 60 IN A %[2]s`, domain, s.ip, names.ip))
			directory, roots, issued := newPebble(t, names, "pebble."+domain, 90*24*time.Hour)
			text := fmt.Sprintf(`hostname = %q
[listen]
mx = ["%[2]s:25"]
submission = ["%[2]s:587"]
submissions = ["%[2]s:465"]
imaps = []
%[3]s
[tls]
acme = %[4]q
acme_roots = %[5]q
[dns]
resolvers = ["%[6]s:53"]
`, s.host, s.ip, fmt.Sprintf(tt.listen+"%.0[1]s", s.ip), directory, roots, names.ip) + fmt.Sprintf(tt.dns+"%.0[1]s\n", names.ip)
			for path, content := range map[string]string{s.config: text, filepath.Join(s.dir, "dns.key"): updateKey + "\n"} {
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s.serve()
			var first [2]string
			for i, name := range []string{s.host, "mta-sts." + domain} {
				await(t, func() string {
					c, err := shown(s.ip+":465", name, issued)
					if err != nil {
						return err.Error() + "\n" + s.log.String()
					}
					first[i] = c.SerialNumber.String()
					return ""
				})
			}
			if (names.updated() > 0) != (tt.dns != "") {
				t.Errorf("%d updates", names.updated())
			}
			names.gone(t, "_acme-challenge."+s.host)
			if out, _ := try("", binary, "check", "--config", s.config); !strings.Contains(out, "The certificate is for "+s.host+" and good until") {
				t.Errorf("check says\n%s", out)
			}
			// It is kept, shown from the first connection on, though the DNS is
			// down, and its key is not to be read in the store.
			s.kill()
			if err := os.WriteFile(s.config, []byte(strings.ReplaceAll(text, names.ip+":53", newIP()+":53")), 0o600); err != nil {
				t.Fatal(err)
			}
			s.serve()
			for i, name := range []string{s.host, "mta-sts." + domain} {
				c, err := shown(s.ip+":465", name, issued)
				if err != nil {
					t.Errorf("%s after a restart: %v", name, err)
				} else if c.SerialNumber.String() != first[i] {
					t.Errorf("another certificate for %s after a restart", name)
				}
			}
			for _, file := range []string{"store.db", "store.db-wal"} {
				if b, err := os.ReadFile(filepath.Join(s.dir, file)); err == nil && strings.Contains(string(b), "PRIVATE KEY") {
					t.Errorf("a key stands in %s in the clear", file)
				}
			}
		})
	}
}

// shown returns the certificate that a door shows for a name.
func shown(address, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", address, &tls.Config{RootCAs: roots, ServerName: name})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

package main

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
	bigint "math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// The guarded domain: one mail host with TLS, that publishes TLSA records and
// an MTA-STS policy, or neither.
const (
	guardedName = "guarded.test"
	guardedHost = "mx." + guardedName
	guardedHop  = "127.0.0.11"
	guardedHTTP = "127.0.0.12"
	guardedDNS  = "127.0.0.10:53"
)

// toGuarded is the configuration that finds it.
const toGuarded = `
[dns]
resolvers = ["` + guardedDNS + `"]
trust_ad = ["` + guardedDNS + `"]
`

// guarded is that domain, with all that others ask of it.
type guarded struct {
	policy bool // it publishes what it can
	cert   tls.Certificate
	dns    *dns.Server
	web    *http.Server
	mail   net.Listener
	asked  atomic.Int64 // for TLSA records
	read   atomic.Int64 // of its MTA-STS policy
	taken  atomic.Int64
	last   atomic.Int64 // when the latest was taken, in Unix nanoseconds
}

// guardedRoots is where the authority of the domain is written, in the
// directory of the binaries.
func (b *bench) guardedRoots() string { return filepath.Join(filepath.Dir(b.gatepost), "guarded.pem") }

// guardedCert returns the domain's certificate, which is made once for all
// rounds and written where the server looks for authorities.
func (b *bench) guardedCert() (tls.Certificate, error) {
	if b.cert.Certificate != nil {
		return b.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{
		SerialNumber: bigint.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{guardedHost, "mta-sts." + guardedName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	b.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return b.cert, os.WriteFile(b.guardedRoots(), text, 0o600)
}

// openGuarded opens the domain's doors.
func openGuarded(cert tls.Certificate, policy bool) (*guarded, error) {
	g := &guarded{policy: policy, cert: cert}
	pc, err := net.ListenPacket("udp", guardedDNS)
	if err != nil {
		return nil, err
	}
	g.dns = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(g.answer)}
	go g.dns.ActivateAndServe()
	hop := &host{name: guardedHost, tls: &tls.Config{Certificates: []tls.Certificate{cert}}, take: g.take}
	if g.mail, err = hop.open(guardedHop + ":25"); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", guardedHTTP+":443")
	if err != nil {
		return nil, err
	}
	g.web = &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			g.read.Add(1)
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(w, "version: STSv1\nmode: enforce\nmx: %s\nmax_age: 86400\n", guardedHost)
		}),
	}
	go g.web.ServeTLS(ln, "", "")
	return g, nil
}

func (g *guarded) close() {
	g.dns.Shutdown()
	g.mail.Close()
	g.web.Close()
}

// answer is the DNS of the domain, as a validating resolver gives it.
func (g *guarded) answer(rw dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.AuthenticatedData = g.policy
	if q.Question[0].Qtype == dns.TypeTLSA {
		g.asked.Add(1)
	}
	leaf, _ := x509.ParseCertificate(g.cert.Certificate[0])
	records := []string{guardedName + ". MX 10 " + guardedHost + ".", guardedHost + ". A " + guardedHop}
	if g.policy {
		records = append(records, fmt.Sprintf("_25._tcp.%s. TLSA 3 1 1 %x", guardedHost, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)),
			"_mta-sts."+guardedName+`. TXT "v=STSv1; id=1"`, "mta-sts."+guardedName+". A "+guardedHTTP)
	}
	known := false
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil || !strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
			continue
		}
		if known = true; rr.Header().Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	rw.WriteMsg(m)
}

// take counts what the mail host takes.
func (g *guarded) take(r *bufio.Reader) error {
	if !content(r) {
		return io.ErrUnexpectedEOF
	}
	g.last.Store(time.Now().UnixNano())
	g.taken.Add(1)
	return nil
}

// content reads to the end of a message.
func content(r *bufio.Reader) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return err == nil
		}
	}
}

// guard measures mail that is taken and passed on over TLS, with policies or
// without any: the rate is that from the first octet to the last delivery.
func (b *bench) guard(s server, policy bool) (f figures, err error) {
	cert, err := b.guardedCert()
	if err != nil {
		return f, err
	}
	g, err := openGuarded(cert, policy)
	if err != nil {
		return f, err
	}
	defer g.close()
	n := b.n(6000)
	before := cpu(s.pid())
	l, err := b.load(with(kept, "-addr", s.at(25), "-msgs", n, "-to", "r@"+guardedName)...)
	if err != nil {
		return f, err
	}
	if err := await("the guarded host", func() bool { return g.taken.Load() >= int64(n) }); err != nil {
		return f, fmt.Errorf("%w: %d of %d", err, g.taken.Load(), n)
	}
	if looked := g.asked.Load() > 0 && g.read.Load() > 0; looked != policy {
		return f, fmt.Errorf("policies published: %v, looked up: %v", policy, looked)
	}
	took := time.Unix(0, g.last.Load()).Sub(l.began)
	f = figures{rate: float64(n) / took.Seconds(), p50: l.Ack["p50"], p99: l.Ack["p99"], peak: memory(s.pid(), "VmHWM")}
	f.cpu = per1000(cpu(s.pid())-before, n)
	return f, nil
}

// underPolicy is guard with policies, and overTLS without: what the first is
// compared with, on a server of its own.
func underPolicy(b *bench, s server) (figures, error) { return b.guard(s, true) }

func overTLS(b *bench) (float64, error) {
	l := line{measure: func(b *bench, s server) (figures, error) { return b.guard(s, false) }}
	f, err := b.measure(l, newGatepost(b, needs{guarded: true}))
	return f.rate, err
}

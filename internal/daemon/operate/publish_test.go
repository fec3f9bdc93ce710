package operate

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/config"
)

// primary is a name server of the zone example.org that answers questions
// and carries signed updates out.
type primary struct {
	mu   sync.Mutex
	zone []dns.RR
}

const tsigSecret = "c2VjcmV0IG9mIHNpeHRlZW4gb2N0ZXRz"

// newPrimary returns the address of one, the same over UDP and TCP.
func newPrimary(t *testing.T, records string) (*primary, string) {
	t.Helper()
	p := &primary{}
	z := dns.NewZoneParser(strings.NewReader("$TTL 60\nexample.org. SOA ns.example.org. root.example.org. 1 1 1 1 1\n"+records), "", "")
	for rr, ok := z.Next(); ok; rr, ok = z.Next() {
		p.zone = append(p.zone, rr)
	}
	if err := z.Err(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: ln}, {PacketConn: conn}} {
		up := make(chan struct{})
		s.Handler, s.NotifyStartedFunc = p, func() { close(up) }
		s.TsigSecret = map[string]string{"gatepost.": base64.StdEncoding.EncodeToString([]byte("secret of sixteen octets"))}
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		go s.ActivateAndServe()
		<-up
		t.Cleanup(func() { s.Shutdown() })
	}
	return p, ln.Addr().String()
}

func (p *primary) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := new(dns.Msg).SetReply(m)
	q := m.Question[0]
	if m.Opcode == dns.OpcodeUpdate {
		t := m.IsTsig()
		switch {
		case t == nil || w.TsigStatus() != nil:
			a.Rcode = dns.RcodeNotAuth
		case q.Name != "example.org.":
			a.Rcode = dns.RcodeNotZone
		default:
			p.apply(m.Ns)
		}
		if t != nil {
			a.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
		}
		w.WriteMsg(a)
		return
	}
	a.Rcode = dns.RcodeNameError
	name := strings.ToLower(q.Name)
	for _, rr := range slices.Concat(p.zone, p.zone) { // again for what an alias leads to
		if rr.Header().Name != name {
			continue
		}
		a.Rcode = dns.RcodeSuccess
		if alias, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
			a.Answer, name = append(a.Answer, rr), alias.Target
		} else if rr.Header().Rrtype == q.Qtype && !slices.Contains(a.Answer, rr) {
			a.Answer = append(a.Answer, rr)
		}
	}
	if len(a.Answer) == 0 {
		a.Ns = p.zone[:1]
	}
	w.WriteMsg(a)
}

func (p *primary) apply(changes []dns.RR) {
	for _, c := range changes {
		h := c.Header()
		if h.Class == dns.ClassANY {
			p.zone = slices.DeleteFunc(p.zone, func(rr dns.RR) bool {
				return rr.Header().Name == h.Name && rr.Header().Rrtype == h.Rrtype
			})
			continue
		}
		p.zone = append(p.zone, c)
	}
}

func (p *primary) lines(name string) (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rr := range p.zone {
		if rr.Header().Name == name+"." {
			list = append(list, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	return list
}

// What is missing is there afterwards and found right; what was there stays.
func TestPublishRecords(t *testing.T) {
	t.Parallel()
	p, address := newPrimary(t, `mx.example.org. A 192.0.2.1
example.org. TXT "v=spf1 ip4:198.51.100.1 -all"
_mta-sts.example.org. TXT "v=STSv1; id=1"
`)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dns.key"), []byte(tsigSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(filepath.Join(dir, "gatepost.toml"), fmt.Appendf(nil, `hostname = "mx.example.org"
[dns]
resolvers = [%[1]q]
update = { server = %[1]q, key = "gatepost", key_file = "dns.key" }
`, address))
	if err != nil {
		t.Fatal(err)
	}
	s := audit.Site{Hostname: "mx.example.org", Submissions: 465}
	list := s.Records(audit.Domain{Name: addr.Domain("example.org"), MTASTS: "v=STSv1; id=2"})
	findings, err := PublishRecords(t.Context(), cfg, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if (f.Level == audit.OK) == (f.Check == "dns.spf" && !strings.Contains(f.Text, "mx.example.org")) {
			t.Errorf("%+v", f)
		}
	}
	for name, want := range map[string]string{
		"example.org":          `"v=spf1 ip4:198.51.100.1 -all" 10 mx.example.org.`,
		"_mta-sts.example.org": `"v=STSv1; id=2"`,
		"_dmarc.example.org":   `"v=DMARC1; p=none; rua=mailto:dmarc-reports@example.org"`,
		"mta-sts.example.org":  "mx.example.org.",
	} {
		lines := p.lines(name)
		if name == "example.org" {
			lines = lines[1:] // the SOA
		}
		if got := strings.Join(lines, " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	again, err := PublishRecords(t.Context(), cfg, list)
	if err != nil || len(again) != 1 || again[0].Check != "dns.spf" {
		t.Errorf("published again: %+v, %v", again, err)
	}
	none, err := config.Parse(filepath.Join(dir, "gatepost.toml"), []byte(`hostname = "mx.example.org"`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PublishRecords(t.Context(), none, list); err == nil || !strings.Contains(err.Error(), "[dns.update]") {
		t.Errorf("without a name server: %v", err)
	}
}

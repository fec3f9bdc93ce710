package audit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/clock"
	"gatepost/internal/dane"
	"gatepost/internal/resolve"
)

// newTLSA is a host with a key in use, one that is next and one that is
// retired.
func newTLSA(t *testing.T) *TLSA {
	t.Helper()
	s := &TLSA{Host: "mx.example.org", Ports: []uint16{25, 465}, Clock: clock.NewFake(time.Unix(1_800_000_000, 0))}
	for i := range 3 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r, err := dane.ForKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		s.Keys = append(s.Keys, HostKey{Record: r, Used: i == 0, Retired: i == 2, Why: fmt.Sprintf("Key %d.", i)})
		if i == 0 {
			c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}}
			der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			s.Chain = []*x509.Certificate{leaf}
		}
	}
	return s
}

func TestTLSARecords(t *testing.T) {
	t.Parallel()
	s := newTLSA(t)
	r := resolve.NewFake("mx.example.org. A 192.0.2.1")
	r.Secure = true
	s.Judge(t.Context(), r)
	var lines []string
	for _, rec := range s.Records() {
		lines = append(lines, rec.Line()+" "+rec.Hold)
	}
	want := fmt.Sprintf("_25._tcp.mx.example.org. 3600 IN TLSA %s |_25._tcp.mx.example.org. 3600 IN TLSA %s |_465._tcp.mx.example.org. 3600 IN CNAME _25._tcp.mx.example.org. ",
		s.Keys[0].Record, s.Keys[1].Record)
	if got := strings.Join(lines, "|"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for _, line := range lines {
		if _, err := dns.NewRR(strings.TrimSpace(line)); err != nil {
			t.Error(err)
		}
	}
	// Without DNSSEC, and where nobody knows, none is to be published.
	r.Unsign("mx.example.org")
	s.Judge(t.Context(), r)
	if list := s.Records(); len(list) != 1 || !strings.Contains(list[0].Hold, "not signed") || len(ToPublish(list)) != 0 {
		t.Errorf("%+v", list)
	}
	r.Fail("_25._tcp.mx.example.org", dns.TypeTLSA, resolve.ErrTemporary)
	s.Judge(t.Context(), r)
	if list := s.Records(); len(list) != 1 || !strings.Contains(list[0].Hold, "nobody could say") || len(ToPublish(list)) != 0 {
		t.Errorf("%+v", list)
	}
	var zone strings.Builder
	if err := WriteZone(&zone, "example.org", s.Records()); err != nil || strings.Contains(zone.String(), "\n_25") {
		t.Errorf("%v, %s", err, zone.String())
	}
}

func TestTLSACheck(t *testing.T) {
	t.Parallel()
	s := newTLSA(t)
	const stranger = "3 1 1 abababababababababababababababababababababababababababababababab"
	inUse, next, retired := s.Keys[0].Record.String(), s.Keys[1].Record.String(), s.Keys[2].Record.String()
	anchor := dane.ForAuthority(s.Chain[0]).String()
	for _, tt := range []struct {
		name      string
		zone      []string
		unsigned  bool
		level     Level // of what is found for the key in use, the next one and the other port
		next      Level
		says      string
		publishes string // records, and what goes with them
	}{
		{"right", []string{inUse, next}, false, OK, OK, "is right", ""},
		{"none", nil, false, Warning, Warning, "is missing", "used next 465"},
		{"none, not signed", nil, true, OK, OK, "not signed", ""},
		{"the next is missing", []string{inUse}, false, OK, Warning, "", "next"},
		{"retired too", []string{inUse, next, retired}, false, Warning, OK, "does not use any more", "used-old"},
		{"a stranger too", []string{inUse, next, stranger}, false, Warning, OK, "does not have", ""},
		{"stale", []string{retired, stranger}, false, Failure, Failure, "MATCH NO KEY", "used next"},
		{"stale, not signed", []string{retired}, true, Warning, Warning, "DNSSEC does not vouch", ""},
		{"only the next", []string{next}, false, Failure, Failure, "MATCH NO KEY", "used next"},
		{"none of use", []string{"1 1 1 " + stranger[6:]}, false, Warning, Warning, "can match anything", "used next"},
		{"an authority that does not vouch", []string{anchor}, false, Failure, Failure, "MATCH NO KEY", "used next"},
		{"in another way", []string{strings.Replace(inUse, "3 1 1", "3 1 0", 1)[:5] + " " + fmt.Sprintf("%x", s.Chain[0].RawSubjectPublicKeyInfo), next}, false, OK, OK, "in another way", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := resolve.NewFake("mx.example.org. A 192.0.2.1\n_465._tcp.mx.example.org. CNAME _25._tcp.mx.example.org.")
			if len(tt.zone) == 0 {
				r = resolve.NewFake("mx.example.org. A 192.0.2.1")
			}
			r.Secure = !tt.unsigned
			for _, z := range tt.zone {
				r.Add("_25._tcp.mx.example.org. TLSA " + z)
			}
			list := s.Records()
			found := Compare(t.Context(), r, list)
			if found[0].Level != tt.level || found[1].Level != tt.next || !strings.Contains(found[0].Text, tt.says) {
				t.Errorf("%+v", found)
			}
			for _, f := range found {
				if f.Check != "dns.tlsa" || (f.Level == OK) != (f.Fix == "") {
					t.Errorf("%+v", f)
				}
			}
			publish, _ := Plan(t.Context(), r, list)
			var got []string
			for _, rec := range publish {
				what := map[string]string{inUse: "used", next: "next"}[rec.Value]
				if rec.Type == "CNAME" {
					what = "465"
				}
				if len(rec.Old) == 1 && rec.Old[0] == retired {
					what += "-old"
				}
				got = append(got, what)
			}
			if strings.Join(got, " ") != tt.publishes {
				t.Errorf("publishes %v, want %q", got, tt.publishes)
			}
		})
	}
	r := resolve.NewFake("")
	r.Fail("_25._tcp.mx.example.org", dns.TypeTLSA, resolve.ErrBogus)
	if f := Compare(t.Context(), r, s.Records()[:1]); f[0].Level != Warning || !strings.Contains(f[0].Text, "Nobody could say") {
		t.Errorf("%+v", f)
	}
}

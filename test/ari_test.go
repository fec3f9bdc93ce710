package test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// adviser stands before an ACME server and says when certificates are to be
// renewed (RFC 9773), which Debian's Pebble does not.
type adviser struct {
	host string // with its port

	mu         sync.Mutex
	start, end time.Time // what it suggests for all
	asked      []string  // certificates that it was asked about
	replaced   []string  // certificates that orders said to replace
}

// newAdviser returns one, its directory, and the file of who vouches for it.
func newAdviser(t *testing.T, names *primary, name, directory string) (a *adviser, own, roots string) {
	t.Helper()
	ip, dir, ca := newIP(), t.TempDir(), newAuthority(t)
	a = &adviser{host: name + ":14000", start: time.Now().Add(30 * 24 * time.Hour), end: time.Now().Add(31 * 24 * time.Hour)}
	names.add(t, fmt.Sprintf("%s. 60 IN A %s", name, ip))
	behind, err := url.Parse(directory)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: names.address(t, behind.Hostname()) + ":" + behind.Port()})
	proxy.Transport = &http.Transport{TLSClientConfig: careless}
	proxy.ModifyResponse = a.announce
	mux := http.NewServeMux()
	mux.HandleFunc("GET /renewal-info/{id}", a.advise)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.overhear(r)
		proxy.ServeHTTP(w, r)
	})
	cert, key := ca.certify(time.Hour, name)
	ln, err := net.Listen("tcp", ip+":14000")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}}
	go server.ServeTLS(ln, "", "")
	t.Cleanup(func() { server.Close() })
	roots = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(roots, []byte(ca.encode(nil, ca.cert)), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, "https://" + a.host + "/dir", roots
}

// address returns where a name of the zone is.
func (p *primary) address(t *testing.T, name string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rr := range p.zone {
		if a, ok := rr.(*dns.A); ok && a.Hdr.Name == name+"." {
			return a.A.String()
		}
	}
	t.Fatalf("%s is nowhere", name)
	return ""
}

// advise answers what to do about one certificate.
func (a *adviser) advise(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.PathValue("id"))
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"suggestedWindow": map[string]time.Time{"start": a.start, "end": a.end}})
}

// announce adds itself to the directory.
func (a *adviser) announce(r *http.Response) error {
	if r.Request.URL.Path != "/dir" {
		return nil
	}
	var list map[string]any
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		return err
	}
	r.Body.Close()
	list["renewalInfo"] = "https://" + a.host + "/renewal-info"
	b, err := json.Marshal(list)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(b))), int64(len(b))
	r.Header.Set("Content-Length", fmt.Sprint(len(b)))
	return err
}

// overhear notes which certificate an order is to replace.
func (a *adviser) overhear(r *http.Request) {
	b, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(b)))
	var signed struct{ Payload string }
	var order struct{ Replaces string }
	if err == nil && json.Unmarshal(b, &signed) == nil {
		if payload, err := base64.RawURLEncoding.DecodeString(signed.Payload); err == nil && json.Unmarshal(payload, &order) == nil && order.Replaces != "" {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.replaced = append(a.replaced, order.Replaces)
		}
	}
}

// suggest changes what it says.
func (a *adviser) suggest(start, end time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.start, a.end = start, end
}

// times returns how often it was asked about a certificate, and whether an
// order was to replace it.
func (a *adviser) times(c *x509.Certificate) (asked int, replaced bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	serial := c.SerialNumber.Bytes()
	if serial[0] >= 0x80 { // as DER has it
		serial = append([]byte{0}, serial...)
	}
	// RFC 9773, section 4.1.
	id := base64.RawURLEncoding.EncodeToString(c.AuthorityKeyId) + "." + base64.RawURLEncoding.EncodeToString(serial)
	for _, one := range a.asked {
		if one == id {
			asked++
		}
	}
	return asked, slices.Contains(a.replaced, id)
}

// An authority that wants its certificates back, because of a mistake of its
// own perhaps, says so, and they are renewed long before their end.
func TestRenewalInformation(t *testing.T) {
	t.Parallel()
	var a *adviser
	s := newACMESite(t, "ari.example", 90*24*time.Hour, func(names *primary, directory string) (own, roots string) {
		a, own, roots = newAdviser(t, names, "adviser.ari.example", directory)
		return own, roots
	})
	now := func() *x509.Certificate {
		c, err := shown(s.ip+":465", s.host, s.issued)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := now()
	await(t, func() string {
		s.hup()
		if n, _ := a.times(first); n < 2 {
			return fmt.Sprintf("it was asked %d times\n%s", n, s.log)
		}
		return ""
	})
	if now().SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Fatal("renewed although the authority says that there is time")
	}
	a.suggest(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	await(t, func() string {
		s.hup()
		if now().SerialNumber.Cmp(first.SerialNumber) == 0 {
			return "not renewed\n" + s.log.String()
		}
		return ""
	})
	if _, replaced := a.times(first); !replaced {
		t.Error("the order does not say which certificate it replaces")
	}
	if spki(now()) != spki(first) {
		t.Error("renewed for another key")
	}
}

package mtasts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/clock"
)

// host is a policy host of a test.
type host struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // host and path of each request
}

// newHost starts one with a certificate for names.
func newHost(t *testing.T, serve http.HandlerFunc, c *tls.Config) *host {
	t.Helper()
	h := &host{}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked = append(h.asked, r.Host+r.URL.Path)
		h.mu.Unlock()
		serve(w, r)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.TLS = c
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// fetcher returns one that finds every host at h.
func (h *host) fetcher(roots *x509.CertPool) *Fetcher {
	return &Fetcher{
		Roots: roots, Clock: clock.System,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			h.mu.Lock()
			h.asked = append(h.asked, network+" "+address)
			h.mu.Unlock()
			return (&net.Dialer{}).DialContext(ctx, "tcp", h.Listener.Addr().String())
		},
	}
}

// certificate makes one for names, valid from now on for a while, and the
// pool that vouches for it.
func certificate(t *testing.T, life time.Duration, names ...string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mta-sts.d.example"}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(life),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

const policyText = "version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 86400\n"

// says serves a policy with a status and type.
func says(status int, kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	good, roots := certificate(t, time.Hour, "mta-sts.d.example")
	wild, wildRoots := certificate(t, time.Hour, "*.d.example")
	other, otherRoots := certificate(t, time.Hour, "d.example")
	nameless, namelessRoots := certificate(t, time.Hour)
	expired, expiredRoots := certificate(t, -24*time.Hour, "mta-sts.d.example")
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	redirect := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			says(200, "text/plain", policyText)(w, r)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
	}
	hangsUp := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, policyText)
	}
	squeezed := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		says(200, "text/plain", policyText)(w, r)
	}
	longHeader := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
		says(200, "text/plain", policyText)(w, r)
	}
	cases := []struct {
		name  string
		serve http.HandlerFunc
		tls   *tls.Config
		roots *x509.CertPool
		want  error
	}{
		{"good", says(200, "text/plain", policyText), good, roots, nil},
		{"with a charset", says(200, "Text/Plain; charset=utf-8", policyText), good, roots, nil},
		{"by a wildcard", says(200, "text/plain", policyText), wild, wildRoots, nil},
		{"we ask for no compression", squeezed, good, roots, nil},
		{"not there", says(404, "text/plain", policyText), good, roots, ErrFetch},
		{"broken", says(500, "text/plain", policyText), good, roots, ErrFetch},
		{"no content", says(204, "text/plain", ""), good, roots, ErrFetch},
		{"redirected", redirect, good, roots, ErrFetch},
		{"HTML", says(200, "text/html", policyText), good, roots, ErrFetch},
		{"of no type", says(200, "", policyText), good, roots, ErrFetch},
		{"of a broken type", says(200, "text/plain; =", policyText), good, roots, ErrFetch},
		{"cut off", hangsUp, good, roots, ErrFetch},
		{"a long header", longHeader, good, roots, ErrFetch},
		{"TLS 1.1", says(200, "text/plain", policyText), old, roots, ErrFetch},
		{"no policy", says(200, "text/plain", "hello"), good, roots, ErrPolicy},
		{"too long", says(200, "text/plain", policyText+strings.Repeat("a: b\n", MaxSize/5)), good, roots, ErrPolicy},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, policyText); err != nil {
					return
				}
			}
		}, good, roots, ErrPolicy},
		{"for another name", says(200, "text/plain", policyText), other, otherRoots, ErrCertificate},
		{"for a common name", says(200, "text/plain", policyText), nameless, namelessRoots, ErrCertificate},
		{"expired", says(200, "text/plain", policyText), expired, expiredRoots, ErrCertificate},
		{"by nobody we know", says(200, "text/plain", policyText), good, otherRoots, ErrCertificate},
		{"by nobody the system knows", says(200, "text/plain", policyText), good, nil, ErrCertificate},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, tc.serve, tc.tls)
			p, err := h.fetcher(tc.roots).Fetch(t.Context(), "d.example")
			if !errors.Is(err, tc.want) || (p.Mode == Enforce) != (tc.want == nil) {
				t.Fatalf("%+v, %v", p, err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.asked[0] != "tcp mta-sts.d.example:443" || len(h.asked) > 2 {
				t.Errorf("asked %q", h.asked)
			}
			if len(h.asked) == 2 && h.asked[1] != "mta-sts.d.example/.well-known/mta-sts.txt" {
				t.Errorf("asked %q", h.asked)
			}
		})
	}
}

// TestFetchEnds: a host that says nothing is left when the time is over, one
// in the middle of its answer when nobody wants it any more.
func TestFetchEnds(t *testing.T) {
	t.Parallel()
	good, roots := certificate(t, time.Hour, "mta-sts.d.example")
	started := make(chan struct{})
	h := newHost(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, policyText)
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	}, good)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if _, err := h.fetcher(roots).Fetch(ctx, "d.example"); !errors.Is(err, ErrFetch) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	late := h.fetcher(roots)
	late.Clock = clock.NewFake(time.Now().Add(-2 * FetchTimeout))
	if _, err := late.Fetch(t.Context(), "d.example"); !errors.Is(err, ErrFetch) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestFetchForbidden: what Dial refuses is not reached, by whatever name.
func TestFetchForbidden(t *testing.T) {
	t.Parallel()
	forbidden := errors.New("not on the Internet")
	f := &Fetcher{Clock: clock.System, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, forbidden }}
	for _, domain := range []string{"d.example", "a b", "[192.0.2.1]"} {
		if _, err := f.Fetch(t.Context(), domain); !errors.Is(err, ErrFetch) {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

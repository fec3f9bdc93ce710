package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gatepost/internal/addr"
	"gatepost/internal/mtasts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func testSite() *Site {
	return &Site{
		Hostname: "mx.example.org", HTTPSPort: 443, Log: quiet,
		Policy: func(_ context.Context, d addr.Domain) (mtasts.Policy, bool, error) {
			if d == "broken.example" {
				return mtasts.Policy{}, false, errors.New("no store")
			}
			return mtasts.Ours(mtasts.Testing, "mx.example.org"), d == "example.org", nil
		},
		Challenge: func(_ context.Context, host, token string) (string, bool) {
			return "answer of " + host, token == "right" && host != "mta-sts.other.example"
		},
		Console: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return // nobody is there to hear it
			}
			io.WriteString(w, "console "+r.URL.Path+" "+string(b))
		}),
	}
}

const theirPolicy = "version: STSv1\r\nmode: testing\r\nmx: mx.example.org\r\nmax_age: 86400\r\n"

func TestSite(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		secure bool
		sni    string
		method string
		host   string
		path   string
		status int
		body   string // that it has in it; of a redirect, where to
	}{
		{"policy", true, "mta-sts.example.org", "GET", "mta-sts.example.org", policyPath, 200, theirPolicy},
		{"policy, by another case and port", true, "MTA-STS.example.org", "GET", "mta-sts.EXAMPLE.org:443", policyPath, 200, theirPolicy},
		{"policy, only asked after", true, "mta-sts.example.org", "HEAD", "mta-sts.example.org", policyPath, 200, ""},
		{"policy, without SNI", true, "", "GET", "mta-sts.example.org", policyPath, 200, theirPolicy},
		{"policy of another", true, "mta-sts.other.example", "GET", "mta-sts.other.example", policyPath, 404, ""},
		{"policy under another certificate", true, "mx.example.org", "GET", "mta-sts.example.org", policyPath, 421, ""},
		{"policy at another host", true, "mx.example.org", "GET", "mx.example.org", policyPath, 200, "console " + policyPath},
		{"policy of nothing", true, "mta-sts", "GET", "mta-sts.", policyPath, 404, ""},
		{"policy of an address", true, "", "GET", "192.0.2.1", policyPath, 404, ""},
		{"policy that cannot be read", true, "mta-sts.broken.example", "GET", "mta-sts.broken.example", policyPath, 503, ""},
		{"no host", true, "", "GET", "", policyPath, 400, ""},
		{"a port that is none", true, "", "GET", "mta-sts.example.org:x", policyPath, 400, ""},
		{"posted", true, "mta-sts.example.org", "POST", "mta-sts.example.org", policyPath, 405, ""},
		{"another page", true, "mta-sts.example.org", "GET", "mta-sts.example.org", "/", 404, ""},
		{"console", true, "mx.example.org", "GET", "MX.example.org:8443", "/account", 200, "console /account"},
		{"console, posted to", true, "mx.example.org", "POST", "mx.example.org", "/account", 200, "console /account"},
		{"console under another name", true, "", "GET", "console.example.org", "/account", 404, ""},
		{"console under a stranger's name", true, "", "GET", "evil.example", "/account", 404, ""},
		{"console by its address", true, "", "GET", "192.0.2.1", "/account", 404, ""},
		{"console under another certificate", true, "mta-sts.example.org", "GET", "mx.example.org", "/account", 421, ""},
		{"a directory", true, "mta-sts.example.org", "GET", "mta-sts.example.org", "/.well-known/", 404, ""},
		{"challenge over https", true, "mx.example.org", "GET", "mx.example.org", challengePath + "right", 200, "console "},

		{"policy in the clear", false, "", "GET", "mta-sts.example.org", policyPath, 308, "https://mta-sts.example.org" + policyPath},
		{"page in the clear", false, "", "GET", "mx.example.org:80", "/a%2Fb?c=d", 308, "https://mx.example.org/a%2Fb?c=d"},
		{"page of another", false, "", "GET", "other.example", "/", 404, ""},
		{"page of another domain", false, "", "GET", "mta-sts.other.example", "/", 404, ""},
		{"page while the store fails", false, "", "GET", "mta-sts.broken.example", "/", 503, ""},
		{"challenge", false, "", "GET", "mx.example.org", challengePath + "right", 200, "answer of mx.example.org"},
		{"challenge for another", false, "", "GET", "mta-sts.other.example", challengePath + "right", 404, ""},
		{"challenge that is none", false, "", "GET", "mx.example.org", challengePath + "wrong", 404, ""},
		{"challenge that is too long", false, "", "GET", "mx.example.org", challengePath + strings.Repeat("a", maxToken+1), 404, ""},
		{"challenge of nothing", false, "", "GET", "mx.example.org", challengePath, 404, ""},
		{"challenge below", false, "", "GET", "mx.example.org", challengePath + "right/x", 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, tt.path, nil)
			r.Host = tt.host
			h := testSite().Plain()
			if tt.secure {
				r.TLS = &tls.ConnectionState{ServerName: tt.sni}
				h = testSite().Secure()
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Body.String()
			if tt.status == 308 {
				got = w.Header().Get("Location")
			}
			if w.Code != tt.status || !strings.Contains(got, tt.body) {
				t.Errorf("%d %q", w.Code, got)
			}
			if tt.body == theirPolicy && w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("type %q", w.Header().Get("Content-Type"))
			}
		})
	}
}

// A door that is shut is nowhere to be led to, and no request can make a
// redirect lead elsewhere.
func TestRedirects(t *testing.T) {
	t.Parallel()
	get := func(s *Site, request string) string {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request + "\r\nHost: mx.example.org\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.Plain().ServeHTTP(w, r)
		return w.Header().Get("Location")
	}
	s := testSite()
	for _, line := range []string{"GET //evil.example/ HTTP/1.1", "GET /\\evil.example HTTP/1.1", "GET x:.evil.example/ HTTP/1.1", "GET http://evil.example/ HTTP/1.1", "GET /@evil.example HTTP/1.1"} {
		if to := get(s, line); to != "" && !strings.HasPrefix(to, "https://mx.example.org/") && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
			t.Errorf("%s leads to %s", line, to)
		}
	}
	s.HTTPSPort = 8443
	if to := get(s, "GET /x HTTP/1.1"); to != "https://mx.example.org:8443/x" {
		t.Errorf("led to %q", to)
	}
	s.HTTPSPort = 0
	if to := get(s, "GET /x HTTP/1.1"); to != "" {
		t.Errorf("led to %q", to)
	}
}

// talk writes to a served connection and returns all that comes back.
func talk(t *testing.T, s *Server, what string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(theirs)
	}()
	go io.WriteString(ours, what)
	got, _ := io.ReadAll(ours)
	<-done
	ours.Close()
	return string(got)
}

func TestServeConn(t *testing.T) {
	t.Parallel()
	s := New(testSite().Plain(), quiet)
	const get = "GET /x HTTP/1.1\r\nHost: mx.example.org\r\n"
	if got := talk(t, s, get+"\r\n"+get+"Connection: close\r\n\r\n"); strings.Count(got, "HTTP/1.1 308") != 2 {
		t.Errorf("two requests on one connection: %q", got)
	}
	if got := talk(t, s, "GET /x HTTP/1.1\r\nHost: mx.example.org\r\nX: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("a large header: %.80q", got)
	}
	if got := talk(t, s, "GET /x HTTP/1.1\r\nHost: mx.example.org\r\nContent-Length: 1000000\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 413") {
		t.Errorf("a body: %.80q", got)
	}
	if len(s.conns) != 0 {
		t.Errorf("%d connections are remembered", len(s.conns))
	}

	// A connection that waits is ended by Shutdown, and one that comes after
	// it is closed.
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(theirs)
	}()
	io.WriteString(ours, get+"\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(ours), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-done
	if got := talk(t, s, ""); got != "" {
		t.Errorf("after the end: %q", got)
	}
}

// A body that trickles in is not waited for, whoever sends it: the console,
// which is the one that reads bodies, has its connection back in time.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(testSite().Secure(), quiet)
		ours, theirs := net.Pipe()
		began := time.Now()
		var client sync.WaitGroup
		client.Go(func() {
			io.WriteString(ours, "POST /sign-in HTTP/1.1\r\nHost: mx.example.org\r\nContent-Length: 1000\r\n\r\n")
			for { // an octet a second
				if _, err := io.WriteString(ours, "x"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		client.Go(func() { io.Copy(io.Discard, ours) })
		s.ServeConn(theirs)
		if took := time.Since(began); took < readTime || took > readTime+10*time.Second {
			t.Errorf("it took %v", took)
		}
		ours.Close()
		client.Wait()
	})
}

// FuzzHost: whatever host is asked for, an answer other than an error names
// only what is ours.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"mx.example.org", "mta-sts.example.org:80", "mta-sts.", "[::1]:80", "mx.example.org.", "mx.example.org:80:80", "bücher.example", "mx.example.org@evil.example"} {
		f.Add(host, "/x?y")
	}
	h := testSite().Plain()
	f.Fuzz(func(t *testing.T, host, target string) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader([]byte("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"))))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		to := w.Header().Get("Location")
		if w.Code == 308 && !strings.HasPrefix(to, "https://mx.example.org/") && !strings.HasPrefix(to, "https://mta-sts.example.org/") &&
			to != "https://mx.example.org" && to != "https://mta-sts.example.org" {
			t.Errorf("%q and %q lead to %q", host, target, to)
		}
	})
}

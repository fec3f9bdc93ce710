package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatepost/internal/control"
)

// doorOf returns where a door of a server listens.
func doorOf(t *testing.T, s *Server, name string) string {
	t.Helper()
	for _, a := range s.Addresses() {
		if address, ok := strings.CutPrefix(a, name+"="); ok {
			return address
		}
	}
	t.Fatalf("no door %s among %v", name, s.Addresses())
	return ""
}

// domainInfo does a verb about a domain and returns what it tells.
func domainInfo(t *testing.T, s *Server, verb string, args any) (d control.DomainInfo, err error) {
	t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	err = s.parts.desk().Do(t.Context(), verb, raw, func(v any, _ io.Reader) error {
		d = v.(control.DomainInfo)
		return nil
	})
	return d, err
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	text := strings.Replace(closedDoors, "https = []", "https = [\"127.0.0.1:0\"]", 1)
	text = strings.Replace(text, "http = []", "http = [\"127.0.0.1:0\"]", 1)
	s, err := Start(t.Context(), installed(t, text), Options{Log: &output{}})
	if err != nil {
		t.Fatal(err)
	}
	drained := false
	defer func() {
		if !drained {
			s.Drain()
		}
	}()
	get := func(host string) (int, string) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}} // the name is what is tested
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+doorOf(t, s, "https")+"/.well-known/mta-sts.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		a, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		body, _ := io.ReadAll(a.Body)
		return a.StatusCode, string(body)
	}

	status, first := get("mta-sts.example.org")
	if status != 200 || first != "version: STSv1\r\nmode: testing\r\nmx: mx.example.org\r\nmax_age: 86400\r\n" {
		t.Errorf("%d %q", status, first)
	}
	before, err := domainInfo(t, s, "domain.show", control.Name{Name: "example.org"})
	if err != nil || before.MTASTS != "testing" || before.MTASTSGone != nil {
		t.Errorf("%+v, %v", before, err)
	}
	for _, mode := range []string{"enforce", "none"} {
		after, err := domainInfo(t, s, "domain.set", control.DomainSet{Name: "example.org", MTASTS: &mode})
		if err != nil || after.MTASTS != mode || after.MTASTSRecord == before.MTASTSRecord || (after.MTASTSGone != nil) != (mode == "none") {
			t.Errorf("%+v, %v", after, err)
		}
		before = after
		if status, policy := get("mta-sts.example.org"); status != 200 || !strings.Contains(policy, "mode: "+mode+"\r\n") {
			t.Errorf("%d %q", status, policy)
		}
	}
	// What is set again does not begin again.
	none, wrong := "none", "never"
	again, err := domainInfo(t, s, "domain.set", control.DomainSet{Name: "example.org", CatchAll: []string{"anna@example.org"}, MTASTS: &none})
	if err != nil || !again.MTASTSGone.Equal(*before.MTASTSGone) || len(again.CatchAll) != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := domainInfo(t, s, "domain.set", control.DomainSet{Name: "example.org", MTASTS: &wrong}); err == nil {
		t.Error("a mode that is none was taken")
	}
	if _, err := domainInfo(t, s, "domain.set", control.DomainSet{Name: "none.example", MTASTS: &none}); err == nil {
		t.Error("a domain that is not here was changed")
	}
	// A catch-all that is not spoken of stays.
	testing := "testing"
	if d, err := domainInfo(t, s, "domain.set", control.DomainSet{Name: "example.org", MTASTS: &testing}); err != nil || len(d.CatchAll) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	if status, _ := get("mta-sts.elsewhere.example"); status != 404 {
		t.Errorf("of another domain: %d", status)
	}

	// A client that keeps its connection keeps no server from ending.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(context.Background(), "GET", "http://"+doorOf(t, s, "http")+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "mx.example.org"
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if to := a.Header.Get("Location"); to != "https://mx.example.org/x" {
		t.Errorf("led to %q", to)
	}
	drained = true
	if err := s.Drain(); err != nil {
		t.Error(err)
	}
}

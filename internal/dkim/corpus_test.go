package dkim

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

var now = time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)

// verify verifies a message whose lines end in CR LF.
func verify(t testing.TB, r resolve.Resolver, msg []byte) []Result {
	t.Helper()
	header, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	v := NewVerifier(append(bytes.Clone(header), "\r\n\r\n"...))
	if n, err := v.Write(body); n != len(body) || err != nil {
		t.Fatalf("wrote %d octets, %v", n, err)
	}
	return v.Verify(t.Context(), r, now)
}

// readMessage reads a file and gives it the line ends of the wire.
func readMessage(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

// txt returns a TXT record whose text may be longer than one string.
func txt(name, text string) string {
	var b strings.Builder
	b.WriteString(name + " TXT")
	for text != "" {
		n := min(len(text), 200)
		b.WriteString(` "` + text[:n] + `"`)
		text = text[n:]
	}
	return b.String() + "\n"
}

// readZone reads a .dns file of chasquid's: "name: text", where a backslash
// continues the line.
func readZone(t testing.TB, name string) *resolve.Fake {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	f := resolve.NewFake("")
	for line := range strings.Lines(strings.ReplaceAll(string(b), "\\\n", "")) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), ":")
		switch text = strings.TrimSpace(text); {
		case !ok:
		case text == "TEMPERROR":
			f.Fail(name, dns.TypeTXT, resolve.ErrTemporary)
		case text == "PERMERROR":
			f.Fail(name, dns.TypeTXT, resolve.ErrNotFound)
		default:
			f.Add(txt(name, text))
		}
	}
	return f
}

// TestChasquid gets the result that chasquid has for each of its cases.
func TestChasquid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, msg, dns, result string }{
		{name: "01-rfc8463"},
		{name: "02-too_many_headers", dns: "01-rfc8463"},
		{name: "04-bad_dkim_signature_header", dns: "01-rfc8463"},
		{name: "05-dns_temp_error"},
		{name: "06-dns_perm_error"},
		{name: "07-algo_mismatch", msg: "01-rfc8463", result: "01-rfc8463"},
		{name: "08-our_signature"},
		{name: "09-limited_body", dns: "08-our_signature"},
		{name: "10-strict_domain_check_pass", msg: "01-rfc8463"},
		{name: "11-strict_domain_check_fail"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range []*string{&tt.msg, &tt.dns, &tt.result} {
				if *p == "" {
					*p = tt.name
				}
			}
			b, err := os.ReadFile(filepath.Join("testdata/chasquid", tt.result+".result"))
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				Found   int
				Results []struct{ Domain, Selector, B, State string }
			}
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			got := verify(t, readZone(t, "chasquid/"+tt.dns+".dns"), readMessage(t, "chasquid/"+tt.msg+".msg"))
			if len(got) != want.Found {
				t.Fatalf("%d results, want %d", len(got), want.Found)
			}
			for i, w := range want.Results {
				g := got[i]
				state := map[Status]string{Pass: "SUCCESS", Fail: "PERMFAIL", PermError: "PERMFAIL", TempError: "TEMPFAIL"}[g.Status]
				if state != w.State {
					t.Errorf("%d: %v (%s), want %s", i, g.Status, g.Reason, w.State)
				}
				// Of a signature that it could not read chasquid tells
				// nothing; we tell who is said to have made it.
				if w.Domain != "" && (string(g.Domain) != w.Domain || g.Selector != w.Selector || base64Text(g.Signature.Value) != w.B) {
					t.Errorf("%d: %+v, want %+v", i, g, w)
				}
			}
		})
	}
}

// The third case of chasquid's is no message: it begins with a fold. message
// refuses it, and no signature is found in it.
func TestChasquidNoMessage(t *testing.T) {
	t.Parallel()
	msg := readMessage(t, "chasquid/03-bad_message.msg")
	if err := message.Check(msg); err == nil {
		t.Error("passed as a header")
	}
	if got := verify(t, resolve.NewFake(""), msg); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// rfcZone holds the keys of RFC 6376, appendix C and RFC 8463, appendix A.2.
var rfcZone = txt("brisbane._domainkey.example.com", "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"+
	"IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"+
	"tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB") +
	txt("brisbane._domainkey.football.example.com", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=") +
	txt("test._domainkey.football.example.com", "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB")

func TestRFCMessages(t *testing.T) {
	t.Parallel()
	zone := resolve.NewFake(rfcZone)
	for name, want := range map[string][]string{
		"rfc6376-A.2.eml":                         {"pass: signed by example.com"},
		"rfc6376-A.2-body_modified.eml":           {"fail: the body is not the one that was signed"},
		"rfc6376-A.2-header_subject_modified.eml": {"fail: the signature does not fit the signed fields and the key"},
		"rfc6376-A.2-ill_formed-list_id.eml":      {"pass: signed by example.com"}, // List-ID is not signed
		"rfc6376-A.2-ill_formed-missing_v.eml":    {"permerror: not version 1"},
		"rfc8463-A.3.eml":                         {"pass: signed by football.example.com", "pass: signed by football.example.com"},
		"rfc8463-A.3-key_algo_mismatch.eml":       {"permerror: no key of ed25519-sha256 is published", "permerror: no key of rsa-sha256 is published"},
	} {
		got := verify(t, zone, readMessage(t, "dkim_verifier/"+name))
		if len(got) != len(want) {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		for i := range want {
			if s := got[i].Status.String() + ": " + got[i].Reason; s != want[i] {
				t.Errorf("%s: %s; want %s", name, s, want[i])
			}
		}
	}
}

package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

func TestParseRecord(t *testing.T) {
	t.Parallel()
	m := func(s string) Destination { return Destination{Mail: addr.MustParse(s)} }
	u := func(s string) Destination { return Destination{URL: s} }
	for text, want := range map[string][]Destination{
		// RFC 8460, section 3.
		"v=TLSRPTv1;rua=mailto:reports@example.com":                           {m("reports@example.com")},
		"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt":             {u("https://reporting.example.com/v1/tlsrpt")},
		"v=TLSRPTv1; rua=mailto:a@b.example , https://c.example/?d=e; x=y ;":  {m("a@b.example"), u("https://c.example/?d=e")},
		"v=TLSRPTv1; rua=mailto:a@b.example?subject=x":                        {m("a@b.example")},
		"v=TLSRPTv1; rua=mailto:a%21c@b.example,mailto:%22a%2Cb%22@b.example": {m("a!c@b.example"), m(`"a,b"@b.example`)},
		"v=TLSRPTv1; rua=ftp://a.example,mailto:a@b.example":                  {m("a@b.example")},
		"v=TLSRPTv1; rua=https://a.example/!b?c!":                             {u("https://a.example/%21b?c%21")},
		"v=TLSRPTv1; rua=https://a.example/#b":                                {u("https://a.example/")},
		"v=TLSRPTv1; rua=" + strings.Repeat("mailto:a@b.example,", 20) + "mailto:a@b.example": {
			m("a@b.example"), m("a@b.example"), m("a@b.example"), m("a@b.example"), m("a@b.example"),
			m("a@b.example"), m("a@b.example"), m("a@b.example"), m("a@b.example"), m("a@b.example"),
		},

		"v=TLSRPTv1; rua=ftp://a.example":                                       nil,
		"v=TLSRPTv1; rua=http://a.example":                                      nil,
		"v=TLSRPTv1; rua=":                                                      nil,
		"v=TLSRPTv1; rua=a@b.example":                                           nil,
		"v=TLSRPTv1; rua=mailto:a":                                              nil,
		"v=TLSRPTv1; rua=mailto:a%0D%0Ab@b.example":                             nil,
		"v=TLSRPTv1; rua=mailto:%zz@b.example":                                  nil,
		"v=TLSRPTv1; rua=mailto://a@b.example":                                  nil,
		"v=TLSRPTv1; rua=https://a!b/":                                          nil,
		"v=TLSRPTv1; rua=https://[::1]/":                                        nil,
		"v=TLSRPTv1; rua=https:///x":                                            nil,
		"v=TLSRPTv1; rua=https://user@a.example":                                nil,
		"v=TLSRPTv1; rua=https://a.example/\x7f":                                nil,
		"v=TLSRPTv1; rua=mailto:a@b.example,":                                   nil,
		"v=TLSRPTv1; rua=mailto:a@b.example; rua=mailto:c@b.example":            nil,
		"v=TLSRPTv1; rua=mailto:a@b.example;;":                                  nil,
		"v=TLSRPTv1; rua=mailto:a@b.example; .x=y":                              nil,
		"v=TLSRPTv1; rua=mailto:a@b.example; x":                                 nil,
		"v=TLSRPTv1; x=y":                                                       nil,
		"v=TLSRPTv1":                                                            nil,
		"v=TLSRPTv1;":                                                           nil,
		"v=TLSRPTv2; rua=mailto:a@b.example":                                    nil,
		"rua=mailto:a@b.example; v=TLSRPTv1":                                    nil,
		"v=TLSRPTv1; rua=mailto:a@b.example; x=" + strings.Repeat("y", 5000):    nil,
		"v=TLSRPTv1; rua=mailto:a@b.example; " + strings.Repeat("y", 33) + "=z": nil,
		"v=TLSRPTv1; rua=mailto:a@b.example; x=ü":                               nil,
		"": nil,
	} {
		r, err := ParseRecord(text)
		if d := cmp.Diff(want, r.RUA); d != "" || (err == nil) != (want != nil) || err != nil && err != ErrRecord {
			t.Errorf("%q: %v %s", text, err, d)
		}
		if want == nil {
			continue
		}
		if again, err := ParseRecord(r.String()); err != nil || !cmp.Equal(again, r) {
			t.Errorf("as we would publish it: %q: %v", r, err)
		}
	}
}

func TestLookupRecord(t *testing.T) {
	t.Parallel()
	zone := resolve.NewFake(`_smtp._tls.one.example. TXT "v=TLSRPTv1; " "rua=mailto:a@one.example"
_smtp._tls.one.example. TXT "other"
_smtp._tls.two.example. TXT "v=TLSRPTv1; rua=mailto:a@two.example"
_smtp._tls.two.example. TXT "v=TLSRPTv1; rua=mailto:b@two.example"
_smtp._tls.bad.example. TXT "v=TLSRPTv1; rua=x"
_smtp._tls.foreign.example. TXT "other"`)
	zone.Fail(RecordName("lost.example"), dns.TypeTXT, resolve.ErrTemporary)
	for domain, want := range map[string]error{
		"one.example": nil, "two.example": ErrRecord, "bad.example": ErrRecord,
		"foreign.example": ErrNoRecord, "none.example": ErrNoRecord, "lost.example": resolve.ErrTemporary,
	} {
		r, err := LookupRecord(t.Context(), zone, domain)
		if !errors.Is(err, want) || (len(r.RUA) == 1) != (want == nil) {
			t.Errorf("%s: %+v, %v", domain, r, err)
		}
	}
}

// sample returns a report of testdata/parsedmarc.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "parsedmarc", name))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(name) != ".eml" {
		return b
	}
	msg, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for parts := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "application/tlsrpt+gzip") {
			b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
}

// TestSamples reads what others have sent, and writes it so that it reads
// the same.
func TestSamples(t *testing.T) {
	t.Parallel()
	day := func(s string) time.Time {
		d, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := map[string]*Report{
		"rfc8460.json": {
			"Company-X", Range{day("2016-04-01T00:00:00Z"), day("2016-04-01T23:59:59Z")},
			"sts-reporting@company-x.example", "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
			[]Outcome{{
				Policy{STS, []string{"version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"}, "company-y.example", []string{"*.mail.company-y.example"}},
				Summary{5326, 303},
				[]Failure{
					{Result: Expired, SendingIP: "2001:db8:abcd:0012::1", ReceivingMX: "mx1.mail.company-y.example", Count: 100},
					{Result: NoSTARTTLS, SendingIP: "2001:db8:abcd:0013::1", ReceivingMX: "mx2.mail.company-y.example", ReceivingIP: "203.0.113.56", Count: 200, Information: "https://reports.company-x.example/report_info?id=5065427c-23d3#StarttlsNotSupported"},
					{Result: ValidationFailure, SendingIP: "198.51.100.62", ReceivingIP: "203.0.113.58", ReceivingMX: "mx-backup.mail.company-y.example", Count: 3, Reason: "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"},
				},
			}},
		},
		"google.com_smtp_tls_report.eml": {
			"Google Inc.", Range{day("2024-09-03T00:00:00Z"), day("2024-09-03T23:59:59Z")},
			"smtp-tls-reporting@google.com", "2024-09-03T00:00:00Z_cardinalhealth.ca",
			[]Outcome{{Policy: Policy{Kind: NoPolicy, Domain: "cardinalhealth.ca"}, Summary: Summary{48, 0}}},
		},
		"mail.ru.json": {
			"Mail.ru", Range{day("2024-02-22T00:00:00Z"), day("2024-02-23T00:00:00Z")},
			"tls_support@corp.mail.ru", "b28254de-7b2e-be36-bb5c-4c3b92da8b25@mail.ru",
			[]Outcome{{Policy{Kind: STS, Domain: "example.com"}, Summary{0, 1}, []Failure{
				{Result: STSFetchError, Count: 1, Reason: "bad https response code: 404"},
				{Result: STSFetchError, Count: 1, Reason: "bad https response code: 500"},
			}}},
		},
		"empty_failure_detail_fields.json": {
			"Reporter Example", Range{day("2024-06-01T00:00:00Z"), day("2024-06-01T23:59:59Z")},
			"smtp-tls-reporting@reporter.example", "2024-06-01T00:00:00Z_example.com",
			[]Outcome{{
				Policy{STS, []string{"version: STSv1", "mode: enforce", "mx: example.com", "max_age: 86400"}, "example.com", nil},
				Summary{0, 1}, []Failure{{Result: STSFetchError, Count: 1, Reason: "no-policy-served"}},
			}},
		},
	}
	for name, want := range want {
		got, err := Read(bytes.NewReader(sample(t, name)))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
			continue
		}
		var b bytes.Buffer
		if err := got.Write(&b); err != nil {
			t.Fatal(err)
		}
		if again, err := Read(&b); err != nil || !cmp.Equal(again, got) {
			t.Errorf("%s: as we would write it: %+v, %v", name, again, err)
		}
	}
}

const head = `{"organization-name":"o","date-range":{"start-datetime":"2024-01-01T00:00:00Z","end-datetime":"2024-01-01T23:59:59Z"},"contact-info":"c","report-id":"i","policies":`

// TestRefused: what is no report, or more than one should be.
func TestRefused(t *testing.T) {
	t.Parallel()
	policy := `{"policy":{"policy-type":"sts","policy-domain":"d"},"summary":{"total-successful-session-count":1,"total-failure-session-count":1}`
	squeeze := func(b []byte) string {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.String()
	}
	if _, err := Read(strings.NewReader(head + "[" + policy + "}]}")); err != nil {
		t.Fatal("the cases below are wrong:", err)
	}
	if _, err := Read(strings.NewReader(squeeze([]byte(head + "null}\n")))); err != nil {
		t.Fatal("the cases below are wrong:", err)
	}
	for name, text := range map[string]string{
		"nothing":                "",
		"one octet":              "{",
		"no JSON":                "hello",
		"a list":                 "[]",
		"two":                    head + "[]}" + head + "[]}",
		"deep":                   strings.Repeat("[", 100_000),
		"nobody's":               strings.NewReplacer(`"o"`, `""`, `"c"`, `""`).Replace(head) + "[]}",
		"of no time":             strings.Replace(head, "start-datetime", "x", 1) + "[]}",
		"of another notation":    strings.Replace(head, "2024-01-01T00:00:00Z", "2024-01-01", 1) + "[]}",
		"ends before it starts":  strings.Replace(head, "2024-01-01T23", "2023-12-31T23", 1) + "[]}",
		"policies are no list":   head + "{}}",
		"a policy is no object":  head + "[1]}",
		"a policy of no domain":  head + `[{"policy":{"policy-type":"sts"}}]}`,
		"a policy of no kind":    head + `[{"policy":{"policy-domain":"d"}}]}`,
		"a negative count":       head + "[" + strings.Replace(policy, ":1", ":-1", 1) + "}]}",
		"a broken count":         head + "[" + strings.Replace(policy, ":1", ":1.5", 1) + "}]}",
		"a huge count":           head + "[" + strings.Replace(policy, ":1", ":99999999999999999999", 1) + "}]}",
		"a text of another kind": head + `[{"policy":{"policy-type":"sts","policy-domain":"d","policy-string":{}}}]}`,
		"a list of other things": head + `[{"policy":{"policy-type":"sts","policy-domain":"d","mx-host":[1]}}]}`,
		"a failure of nothing":   head + "[" + policy + `,"failure-details":[{}]}]}`,
		"a negative failure":     head + "[" + policy + `,"failure-details":[{"result-type":"x","failed-session-count":-1}]}]}`,
		"too many policies":      head + "[" + strings.Repeat(policy+"},", maxResults) + policy + "}]}",
		"too many failures":      head + "[" + policy + `,"failure-details":[` + strings.Repeat(`{"result-type":"x"},`, maxFailures) + `{"result-type":"x"}]}]}`,
		"too many texts":         head + `[{"policy":{"policy-type":"sts","policy-domain":"d","mx-host":[` + strings.Repeat(`"",`, maxTexts) + `""]}}]}`,
		"too long":               head + "[]}" + strings.Repeat(" ", MaxReport),
		"a bomb":                 squeeze(bytes.Repeat([]byte(" "), 2*MaxReport)),
		"cut off":                squeeze([]byte(head + "[]}"))[:40],
		"damaged":                squeeze([]byte(head + "[]}"))[:10] + "xxxxxxxxxxxxxxxxxx",
		"a head of gzip":         "\x1f\x8b\x00",
	} {
		if r, err := Read(strings.NewReader(text)); !errors.Is(err, ErrReport) || r != nil {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := Read(io.MultiReader(strings.NewReader("{}"), failing{})); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, io.ErrClosedPipe }
func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestWrite: what is written has all that RFC 8460, section 4.4 asks for,
// by its names, and an error of the writer is told.
func TestWrite(t *testing.T) {
	t.Parallel()
	r := Compose(Report{Organization: "us", Contact: "c@us.example", ID: "1"}, Day(time.Unix(1_800_000_000, 0)), []Sum{
		{Policy: Policy{STS, []string{"version: STSv1"}, "d.example", []string{"*.d.example"}}, Failure: Failure{Result: HostMismatch, SendingIP: "192.0.2.1", ReceivingMX: "mx.d.example", ReceivingIP: "192.0.2.2", Count: 2}},
		{Policy: Policy{STS, []string{"version: STSv1"}, "d.example", []string{"*.d.example"}}, Failure: Failure{Count: 5}},
	})
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.NewDecoder(z).Decode(&got); err != nil {
		t.Fatal(err)
	}
	type o = map[string]any
	want := o{
		"organization-name": "us", "contact-info": "c@us.example", "report-id": "1",
		"date-range": o{"start-datetime": "2027-01-15T00:00:00Z", "end-datetime": "2027-01-15T23:59:59Z"},
		"policies": []any{o{
			"policy":  o{"policy-type": "sts", "policy-string": []any{"version: STSv1"}, "policy-domain": "d.example", "mx-host": []any{"*.d.example"}},
			"summary": o{"total-successful-session-count": 5.0, "total-failure-session-count": 2.0},
			"failure-details": []any{o{
				"result-type": "certificate-host-mismatch", "sending-mta-ip": "192.0.2.1", "receiving-mx-hostname": "mx.d.example",
				"receiving-ip": "192.0.2.2", "failed-session-count": 2.0,
			}},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := r.Write(failing{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("v=TLSRPTv1;rua=mailto:reports@example.com")
	f.Add("v=TLSRPTv1; rua=https://a.example/b?c=d,mailto:a%21b@c.example; x=y;")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if (err == nil) != (len(r.RUA) > 0) || len(r.RUA) > maxDestinations {
			t.Fatalf("%+v, %v", r, err)
		}
		for _, d := range r.RUA {
			if (d.URL == "") == d.Mail.IsNull() || d.URL != "" && !strings.HasPrefix(d.URL, "https://") {
				t.Errorf("%+v", d)
			}
		}
		if err != nil || len(r.String()) > maxRecord {
			return
		}
		if again, err := ParseRecord(r.String()); err != nil || !cmp.Equal(again, r) {
			t.Errorf("%q: %+v, %v", r, again, err)
		}
	})
}

func FuzzReport(f *testing.F) {
	for _, name := range []string{"rfc8460.json", "google.com_smtp_tls_report.eml", "mail.ru.json", "empty_failure_detail_fields.json"} {
		f.Add(sample(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Read(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrReport) {
				t.Error(err)
			}
			return
		}
		var out bytes.Buffer
		if err := r.Write(&out); err != nil {
			if r.Range.End.Year() <= 9999 && r.Range.Start.Year() >= 0 {
				t.Fatal(err)
			}
			return
		}
		again, err := Read(&out)
		if err != nil && strings.Contains(err.Error(), "octets") {
			return // it is longer in our notation
		}
		if d := cmp.Diff(r, again); d != "" || err != nil {
			t.Error(d, err)
		}
	})
}

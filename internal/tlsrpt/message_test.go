package tlsrpt

import (
	"bytes"
	"crypto/rand"
	"errors"
	"mime"
	"net/mail"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/addr"
	"gatepost/internal/message"
)

func ofOurs() *Report {
	return Compose(Report{Organization: "mx.us.example", Contact: "postmaster@mx.us.example", ID: "20270115.d.example@mx.us.example"},
		Day(time.Unix(1_800_000_000, 0)), []Sum{
			{Policy: Policy{STS, []string{"version: STSv1"}, "d.example", []string{"*.d.example"}}, Failure: Failure{Count: 5}},
			{Policy: Policy{STS, []string{"version: STSv1"}, "d.example", []string{"*.d.example"}}, Failure: Failure{Result: HostMismatch, ReceivingMX: "mx.d.example", Count: 2}},
		})
}

func written(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	l := Letter{
		From: addr.MustParse("tls-reports@us.example"), To: addr.MustParse("tls@d.example"), Submitter: "mx.us.example", About: "d.example",
		Date: time.Unix(1_800_100_000, 0).UTC(), Random: rand.Reader,
	}
	if err := WriteMessage(&b, ofOurs(), l); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The message has the form of RFC 8460, section 5.3, and we read it.
func TestWriteMessage(t *testing.T) {
	t.Parallel()
	b := written(t)
	header, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	if err := message.Check(append(header, "\r\n"...)); err != nil {
		t.Error(err)
	}
	m, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Subject":           "Report Domain: d.example Submitter: mx.us.example Report-ID: <20270115.d.example@mx.us.example>",
		"TLS-Report-Domain": "d.example", "TLS-Report-Submitter": "mx.us.example", "TLS-Required": "No",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type")); err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Errorf("%s, %v, %v", kind, params, err)
	}
	for _, want := range []string{"Content-Type: application/tlsrpt+gzip;", `filename="mx.us.example!d.example!1799971200!1800057599.json.gz"`} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
	got, err := ReadMessage(bytes.NewReader(b))
	if d := cmp.Diff(ofOurs(), got); d != "" || err != nil {
		t.Error(err, d)
	}
}

// FuzzMessage holds that what a message brings is a report or an error of
// ours, in one line.
func FuzzMessage(f *testing.F) {
	eml, err := os.ReadFile("testdata/parsedmarc/google.com_smtp_tls_report.eml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(eml)
	f.Add(written(f))
	f.Add([]byte("Content-Type: application/tlsrpt+json\r\n\r\n" + head + "[]}"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=x.json\r\n\r\n{\r\n--b--"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadMessage(bytes.NewReader(b))
		if (err == nil) != (r != nil) || err != nil && (!errors.Is(err, ErrReport) || strings.ContainsAny(err.Error(), "\r\n")) {
			t.Fatalf("%+v, %q", r, err)
		}
		if r != nil && r.check() != nil {
			t.Errorf("%+v", r)
		}
	})
}

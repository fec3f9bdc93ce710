package aggregate

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatepost/internal/addr"
	"gatepost/internal/message"
)

var compare = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()}

func open(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata/parsedmarc", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Every sample is read, or refused with a reason.
func TestSamples(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"!example.com!1538204542!1538463818.xml":                                        "example.com:1538463741 of , example.com, 1 rows",
		"fastmail.com!example.com!1516060800!1516147199!102675056.xml.gz":               "102675056 of FastMail Pty Ltd, indemed.com, 1 rows",
		"estadocuenta1.infonacot.gob.mx!example.com!1536853302!1536939702!2940.xml.zip": "2940 of XYZ Corporation, example.com, 1 rows",
		"rfc9990-sample.xml": "3v98abbp8ya9n3va8yr8oa3ya of Sample Reporter, example.com, 1 rows",
		"Report domain- borschow.com Submitter- google.com Report-ID- 949348866075514174.eml": "949348866075514174 of google.com, borschow.com, 1 rows",
		"invalid_xml.xml": "not a valid aggregate report: XML syntax error on line 5: expected attribute name in element",
	} {
		read := ReadFile
		if strings.HasSuffix(name, ".eml") {
			read = ReadMessage
		}
		r, err := read(open(t, name))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = r.ID + " of " + r.Organization + ", " + r.Policy.Domain + ", " + string(rune('0'+len(r.Rows))) + " rows"
		}
		if got != want {
			t.Errorf("%s:\n%s, want\n%s", name, got, want)
		}
	}
}

func TestRFCSample(t *testing.T) {
	t.Parallel()
	r, err := ReadFile(open(t, "rfc9990-sample.xml"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Report{
		Organization: "Sample Reporter", Email: "report_sender@example-reporter.com", Contact: "...", ID: "3v98abbp8ya9n3va8yr8oa3ya",
		Begin: time.Unix(302832000, 0).UTC(), End: time.Unix(302918399, 0).UTC(), Generator: "Example DMARC Aggregate Reporter v1.2",
		Policy: Published{Domain: "example.com", Policy: "quarantine", Subdomains: "none", NonExistent: "none", Discovery: "treewalk"},
		Rows: []Row{{
			IP: netip.MustParseAddr("192.0.2.123"), Count: 123, Disposition: "pass", DKIM: true, From: "example.com", EnvelopeFrom: "example.com",
			Signatures: []Signature{{Domain: "example.com", Selector: "abc123", Result: "pass"}},
			Senders:    []Sender{{Domain: "example.com", Result: "fail"}},
		}},
	}
	if diff := cmp.Diff(want, r, compare); diff != "" {
		t.Error(diff)
	}
	if !r.Rows[0].Passed() || (Row{}).Passed() {
		t.Error("Passed")
	}
}

// sample is a report with everything that we write.
func sample() *Report {
	return &Report{
		Organization: "Gatepost & <friends>", Email: "postmaster@mx.example.org", Contact: "https://example.org/?a=1&b=2", ID: "20261103.example.com",
		Begin: time.Unix(1793664000, 0).UTC(), End: time.Unix(1793750399, 0).UTC(), Errors: []string{"two records"}, Generator: "Gatepost",
		Policy: Published{Domain: "example.com", Policy: "reject", Subdomains: "quarantine", NonExistent: "reject", DKIM: "r", SPF: "s", FailureCases: "1", Testing: true, Discovery: "treewalk"},
		Rows: []Row{
			{
				IP: netip.MustParseAddr("2001:db8::1"), Count: 3, Disposition: "none", Overrides: []Override{{"mailing_list", "List-Id: <x>"}, {Type: "other"}},
				From: "example.com", EnvelopeFrom: "lists.example.net", EnvelopeTo: "example.org",
				Signatures: []Signature{{"example.com", "s1", "fail", "the body changed"}, {"lists.example.net", "s", "pass", ""}},
				Senders:    []Sender{{"lists.example.net", "mfrom", "pass", ""}},
			},
			{IP: netip.MustParseAddr("192.0.2.1"), Count: 1, Disposition: "pass", DKIM: true, SPF: true, From: "a.example.com"},
		},
	}
}

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got, compare); diff != "" {
		t.Error(diff)
	}
	hostile := sample()
	hostile.Rows[0].From = "</header_from>\x00\r\n<x>"
	b.Reset()
	if err := Write(&b, hostile); err != nil {
		t.Fatal(err)
	}
	if got, err = Read(&b); err != nil || len(got.Rows) != 2 || got.Rows[0].From != "</header_from><x>" {
		t.Errorf("%+v, %v", got, err)
	}
}

// The elements come in the order of the tables of RFC 9990, section 3.1.1,
// where the schema has a sequence.
func TestOrder(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	text, at := b.String(), 0
	for _, tag := range []string{
		`<?xml version="1.0" encoding="UTF-8"?>`, `<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">`, "<version>1.0</version>", "<report_metadata>",
		"<org_name>", "<email>", "<extra_contact_info>", "<report_id>", "<date_range>", "<begin>1793664000</begin>", "<end>1793750399</end>", "<error>", "<generator>",
		"<policy_published>", "<domain>", "<discovery_method>", "<p>", "<sp>", "<np>", "<fo>", "<adkim>", "<aspf>", "<testing>y</testing>",
		"<record>", "<row>", "<source_ip>2001:db8::1<", "<count>3<", "<policy_evaluated>", "<disposition>", "<dkim>fail<", "<spf>fail<", "<reason>", "<type>", "<comment>",
		"<identifiers>", "<header_from>", "<envelope_from>", "<envelope_to>", "<auth_results>", "<dkim>", "<domain>", "<selector>", "<result>", "<human_result>",
		"<spf>", "<domain>", "<scope>mfrom<", "<result>", "<record>", "<envelope_from></envelope_from>", "</feedback>",
	} {
		i := strings.Index(text[at:], tag)
		if i < 0 {
			t.Fatalf("no %s behind\n%s", tag, text[:at])
		}
		at += i + len(tag)
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := Letter{addr.MustParse("dmarc@mx.example.org"), addr.MustParse("reports@example.com"), "mx.example.org", time.Unix(1793760000, 0).UTC(), rand.Reader}
	if err := WriteMessage(&b, sample(), l); err != nil {
		t.Fatal(err)
	}
	header, _, _ := bytes.Cut(b.Bytes(), []byte("\r\n\r\n"))
	if err := message.Check(append(header, "\r\n"...)); err != nil {
		t.Error(err)
	}
	subject, _ := message.Find(b.Bytes(), "Subject")
	if want := "Report Domain: example.com Submitter: mx.example.org Report-ID: <20261103.example.com>"; subject.Value() != want {
		t.Errorf("%q", subject.Value())
	}
	for line := range bytes.Lines(b.Bytes()) {
		if len(line) > 998 || !bytes.HasSuffix(line, []byte("\r\n")) {
			t.Errorf("%q", line)
		}
	}
	if name := `filename="mx.example.org!example.com!1793664000!1793750399.xml.gz"`; !strings.Contains(b.String(), name) {
		t.Errorf("no %s", name)
	}
	got, err := ReadMessage(&b)
	if diff := cmp.Diff(sample(), got, compare); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func packed(t testing.TB, content io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.Copy(z, content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// repeat is a text many times over, without keeping it.
func repeat(s string, n int) io.Reader {
	chunk := strings.Repeat(s, 1000)
	var list []io.Reader
	for range n / 1000 {
		list = append(list, strings.NewReader(chunk))
	}
	return io.MultiReader(list...)
}

const row = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>"

// TestBombs holds that what is made to fill our memory does not: under bounds
// of a 64th of ours, so that it takes no time.
func TestBombs(t *testing.T) {
	t.Parallel()
	few := limits{most.packed / 64, most.xml / 64, most.rows / 64}
	past := int(few.xml) + 2000
	begin := "<feedback><policy_published><domain>x.example</domain></policy_published>"
	zipped := func(content io.Reader) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		f, err := z.Create("x.xml")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, content); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	wrap := func(s string, n int) io.Reader { return io.MultiReader(strings.NewReader(begin), repeat(s, n)) }
	text := "<feedback><report_metadata><org_name>"
	for name, tt := range map[string]struct {
		in   []byte
		want error
	}{
		"a gzip bomb":          {packed(t, wrap(" ", past)), ErrTooLarge},
		"a zip bomb":           {zipped(wrap(" ", past)), ErrTooLarge},
		"entities":             {[]byte(`<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + begin + "&b;" + row + "</feedback>"), ErrDoctype},
		"a foreign entity":     {[]byte(`<!DOCTYPE x SYSTEM "file:///etc/passwd">` + begin + row + "</feedback>"), ErrDoctype},
		"an entity of nowhere": {[]byte(begin + "&x;" + row + "</feedback>"), ErrSyntax},
		"a doctype within":     {[]byte(begin + "<record><row><source_ip><!DOCTYPE x>"), ErrDoctype},
		"elements in elements": {packed(t, wrap("<a>", 1000)), ErrTooLarge},
		"in a text":            {packed(t, io.MultiReader(strings.NewReader(text), repeat("<a>", 1000))), ErrTooLarge},
		"attributes":           {packed(t, io.MultiReader(strings.NewReader("<feedback "), repeat(`a=">" `, maxTag/4))), ErrTooLarge},
		"a long text":          {packed(t, io.MultiReader(strings.NewReader(text), repeat("x", past))), ErrTooLarge},
		"rows":                 {packed(t, wrap(strings.Replace(row, "<row>", "<row> ", 1), few.rows+1000)), ErrTooLarge},
		"results":              {packed(t, io.MultiReader(strings.NewReader(begin+"<record><auth_results>"), repeat("<dkim/>", past/7+1000))), ErrTooLarge},
		"packed":               {append([]byte("PK\x03\x04"), make([]byte, few.packed)...), ErrTooLarge},
	} {
		if _, err := readFile(bytes.NewReader(tt.in), few); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	long := begin + "<!-- it's a comment -->" + strings.Repeat(row, 2) + "</feedback>"
	r, err := ReadFile(strings.NewReader(strings.Replace(long, "x.example", strings.Repeat("x", 2*maxText), 1)))
	if err != nil || len(r.Policy.Domain) != maxText {
		t.Errorf("%v", err)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	in := func(row string) string {
		return "<feedback><policy_published><domain>x.example</domain></policy_published>" + row + "</feedback>"
	}
	for text, want := range map[string]error{
		"":                         ErrNoReport,
		"moo":                      ErrNoReport,
		"<html></html>":            ErrNoReport,
		"<feedback>":               ErrSyntax,
		"<feedback></feedback>":    ErrSyntax,
		in(""):                     ErrSyntax,
		in("<record></record><x>"): ErrSyntax,
		in("<record><row><source_ip>x</source_ip></row></record>"):                           ErrSyntax,
		in("<record><row><source_ip>fe80::1%eth0</source_ip></row></record>"):                ErrSyntax,
		in("<record><row><source_ip>192.0.2.1</source_ip><count>-1</count></row></record>"):  ErrSyntax,
		in("<record><row><source_ip>192.0.2.1</source_ip><count>9e9</count></row></record>"): ErrSyntax,
		in("<record><row><count>1</count></row></record>"):                                   ErrSyntax,
		"<feedback>" + row + "</feedback>":                                                   ErrSyntax,
		`<?xml version="1.0" encoding="x-moo"?>` + in(row):                                   ErrSyntax,
		"\x1f\x8bxx":   ErrSyntax,
		"PK\x03\x04xx": ErrSyntax,
	} {
		if r, err := ReadFile(strings.NewReader(text)); !errors.Is(err, want) {
			t.Errorf("%.60q: %+v, %v; want %v", text, r, err, want)
		}
	}
	latin := `<?xml version="1.0" encoding="iso-8859-1"?>` + strings.Replace(in(row), "<policy", "<report_metadata><org_name>M\xfcller \x01</org_name></report_metadata><policy", 1)
	if r, err := ReadFile(strings.NewReader(strings.Replace(latin, " \x01", "", 1))); err != nil || r.Organization != "M\u00fcller" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestMessageRefuses(t *testing.T) {
	t.Parallel()
	part := func(h, body string) string { return "--b\r\n" + h + "\r\n\r\n" + body + "\r\n" }
	multi := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	nested := ""
	for range maxDepth + 2 {
		nested += "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
	}
	good := base64.StdEncoding.EncodeToString(packed(t, strings.NewReader("<feedback><policy_published><domain>x.example</domain></policy_published>"+row+"</feedback>")))
	for text, want := range map[string]error{
		"Subject: x\r\n\r\nhello\r\n": ErrNoReport,
		"moo":                         ErrNoReport,
		multi + part("Content-Type: text/plain", "x") + "--b--":                     ErrNoReport,
		multi + part("Content-Type: application/gzip", "x") + "--b--":               ErrNoReport,
		multi + part("Content-Type: text/xml", "<feedback/>") + "--b--":             ErrSyntax,
		multi + strings.Repeat(part("Content-Type: text/plain", "x"), 60) + "--b--": ErrTooLarge,
		nested:                                   ErrNoReport,
		"Content-Type: multipart/mixed\r\n\r\nx": ErrNoReport,
		multi + part("Content-Type: application/octet-stream; name=x.gz\r\nContent-Transfer-Encoding: base64", good) + "--b--":                                                                       nil,
		multi + part("Content-Type: text/xml", "<feedback/>") + part("Content-Type: x/y\r\nContent-Disposition: attachment; filename=X.XML.GZ\r\nContent-Transfer-Encoding: base64", good) + "--b--": nil,
	} {
		if r, err := ReadMessage(strings.NewReader(text)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%.80q: %+v, %v; want %v", text, r, err, want)
		}
	}
}

// FuzzReport holds that what was read is written and read the same.
func FuzzReport(f *testing.F) {
	files, _ := filepath.Glob("testdata/parsedmarc/*.[xz]*")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ReadFile(bytes.NewReader(in))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q", err)
			}
			return
		}
		for i := range r.Rows {
			r.Rows[i].Senders = r.Rows[i].Senders[:min(1, len(r.Rows[i].Senders))]
		}
		if r.Begin.IsZero() || r.End.IsZero() {
			r.Begin, r.End = time.Unix(1, 0).UTC(), time.Unix(2, 0).UTC()
		}
		var b bytes.Buffer
		if err := Write(&b, r); err != nil {
			t.Fatal(err)
		}
		again, err := Read(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%s", err, b.Bytes())
		}
		if diff := cmp.Diff(r, again, compare); diff != "" {
			t.Error(diff)
		}
	})
}

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatepost/internal/aggregate"
	"gatepost/internal/clock"
	"gatepost/internal/mtasts"
	"gatepost/internal/proof"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/witness"
)

// attached is what Python's email package finds in a report by mail, and what
// dkimpy says of its signatures.
type attached struct {
	Type    string // of the message
	Report  string // its report-type
	Header  map[string]string
	File    string // name of the attachment
	Kind    string // its type
	Content string // unpacked
	Signed  []bool // each signature
}

const opener = `
import dkim, email, email.policy, gzip, json, sys
given = json.load(sys.stdin)
raw = given["message"].encode()
m = email.message_from_bytes(raw, policy=email.policy.default)
f = [p for p in m.walk() if p.get_filename()][0]
find = lambda name, timeout=5: given["keys"].get((name.decode() if isinstance(name, bytes) else name).rstrip(".") + ".", "").encode() or None
n = len(m.get_all("DKIM-Signature") or [])
print(json.dumps({
    "type": m.get_content_type(), "report": m.get_param("report-type") or "", "header": dict(m.items()),
    "file": f.get_filename(), "kind": f.get_content_type(), "content": gzip.decompress(f.get_payload(decode=True)).decode(),
    "signed": [dkim.DKIM(raw).verify(i, dnsfunc=find) for i in range(n)],
}))
`

// selector finds those of signatures.
var selector = regexp.MustCompile(`;\s+s=([^;\s]+);`)

// open has a report read by others.
func (n *names) open(t *testing.T, domain, content string) (a attached) {
	t.Helper()
	need(t, "python3")
	keys := map[string]string{}
	for _, found := range selector.FindAllStringSubmatch(content, -1) {
		name := found[1] + "._domainkey." + domain + "."
		if list, err := n.client().LookupTXT(t.Context(), name); err == nil && len(list) == 1 {
			keys[name] = list[0]
		}
	}
	given, err := json.Marshal(map[string]any{"message": content, "keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, string(given), "/usr/bin/python3", "-c", opener)
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(a.Signed) != 2 || !a.Signed[0] { // not all have the library for Ed25519
		t.Errorf("signatures: %v\n%s", a.Signed, content)
	}
	return a
}

// validates has an aggregate report validated by xmllint.
func validates(t *testing.T, report string) {
	t.Helper()
	need(t, "xmllint")
	if out, err := try(report, "xmllint", "--noout", "--nonet", "--schema", "../internal/aggregate/testdata/rfc9990.xsd", "-"); err != nil {
		t.Errorf("%v: %s\n%s", err, out, report)
	}
}

// seed has the server know of sessions with, and of mail in the name of
// domains, on the two days before this one: of one of them the report is due,
// whatever time it is.
func (s *server) seed(t *testing.T, tls, dmarc string) {
	t.Helper()
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(s.dir, "store.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	today := tlsrpt.Day(time.Now())
	for back := 1; back <= 2; back++ {
		day := today.AddDate(0, 0, -back)
		p := tlsrpt.Policy{Kind: tlsrpt.STS, Text: []string{"version: STSv1", "mode: enforce", "mx: other.test", "max_age: 86400"}, Domain: tls, MX: []string{"other.test"}}
		err := proof.Sums{DB: db}.Add(ctx, []tlsrpt.Sum{
			{Day: day, Domain: tls, Policy: p, Failure: tlsrpt.Failure{Count: 4}},
			{Day: day, Domain: tls, Policy: p, Failure: tlsrpt.Failure{Result: tlsrpt.ValidationFailure, ReceivingMX: "mx.reader.test", Reason: "mx-not-in-policy", Count: 3}},
		})
		if err != nil {
			t.Fatal(err)
		}
		w := witness.New(witness.Options{DB: db, Clock: clock.NewFake(day.Add(time.Hour)), Log: log})
		for range 5 {
			w.Saw(aggregate.Published{Domain: dmarc, Policy: "none", DKIM: "r", SPF: "r", FailureCases: "0", Discovery: "treewalk"}, aggregate.Row{
				IP: netip.MustParseAddr("192.0.2.7"), Disposition: "none", From: dmarc, EnvelopeFrom: "</header_from>&\u202e", Overrides: []aggregate.Override{{Type: "other"}},
				Signatures: []aggregate.Signature{{Domain: dmarc, Selector: "\"<x>", Result: "fail"}},
			})
		}
		if err := w.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// A promise that the reader's host does not keep.
	policy, err := mtasts.ParsePolicy("version: STSv1\r\nmode: enforce\r\nmx: other.test\r\nmax_age: 864000\r\n")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := (proof.Policies{DB: db}).Put(ctx, mtasts.Entry{Domain: tls, ID: "1", Policy: policy, Fetched: now, Next: now.Add(24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
}

// Reports go by mail, signed: past the TLS that a domain promised and does
// not have, to whom it names and nobody else. The reader is another Gatepost,
// Python, dkimpy, xmllint and a JSON schema.
func TestReportsByMail(t *testing.T) {
	t.Parallel()
	s := install(t, "mailed.test", "")
	reader := install(t, "reader.test", "")
	reader.gatepost("domain", "add", "strict.test")
	reader.gatepost("alias", "add", "anna@strict.test", reader.address())
	zone := s.gatepost("dns", "mailed.test", "--zone") + "$ORIGIN .\nmx.mailed.test. A " + s.ip + "\nmx.reader.test. A " + reader.ip + `
reader.test. MX 10 mx.reader.test.
strict.test. MX 10 mx.reader.test.
_smtp._tls.strict.test. TXT "v=TLSRPTv1; rua=mailto:tls-reports@strict.test,mailto:anna@strict.test"
_dmarc.reader.test. TXT "v=DMARC1; p=none; rua=mailto:dmarc-reports@reader.test,mailto:anna@reader.test,mailto:x@victim.test,mailto:tiny@reader.test!1k"
victim.test. MX 10 mx.reader.test.
`
	n := newNames(t, zone)
	reader.configure(n.config())
	reader.serve()

	// Once the keys are in use, mail to the strict domain waits for the TLS
	// that it promised.
	s.configure(n.config() + "[reports]\ntls = false\ndmarc = false\n")
	s.serve()
	await(t, func() string {
		if text := s.log.String(); strings.Count(text, "comes into use") < 2 {
			return text
		}
		return ""
	})
	s.kill()
	s.seed(t, "strict.test", "reader.test")
	s.serve()
	c := s.signIn(t, s.address())
	c.mail("<"+s.address()+">", []string{"<anna@strict.test>"}, letter(s.address(), "stuck"))
	await(t, func() string {
		if list := s.queue(); len(list) != 1 || !strings.Contains(list[0].Recipients[0].Reason, "MTA-STS") {
			return fmt.Sprintf("%+v", list)
		}
		return ""
	})
	if out := s.gatepost("reports", "sent"); !strings.HasPrefix(out, "No domain") {
		t.Errorf("switched off, and sent: %s", out)
	}
	s.kill()
	s.configure(n.config())
	s.serve()

	var got []struct{ Kind, Domain, To, State, Reason string }
	await(t, func() string {
		s.json(&got, "reports", "sent")
		taken, failed := 0, 0
		for _, r := range got {
			switch {
			case r.State == "taken":
				taken++
			case r.State == "failed" && (r.To == "mailto:x@victim.test" || r.To == "mailto:tiny@reader.test") && r.Reason != "":
				failed++
			}
		}
		if taken != 4 || failed != 2 || len(got) != 6 {
			return fmt.Sprintf("%+v\n%s", got, s.log)
		}
		return ""
	})
	reader.checkTLSReport(t, n)
	reader.checkDMARCReport(t, n)
	if list := s.queue(); len(list) != 1 {
		t.Errorf("in the queue: %+v", list)
	}
	// Its address has no name here, so that the check fails for other reasons.
	if out, _ := try("", binary, "check", "--deep", "--config", s.config); !strings.Contains(out, "What others report, and what is reported to them, is sound.") {
		t.Errorf("%s", out)
	}
}

func (s *server) checkTLSReport(t *testing.T, n *names) {
	t.Helper()
	content := s.reported(t, "strict.test")
	a := n.open(t, "mailed.test", content)
	if a.Type != "multipart/report" || a.Report != "tlsrpt" || a.Kind != "application/tlsrpt+gzip" || a.Header["TLS-Report-Domain"] != "strict.test" ||
		a.Header["TLS-Report-Submitter"] != "mx.mailed.test" || !strings.HasPrefix(a.File, "mx.mailed.test!strict.test!") || !strings.HasSuffix(a.File, ".json.gz") {
		t.Errorf("%+v", a)
	}
	out, err := try(a.Content, "/usr/bin/python3", "-c", `
import json, jsonschema, sys
jsonschema.validate(json.load(sys.stdin), json.load(open("../internal/tlsrpt/testdata/rfc8460.schema.json")))`)
	if err != nil {
		t.Errorf("%v: %s\n%s", err, out, a.Content)
	}
	var sums []struct{ Succeeded, Failed, Reports int64 }
	await(t, func() string {
		s.json(&sums, "reports", "tls", "strict.test")
		if len(sums) != 1 || sums[0].Succeeded != 4 || sums[0].Failed != 3 || sums[0].Reports != 1 {
			return fmt.Sprintf("%+v\n%s", sums, s.log)
		}
		return ""
	})
}

func (s *server) checkDMARCReport(t *testing.T, n *names) {
	t.Helper()
	content := s.reported(t, "reader.test")
	a := n.open(t, "mailed.test", content)
	if a.Kind != "application/gzip" || !strings.HasPrefix(a.File, "mx.mailed.test!reader.test!") || !strings.HasSuffix(a.File, ".xml.gz") {
		t.Errorf("%+v", a)
	}
	validates(t, a.Content)
	var sums []struct{ Messages, Failed, Reports int64 }
	await(t, func() string {
		s.json(&sums, "reports", "dmarc", "reader.test")
		if len(sums) != 1 || sums[0].Messages != 5 || sums[0].Failed != 5 || sums[0].Reports != 1 {
			return fmt.Sprintf("%+v\n%s", sums, s.log)
		}
		return ""
	})
}

// reported returns the report on a domain that came to the account.
func (s *server) reported(t *testing.T, domain string) (content string) {
	t.Helper()
	await(t, func() string {
		list := s.inbox(s.address())
		for _, m := range list {
			if strings.HasPrefix(m.Subject, "Report Domain: "+domain+" Submitter: mx.mailed.test Report-ID: <") {
				content = s.content(s.address(), m.ID)
				return ""
			}
		}
		return fmt.Sprintf("%+v\n%s", list, s.log)
	})
	if !strings.Contains(content, "dkim=pass") || !strings.Contains(content, "dmarc=pass") || !strings.HasPrefix(content, "Return-Path: <>") {
		t.Errorf("%s", content)
	}
	return content
}

// What the server saw of mail in a domain's name becomes a report to it, and
// without a crash nothing is lost; what comes to the addresses for reports is
// not seen.
func TestMailIsSeen(t *testing.T) {
	t.Parallel()
	n := newNames(t, `good.test. TXT "v=spf1 ip4:127.0.0.0/8 -all"
_dmarc.good.test. TXT "v=DMARC1; p=reject; rua=mailto:d@good.test"
bad.test. TXT "v=spf1 -all"
_dmarc.bad.test. TXT "v=DMARC1; p=reject; t=y; rua=mailto:d@bad.test"
`)
	s := start(t, "seen.test", n.config())
	to := "<" + s.address() + ">"
	for range 3 {
		s.world(t).mail("<x@good.test>", []string{to}, letter("x@good.test", "good"))
	}
	s.world(t).mail("<x@good.test>", []string{"<dmarc-reports@seen.test>"}, letter("x@good.test", "Report Domain: x"))
	if reply, err := s.world(t).transact("<x@good.test>", []string{to}, letter("x@bad.test", "bad")); err != nil || !strings.HasPrefix(reply, "250") {
		t.Fatal(reply, err)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	s.cmd = nil
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(s.dir, "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	w := witness.New(witness.Options{DB: db, Clock: clock.System, Log: slog.New(slog.DiscardHandler)})
	var seen []string
	for _, day := range []time.Time{tlsrpt.Day(time.Now().Add(-time.Hour)), tlsrpt.Day(time.Now())} {
		for _, domain := range []string{"bad.test", "good.test"} {
			of, err := w.Of(t.Context(), day, domain)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range of.Rows {
				seen = append(seen, fmt.Sprintf("%s %d %s %s %v %v", r.From, r.Count, r.EnvelopeFrom, r.Disposition, r.SPF, r.Overrides))
			}
		}
		if day.Equal(tlsrpt.Day(time.Now())) && len(seen) > 0 {
			break
		}
	}
	slices.Sort(seen)
	want := []string{"bad.test 1 good.test quarantine false [{policy_test_mode }]", "good.test 3 good.test pass true []"}
	if !slices.Equal(slices.Compact(seen), want) {
		t.Errorf("%q\n%s", seen, s.log)
	}
}

// Reports validate against the schema of RFC 9990, whatever senders made us
// write into them.
func TestSchema(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{"a.example", "</domain><x/>", "\x00\x1b[31m]]>", "&lt;&#0;", "<!DOCTYPE x [<!ENTITY a \"b\">]>", "\xff\xfe", "a\r\nb\tc", "\u202e\ufffe\uffff", strings.Repeat("é", 400)} {
		r := &aggregate.Report{
			Organization: "mx.example", Email: "postmaster@mx.example", ID: "20261124.a.example@mx.example", Generator: "Gatepost", Errors: []string{evil},
			Begin: time.Unix(1_800_000_000, 0), End: time.Unix(1_800_086_399, 0),
			Policy: aggregate.Published{Domain: "a.example", Policy: "none", Subdomains: "reject", NonExistent: "quarantine", DKIM: "s", SPF: "r", FailureCases: evil, Testing: true, Discovery: "treewalk"},
		}
		for _, ip := range []string{"192.0.2.1", "255.255.255.255", "::", "::1", "2001:db8::1:0:0:1", "2001:db8:1:2:3:4:5:6", "fe80::"} {
			r.Rows = append(r.Rows, aggregate.Row{
				IP: netip.MustParseAddr(ip), Count: 1, Disposition: "pass", DKIM: true, From: "b." + evil, EnvelopeFrom: evil, Overrides: []aggregate.Override{{Type: "local_policy", Comment: evil}},
				Signatures: []aggregate.Signature{{Domain: "x" + evil, Selector: "s" + evil, Result: "permerror", Note: evil}},
				Senders:    []aggregate.Sender{{Domain: "x" + evil, Scope: "mfrom", Result: "softfail"}},
			})
		}
		var b strings.Builder
		if err := aggregate.Write(&b, r); err != nil {
			t.Fatal(err)
		}
		validates(t, b.String())
		if again, err := aggregate.Read(strings.NewReader(b.String())); err != nil || len(again.Rows) != len(r.Rows) {
			t.Errorf("%q: %v", evil, err)
		}
	}
	if _, err := try(`<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"/>`, "xmllint", "--noout", "--nonet", "--schema", "../internal/aggregate/testdata/rfc9990.xsd", "-"); err == nil {
		t.Error("the schema takes anything")
	}
}

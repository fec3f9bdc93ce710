package reputation

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
	"gatepost/internal/store/storetest"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// kit is a book and what it logs.
type kit struct {
	*Book
	t     *testing.T
	clock *clock.Fake
	log   bytes.Buffer
	mails byte
}

func newKit(t *testing.T, ours ...addr.Domain) *kit {
	t.Helper()
	db := storetest.Open(t)
	k := &kit{t: t, clock: clock.NewFake(now)}
	k.Book = New(Options{
		DB: db, Clock: k.clock, Log: slog.New(slog.NewTextHandler(&k.log, nil)), Hostname: "mx.example.org",
		IsOwn: func(_ context.Context, d addr.Domain) (bool, error) {
			for _, o := range ours {
				if o == d {
					return true, nil
				}
			}
			return false, nil
		},
	})
	return k
}

const proved = "Authentication-Results: mx.example.org; dmarc=pass header.from=peer.example\r\n"

// mail hands over a message, with what we put in front of it.
func (k *kit) mail(to, ours, content string) {
	k.t.Helper()
	k.mails++
	e := &envelope.Envelope{ID: envelope.ID{k.mails}, Received: k.clock.Now(), From: addr.MustParse("bounces@peer.example"), Header: []byte(ours)}
	a := &envelope.Attempt{Envelope: e, Body: envelope.MemoryBody([]byte(content))}
	if err := k.Read(k.t.Context(), addr.MustParse(to), a); err != nil {
		k.t.Fatal(err)
	}
}

// counts returns what was made of the messages so far.
func (k *kit) counts() string {
	return fmt.Sprintf("%d taken, %d again, %d refused", k.Taken.Load(), k.Again.Load(), k.Refused.Load())
}

func (k *kit) expect(want string) {
	k.t.Helper()
	if got := k.counts(); got != want {
		k.t.Errorf("%s instead of %s\n%s", got, want, k.log.String())
	}
}

// sums returns the rows that are kept, a line each.
func (k *kit) sums() string {
	k.t.Helper()
	var b strings.Builder
	err := k.o.DB.View(k.t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT kind, domain, proven, sender, detail, number FROM report_sum ORDER BY kind, domain, proven, sender, day, detail`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var kind, domain, sender, detail string
			var proven, number int64
			if err := rows.Scan(&kind, &domain, &proven, &sender, &detail, &number); err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %s %d %s %s %d\n", kind, domain, proven, sender, detail, number)
		}
		return rows.Err()
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return b.String()
}

// letter returns a message with one attachment.
func letter(from, kind string, content []byte) string {
	return "From: <" + from + ">\r\nSubject: a report\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: " + kind + "\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString(content) + "\r\n--b--\r\n"
}

// report returns an aggregate report on a domain.
func report(domain, id string, rows ...aggregate.Row) *aggregate.Report {
	return &aggregate.Report{
		Organization: "Peer", Email: "x@peer.example", ID: id, Begin: now.Add(-36 * time.Hour), End: now.Add(-12 * time.Hour),
		Policy: aggregate.Published{Domain: domain, Policy: "none"}, Rows: rows,
	}
}

func row(ip string, count int64, dkim, spf bool) aggregate.Row {
	return aggregate.Row{IP: netip.MustParseAddr(ip), Count: count, Disposition: "none", DKIM: dkim, SPF: spf, From: "example.org", EnvelopeFrom: "example.org"}
}

func packed(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(content)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func dmarcLetter(t *testing.T, from string, r *aggregate.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := aggregate.Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return letter(from, "application/gzip", packed(t, b.Bytes()))
}

func TestDMARC(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	service := row("192.0.2.9", 5, false, false)
	service.Signatures = []aggregate.Signature{{Domain: "other.example", Result: "fail"}, {Domain: "Service.example", Result: "pass"}}
	in := dmarcLetter(t, "dmarc@peer.example", report("example.org", "1", row("192.0.2.1", 10, true, true), row("192.0.2.1", 2, true, true), service))
	for range 2 {
		k.mail("dmarc-reports@example.org", proved, in)
	}
	k.mail("DMARC-Reports+x@example.org", "", in) // by a forger, as far as we know
	k.mail("dmarc-reports@example.org", "Authentication-Results: evil.example; dmarc=pass header.from=peer.example\r\n", in)
	k.expect("2 taken, 2 again, 0 refused")
	want := ""
	for _, proven := range []int{0, 1} {
		want += fmt.Sprintf(`dmarc example.org %[1]d peer.example {"source":"192.0.2.1","from":"example.org","dkim":true,"spf":true,"disposition":"none"} 12
dmarc example.org %[1]d peer.example {"source":"192.0.2.9","from":"example.org","via":"service.example","dkim":false,"spf":false,"disposition":"none"} 5
`, proven)
	}
	if got := k.sums(); got != want {
		t.Errorf("%s\ninstead of\n%s", got, want)
	}
}

// Who a report is from is proved by DMARC, or by DKIM or SPF for the domain.
func TestProved(t *testing.T) {
	t.Parallel()
	for results, want := range map[string]bool{
		"dmarc=pass header.from=peer.example":                                        true,
		"dmarc=fail header.from=peer.example":                                        false,
		"dmarc=pass header.from=other.example":                                       false,
		"dkim=pass header.d=peer.example":                                            true,
		"dkim=pass header.d=example":                                                 false,
		"dkim=pass header.d=r.peer.example":                                          false,
		"dkim=fail header.d=peer.example":                                            false,
		"spf=pass smtp.mailfrom=x@peer.example":                                      true,
		"spf=pass smtp.mailfrom=x@eer.example":                                       false,
		"spf=softfail smtp.mailfrom=x@peer.example; dkim=pass header.d=PEER.example": true,
		"none": false,
	} {
		e := &envelope.Envelope{Header: []byte("Authentication-Results: mx.example.org;\r\n " + results + "\r\n")}
		from, got := New(Options{Hostname: "mx.example.org"}).sender(&envelope.Attempt{Envelope: e, Body: envelope.MemoryBody([]byte("From: x@Peer.example\r\n\r\n"))})
		if from != "peer.example" || got != want {
			t.Errorf("%s: %s %v", results, from, got)
		}
	}
}

const tlsReport = `{"organization-name":"Peer","date-range":{"start-datetime":"2026-11-24T00:00:00Z","end-datetime":"2026-11-24T23:59:59Z"},
"contact-info":"x@peer.example","report-id":"r1","policies":[{"policy":{"policy-type":"sts","policy-domain":"example.org"},
"summary":{"total-successful-session-count":40,"total-failure-session-count":5},
"failure-details":[{"result-type":"certificate-expired","receiving-mx-hostname":"MX.example.org","failed-session-count":3}]}]}`

func TestTLS(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	in := letter("tls@peer.example", "application/tlsrpt+gzip", packed(t, []byte(tlsReport)))
	k.mail("tls-reports@example.org", proved, in)
	k.mail("tls-reports@example.org", proved, letter("tls@peer.example", "application/tlsrpt+json", []byte(tlsReport)))
	k.expect("1 taken, 1 again, 0 refused")
	want := `tls example.org 1 peer.example {"policy":"sts","result":"certificate-expired","host":"mx.example.org"} 3
tls example.org 1 peer.example {"policy":"sts","result":"failure"} 2
tls example.org 1 peer.example {"policy":"sts"} 40
`
	if got := k.sums(); got != want {
		t.Errorf("%s\ninstead of\n%s", got, want)
	}
}

func TestFailureReport(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	in := "From: <x@peer.example>\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n" +
		"Feedback-Type: auth-failure\r\nAuth-Failure: dmarc\r\nSource-IP: 192.0.2.7\r\nReported-Domain: lists.example.org\r\n\r\n--b--\r\n"
	k.mail("dmarc-reports@example.org", proved, in)
	k.mails-- // the same message once more
	k.mail("dmarc-reports@example.org", proved, in)
	k.expect("1 taken, 1 again, 0 refused")
	if got, want := k.sums(), `failure lists.example.org 1 peer.example {"source":"192.0.2.7","failure":"dmarc"} 1`+"\n"; got != want {
		t.Errorf("%s\ninstead of\n%s", got, want)
	}
}

// What cannot be counted is logged with its reason, and is gone.
func TestRefused(t *testing.T) {
	t.Parallel()
	good := row("192.0.2.1", 1, true, true)
	late, early, reversed, nameless := report("example.org", "1", good), report("example.org", "1", good), report("example.org", "1", good), report("example.org", "", good)
	late.End = now.Add(maxAhead + time.Hour)
	early.Begin, early.End = now.Add(-Life-48*time.Hour), now.Add(-Life-24*time.Hour)
	reversed.Begin, reversed.End = reversed.End, reversed.Begin
	zeros := packed(t, bytes.Repeat([]byte("<feedback>"), 1<<12))
	entity := `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><feedback><report_metadata><report_id>&b;</report_id></report_metadata></feedback>`
	k := newKit(t, "example.org")
	for i, c := range []struct{ name, to, content, why string }{
		{"no report", "dmarc-reports@example.org", "From: <x@peer.example>\r\n\r\nhello\r\n", "there is no aggregate report in it"},
		{"no message", "dmarc-reports@example.org", "moo", "there is no aggregate report in it"},
		{"no TLS report", "tls-reports@example.org", "From: <x@peer.example>\r\n\r\nhello\r\n", "there is none in the message"},
		{"another's", "dmarc-reports@example.org", dmarcLetter(t, "x@peer.example", report("example.com", "1", good)), "not a domain of ours"},
		{"future", "dmarc-reports@example.org", dmarcLetter(t, "x@peer.example", late), "it is of the future"},
		{"past", "dmarc-reports@example.org", dmarcLetter(t, "x@peer.example", early), "too long ago"},
		{"reversed", "dmarc-reports@example.org", dmarcLetter(t, "x@peer.example", reversed), "it ends before it begins"},
		{"no id", "dmarc-reports@example.org", dmarcLetter(t, "x@peer.example", nameless), "it has no id"},
		{"bomb", "dmarc-reports@example.org", letter("x@peer.example", "application/gzip", zeros), "too large"},
		{"bomb of JSON", "tls-reports@example.org", letter("x@peer.example", "application/tlsrpt+gzip", packed(t, bytes.Repeat([]byte(" "), 5<<20))), "more than"},
		{"entities", "dmarc-reports@example.org", letter("x@peer.example", "text/xml", []byte(entity)), "entities"},
		{"broken gzip", "dmarc-reports@example.org", letter("x@peer.example", "application/gzip", []byte("\x1f\x8b rest")), "not a valid aggregate report"},
		{"abuse", "dmarc-reports@example.org", "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n\r\n--b--\r\n", "of the kind"},
	} {
		k.log.Reset()
		k.mail(c.to, proved, c.content)
		if k.counts() != fmt.Sprintf("0 taken, 0 again, %d refused", i+1) || !strings.Contains(k.log.String(), c.why) || k.sums() != "" {
			t.Errorf("%s: %s, %s", c.name, k.counts(), k.log.String())
		}
	}
}

// Every sample of what others sent is read, or refused with a reason.
func TestSamples(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.com", "borschow.com", "company-y.example", "example.org", "indemed.com", "cardinalhealth.ca")
	for name, want := range map[string]string{
		"!example.com!1538204542!1538463818.xml":                                              "1 taken",
		"Report domain- borschow.com Submitter- google.com Report-ID- 949348866075514174.eml": "1 taken",
		"estadocuenta1.infonacot.gob.mx!example.com!1536853302!1536939702!2940.xml.zip":       "1 taken",
		"fastmail.com!example.com!1516060800!1516147199!102675056.xml.gz":                     "1 taken",
		"google.com_smtp_tls_report.eml":                                                      "1 taken",
		"invalid_xml.xml":                                                                     "1 refused",
		"rfc8460.json":                                                                        "1 taken",
		"rfc9990-sample.xml":                                                                  "1 taken",
	} {
		b, err := os.ReadFile(filepath.Join("../aggregate/testdata/parsedmarc", name))
		if err != nil {
			b, err = os.ReadFile(filepath.Join("../tlsrpt/testdata/parsedmarc", name))
		}
		if err != nil {
			t.Fatal(err)
		}
		to, kind := "dmarc-reports@example.com", "application/gzip"
		if strings.Contains(name, "tls") || strings.HasSuffix(name, ".json") {
			to, kind = "tls-reports@example.com", "application/json"
		}
		if !strings.HasSuffix(name, ".eml") {
			b = []byte(letter("x@peer.example", kind, b))
		}
		k.Taken.Store(0)
		k.Refused.Store(0)
		k.log.Reset()
		k.o.Clock = sampleTime{k.clock, name}
		k.mail(to, proved, string(b))
		if !strings.Contains(k.counts(), want) {
			t.Errorf("%s: %s\n%s", name, k.counts(), k.log.String())
		}
	}
}

// sampleTime is the time at which a sample was sent.
type sampleTime struct {
	clock.Clock
	name string
}

func (s sampleTime) Now() time.Time {
	for part, at := range map[string]int64{"1538204542": 1538500000, "949348866075514174": 1550100000, "1536853302": 1536950000, "1516060800": 1516200000, "tls_report": 1725500000, "rfc8460": 1459600000, "rfc9990": 302900000} {
		if strings.Contains(s.name, part) {
			return time.Unix(at, 0)
		}
	}
	return s.Clock.Now()
}

// Beyond the bounds it is counted without its details, or refused.
func TestBounds(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	var rows []aggregate.Row
	for i := range maxDetails + 50 {
		rows = append(rows, row(fmt.Sprintf("10.0.%d.%d", i/250, i%250), 1, false, true))
	}
	k.mail("dmarc-reports@example.org", proved, dmarcLetter(t, "x@peer.example", report("example.org", "1", rows...)))
	lines := strings.Split(strings.TrimSpace(k.sums()), "\n")
	if want := `dmarc example.org 1 peer.example {"dkim":false,"spf":true} 50`; len(lines) != maxDetails+1 || lines[0] != want {
		t.Errorf("%d lines, the first %s", len(lines), lines[0])
	}
	huge := row("192.0.2.1", 1<<60, true, true)
	k.mail("dmarc-reports@example.org", "", dmarcLetter(t, "x@peer.example", report("example.org", "2", huge)))
	if !strings.Contains(k.sums(), fmt.Sprint(" ", maxNumber, "\n")) {
		t.Error(k.sums())
	}
	fill(t, k, maxOfSender)
	k.mail("dmarc-reports@example.org", proved, dmarcLetter(t, "x@peer.example", report("example.org", "3", row("192.0.2.1", 1, true, true))))
	k.expect("2 taken, 0 again, 1 refused")
}

// fill makes as if a sender had sent many reports.
func fill(t *testing.T, k *kit, n int) {
	t.Helper()
	err := k.o.DB.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO report_seen (kind, sender, proven, org, id, domain, policy, ends, received)
			SELECT 'dmarc', 'peer.example', 1, '', 'x' || i, '', '', 0, ? FROM n`, int64(n), now.Unix())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	k.mail("dmarc-reports@example.org", proved, dmarcLetter(t, "x@peer.example", report("example.org", "1", row("192.0.2.1", 1, true, true))))
	fill(t, k, pruneBatch+1)
	rows := func() (n int64) {
		if err := k.o.DB.View(t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT (SELECT COUNT(*) FROM report_seen) + (SELECT COUNT(*) FROM report_sum)`).Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		wait time.Duration
		left int64
	}{{Life - 48*time.Hour, pruneBatch + 3}, {72 * time.Hour, 0}} {
		k.clock.Advance(c.wait)
		if err := k.Prune(t.Context()); err != nil || rows() != c.left {
			t.Errorf("%d rows, %v", rows(), err)
		}
	}
}

// A store that fails is no reason to lose a report.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	k.o.DB.Close()
	e := &envelope.Envelope{Header: []byte(proved)}
	in := dmarcLetter(t, "x@peer.example", report("example.org", "1", row("192.0.2.1", 1, true, true)))
	err := k.Read(t.Context(), addr.MustParse("dmarc-reports@example.org"), &envelope.Attempt{Envelope: e, Body: envelope.MemoryBody([]byte(in))})
	if err == nil {
		t.Error("no error")
	}
}

// Tend removes at once and every day, and ends.
func TestTend(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	fill(t, k, 1)
	k.clock.Advance(Life + time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		k.Tend(ctx)
		close(ended)
	}()
	for k.clock.Pending() != 1 {
		runtime.Gosched()
	}
	var n int64
	if err := k.o.DB.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM report_seen`).Scan(&n) }); n != 0 || err != nil {
		t.Error(n, err)
	}
	cancel()
	<-ended
	if k.clock.Pending() != 0 {
		t.Error("a timer is left")
	}
}

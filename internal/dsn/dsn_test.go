package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/addr"
	"gatepost/internal/message"
	"gatepost/internal/smtp"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

var (
	arrival = time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
	now     = arrival.Add(4 * time.Hour)
)

// steady is randomness that does not change between runs.
type steady struct{ n byte }

func (s *steady) Read(p []byte) (int, error) {
	for i := range p {
		s.n++
		p[i] = s.n
	}
	return len(p), nil
}

func lines(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const original = "Received: from client\n\tby mx.example.org\nFrom: Ann <ann@example.org>\nTo: bob@example.net\n" +
	"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= for =?utf-8?b?4oCuYm9i?=\nMessage-ID: <1@example.org>\n\nHello\n--\nBob\n"

// base is a report of one failure.
func base() Report {
	return Report{
		Hostname: "mx.example.org", To: addr.MustParse("ann@example.org"), Date: now, Arrival: arrival, EnvID: "QQ+2B314",
		Original: strings.NewReader(lines(original)), Size: int64(len(lines(original))), Random: &steady{},
		Recipients: []Recipient{{
			To: addr.MustParse("bob@example.net"), ORcpt: "rfc822;bob+2Bx@example.net", Host: "mx.example.net", LastAttempt: now,
			Reply: &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user\nSee https://example.net/help"},
		}},
	}
}

var golden = map[string]func(*Report){
	"01-failed": func(*Report) {},
	"02-failed-full": func(r *Report) {
		r.Full = true
		r.Recipients = append(r.Recipients, Recipient{To: addr.MustParse("carol@example.net"), Host: "mx.example.net", LastAttempt: now,
			Status: "4.4.7", Note: "It was tried for 5 days.", Reply: &smtp.Reply{Code: 451, Enhanced: "4.7.1", Text: "Greylisted"}})
	},
	"03-delayed": func(r *Report) {
		r.Recipients[0].Action, r.Recipients[0].Reply = Delayed, &smtp.Reply{Code: 421, Text: "Too busy"}
		r.Recipients[0].RetryUntil = arrival.Add(5 * 24 * time.Hour)
	},
	"04-delayed-without-an-answer": func(r *Report) {
		r.Recipients[0] = Recipient{To: addr.MustParse("bob@example.net"), Action: Delayed, Note: "No attempt was possible yet."}
	},
	"05-delivered": func(r *Report) {
		r.Recipients[0].Action, r.Recipients[0].Reply, r.Recipients[0].Host = Delivered, nil, ""
	},
	"06-relayed": func(r *Report) {
		r.Recipients[0].Action, r.Recipients[0].Reply = Relayed, &smtp.Reply{Code: 250, Text: "OK"}
	},
	"07-utf8": func(r *Report) {
		r.To = addr.MustParse("jürgen@bücher.example")
		r.Recipients[0].To, r.Recipients[0].ORcpt = addr.MustParse("Zoë+x@bücher.example"), `utf-8;Zoë\x{2B}x@bücher.example`
		r.Original = strings.NewReader(lines("From: jürgen@bücher.example\nSubject: Grüße\n\nHello\n"))
	},
	"08-header-of-no-charset": func(r *Report) {
		r.Full = true
		r.Original = strings.NewReader("From: j\xfcrgen@example.org\r\nSubject: = \xff\r\n\r\nHello\r\n")
	},
	"09-own-decision": func(r *Report) {
		r.Recipients[0].Host = ""
		r.Recipients[0].Reply = &smtp.Reply{Code: 556, Enhanced: "5.1.10", Text: "example.net takes no mail (null MX)"}
	},
	"10-hostile": func(r *Report) {
		r.EnvID, r.Recipients[0].ORcpt = "a+0D+0AX:1", "rfc822;b+0D+0AAction: delivered"
		r.Recipients[0].Host = "mx\r\nAction: delivered\u202e"
		r.Recipients[0].Reply.Text = "no\r\n\r\n--=_OTHER\r\nContent-Type: text/html\r\n\r\n<b>" + strings.Repeat("x", 2000) + "\x00\u202e"
		r.Original = strings.NewReader(lines("Subject: =?utf-8?q?a=0D=0A=0D=0A--b?=\nMessage-ID: <a> <b>\nno field\n--=_X\nContent-Type: text/html\n\n--=_X--\n"))
	},
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, change := range golden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := base()
			change(&r)
			var b bytes.Buffer
			if err := Write(&b, r); err != nil {
				t.Fatal(err)
			}
			file := "testdata/" + name + ".eml"
			if *update {
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Error(diff)
			}
			parse(t, b.Bytes())
		})
	}
}

// report is what a program reads in a report.
type report struct {
	header     mail.Header
	human      string
	message    textproto.MIMEHeader
	recipients []textproto.MIMEHeader
	kind       string // media type of the third part
	returned   string
}

// parse reads a report with the standard library and fails unless it is one
// in every respect that RFC 6522 and RFC 3464 name.
func parse(t testing.TB, raw []byte) report {
	t.Helper()
	for _, line := range strings.SplitAfter(string(raw), "\r\n") {
		if body := strings.TrimSuffix(line, "\r\n"); strings.ContainsAny(body, "\r\n\x00") {
			t.Errorf("not a line of canonical text: %.100q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r := report{header: m.Header}
	mediaType, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v %v", mediaType, params, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	human, kind := next(t, parts)
	if kind != "text/plain" {
		t.Errorf("first part is %s", kind)
	}
	r.human = human
	status, kind := next(t, parts)
	if kind != "message/delivery-status" {
		t.Errorf("second part is %s", kind)
	}
	tp := textproto.NewReader(bufio.NewReader(strings.NewReader(status + "\r\n")))
	for {
		block, err := tp.ReadMIMEHeader()
		if len(block) == 0 {
			break
		}
		if err != nil && err != io.EOF {
			t.Fatalf("delivery-status: %v", err)
		}
		if r.message == nil {
			r.message = block
		} else {
			r.recipients = append(r.recipients, block)
		}
	}
	r.returned, r.kind = next(t, parts)
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("there is a fourth part, or no end: %v", err)
	}
	return r
}

func next(t testing.TB, parts *multipart.Reader) (content, kind string) {
	t.Helper()
	p, err := parts.NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	var body io.Reader = p
	if p.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		body = quotedprintable.NewReader(p)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	kind, _, err = mime.ParseMediaType(p.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), kind
}

func write(t *testing.T, r Report) report {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return parse(t, b.Bytes())
}

func TestFields(t *testing.T) {
	t.Parallel()
	got := write(t, base())
	want := []textproto.MIMEHeader{{
		"Original-Recipient": {"rfc822; bob+x@example.net"},
		"Final-Recipient":    {"rfc822; bob@example.net"},
		"Action":             {"failed"},
		"Status":             {"5.1.1"},
		"Remote-Mta":         {"dns; mx.example.net"},
		"Diagnostic-Code":    {"smtp; 550 5.1.1 No such user / See https://example.net/help"},
		"Last-Attempt-Date":  {"Tue, 03 Nov 2026 12:00:00 +0000"},
	}}
	if diff := cmp.Diff(want, got.recipients); diff != "" {
		t.Error(diff)
	}
	wantMessage := textproto.MIMEHeader{
		"Reporting-Mta":        {"dns; mx.example.org"},
		"Original-Envelope-Id": {"QQ+314"},
		"Arrival-Date":         {"Tue, 03 Nov 2026 08:00:00 +0000"},
	}
	if diff := cmp.Diff(wantMessage, got.message); diff != "" {
		t.Error(diff)
	}
	if got.kind != "text/rfc822-headers" || !strings.Contains(got.returned, "Subject: =?utf-8?q?Gr") || strings.Contains(got.returned, "Hello") {
		t.Errorf("returned as %s: %q", got.kind, got.returned)
	}
	for name, want := range map[string]string{
		"Auto-Submitted": "auto-replied", "To": "<ann@example.org>", "In-Reply-To": "<1@example.org>",
		"From": "Mail Delivery System <MAILER-DAEMON@mx.example.org>",
	} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, words := range []string{"There is no such mailbox.", "550 5.1.1", "Grüße for bob", "<bob@example.net>"} {
		if !strings.Contains(got.human, words) {
			t.Errorf("people are not told %q:\n%s", words, got.human)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		r    Recipient
		want string
	}{
		{Recipient{Action: Failed}, "5.0.0"},
		{Recipient{Action: Delayed}, "4.0.0"},
		{Recipient{Action: Relayed}, "2.0.0"},
		{Recipient{Action: Failed, Reply: &smtp.Reply{Code: 554, Enhanced: "5.7.1"}}, "5.7.1"},
		{Recipient{Action: Failed, Reply: &smtp.Reply{Code: 554, Enhanced: "4.7.1"}}, "5.0.0"},
		{Recipient{Action: Failed, Reply: &smtp.Reply{Code: 554}}, "5.0.0"},
		{Recipient{Action: Failed, Status: "4.4.7", Reply: &smtp.Reply{Code: 451, Enhanced: "4.7.1"}}, "4.4.7"},
		{Recipient{Action: Relayed, Reply: &smtp.Reply{Code: 250, Enhanced: "2.1.5"}}, "2.1.5"},
	} {
		if got := tt.r.code(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.r, got, tt.want)
		}
	}
}

// RET=FULL is for failures, and only for what is small and can be returned.
func TestFull(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Report)
		kind   string
	}{
		"asked for":     {func(r *Report) {}, "message/rfc822"},
		"8-bit body":    {func(r *Report) { r.EightBit = true }, "message/rfc822"},
		"not asked for": {func(r *Report) { r.Full = false }, "text/rfc822-headers"},
		"too large":     {func(r *Report) { r.Size = MaxFull + 1 }, "text/rfc822-headers"},
		"delayed":       {func(r *Report) { r.Recipients[0].Action = Delayed }, "text/rfc822-headers"},
		"UTF-8 header":  {func(r *Report) { r.Original = strings.NewReader(lines("Subject: ü\n\nx\n")) }, "message/global"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := base()
			r.Full = true
			tt.change(&r)
			got := write(t, r)
			if got.kind != tt.kind {
				t.Errorf("returned as %s, want %s", got.kind, tt.kind)
			}
			if whole := strings.Contains(got.human, "and your message are"); whole != strings.HasPrefix(tt.kind, "message/") {
				t.Errorf("people are told otherwise: %s", got.human)
			}
		})
	}
	r := base()
	r.Full = true
	if got := write(t, r); got.returned != lines(original) {
		t.Errorf("the original was changed: %q", got.returned)
	}
}

func TestLongHeaderIsCut(t *testing.T) {
	t.Parallel()
	r := base()
	r.Original = strings.NewReader("A: 1\r\n" + strings.Repeat("B: 22\r\n", MaxHeader) + "\r\nbody\r\n")
	got := write(t, r)
	if len(got.returned) > MaxHeader || !strings.HasSuffix(got.returned, "B: 22\r\n") || strings.Contains(got.returned, "body") {
		t.Errorf("%d octets are returned, ending in %q", len(got.returned), got.returned[len(got.returned)-20:])
	}
	r.Original = strings.NewReader("A: 1\r\nB: " + strings.Repeat("x", 2*MaxHeader) + "\r\nC: 3\r\n\r\nbody\r\n")
	if got := write(t, r); got.returned != "A: 1\r\n" {
		t.Errorf("got %.40q: a line was cut", got.returned)
	}
}

func TestManyRecipients(t *testing.T) {
	t.Parallel()
	r := base()
	for i := range 100 {
		r.Recipients = append(r.Recipients, Recipient{To: addr.MustParse(fmt.Sprintf("r%d@example.net", i))})
	}
	got := write(t, r)
	if len(got.recipients) != 101 {
		t.Errorf("%d recipients in the report", len(got.recipients))
	}
	if n := strings.Count(got.human, "@example.net>"); n != MaxListed || !strings.Contains(got.human, "51 more recipients") {
		t.Errorf("%d recipients are listed:\n%s", n, got.human)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		change func(*Report)
		want   error
	}{
		"no sender":     {func(r *Report) { r.To = addr.Address{} }, ErrReport},
		"no recipients": {func(r *Report) { r.Recipients = nil }, ErrReport},
		"two actions":   {func(r *Report) { r.Recipients = append(r.Recipients, Recipient{Action: Delayed}) }, ErrReport},
		"no randomness": {func(r *Report) { r.Random = iotest.ErrReader(broken) }, broken},
		"bad header":    {func(r *Report) { r.Original = iotest.ErrReader(broken) }, broken},
		"bad body": {func(r *Report) {
			r.Full, r.Original = true, io.MultiReader(strings.NewReader("A: 1\r\n\r\n"), iotest.ErrReader(broken))
		}, broken},
	} {
		r := base()
		tt.change(&r)
		if err := Write(io.Discard, r); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := base()
	if err := Write(iotest.TruncateWriter(failing{broken}, 0), r); err != nil {
		t.Errorf("a writer that drops: %v", err)
	}
	r = base()
	if err := Write(failing{broken}, r); err != broken {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// If randomness repeated, whoever saw one report could forge parts in the
// next.
func TestBoundaryIsChecked(t *testing.T) {
	t.Parallel()
	var first bytes.Buffer
	if err := Write(&first, base()); err != nil {
		t.Fatal(err)
	}
	m, _ := mail.ReadMessage(&first)
	_, params, _ := mime.ParseMediaType(m.Header.Get("Content-Type"))
	r := base()
	r.Original = strings.NewReader("Subject: x\r\nX: --" + params["boundary"] + "\r\n\r\n")
	if err := Write(io.Discard, r); err == nil {
		t.Error("a boundary that is in the header was used")
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reply smtp.Reply
		want  string
	}{
		{smtp.Reply{Code: 550, Enhanced: "5.1.1"}, "no such mailbox"},
		{smtp.Reply{Code: 550, Enhanced: "5.1.99"}, "wrong with the address"},
		{smtp.Reply{Code: 550, Enhanced: "5.7.1"}, "own rules"},
		{smtp.Reply{Code: 550, Enhanced: "5.7.26"}, "verify that the message is yours"},
		{smtp.Reply{Code: 550}, "refuses the message"},
		{smtp.Reply{Code: 550, Enhanced: "2.1.1"}, "refuses the message"},
		{smtp.Reply{Code: 552}, "too large"},
		{smtp.Reply{Code: 450, Text: "Greylisted for 5 minutes"}, "come back a little later"},
		{smtp.Reply{Code: 452, Enhanced: "4.2.2"}, "mailbox is full"},
		{smtp.Reply{Code: 421, Text: "closing"}, "busy"},
		{smtp.Reply{Code: 451, Enhanced: "4.4.3"}, "DNS"},
		{smtp.Reply{Code: 451}, "at the moment"},
	} {
		meaning, advice := Explain(&tt.reply)
		if !strings.Contains(meaning, tt.want) || advice == "" {
			t.Errorf("%v: %q %q", tt.reply, meaning, advice)
		}
	}
}

// Reports with 8-bit parts must be able to leave through a 7-bit hop.
func TestReportsCanBeDowngraded(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"01-failed", "02-failed-full", "08-header-of-no-charset", "10-hostile"} {
		r := base()
		golden[name](&r)
		r.Recipients[0].Reply.Text += " ü"
		var b, out bytes.Buffer
		if err := Write(&b, r); err != nil {
			t.Fatal(err)
		}
		if err := message.Downgrade(&out, &b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever remote servers and senders wrote, a report has three parts, and
// its fields say what we said.
func FuzzWrite(f *testing.F) {
	f.Add("Subject: x\r\n\r\nbody\r\n", "no such user", "mx.example.net", "rfc822;a", "id", true)
	f.Add("Subject: =?utf-8?q?=0D=0A?=\r\n--b\r\n", "a\r\n\r\n--=_", "h\r\nAction: delivered", "utf-8;\\x{0A}", "+0D+0A", false)
	f.Fuzz(func(t *testing.T, original, text, host, orcpt, envid string, full bool) {
		if strings.Contains(original, "\x00") || strings.Count(original, "\r\n") != strings.Count(original, "\n") || strings.Count(original, "\r\n") != strings.Count(original, "\r") {
			return // the spool holds nothing of the kind
		}
		r := base()
		r.Original, r.EnvID, r.Full, r.EightBit = strings.NewReader(original), envid, full, true
		r.Recipients[0].Host, r.Recipients[0].ORcpt, r.Recipients[0].Reply.Text = host, orcpt, text
		var b bytes.Buffer
		if err := Write(&b, r); err != nil {
			t.Fatal(err)
		}
		got := parse(t, b.Bytes())
		if len(got.recipients) != 1 {
			t.Fatalf("%d recipients", len(got.recipients))
		}
		one := got.recipients[0]
		if len(one["Action"]) != 1 || one.Get("Action") != "failed" || one.Get("Final-Recipient") != "rfc822; bob@example.net" || len(one["Status"]) != 1 {
			t.Errorf("forged: %v", one)
		}
		if got.header.Get("To") != "<ann@example.org>" || got.header.Get("Auto-Submitted") != "auto-replied" || got.header.Get("Bcc") != "" {
			t.Errorf("forged: %v", got.header)
		}
	})
}

package smtpd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

func TestKeywords(t *testing.T) {
	t.Parallel()
	common := []string{"mx.test", "PIPELINING", "SIZE 1048576", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "LIMITS MAILMAX=20 RCPTMAX=10"}
	with := func(more ...string) string { return strings.Join(append(slices.Clone(common), more...), "\n") }
	for _, c := range []struct {
		name     string
		door     envelope.Door
		implicit bool
		want     string
	}{
		{"mx", envelope.MX, false, with("STARTTLS", "HELP")},
		{"mx in TLS", envelope.MX, true, with("REQUIRETLS", "HELP")},
		{"submission", envelope.Submission, false, with("STARTTLS", "HELP")},
		{"submission in TLS", envelope.Submission, true, with("REQUIRETLS", "AUTH PLAIN CHATTY", "HELP")},
	} {
		k := newSite(c.door, nil).dial(t, c.implicit)
		k.expect("220")
		if got := k.say("EHLO client.test", "250"); got.Text != c.want || got.Enhanced != "" {
			t.Errorf("%s: %q, want %q", c.name, got.Text, c.want)
		}
		if got := k.say("HELO client.test", "250"); got.Text != "mx.test" {
			t.Errorf("%s: HELO says %q", c.name, got.Text)
		}
	}
}

// TestArrived: the book hears of what was accepted, and of nothing else.
func TestArrived(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	refuse := false
	s.rules.data = func(*envelope.Envelope) error {
		if refuse {
			return envelope.Refuse(550, "5.7.1", "no")
		}
		return nil
	}
	k := s.dial(t, false).hello()
	var want []string
	for _, header := range []string{"Message-ID: <1@x>", "message-id:\r\n <2@x> ", "Subject: none"} {
		for _, code := range []string{"550", "250"} {
			refuse = code == "550"
			k.say("MAIL FROM:<a@b>", "250")
			k.say("RCPT TO:<a@b>", "250")
			k.say("DATA", "354")
			k.say(header+"\r\n\r\nhi\r\n.", code)
		}
		all := s.store.all()
		want = append(want, "client.test "+all[len(all)-1].ID.String()+" "+[]string{"<1@x>", "<2@x>", ""}[len(want)])
	}
	if !slices.Equal(s.book.list, want) {
		t.Errorf("%q, want %q", s.book.list, want)
	}
}

// TestRequireTLS: the wish travels with the message, and with no other.
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	k := s.dial(t, true).hello()
	for _, mail := range []string{"MAIL FROM:<a@b> REQUIRETLS", "MAIL FROM:<a@b>"} {
		k.say(mail, "250")
		k.say("RCPT TO:<a@b>", "250")
		k.say("DATA", "354")
		k.say("A: b\r\n\r\nhi\r\n.", "250")
	}
	if list := s.store.all(); len(list) != 2 || !list[0].RequireTLS || list[1].RequireTLS {
		t.Errorf("%+v", list)
	}
}

// TestSequence walks through sessions; each step is a line and what it is
// answered with.
func TestSequence(t *testing.T) {
	t.Parallel()
	message := "Subject: x\r\n\r\nhi\r\n."
	for name, c := range map[string]struct {
		door     envelope.Door
		implicit bool
		steps    [][2]string
	}{
		"before EHLO": {envelope.MX, false, [][2]string{{"MAIL FROM:<a@b>", "503 5.5.1"}, {"RCPT TO:<a@b>", "503 5.5.1"}, {"DATA", "503 5.5.1"},
			{"NOOP", "250 2.0.0"}, {"RSET", "250 2.0.0"}, {"VRFY x", "252 2.0.0"}, {"EXPN x", "502 5.5.1"}, {"HELP", "214 2.0.0"}, {"QUIT", "221 2.0.0"}}},
		"transaction": {envelope.MX, false, [][2]string{{"EHLO x", "250"}, {"RCPT TO:<a@b>", "503 5.5.1"}, {"DATA", "503 5.5.1"},
			{"MAIL FROM:<a@b>", "250 2.1.0"}, {"MAIL FROM:<a@b>", "503 5.5.1"}, {"DATA", "503 5.5.1"}, {"RCPT TO:<nobody@b>", "550 5.1.1"}, {"DATA", "503 5.5.1"},
			{"RCPT TO:<a@b>", "250 2.1.5"}, {"DATA x", "501 5.5.4"}, {"DATA", "354"}, {message, "250 2.0.0"}, {"DATA", "503 5.5.1"}, {"RCPT TO:<a@b>", "503 5.5.1"},
			{"MAIL FROM:<>", "250 2.1.0"}, {"RSET", "250 2.0.0"}, {"RCPT TO:<a@b>", "503 5.5.1"},
			{"MAIL FROM:<>", "250 2.1.0"}, {"EHLO y", "250"}, {"RCPT TO:<a@b>", "503 5.5.1"},
			{"MAIL FROM:<>", "250 2.1.0"}, {"EHLO", "501 5.5.4"}, {"RCPT TO:<a@b>", "250 2.1.5"}, {"QUIT now", "501 5.5.4"}, {"QUIT", "221 2.0.0"}}},
		"HELO has no extensions": {envelope.MX, false, [][2]string{{"HELO x", "250"}, {"MAIL FROM:<a@b> SIZE=1", "555 5.5.4"},
			{"MAIL FROM:<a@b>", "250 2.1.0"}, {"RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4"}}},
		"REQUIRETLS needs TLS": {envelope.MX, false, [][2]string{{"EHLO x", "250"}, {"MAIL FROM:<a@b> REQUIRETLS", "555 5.5.4"}}},
		"REQUIRETLS": {envelope.MX, true, [][2]string{{"HELO x", "250"}, {"MAIL FROM:<a@b> REQUIRETLS", "555 5.5.4"}, {"EHLO x", "250"}, {"MAIL FROM:<a@b> REQUIRETLS=1", "501 5.5.4"},
			{"MAIL FROM:<a@b> REQUIRETLS", "250"}, {"RCPT TO:<a@b> REQUIRETLS", "555 5.5.4"}}},
		"nobody signs in on the MX": {envelope.MX, false, [][2]string{{"EHLO x", "250"}, {"AUTH PLAIN", "503"}, {"AUTH PLAIN AGEAYg==", "503"}}},
		"not even in TLS":           {envelope.MX, true, [][2]string{{"EHLO x", "250"}, {"AUTH PLAIN", "503"}, {"STARTTLS", "503 5.5.1"}, {"MAIL FROM:<a@b> AUTH=<>", "555 5.5.4"}}},
		"submission before TLS": {envelope.Submission, false, [][2]string{{"EHLO x", "250"}, {"MAIL FROM:<a@b>", "530 5.7.0"}, {"RCPT TO:<a@b>", "530 5.7.0"},
			{"DATA", "530 5.7.0"}, {"VRFY x", "530 5.7.0"}, {"EXPN x", "530 5.7.0"}, {"AUTH PLAIN", "538 5.7.11"}, {"AUTH PLAIN AGEAYg==", "538 5.7.11"}, {"NOOP", "250"}, {"HELP", "214"}, {"RSET", "250"}, {"QUIT", "221"}}},
		"submission before AUTH": {envelope.Submission, true, [][2]string{{"AUTH PLAIN", "503 5.5.1"}, {"HELO x", "250"}, {"AUTH PLAIN", "503 5.5.1"}, {"EHLO x", "250"},
			{"MAIL FROM:<a@b>", "530 5.7.0"}, {"RCPT TO:<a@b>", "503 5.5.1"}, {"DATA", "503 5.5.1"}, {"BDAT 6 LAST\r\nQUIT", "503 5.5.1"}, {"STARTTLS", "503 5.5.1"},
			{"AUTH PLAIN " + right, "235 2.7.0"}, {"AUTH PLAIN " + right, "503 5.5.1"}, {"MAIL FROM:<a@b> AUTH=<>", "250"}, {"AUTH PLAIN", "503 5.5.1"},
			{"RCPT TO:<a@b>", "250"}, {"DATA", "354"}, {message, "250"}}},
		"AUTH": {envelope.Submission, true, [][2]string{{"EHLO x", "250"}, {"AUTH", "501 5.5.4"}, {"AUTH NTLM", "534 5.7.9"}, {"AUTH PLAIN", "334"}, {"*", "501 5.7.0"},
			{"MAIL FROM:<a@b>", "530 5.7.0"}, {"auth plain", "334"}, {right, "235 2.7.0"}}},
		"AUTH with a last challenge":                {envelope.Submission, true, [][2]string{{"EHLO x", "250"}, {"AUTH CHATTY " + right, "334"}, {"", "235 2.7.0"}, {"MAIL FROM:<a@b>", "250"}}},
		"a last challenge is answered with nothing": {envelope.Submission, true, [][2]string{{"EHLO x", "250"}, {"AUTH CHATTY " + right, "334"}, {right, "501 5.5.2"}, {"MAIL FROM:<a@b>", "530"}}},
		"a last challenge can be refused":           {envelope.Submission, true, [][2]string{{"EHLO x", "250"}, {"AUTH CHATTY " + right, "334"}, {"*", "501 5.7.0"}, {"MAIL FROM:<a@b>", "530"}}},
		"too long for AUTH":                         {envelope.Submission, true, [][2]string{{"EHLO x", "250"}, {"AUTH PLAIN", "334"}, {strings.Repeat("A", 20000), "500 5.5.6"}, {"NOOP", "250"}}},
		"too long for a command":                    {envelope.MX, false, [][2]string{{"EHLO x", "250"}, {"NOOP " + strings.Repeat("x", 505), "250"}, {"NOOP " + strings.Repeat("x", 506), "500 5.5.2"}, {"NOOP", "250"}, {"NOOP " + strings.Repeat("x", 20000), "500 5.5.2"}, {"NOOP " + strings.Repeat("x", 100000), "500 5.5.2"}, {"NOOP", "250"}}},
		"control characters":                        {envelope.MX, false, [][2]string{{"EHLO x", "250"}, {"NOOP\r", "500 5.5.2"}, {"NO\x00OP", "500 5.5.2"}, {"MAIL FROM:<a\tb@c>", "500 5.5.2"}, {"", "500 5.5.2"}, {"NOOP", "250"}}},
		"message declared too big":                  {envelope.MX, false, [][2]string{{"EHLO x", "250"}, {"MAIL FROM:<a@b> SIZE=1048577", "552 5.3.4"}, {"MAIL FROM:<a@b> SIZE=1048576", "250"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newSite(c.door, nil).dial(t, c.implicit)
			k.expect("220")
			for _, step := range c.steps {
				k.t = t
				k.say(step[0], step[1])
			}
		})
	}
}

const right = "dXNlckB0ZXN0c2VydmVyAHVzZXJAdGVzdHNlcnZlcgBzZWNyZXRwYXNzd29yZA=="

func TestMessage(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	s.rules.rcpt = func(_ *envelope.Envelope, r envelope.Recipient) ([]envelope.Recipient, error) {
		if r.To.Local == "team" {
			return []envelope.Recipient{{To: addr.MustParse("x@a")}, {To: addr.MustParse("y@a")}}, nil
		}
		return []envelope.Recipient{r}, nil
	}
	s.rules.header = func(e *envelope.Envelope, header []byte) ([]byte, error) {
		e.Header = append(e.Header, "X-Seen: yes\r\n"...)
		return append([]byte("Date: now\r\n"), header...), nil
	}
	k := s.dial(t, false).hello()
	k.say("MAIL FROM:<from@there> SIZE=20 RET=HDRS ENVID=e+2B1 SMTPUTF8 BODY=8BITMIME", "250")
	k.say("RCPT TO:<x@a> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@old", "250")
	k.say("RCPT TO:<team@a>", "250")
	k.say("DATA", "354")
	reply := k.say("Subject: ü\r\n\r\n..dot\r\ncafé\r\n.", "250 2.0.0")
	m := s.store.all()[0]
	if want := "Date: now\r\nSubject: ü\r\n\r\n.dot\r\ncafé\r\n"; m.content != want {
		t.Errorf("content %q, want %q", m.content, want)
	}
	if !strings.HasSuffix(string(m.Header), "\r\nX-Seen: yes\r\n") || !strings.HasPrefix(string(m.Header), "Received: from client.test (") {
		t.Errorf("header %q", m.Header)
	}
	if reply.Text != "queued as "+m.ID.String() || !strings.Contains(string(m.Header), m.ID.String()) {
		t.Errorf("%q, id %s", reply.Text, m.ID)
	}
	if m.From.String() != "from@there" || m.Ret != envelope.RetHdrs || m.EnvID != "e+2B1" || !m.UTF8 || m.Client != "127.0.0.1" ||
		m.Form != envelope.EightBit|envelope.HeaderUTF8|envelope.LeadingDot || m.Received.IsZero() {
		t.Errorf("%+v", m.Envelope)
	}
	// y@a is there once, x@a as it was named first.
	if len(m.Recipients) != 2 || m.Recipients[0].Notify != envelope.NotifySuccess|envelope.NotifyDelay || m.Recipients[0].ORcpt != "rfc822;x@old" || m.Recipients[1].To.String() != "y@a" {
		t.Errorf("%+v", m.Recipients)
	}
	if s.Counters.Messages.Load() != 1 || s.Counters.Recipients.Load() != 2 || strings.Count(s.log.String(), "\n") != 1 {
		t.Errorf("%d messages to %d, logged %q", s.Counters.Messages.Load(), s.Counters.Recipients.Load(), s.log)
	}
}

func TestGrammarAndEnvelopeAgree(t *testing.T) {
	t.Parallel()
	for n, want := range map[smtp.Notify]envelope.Notify{smtp.NotifyNever: envelope.NotifyNever, smtp.NotifySuccess: envelope.NotifySuccess, smtp.NotifyFailure: envelope.NotifyFailure, smtp.NotifyDelay: envelope.NotifyDelay} {
		if envelope.Notify(n) != want {
			t.Errorf("NOTIFY %d is %d", n, want)
		}
	}
	for n, want := range map[smtp.Ret]envelope.Ret{smtp.RetNone: envelope.RetNone, smtp.RetFull: envelope.RetFull, smtp.RetHdrs: envelope.RetHdrs} {
		if envelope.Ret(n) != want {
			t.Errorf("RET %d is %d", n, want)
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	field := "Subject: x\r\n"
	received := "Received: from a by b; now\r\n"
	for _, c := range []struct{ name, in, want, code string }{
		{"usual", field + "\r\nhi\r\n", field + "\r\nhi\r\n", "250"},
		{"empty", "", "\r\n", "250"},
		{"no body", field + "\r\n", field + "\r\n", "250"},
		{"no empty line", field, field + "\r\n", "250"},
		{"empty header", "\r\nhi\r\n", "\r\nhi\r\n", "250"},
		{"only an empty line", "\r\n", "\r\n", "250"},
		{"no header", "hi\r\n", "\r\nhi\r\n", "250"},
		{"no header but an empty line", "hi\r\n\r\nSubject: no\r\n", "\r\nhi\r\n\r\nSubject: no\r\n", "250"},
		{"mailbox line", "From a@b Mon Jan  1 10:00:00 2026\r\n" + field + "\r\n", "\r\nFrom a@b Mon Jan  1 10:00:00 2026\r\n" + field + "\r\n", "250"},
		{"begins with a fold", " x: y\r\n\r\n", "\r\n x: y\r\n\r\n", "250"},
		{"bad line", field + "Bad header\r\n\r\nhi\r\n", "", "554 5.6.0"},
		{"bad line, no end", field + "Bad header\r\n", "", "554 5.6.0"},
		{"space before the colon", "Subject : x\r\n\r\nhi\r\n", "", "554 5.6.0"},
		{"100 hops", strings.Repeat(received, 100) + "\r\n", strings.Repeat(received, 100) + "\r\n", "250"},
		{"101 hops", strings.Repeat(received, 101) + "\r\n", "", "554 5.4.6"},
		{"too big", field + "X: " + strings.Repeat("y\r\n ", 20000) + "z\r\n\r\n", "", "552 5.3.4"},
		{"big body without header", strings.Repeat("hello there\r\n", 10000), "\r\n" + strings.Repeat("hello there\r\n", 10000), "250"},
		{"long line", field + "\r\n" + strings.Repeat("x", smtp.MaxTextLine) + "\r\n", field + "\r\n" + strings.Repeat("x", smtp.MaxTextLine) + "\r\n", "250"},
		{"too long a line", field + "\r\n" + strings.Repeat("x", smtp.MaxTextLine+1) + "\r\n", "", "554 5.6.0"},
	} {
		for _, chunked := range []bool{false, true} {
			s := newSite(envelope.MX, nil)
			k := s.dial(t, false).hello()
			k.say("MAIL FROM:<a@b>", "250")
			k.say("RCPT TO:<a@b>", "250")
			if chunked {
				// The header comes in two chunks, wherever it is cut.
				n := len(c.in) / 2
				k.send(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", n, c.in[:n], len(c.in)-n, c.in[n:]))
				if r := k.reply(); r.Positive() {
					k.expect(c.code)
				} else if got := fmt.Sprint(r.Code, " ", r.Enhanced); got != c.code {
					t.Fatalf("%s: %s, want %s", c.name, got, c.code)
				} else {
					k.expect("503")
				}
			} else {
				k.say("DATA", "354")
				k.say(strings.ReplaceAll("\r\n"+c.in, "\r\n.", "\r\n..")[2:]+".", c.code)
			}
			k.say("NOOP", "250")
			switch m := s.store.all(); {
			case c.want == "" && len(m) != 0:
				t.Errorf("%s: accepted", c.name)
			case c.want != "" && (len(m) != 1 || m[0].content != c.want):
				t.Errorf("%s: %d messages, log %.300s; want %.200q", c.name, len(m), s.log, c.want)
			}
			if s.store.open != 0 || s.held.Load() != 0 {
				t.Errorf("%s: %d drafts left open, %d octets held", c.name, s.store.open, s.held.Load())
			}
		}
	}
}

// TestHeaderBudget: slow clients with large headers share what there is.
func TestHeaderBudget(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	k := s.dial(t, false).hello()
	k.say("MAIL FROM:<a@b>", "250")
	k.say("RCPT TO:<a@b>", "250")
	k.send("BDAT 3\r\nA: ")
	k.expect("250")
	if s.held.Load() != 3 {
		t.Fatalf("%d octets held", s.held.Load())
	}
	s.held.Add(maxHeld - 4)
	k.say("BDAT 3\r\nb", "452 4.3.1") // with the CR LF
	k.say("NOOP", "250")
	if n := s.held.Load(); n != maxHeld-4 {
		t.Errorf("%d octets held", n)
	}
}

// TestSmuggling holds that every false end of data gives one message or
// none, whatever stands behind it.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	var corpus struct{ Sequences []string }
	raw, err := os.ReadFile("testdata/smuggling-basic.json")
	if err == nil {
		err = json.Unmarshal(raw, &corpus)
	}
	if err != nil || len(corpus.Sequences) == 0 {
		t.Fatal(err)
	}
	second := "MAIL FROM:<admin@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: smuggled\r\n\r\nhi\r\n.\r\nQUIT\r\n"
	for _, seq := range corpus.Sequences {
		for _, body := range []string{"hi", "hi\r\n", ""} {
			s := newSite(envelope.MX, nil)
			k := s.dial(t, false).hello()
			k.say("MAIL FROM:<a@b>", "250")
			k.say("RCPT TO:<a@b>", "250")
			k.say("DATA", "354")
			k.send("Subject: x\r\n\r\n" + body + seq + second)
			k.expect("521 5.5.2")
			k.gone()
			if m := s.store.all(); len(m) != 0 || s.store.open != 0 {
				t.Errorf("%q: %d messages", body+seq, len(m))
			}
			if s.Counters.Smuggling.Load() != 1 {
				t.Errorf("%q was not counted", seq)
			}
		}
	}
	// The true one is two messages.
	s := newSite(envelope.MX, nil)
	k := s.dial(t, false).hello()
	k.say("MAIL FROM:<a@b>", "250")
	k.say("RCPT TO:<a@b>", "250")
	k.say("DATA", "354")
	k.send("Subject: x\r\n\r\nhi\r\n.\r\n" + second)
	k.expect("250", "250", "250", "354", "250", "221")
	if n := len(s.store.all()); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// TestBareLF: who ends a line with LF alone is not heard again.
func TestBareLF(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"NOOP\n", "NOOP\nMAIL FROM:<a@b>\r\n", "MAIL FROM:<a@b>\nRCPT TO:<a@b>\nDATA\n", "NOOP " + strings.Repeat("x", 20000) + "\nNOOP\r\nQUIT\r\n"} {
		k := newSite(envelope.MX, nil).dial(t, false).hello()
		k.send(in)
		k.expect("500 5.5.2")
		if len(in) > 20000 { // its beginning may have been answered already
			_, _ = smtp.ReadReply(k.r)
		}
		k.gone()
	}
}

func TestLineTooLongBeforeGreeting(t *testing.T) {
	t.Parallel()
	for line, code := range map[string]string{
		"EHLO " + strings.Repeat("x", 600):     "500 5.5.2",
		"EHLO " + strings.Repeat("x", 1100):    "554 5.5.2",
		"EHLO " + strings.Repeat("x", 100_000): "554 5.5.2",
	} {
		k := newSite(envelope.MX, nil).dial(t, false)
		k.expect("220")
		k.say(line, code)
		if strings.HasPrefix(code, "554") {
			k.gone()
		} else {
			k.say("NOOP", "250")
		}
	}
}

func TestBdat(t *testing.T) {
	t.Parallel()
	m := "Subject: x\r\n\r\nhi\r\n" // 18 octets
	for _, c := range []struct {
		name, in string
		codes    string
		messages string
		gone     bool
	}{
		{"one", "BDAT 18 LAST\r\n" + m, "250", m, false},
		{"lower case", "bdat 18 last\r\n" + m, "250", m, false},
		{"three", "BDAT 5\r\n" + m[:5] + "BDAT 8\r\n" + m[5:13] + "BDAT 5 LAST\r\n" + m[13:], "250 250 250", m, false},
		{"zero at the end", "BDAT 18\r\n" + m + "BDAT 0 LAST\r\n", "250 250", m, false},
		{"zero in between", "BDAT 0\r\nBDAT 18\r\n" + m + "BDAT 0\r\nBDAT 0 LAST\r\n", "250 250 250 250", m, false},
		{"nothing", "BDAT 0 LAST\r\n", "250", "\r\n", false},
		{"no line end", "BDAT 16 LAST\r\n" + m[:16], "250", m, false},
		{"dots are content", "BDAT 17 LAST\r\nA: b\r\n\r\n.\r\n..\r\n\r\n", "250", "A: b\r\n\r\n.\r\n..\r\n\r\n", false},
		{"LAST twice", "BDAT 18 LAST\r\n" + m + "BDAT 6 LAST\r\nQUIT\r\n", "250 503", m, false},
		{"LAST twice with nothing", "BDAT 18 LAST\r\n" + m + "BDAT 0 LAST\r\n", "250 503", m, false},
		{"DATA after it", "BDAT 18\r\n" + m + "DATA\r\nBDAT 0 LAST\r\n", "250 503 250", m, false},
		{"RCPT and MAIL after it", "BDAT 18\r\n" + m + "RCPT TO:<c@d>\r\nMAIL FROM:<>\r\nBDAT 0 LAST\r\n", "250 503 503 250", m, false},
		{"RSET after it", "BDAT 18\r\n" + m + "RSET\r\nBDAT 6 LAST\r\nQUIT\r\n", "250 250 503", "", false},
		{"EHLO after it", "BDAT 18\r\n" + m + "EHLO x\r\nBDAT 0 LAST\r\n", "250 250 503", "", false},
		{"no size", "BDAT LAST\r\nQUIT\r\n", "501", "", true},
		{"nothing at all", "BDAT\r\nQUIT\r\n", "501", "", true},
		{"negative", "BDAT -1\r\nQUIT\r\n", "501", "", true},
		{"more than 63 bits", "BDAT 9223372036854775808 LAST\r\nQUIT\r\n", "501", "", true},
		{"huge", "BDAT 9223372036854775807 LAST\r\nQUIT\r\n", "552", "", true},
		{"too big", fmt.Sprintf("BDAT %d LAST\r\n%s", 1<<20+4, strings.Repeat("ab\r\n", 1<<18+1)), "552", "", false},
		{"too big together", fmt.Sprintf("BDAT 18\r\n%sBDAT %d\r\n%sBDAT 6 LAST\r\nQUIT\r\n", m, 1<<20, strings.Repeat("ab\r\n", 1<<18)), "250 552 503", "", false},
		{"bare LF", "BDAT 4 LAST\r\na\nb\n", "554", "", false},
		{"NUL", "BDAT 4 LAST\r\na\x00\r\n", "554", "", false},
		{"CR at the end", "BDAT 2 LAST\r\na\r", "554", "", false},
		{"CR LF over two chunks", "BDAT 17\r\n" + m[:17] + "BDAT 1 LAST\r\n\n", "250 250", m, false},
		{"broken, and what follows is swallowed", "BDAT 2\r\n\n\nBDAT 6 LAST\r\nQUIT\r\n", "554 503", "", false},
		{"bad header", "BDAT 14 LAST\r\nA: b\r\nworse\r\n\r\n"[:28], "554", "", false},
		{"too long a line", "BDAT x\r\n" + strings.Repeat("x", 600) + "\r\n", "501", "", true},
	} {
		s := newSite(envelope.MX, nil)
		k := s.dial(t, false).hello()
		k.say("MAIL FROM:<a@b>", "250")
		k.say("RCPT TO:<a@b>", "250")
		k.send(c.in)
		for i, code := range strings.Fields(c.codes) {
			if r := k.reply(); fmt.Sprint(r.Code) != code {
				t.Fatalf("%s: reply %d is %v, want %s", c.name, i+1, &r, code)
			}
		}
		if c.gone {
			k.gone()
		} else {
			k.say("NOOP", "250")
		}
		got := ""
		for _, m := range s.store.all() {
			got += m.content
		}
		if got != c.messages || s.store.open != 0 && !strings.HasPrefix(c.name, "RSET") {
			t.Errorf("%s: %q, %d open; want %q", c.name, got, s.store.open, c.messages)
		}
	}
}

// TestBdatOutOfPlace: the octets of a chunk are read wherever it stands.
func TestBdatOutOfPlace(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	k := s.dial(t, false)
	k.expect("220")
	k.say("BDAT 6 LAST\r\nQUIT", "503")
	k.say("EHLO x", "250")
	k.say("BDAT 6 LAST\r\nQUIT", "503")
	k.say("MAIL FROM:<a@b>", "250")
	k.say("BDAT 6 LAST\r\nQUIT", "503")
	k.say("RCPT TO:<nobody@b>", "550")
	k.say("BDAT 6 LAST\r\nQUIT", "503")
	k.say("NOOP", "250")
	if len(s.store.all()) != 0 {
		t.Error("accepted")
	}
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"DATA\r\nSubject: x\r\n\r\nhi\r\n", "DATA\r\nSubject: x\r\n\r\nhi\r\n.", "BDAT 100 LAST\r\nSubject: x\r\n\r\nhi\r\n", "BDAT 18\r\nSubject: x\r\n\r\nhi\r\n"} {
		s := newSite(envelope.MX, nil)
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() { s.Serve(there); close(done) }()
		k := &client{t, here, nil}
		go func() {
			b := make([]byte, 4096)
			for {
				if _, err := here.Read(b); err != nil {
					return
				}
			}
		}()
		k.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n" + in)
		here.Close()
		<-done
		if len(s.store.all()) != 0 || s.store.open != 0 {
			t.Errorf("%q: %d messages, %d drafts", in, len(s.store.all()), s.store.open)
		}
	}
}

func TestSpoolErrors(t *testing.T) {
	t.Parallel()
	full := envelope.Refuse(452, "4.3.1", "no room")
	broken := errors.New("disk on fire at /var/secret")
	for _, c := range []struct {
		write, commit error
		code          string
	}{{full, nil, "452 4.3.1"}, {nil, full, "452 4.3.1"}, {broken, nil, "451 4.3.0"}, {nil, broken, "451 4.3.0"}} {
		for _, last := range []string{"DATA\r\nA: b\r\n\r\nhi\r\n.\r\n", "BDAT 12 LAST\r\nA: b\r\n\r\nhi\r\n"} {
			s := newSite(envelope.MX, nil)
			s.store.write = c.write
			s.store.commit = func() error { return c.commit }
			k := s.dial(t, false).hello()
			k.say("MAIL FROM:<a@b>", "250")
			k.say("RCPT TO:<a@b>", "250")
			k.send(last)
			if strings.HasPrefix(last, "DATA") {
				k.expect("354")
			}
			if r := k.expect(c.code); strings.Contains(r.Text, "secret") {
				t.Errorf("the client is told %q", r.Text)
			}
			k.say("MAIL FROM:<a@b>", "250") // the transaction is over, the session is not
			if s.store.open != 0 {
				t.Errorf("%+v: %d drafts left open", c, s.store.open)
			}
			if errors.Is(c.write, broken) != strings.Contains(s.log.String(), "secret") && c.commit == nil {
				t.Errorf("log: %s", s.log)
			}
		}
	}
}

func TestPolicyAnswers(t *testing.T) {
	t.Parallel()
	no := envelope.Refuse(550, "5.7.1", "no")
	bye := envelope.Refuse(421, "4.7.0", "go away")
	for _, c := range []struct {
		set   func(*rules, error)
		codes []string // to each command from the greeting on
	}{
		{func(r *rules, err error) { r.connect = func(*envelope.Peer) error { return err } }, []string{"!"}},
		{func(r *rules, err error) { r.helo = func(*envelope.Peer) error { return err } }, []string{"220", "!", "503", "503", "503"}},
		{func(r *rules, err error) {
			r.mail = func(*envelope.Peer, *envelope.Envelope, int64) error { return err }
		}, []string{"220", "250", "!", "503", "503"}},
		{func(r *rules, err error) {
			r.rcpt = func(*envelope.Envelope, envelope.Recipient) ([]envelope.Recipient, error) { return nil, err }
		}, []string{"220", "250", "250", "!", "503"}},
		{func(r *rules, err error) {
			r.header = func(*envelope.Envelope, []byte) ([]byte, error) { return nil, err }
		}, []string{"220", "250", "250", "250", "354", "!", "250"}},
		{func(r *rules, err error) { r.data = func(*envelope.Envelope) error { return err } }, []string{"220", "250", "250", "250", "354", "!", "250"}},
	} {
		for _, err := range []*envelope.Error{no, bye} {
			s := newSite(envelope.MX, nil)
			c.set(s.rules, err)
			k := s.dial(t, false)
			lines := []string{"", "EHLO x\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<a@b>\r\n", "DATA\r\n", "A: b\r\n\r\nhi\r\n.\r\n", "NOOP\r\n"}
			for i, code := range c.codes {
				k.send(lines[i])
				if code != "!" {
					k.expect(code)
					continue
				}
				k.expect(fmt.Sprint(err.Code))
				if err == bye || i == 0 {
					k.gone()
					break
				}
			}
			if len(s.store.all()) != 0 || s.store.open != 0 {
				t.Errorf("%d messages, %d drafts", len(s.store.all()), s.store.open)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	repeat := func(n int, line, code string) func(*client) {
		return func(k *client) {
			for range n {
				k.say(line, code)
			}
		}
	}
	message := func(k *client) {
		k.say("MAIL FROM:<a@b>", "250")
		k.say("RCPT TO:<a@b>", "250")
		k.say("DATA", "354")
		k.say("A: b\r\n\r\nhi\r\n.", "250")
	}
	for name, c := range map[string]struct {
		steps []func(*client)
		over  string // the command that is too much
	}{
		"errors":             {[]func(*client){repeat(5, "WHAT", "500")}, "WHAT"},
		"errors in messages": {[]func(*client){repeat(3, "WHAT", "500"), message, repeat(2, "WHAT", "500")}, "RCPT TO:<a@b>"},
		"commands":           {[]func(*client){repeat(5, "NOOP", "250"), repeat(2, "RSET", "250")}, "NOOP"}, // and EHLO
		"commands in between": {[]func(*client){repeat(5, "NOOP", "250"), message, repeat(8, "NOOP", "250")},
			"HELP"},
		"messages": {[]func(*client){message, message, message}, "MAIL FROM:<a@b>"},
		"empty chunks": {[]func(*client){repeat(1, "MAIL FROM:<a@b>", "250"), repeat(1, "RCPT TO:<a@b>", "250"), repeat(7, "BDAT 0", "250")},
			"BDAT 0"},
		"recipients": {[]func(*client){repeat(1, "MAIL FROM:<a@b>", "250"), func(k *client) {
			for i := range 4 {
				k.say(fmt.Sprintf("RCPT TO:<u%d@b>", i), "250")
			}
		}, repeat(7, "RCPT TO:<x@b>", "452 4.5.3")}, "RCPT TO:<x@b>"},
	} {
		for _, relay := range []bool{false, true} {
			s := newSite(envelope.MX, func(o *Options) {
				o.Limits.Errors, o.Limits.Commands, o.Limits.Messages, o.Limits.Recipients = 5, 8, 3, 4
			})
			s.rules.connect = func(p *envelope.Peer) error { p.Relay = relay; return nil }
			k := s.dial(t, false).hello()
			for _, step := range c.steps {
				step(k)
			}
			k.send(c.over + "\r\n")
			switch r := k.reply(); {
			case relay && r.Code == 421:
				t.Errorf("%s: a relay client gets %v", name, &r)
			case !relay && r.Code != 421:
				t.Errorf("%s: %v, want 421", name, &r)
			case !relay:
				k.gone()
			}
		}
	}
}

// writes counts the writes of a connection.
type writes struct {
	net.Conn
	n int
}

func (w *writes) Write(p []byte) (int, error) { w.n++; return w.Conn.Write(p) }

func TestPipelining(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, nil)
	here, there := net.Pipe()
	w := &writes{Conn: there}
	done := make(chan struct{})
	go func() { s.Serve(w); close(done) }()
	k := &client{t, here, nil}
	read := func() string {
		b := make([]byte, 16<<10)
		n, err := here.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	read()
	k.send("EHLO x\r\n")
	read()
	chunk := "A: b\r\n\r\nhi\r\n"
	k.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nRCPT TO:<nobody@b>\r\nRCPT TO:<c@b>\r\n" + fmt.Sprintf("BDAT %d LAST\r\n%s", len(chunk), chunk) + "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
	if got := read(); strings.Count(got, "\r\n") != 8 || !strings.HasSuffix(got, "354 go ahead; end with CR LF . CR LF\r\n") {
		t.Errorf("%q", got)
	}
	k.send(chunk + ".\r\nQUIT\r\n")
	read()
	<-done
	if w.n != 4 {
		t.Errorf("%d writes", w.n)
	}
	if len(s.store.all()) != 2 {
		t.Errorf("%d messages", len(s.store.all()))
	}
}

// TestManyReplies: replies that do not fit into one buffer arrive all.
func TestManyReplies(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.MX, func(o *Options) { o.Limits.Commands = 10000 })
	k := s.dial(t, false).hello()
	k.send(strings.Repeat("NOOP\r\n", 3000))
	for range 3000 {
		k.expect("250 2.0.0")
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	k := newSite(envelope.MX, nil).dial(t, false)
	k.expect("220")
	k.send("POST / HTTP/1.1\r\nHost: mx\r\n\r\nMAIL FROM:<a@b>\r\n" + strings.Repeat("x", 50000) + "\r\n")
	k.expect("502 5.7.0")
	k.gone()
}

func TestReceived(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 3, 4, 5, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		door     envelope.Door
		implicit bool
		helo     string
		auth     bool
		mail     string
		rcpt     []string
		want     string
	}{
		{envelope.MX, false, "EHLO [IPv6:::1]", false, "MAIL FROM:<>", []string{"x@b"}, "Received: from [IPv6:::1] ([127.0.0.1])\r\n\tby mx.test with ESMTP\r\n\tid ID for <x@b>;\r\n\tSun, 22 Nov 2026 02:04:05 +0000\r\n"},
		{envelope.MX, false, "HELO my_host", false, "MAIL FROM:<>", []string{"x@b", "y@b"}, "Received: from my_host ([127.0.0.1])\r\n\tby mx.test with SMTP\r\n\tid ID;\r\n\tSun, 22 Nov 2026 02:04:05 +0000\r\n"},
		{envelope.MX, true, "EHLO h", false, "MAIL FROM:<>", []string{"postmaster"}, "Received: from h ([127.0.0.1])\r\n\tby mx.test with ESMTPS (TLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768)\r\n\tid ID;\r\n\tSun, 22 Nov 2026 02:04:05 +0000\r\n"},
		{envelope.MX, true, "EHLO h", false, "MAIL FROM:<ü@b> SMTPUTF8", []string{"ü@b"}, "Received: from h ([127.0.0.1])\r\n\tby mx.test with UTF8SMTPS (TLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768)\r\n\tid ID for <ü@b>;\r\n\tSun, 22 Nov 2026 02:04:05 +0000\r\n"},
		{envelope.Submission, true, "EHLO [192.168.1.5]", true, "MAIL FROM:<a@b>", []string{`"a b"@c`}, "Received: by mx.test with ESMTPSA (TLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768)\r\n\tid ID for <\"a b\"@c>;\r\n\tSun, 22 Nov 2026 02:04:05 +0000\r\n"},
		{envelope.Submission, true, "EHLO h", true, "MAIL FROM:<a@b> SMTPUTF8", []string{"c@b", "d@b"}, "Received: by mx.test with UTF8SMTPSA (TLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768)\r\n\tid ID;\r\n\tSun, 22 Nov 2026 02:04:05 +0000\r\n"},
	} {
		s := newSite(c.door, nil)
		k := s.dial(t, c.implicit)
		k.expect("220")
		if c.auth {
			k.say("EHLO x", "250")
			k.say("AUTH PLAIN "+right, "235")
		}
		k.say(c.helo, "250")
		k.say(c.mail, "250")
		for _, to := range c.rcpt {
			k.say("RCPT TO:<"+to+">", "250")
		}
		s.rules.data = func(e *envelope.Envelope) error { e.Received = at; return nil }
		k.say("DATA", "354")
		k.say("A: b\r\n\r\nhi\r\n.", "250")
		m := s.store.all()[0]
		if got := strings.ReplaceAll(string(m.Header), m.ID.String(), "ID"); got != c.want {
			t.Errorf("%q\nwant %q", got, c.want)
		}
	}
}

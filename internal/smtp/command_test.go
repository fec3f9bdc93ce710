package smtp

import (
	"strings"
	"testing"
	"unicode/utf8"

	"gatepost/internal/addr"
)

const everything = ExtSize | Ext8BitMIME | ExtUTF8 | ExtDSN | ExtAuth | ExtRequireTLS

// is describes a reply as "501 5.1.7", nil as "".
func is(r *Reply) string {
	if r == nil {
		return ""
	}
	return r.Error()[:9]
}

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line string
		want Command
		bad  string
	}{
		{"NOOP", Command{"NOOP", ""}, ""},
		{"noop", Command{"NOOP", ""}, ""},
		{"NOOP  ", Command{"NOOP", ""}, ""},
		{"MAIL FROM:<a@b> ", Command{"MAIL", "FROM:<a@b>"}, ""},
		{"StartTLS", Command{"STARTTLS", ""}, ""},
		{"GET / HTTP/1.1", Command{HTTP, "/ HTTP/1.1"}, ""},
		{"PRI * HTTP/2.0", Command{HTTP, "* HTTP/2.0"}, ""},
		{"RCPT TO:<ü@b>", Command{"RCPT", "TO:<ü@b>"}, ""},
		{"", Command{}, "500 5.5.2"},
		{"   ", Command{}, "500 5.5.2"},
		{" NOOP", Command{}, "500 5.5.2"},
		{"WHATISTHIS", Command{}, "500 5.5.1"},
		{"STARTTLSX", Command{}, "500 5.5.1"},
		{"NOOP\tx", Command{}, "500 5.5.2"},
		{"NOOP\r", Command{}, "500 5.5.2"},
		{"NOOP\x00", Command{}, "500 5.5.2"},
		{"NOOP\nMAIL FROM:<a@b>", Command{}, "500 5.5.2"},
		{"NOOP \x7f", Command{}, "500 5.5.2"},
		{"RCPT TO:<\xff@b>", Command{}, "500 5.5.2"},
		{"\x16\x03\x01", Command{}, "500 5.5.2"}, // TLS where none was expected
	} {
		got, bad := ParseCommand([]byte(c.line))
		if got != c.want || is(bad) != c.bad {
			t.Errorf("%q: %+v %v, want %+v %s", c.line, got, bad, c.want, c.bad)
		}
	}
}

func TestLineLimit(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int{
		"": MaxLine, "NOOP": MaxLine, "MAIL FROM:<>": MaxMailLine, "mail": MaxMailLine, "RCPT TO:": MaxRcptLine,
		"AUTH PLAIN": MaxAuthLine, "AUTHX": MaxLine, "MAILFROM": MaxLine, "MA": MaxLine, strings.Repeat("A", 99): MaxLine,
	} {
		if got := LineLimit([]byte(line)); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}

func TestParseHelo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"localhost": "localhost", "mx.example.org": "mx.example.org", "MX.example.org.": "MX.example.org.",
		"my_host.lan": "my_host.lan", "-": "-", "[192.0.2.1]": "[192.0.2.1]", "[IPv6:2001:DB8::1]": "[IPv6:2001:db8::1]",
		"[::1]": "[IPv6:::1]",
	} {
		if got, bad := ParseHelo(in); got != want || bad != nil {
			t.Errorf("%q: %q %v, want %q", in, got, bad, want)
		}
	}
	for _, in := range []string{"", "a b", "a..b", ".a", "[192.0.2.1", "[fe80::1%eth0]", "[]", "[x]", "ü.example",
		"a(b)", "<a>", strings.Repeat("a", 256)} {
		if got, bad := ParseHelo(in); bad == nil || bad.Code != 501 {
			t.Errorf("%q: %q %v, want 501", in, got, bad)
		}
	}
}

func TestParseMail(t *testing.T) {
	t.Parallel()
	a := addr.MustParse
	for _, c := range []struct {
		args string
		want Mail
		bad  string
	}{
		{"FROM:<>", Mail{}, ""},
		{"from:<a@b>", Mail{From: a("a@b")}, ""},
		{"FROM: <a@b>", Mail{From: a("a@b")}, ""},
		{"FROM:<@x,@y:a@b>", Mail{From: a("a@b")}, ""},
		{"FROM:<@[IPv6:::1]:a@b>", Mail{From: a("a@b")}, ""},
		{`FROM:<"a> b"@b>`, Mail{From: a(`"a> b"@b`)}, ""},
		{`FROM:<"a\"> SIZE=1"@b>`, Mail{From: a(`"a\"> SIZE=1"@b`)}, ""},
		{"FROM:<a@b> SIZE=12 BODY=8bitmime RET=hdrs ENVID=a+2Bb AUTH=<>", Mail{From: a("a@b"), Size: 12, Ret: RetHdrs, EnvID: "a+2Bb"}, ""},
		{"FROM:<a@b> AUTH=x+40y", Mail{From: a("a@b")}, ""},
		{"FROM:<a@b> requireTLS", Mail{From: a("a@b"), RequireTLS: true}, ""},
		{"FROM:<ü@b> SMTPUTF8", Mail{From: a("ü@b"), UTF8: true}, ""},
		{"FROM:<a@bücher.example> smtputf8", Mail{From: a("a@bücher.example"), UTF8: true}, ""},
		{"FROM:<a@b> SIZE=99999999999999999999", Mail{From: a("a@b"), Size: 1<<63 - 1}, ""},

		{"", Mail{}, "500 5.5.2"},
		{"FROM:", Mail{}, "500 5.5.2"},
		{"FROM: ", Mail{}, "500 5.5.2"},
		{"LALA: <>", Mail{}, "500 5.5.2"},
		{"FROM <a@b>", Mail{}, "500 5.5.2"},
		{"FROM:  <a@b>", Mail{}, "501 5.1.7"},
		{"FROM:a@b", Mail{}, "501 5.1.7"},
		{"FROM:<a@b", Mail{}, "501 5.1.7"},
		{"FROM:<a@b>>", Mail{}, "501 5.5.4"},
		{"FROM:<a@b>SIZE=1", Mail{}, "501 5.5.4"},
		{"FROM:<a@b>  SIZE=1", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> ", Mail{}, "501 5.5.4"}, // ParseCommand has removed trailing space
		{"FROM:<pepe>", Mail{}, "501 5.1.7"},
		{"FROM:<postmaster>", Mail{}, "501 5.1.7"},
		{"FROM:<@x:>", Mail{}, "501 5.1.7"},
		{"FROM:<@x,y:a@b>", Mail{}, "501 5.1.7"},
		{"FROM:<@x;@y:a@b>", Mail{}, "501 5.1.7"},
		{"FROM:<@>", Mail{}, "501 5.1.7"},
		{"FROM:<a@b@c>", Mail{}, "501 5.1.8"},
		{"FROM:<a@xn--->", Mail{}, "501 5.1.8"},
		{"FROM:<a@b_c>", Mail{}, "501 5.1.8"},
		{"FROM:<" + strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 99) + "c>", Mail{}, "501 5.1.7"},
		{"FROM:<a@b> SIZE", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> SIZE=", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> SIZE=-1", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> SIZE=+1", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> SIZE=1x", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> SIZE=000000000000000000001", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> SIZE=1 SIZE=1", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> BODY=BINARYMIME", Mail{}, "504 5.5.4"},
		{"FROM:<a@b> BODY=9BIT", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> BODY", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> SMTPUTF8=1", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> REQUIRETLS=YES", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> REQUIRETLS REQUIRETLS", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> RET=ALL", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> RET=FULL RET=HDRS", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> ENVID=a+0D+0AX:y", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> ENVID=a+2", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> ENVID=a+2b", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> ENVID=" + strings.Repeat("x", 101), Mail{}, "501 5.5.4"},
		{"FROM:<a@b> AUTH=+", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> -X=1", Mail{}, "501 5.5.4"},
		{"FROM:<a@b> X=1", Mail{}, "555 5.5.4"},
		{"FROM:<a@b> NOTIFY=NEVER", Mail{}, "555 5.5.4"},
		{"FROM:<ü@b>", Mail{}, "550 5.6.7"},
		{"FROM:<a@bücher.example>", Mail{}, "550 5.6.7"},
	} {
		got, bad := ParseMail(c.args, everything)
		if is(bad) != c.bad || bad == nil && got != c.want {
			t.Errorf("%q: %+v %v, want %+v %s", c.args, got, bad, c.want, c.bad)
		}
	}
	for _, p := range []string{"SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "ENVID=x", "AUTH=<>", "REQUIRETLS"} {
		if _, bad := ParseMail("FROM:<a@b> "+p, 0); is(bad) != "555 5.5.4" {
			t.Errorf("%s, not offered: %v, want 555", p, bad)
		}
	}
}

func TestParseRcpt(t *testing.T) {
	t.Parallel()
	a := addr.MustParse
	for _, c := range []struct {
		args string
		utf8 bool
		want Rcpt
		bad  string
	}{
		{"TO:<a@b>", false, Rcpt{To: a("a@b")}, ""},
		{"to: <a@b>", false, Rcpt{To: a("a@b")}, ""},
		{"TO: user@testserver", false, Rcpt{To: a("user@testserver")}, ""},
		{"TO:user@testserver NOTIFY=NEVER", false, Rcpt{To: a("user@testserver"), Notify: NotifyNever}, ""},
		{"TO:<PostMaster>", false, Rcpt{To: addr.Address{Local: "postmaster"}}, ""},
		{"TO:<@x,@y:a@b>", false, Rcpt{To: a("a@b")}, ""},
		{"TO:<a%c@b>", false, Rcpt{To: a("a%c@b")}, ""},
		{`TO:<"a@c"@b>`, false, Rcpt{To: a(`"a@c"@b`)}, ""},
		{"TO:<a@[192.0.2.1]>", false, Rcpt{To: a("a@[192.0.2.1]")}, ""},
		{"TO:<a@b> NOTIFY=success,DELAY ORCPT=rfc822;a+2Bc@d", false, Rcpt{a("a@b"), NotifySuccess | NotifyDelay, "rfc822;a+2Bc@d"}, ""},
		{"TO:<a@b> NOTIFY=FAILURE,FAILURE", false, Rcpt{To: a("a@b"), Notify: NotifyFailure}, ""},
		{`TO:<a@b> ORCPT=utf-8;\x{FC}@d`, false, Rcpt{To: a("a@b"), ORcpt: `utf-8;\x{FC}@d`}, ""},
		{"TO:<ü@b> ORCPT=utf-8;ü@d", true, Rcpt{To: a("ü@b"), ORcpt: "utf-8;ü@d"}, ""},

		{"", false, Rcpt{}, "500 5.5.2"},
		{"TO:", false, Rcpt{}, "500 5.5.2"},
		{"LALA: <>", false, Rcpt{}, "500 5.5.2"},
		{"TO:<>", false, Rcpt{}, "501 5.1.3"},
		{"TO:<pepe>", false, Rcpt{}, "501 5.1.3"},
		{"TO:pepe", false, Rcpt{}, "501 5.1.3"},
		{"TO:postmaster", false, Rcpt{}, "501 5.1.3"},
		{`TO:"a b"@c`, false, Rcpt{}, "501 5.1.3"},
		{"TO:a@b>", false, Rcpt{}, "501 5.1.3"},
		{"TO:<a@b", false, Rcpt{}, "501 5.1.3"},
		{"TO:@x:a@b", false, Rcpt{}, "501 5.1.3"},
		{"TO:<a@xn--->", false, Rcpt{}, "501 5.1.2"},
		{"TO:<a@b c>", false, Rcpt{}, "501 5.1.2"},
		{"TO:<a@b> NOTIFY=NEVER,DELAY", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> NOTIFY=", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> NOTIFY=DELAY,", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> ORCPT=a@d", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> ORCPT=rfc822;", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> ORCPT=rfc822;a+00@d", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> ORCPT=rfc(822;a@d", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> ORCPT=rfc822;" + strings.Repeat("a", 500), false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> ORCPT=utf-8;ü@d", false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> ORCPT=rfc822;ü@d", true, Rcpt{}, "501 5.5.4"},
		{`TO:<a@b> ORCPT=utf-8;\x{0A}@d`, false, Rcpt{}, "501 5.5.4"},
		{`TO:<a@b> ORCPT=utf-8;\x{D800}@d`, false, Rcpt{}, "501 5.5.4"},
		{`TO:<a@b> ORCPT=utf-8;\x{fc}@d`, false, Rcpt{}, "501 5.5.4"},
		{`TO:<a@b> ORCPT=utf-8;\x{FC`, false, Rcpt{}, "501 5.5.4"},
		{`TO:<a@b> ORCPT=utf-8;\`, false, Rcpt{}, "501 5.5.4"},
		{"TO:<a@b> SIZE=1", false, Rcpt{}, "555 5.5.4"},
		{"TO:<henryⅣ@testserver>", false, Rcpt{}, "550 5.6.7"},
	} {
		got, bad := ParseRcpt(c.args, everything, c.utf8)
		if is(bad) != c.bad || bad == nil && got != c.want {
			t.Errorf("%q: %+v %v, want %+v %s", c.args, got, bad, c.want, c.bad)
		}
	}
}

func TestParseBdat(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]Bdat{
		"0": {}, "12": {12, false}, "12 LAST": {12, true}, "0 last": {0, true}, "9223372036854775807": {1<<63 - 1, false},
	} {
		if got, bad := ParseBdat(args); got != want || bad != nil {
			t.Errorf("%q: %+v %v, want %+v", args, got, bad, want)
		}
	}
	for _, args := range []string{"", " ", "LAST", "-1", "+1", "1 ", "1  LAST", "1 LAST x", "1 FIRST", "0x1", "9223372036854775808", "99999999999999999999999"} {
		if got, bad := ParseBdat(args); is(bad) != "501 5.5.4" {
			t.Errorf("%q: %+v %v, want 501", args, got, bad)
		}
	}
}

func TestParseAuth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, mech string
		response   string // "-" for none
		bad        string
	}{
		{"PLAIN", "PLAIN", "-", ""},
		{"scram-sha-256", "SCRAM-SHA-256", "-", ""},
		{"PLAIN =", "PLAIN", "", ""},
		{"PLAIN AGEAYg==", "PLAIN", "\x00a\x00b", ""},
		{"PLAIN something", "PLAIN", "-", "501 5.5.2"},
		{"PLAIN AGEAYh==", "PLAIN", "-", "501 5.5.2"}, // bits that are not zero behind the end
		{"PLAIN ==", "PLAIN", "-", "501 5.5.2"},
		{"", "", "-", "501 5.5.4"},
		{"PLAIN ", "", "-", "501 5.5.4"},
		{"PL/AIN", "", "-", "501 5.5.4"},
		{strings.Repeat("X", 21), "", "-", "501 5.5.4"},
	} {
		mech, response, bad := ParseAuth(c.args)
		if mech != c.mech || is(bad) != c.bad || bad == nil && (response == nil) != (c.response == "-") ||
			response != nil && string(response) != c.response {
			t.Errorf("%q: %q %q %v, want %+v", c.args, mech, response, bad, c)
		}
	}
	for line, want := range map[string]string{"*": "501 5.7.0", "": "", "AA==": "", "A": "501 5.5.2", "AAAA\r\nAAAA": "501 5.5.2", "dXNlckB0ZXN0c2VydmVyAHlalala==": "501 5.5.2"} {
		response, bad := ParseResponse([]byte(line))
		if is(bad) != want || bad == nil && response == nil {
			t.Errorf("%q: %q %v, want %q", line, response, bad, want)
		}
	}
}

func TestXtext(t *testing.T) {
	t.Parallel()
	for plain, want := range map[string]string{"": "", "a@b": "a@b", "a+b=c": "a+2Bb+3Dc", "a b\r\n\x00ü": "a+20b+0D+0A+00+C3+BC"} {
		if got := EncodeXtext(plain); got != want {
			t.Errorf("%q: %q, want %q", plain, got, want)
		}
		if got, ok := DecodeXtext(want); !ok || got != plain {
			t.Errorf("%q: %q %v, want %q", want, got, ok, plain)
		}
	}
	for _, s := range []string{"+", "+2", "+2b", "+GG", "a=b", "a b", "ü", "+2B+"} {
		if got, ok := DecodeXtext(s); ok {
			t.Errorf("%q decodes to %q", s, got)
		}
	}
}

// clean fails if a value that came out of a line could break a line.
func clean(t *testing.T, values ...string) {
	t.Helper()
	for _, v := range values {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(v) {
			t.Errorf("%q passed", v)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{"NOOP", "ehlo x", "GET / HTTP/1.1", "MAIL FROM:<a@b>\r", "AUTH PLAIN =", "BDAT 1 LAST", "\x00", "RCPT TO:<\xff>", "EHLO [::1]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, bad := ParseCommand(line)
		if (c.Verb == "") != (bad != nil) {
			t.Fatalf("%q: %+v %v", line, c, bad)
		}
		if strings.ContainsAny(string(line), "\r\n\x00") && bad == nil {
			t.Errorf("%q is a command", line)
		}
		if LineLimit(line) != MaxLine && c.Verb != "MAIL" && c.Verb != "RCPT" && c.Verb != "AUTH" && bad == nil {
			t.Errorf("%q may be longer than %s is", line, c.Verb)
		}
		clean(t, c.Args)
		if name, bad := ParseHelo(c.Args); bad == nil {
			clean(t, name)
			if again, bad := ParseHelo(name); bad != nil || again != name {
				t.Errorf("%q became %q, then %q %v", c.Args, name, again, bad)
			}
		}
		if mech, _, bad := ParseAuth(c.Args); bad == nil {
			clean(t, mech)
		}
		if b, bad := ParseBdat(c.Args); bad == nil && b.Size < 0 {
			t.Errorf("%q: %+v", c.Args, b)
		}
	})
}

func FuzzMail(f *testing.F) {
	for _, s := range []string{"FROM:<>", "FROM: <a@b> SIZE=1 BODY=7BIT", "FROM:<@x,@y:a@b> RET=FULL ENVID=x", `FROM:<"a\> b"@b> SMTPUTF8`, "FROM:<ü@b> SMTPUTF8 AUTH=<>", "FROM:<a@b> REQUIRETLS"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		c, bad := ParseCommand([]byte("MAIL " + args))
		if bad != nil {
			return
		}
		m, bad := ParseMail(c.Args, everything)
		if bad != nil {
			return
		}
		clean(t, m.From.String(), m.EnvID)
		if m.Size < 0 || !m.UTF8 && !m.From.IsASCII() || len(m.EnvID) > MaxEnvID {
			t.Errorf("%q: %+v", args, m)
		}
		// What was understood reads the same when it is written out.
		out := "FROM:<" + m.From.String() + ">"
		if m.UTF8 {
			out += " SMTPUTF8"
		}
		if again, bad := ParseMail(out, everything); bad != nil || again.From != m.From {
			t.Errorf("%q: %+v, again %+v %v", args, m.From, again.From, bad)
		}
	})
}

func FuzzRcpt(f *testing.F) {
	for _, s := range []string{"TO:<a@b>", "TO: a@b", "TO:<postmaster>", "TO:<@x:a@b> NOTIFY=SUCCESS,DELAY", `TO:<"@"@b> ORCPT=utf-8;\x{FC}@d`, "TO:<ü@b> ORCPT=rfc822;a+2Bb"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, args string, utf8 bool) {
		c, bad := ParseCommand([]byte("RCPT " + args))
		if bad != nil {
			return
		}
		r, bad := ParseRcpt(c.Args, everything, utf8)
		if bad != nil {
			return
		}
		clean(t, r.ORcpt)
		if r.To.IsNull() || !utf8 && !r.To.IsASCII() || r.Notify&NotifyNever != 0 && r.Notify != NotifyNever {
			t.Errorf("%q: %+v", args, r)
		}
		if !utf8 && !isASCII(r.ORcpt) {
			t.Errorf("%q: ORCPT %q", args, r.ORcpt)
		}
		if r.To.Domain == "" {
			if r.To.Local != "postmaster" {
				t.Errorf("%q: no domain in %+v", args, r.To)
			}
			return
		}
		clean(t, r.To.String())
		if again, bad := ParseRcpt("TO:<"+r.To.String()+">", everything, utf8); bad != nil || again.To != r.To {
			t.Errorf("%q: %+v, again %+v %v", args, r.To, again.To, bad)
		}
	})
}

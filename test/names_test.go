package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// odd are names that somebody would choose who hopes that a terminal, a shell,
// a header, a page or a query takes part of them for something else.
var odd = []string{
	"$(touch x)", "a;b", "a b", "../../etc/passwd", "a!b", "a\\b", "o'; drop table account; --",
	"<script>alert(1)</script>", "a\x1b[2Jb", "a\x1b]0;x\x07b", "a\nb", "a\r\nSubject: x", "a\tb", "a\u202eb", "a\u200bb", "a\u2028b", "a\u0085b",
	"=?utf-8?q?x?=", "\u0456van", "ⅳ", "{{.}}", "a\xffb", "-rf", "o'brien", "[a]", "xn--a",
}

// shows reports what in the output of a command could move a cursor or turn
// text around.
func shows(out string) rune {
	for _, r := range out {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) {
			return r
		}
	}
	return 0
}

// Whatever an account, an alias, a device, a domain or a client is called: it
// is refused, or is shown by every command, as text and as JSON, and in mails,
// as what it is.
func TestMetacharactersInNames(t *testing.T) {
	t.Parallel()
	s := start(t, "names.test", "")
	said := func(out string, args ...string) {
		t.Helper()
		if r := shows(out); r != 0 {
			t.Errorf("%q shows %U:\n%q", args, r, out)
		}
	}
	taken := map[string]bool{}
	for i, name := range odd {
		for _, args := range [][]string{
			{"account", "add", name + "@names.test", "--password-stdin"}, {"alias", "add", name + "@names.test", s.address()},
			{"alias", "add", fmt.Sprintf("list%d@names.test", i), name + "@elsewhere.example"}, {"domain", "add", name + ".test"},
			{"account", "device", "add", s.address(), name},
		} {
			args = append(args, "--config", s.config)
			out, err := try(password+"\n", binary, args...)
			said(out, args...)
			if err == nil {
				taken[strings.Join(args[:2], " ")+" "+name] = true
			} else if !strings.Contains(out, "gatepost") && !strings.HasPrefix(out, "Error") && !strings.Contains(out, "sage") {
				t.Errorf("%q is refused with %q", args, out)
			}
		}
		if strings.ContainsAny(name, "\r\n") {
			continue // it would be two commands
		}
		c := s.dial(t, "465")
		if reply, err := c.tell("EHLO " + name); err != nil || shows(strings.ReplaceAll(reply, "\r", "")) != 0 {
			t.Errorf("EHLO %q: %q, %v", name, reply, err)
		} else if reply[0] == '2' {
			c.say("AUTH PLAIN "+plain(s.address(), password), "235")
			taken["ehlo "+name] = true
		}
		c.conn.Close()
	}
	// What is allowed on purpose, so that this is no test of refusals.
	for _, name := range []string{"account add o'brien", "alias add o'brien", "ehlo xn--a"} {
		if !taken[name] {
			t.Errorf("%s is refused", name)
		}
	}
	for _, name := range []string{"account add a\u202eb", "alias add a\nb", "account add ⅳ", "domain add a b", "account device a\nb", "ehlo a b"} {
		if taken[name] {
			t.Errorf("%s is taken", name)
		}
	}
	for _, args := range [][]string{
		{"account", "list"}, {"account", "show", s.address()}, {"account", "show", "o'brien@names.test"}, {"alias", "list"}, {"domain", "list"}, {"domain", "show", "names.test"},
		{"activity"}, {"activity", s.address()}, {"account", "device", "list", s.address()}, {"queue", "list"}, {"mailbox", "list", s.address()}, {"mailbox", "list", s.address(), "INBOX"},
	} {
		said(s.gatepost(args...), args...)
		out := s.gatepost(append(args, "--json")...)
		if !json.Valid([]byte(out)) || shows(out) != 0 {
			t.Errorf("%q --json: %q", args, out)
		}
	}
	// New programs are told of by mail, of which each header is one line.
	content := s.alerted(s.address(), "A sign-in to your mail with a new device or program")
	header, _, _ := strings.Cut(content, "\n\n")
	if r := shows(strings.ReplaceAll(content, "\r\n", "\n")); r != 0 || strings.Contains(header, "script") {
		t.Errorf("%U in %s", r, content)
	}
}

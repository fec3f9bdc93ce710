package dmarc

import (
	"errors"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/message"
)

// TestSpoofing is a table of ways to have one domain verified and another one
// shown: those of Chen, Paxson and Jiang, "Composition Kills" (USENIX
// Security 2020), and our own. "bank.example" is what the attacker wants to
// show, "evil.example" what he can have verified. Whatever is accepted must
// be evil.example's, and tell that bank.example is shown if it is.
func TestSpoofing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, header string
		problem      AuthorProblem // 0: accepted as evil.example
		shown        string
	}{
		{"plain", "From: x@evil.example\r\n", 0, ""},
		{"with a name", "From: Mr X <x@evil.example>\r\n", 0, ""},
		{"none", "To: a@b.example\r\n", NoFrom, ""},
		{"an empty header", "", NoFrom, ""},
		{"two fields", "From: a@bank.example\r\nFrom: x@evil.example\r\n", SeveralFrom, ""},
		{"two fields of one domain", "From: y@evil.example\r\nSubject: s\r\nfrom: x@evil.example\r\n", SeveralFrom, ""},
		{"a second one before a space", "From: x@evil.example\r\nFrom : a@bank.example\r\n", SeveralFrom, ""},
		{"one before a space", "From : a@bank.example\r\n", MalformedFrom, ""},
		{"a line that begins with a space", " From: a@bank.example\r\nFrom: x@evil.example\r\n", BrokenHeader, ""},
		{"a colon on the next line", "From\r\n : a@bank.example\r\nFrom: x@evil.example\r\n", BrokenHeader, ""},
		{"the name after NUL", "\x00From: a@bank.example\r\nFrom: x@evil.example\r\n", BrokenHeader, ""},
		{"a mailbox line", "From a@bank.example\r\nFrom: x@evil.example\r\n", BrokenHeader, ""},
		{"the name in wide letters", "\uff26rom: a@bank.example\r\nFrom: x@evil.example\r\n", BrokenHeader, ""},
		{"several addresses", "From: a@bank.example, x@evil.example\r\n", SeveralDomains, ""},
		{"several addresses, folded", "From: a@bank.example\r\n\t, x@evil.example\r\n", SeveralDomains, ""},
		{"several addresses of one domain", "From: y@evil.example, X <x@evil.example>\r\n", 0, ""},
		{"an address and one in brackets", "From: a@bank.example <x@evil.example>\r\n", MalformedFrom, ""},
		{"brackets and an address", "From: <a@bank.example> x@evil.example\r\n", MalformedFrom, ""},
		{"two in brackets", "From: <a@bank.example><x@evil.example>\r\n", MalformedFrom, ""},
		{"one within the other", "From: <a@bank.example<x@evil.example>>\r\n", MalformedFrom, ""},
		{"an open bracket", "From: <a@bank.example\r\n", MalformedFrom, ""},
		{"a source route", "From: <@evil.example:a@bank.example>\r\n", MalformedFrom, ""},
		{"a long source route", "From: <@evil.example,@b.example:a@bank.example>\r\n", MalformedFrom, ""},
		{"two at signs", "From: a@bank.example@evil.example\r\n", MalformedFrom, ""},
		{"NUL", "From: a@bank.example\x00@evil.example\r\n", MalformedFrom, ""},
		{"not UTF-8", "From: a@bank.example\xff@evil.example\r\n", MalformedFrom, ""},
		{"a bare CR", "From: x@evil.example\r a@bank.example\r\n", BrokenHeader, ""},
		{"a bare LF", "From: a@bank.example\n\tx@evil.example\r\n", MalformedFrom, ""},
		{"a quoted local part", "From: \"a@bank.example\"@evil.example\r\n", 0, "bank.example"},
		{"a quoted pair", "From: \\<a@bank.example\\>, <x@evil.example>\r\n", MalformedFrom, ""},
		{"a quoted name", "From: \"a@bank.example\" <x@evil.example>\r\n", 0, "bank.example"},
		{"a quoted name with brackets", "From: \"<a@bank.example>\" <x@evil.example>\r\n", 0, "bank.example"},
		{"a name that does not end", "From: \"a@bank.example <x@evil.example>\r\n", MalformedFrom, ""},
		{"a comment", "From: (a@bank.example) x@evil.example\r\n", 0, "bank.example"},
		{"a comment within", "From: x(<a@bank.example>)@evil.example\r\n", 0, "bank.example"},
		{"a comment behind", "From: x@evil.example (a@bank.example)\r\n", 0, "bank.example"},
		{"a comment that does not end", "From: x@evil.example (a@bank.example\r\n", MalformedFrom, ""},
		{"a comment in the domain", "From: a@bank.example(x).evil.example\r\n", MalformedFrom, ""},
		{"an encoded name", "From: =?utf-8?B?YUBiYW5rLmV4YW1wbGU=?= <x@evil.example>\r\n", 0, "bank.example"},
		{"an encoded name with brackets", "From: =?utf-8?Q?=3Ca=40bank.example=3E?= <x@evil.example>\r\n", 0, "bank.example"},
		{"an encoded address", "From: =?utf-8?B?YUBiYW5rLmV4YW1wbGU=?=\r\n", MalformedFrom, ""},
		{"an encoded local part", "From: <=?utf-8?Q?a=40bank.example=00?=@evil.example>\r\n", MalformedFrom, ""},
		{"an encoded line end", "From: =?utf-8?Q?x=0D=0AFrom=3A_a=40bank.example?= <x@evil.example>\r\n", 0, "bank.example"},
		{"an empty group", "From: a bank:;\r\n", NoAddress, ""},
		{"a group", "From: bank: x@evil.example;\r\n", 0, ""},
		{"a group with a name", "From: \"a@bank.example\": x@evil.example;\r\n", 0, "bank.example"},
		{"a group of two domains", "From: g: a@bank.example, x@evil.example;\r\n", SeveralDomains, ""},
		{"nothing", "From:\r\n", MalformedFrom, ""},
		{"empty brackets", "From: <>\r\n", MalformedFrom, ""},
		{"a literal", "From: a@[192.0.2.1]\r\n", LiteralAddress, ""},
		{"a wide at sign", "From: \"a\uff20bank.example\" <x@evil.example>\r\n", 0, "bank.example"},
		{"a lookalike of the domain", "From: a@b\u0430nk.example <x@evil.example>\r\n", MalformedFrom, ""},
		{"a lookalike in the name", "From: \"a@b\u0430nk.example\" <x@evil.example>\r\n", 0, "xn--bnk-6cd.example"},
		{"a dotless name", "From: \"a@bank\" <x@evil.example>\r\n", 0, ""},
		{"one's own address in the name", "From: \"x@EVIL.example\" <x@evil.example>\r\n", 0, ""},
		{"other fields", "Sender: a@bank.example\r\nResent-From: a@bank.example\r\nReply-To: a@bank.example\r\nFrom: x@evil.example\r\n", 0, ""},
	} {
		a, err := FindAuthor([]byte(tt.header + "\r\n"))
		var e *AuthorError
		switch errors.As(err, &e); {
		case tt.problem == 0 && (err != nil || a.Domain != "evil.example" || len(a.Addresses) == 0):
			t.Errorf("%s: %+v, %v", tt.name, a, err)
		case tt.problem != 0 && (e == nil || e.Problem != tt.problem || a.Domain != "" || e.Error() == ""):
			t.Errorf("%s: %+v, %v", tt.name, a, err)
		}
		var got []string
		for _, d := range a.Shown {
			got = append(got, string(d))
		}
		if s := strings.Join(got, " "); s != tt.shown {
			t.Errorf("%s: shows %q, want %q", tt.name, s, tt.shown)
		}
	}
}

func TestAuthorOfTheWorld(t *testing.T) {
	t.Parallel()
	a, err := FindAuthor([]byte("From: J\u00f6rg <j\u00f6rg@B\u00fccher.example>\r\n\r\nFrom: body@x.example\r\n"))
	if err != nil || a.Domain != "xn--bcher-kva.example" {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = FindAuthor([]byte("From: a@=?x?= b\r\n"))
	if !errors.Is(err, message.ErrAddressList) && !errors.Is(err, addr.ErrDomain) {
		t.Error(err)
	}
	if a, _ := FindAuthor([]byte("From: \"" + strings.Repeat("a@b.example ", 50) + "\" <x@evil.example>\r\n")); len(a.Shown) != maxShown {
		t.Errorf("%d shown", len(a.Shown))
	}
}

// FuzzAuthor holds that an accepted author has one domain, which is a name.
func FuzzAuthor(f *testing.F) {
	for _, s := range []string{"From: \"a@b.example\" (c@d.example) <x@evil.example>\r\n", "From: g: x@y.example;\r\nTo: z\r\n", "from : =?utf-8?q?a=40b?= <x@y>\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		a, err := FindAuthor(header)
		if err != nil {
			var e *AuthorError
			if !errors.As(err, &e) || authorProblems[e.Problem] == "" {
				t.Errorf("%v", err)
			}
			return
		}
		if d, err := addr.ParseDomain(string(a.Domain)); err != nil || d != a.Domain || len(a.Addresses) == 0 || len(a.Shown) > maxShown {
			t.Errorf("%+v", a)
		}
		if message.Count(header, "From") != 1 {
			t.Errorf("%q", header)
		}
	})
}

package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/addr"
)

func addresses(list []addr.Address) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	tests := []struct{ value, want string }{
		{"a@example.org", "a@example.org"},
		{" a@Example.ORG ", "a@example.org"},
		{"A B <a@example.org>", "a@example.org"},
		{"<a@example.org>", "a@example.org"},
		{`"Doe, John" <a@example.org>, b@example.net`, "a@example.org b@example.net"},
		{"John Q. Public <a@example.org>", "a@example.org"},
		{"J.Doe <a@example.org>", "a@example.org"},
		{"a (comment) @ (another (nested \\) one)) example.org (end)", "a@example.org"},
		{"(c) A (c) <(c) a@example.org (c)> (c)", "a@example.org"},
		{`"a b"@example.org`, `"a b"@example.org`},
		{`"b@evil.example"@example.org`, `"b@evil.example"@example.org`},
		{"Group: a@example.org, B <b@example.org>;, c@example.org", "a@example.org b@example.org c@example.org"},
		{"undisclosed-recipients:;", ""},
		{"a@[192.0.2.1]", "a@[192.0.2.1]"},
		{"=?utf-8?q?J=C3=BCrgen?= <a@example.org>", "a@example.org"},
		{"Jürgen <jürgen@bücher.example>", "jürgen@xn--bcher-kva.example"},
		{"\"me@example.org\" <you@example.org>", "you@example.org"},
	}
	for _, tt := range tests {
		got, err := Addresses(tt.value)
		if err != nil || addresses(got) != tt.want {
			t.Errorf("%q: got %q, %v; want %q", tt.value, addresses(got), err, tt.want)
		}
	}
}

func TestAddressesRefuses(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", ",", "a", "@example.org", "a@", "<>", "a@example.org,", ",a@example.org", "a@b.org,,c@d.org",
		"a@example.org b@example.org", "a@example.org <b@example.org>", "<a@example.org> <b@example.org>",
		"<a@example.org", "a@example.org>", "A <a@example.org> B", "<<a@example.org>>",
		"<@relay.example:a@example.org>", "a@b@example.org", "a . b@example.org", "a@example . org",
		".a@example.org", "a..b@example.org", `"a@example.org`, "(a@example.org", "a@example.org)",
		"a@example.org (unfinished \\", "Group: a@example.org", "Group: Inner: a@example.org;;", "a@example.org;",
		"a\x00@example.org", "a@example.org\x00", "A\x7f <a@example.org>", "\"a\nb\" <a@example.org>",
		"\xff <a@example.org>", "a@[192.0.2.1", "a@[example.org]",
		"=?utf-8?q?a=40example.org?=@example.net", "x=?utf-8?q?a?=@example.net", // an encoded word in an address
		"a@example.org\\,b@example.org", "a@exa_mple.org", "\u202ea@example.org",
		strings.Repeat("(", maxComments+1) + strings.Repeat(")", maxComments+1) + "a@example.org",
		strings.Repeat("a@b.c,", MaxAddresses) + "a@b.c",
	} {
		if got, err := Addresses(value); err == nil {
			t.Errorf("%.60q: accepted as %.60q", value, addresses(got))
		}
	}
}

// The From field decides who a signed-in user appears to be. Whatever a
// reader could show as an author must be among what is returned, or the
// header be refused.
func TestSenders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ header, want string }{
		{"From: me@example.org\nTo: x@example.net\n", "me@example.org"},
		{"Subject: x\nFROM:me@example.org\n\n", "me@example.org"},
		{"From: Me\n <me@example.org>\n", "me@example.org"},
		{"From: me@example.org, boss@bank.example\nSender: me@example.org\n", "me@example.org boss@bank.example"},
		{"From: Us: me@example.org, boss@bank.example;\n", "me@example.org boss@bank.example"},
		{"Resent-From: boss@bank.example\nFrom: me@example.org\n", "me@example.org"},
	} {
		got, err := Senders(crlf(tt.header))
		if diff := cmp.Diff(tt.want, addresses(got)); err != nil || diff != "" {
			t.Errorf("%q: %v %s", tt.header, err, diff)
		}
	}
	for _, header := range []string{
		"",
		"To: me@example.org\n",
		"From:\n",
		"From: undisclosed:;\n",
		"From: me@example.org\nFrom: boss@bank.example\n",
		"From: me@example.org\nfrom : boss@bank.example\n",
		"From: me@example.org\nSubject: x\n\nFrom: boss@bank.example\n",
		" From: boss@bank.example\nFrom: me@example.org\n",
		"From\n : boss@bank.example\nFrom: me@example.org\n",
		"From: me@example.org\nFrom\n",
		"From: me@example.org <boss@bank.example>\n",
		"From: boss@bank.example <me@example.org>\n",
		"From: <me@example.org><boss@bank.example>\n",
		"From: boss@bank.example\x00<me@example.org>\n",
		"From: =?utf-8?b?Ym9zc0BiYW5rLmV4YW1wbGU=?=\n",
		"From: =?utf-8?q?boss=40bank.example?=, me@example.org\n",
		"From: \"boss@bank.example <me@example.org>\n",
		"From: boss@bank.example (<me@example.org>\n",
		"From: <@bank.example,@x.example:me@example.org>\n",
		"From: boss@bank.example\rFrom: me@example.org\n",
	} {
		if got, err := Senders(crlf(header)); err == nil {
			t.Errorf("%q: accepted as %q", header, addresses(got))
		}
	}
}

package test

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The life of passwords, from the command line: what is refused and why, one
// that is made, a list of breached ones that a running server heeds, and what
// an operator sees of them.
func TestPasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := try("anna1234\n", binary, "init", dir, "--hostname", "mx.weak.test", "--domain", "weak.test", "--account", "anna@weak.test", "--password-stdin")
	for _, want := range []string{"it has 8 characters, and 12 are the least", "is easy to guess", "your own names", "words that have nothing to do", "--generate"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("init does not say %q: %v, %s", want, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "gatepost.toml")); err == nil {
		t.Error("init made a server with a weak password")
	}

	const breached = "pelican turbine marzipan"
	s := start(t, "password.test", "")
	ben := "ben@" + s.domain
	set := func(pw, account string) (string, error) {
		return try(pw+"\n", binary, "account", "password", account, "--password-stdin", "--config", s.config)
	}
	refuses := func(pw, account, want string) {
		t.Helper()
		if out, err := set(pw, account); err == nil || !strings.Contains(out, want) || strings.Contains(out, pw) {
			t.Errorf("%q: %v, %q instead of %q, or it shows the password", pw, err, out, want)
		}
	}
	refuses(password, s.address(), "is one of the last 5 that this account had")
	refuses("sunshine1234", s.address(), "is easy to guess")

	made := regexp.MustCompile(`(?m)^    ((?:[0-9a-z]{5}-){3}[0-9a-z]{5})$`).FindStringSubmatch(s.gatepost("account", "add", ben, "--generate"))
	if made == nil {
		t.Fatal("no password was made")
	}
	c := s.dial(t, "465")
	c.say("EHLO client.test", "250")
	c.say("AUTH PLAIN "+plain(ben, made[1]), "235")
	c.say("QUIT", "221")

	list := filepath.Join(dir, "pwned.txt")
	if err := os.WriteFile(list, fmt.Appendf(nil, "%X:12\r\n", sha1.Sum([]byte(breached))), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.gatepost("account", "breached", "load", list); !strings.Contains(out, "Loaded 1 password (SHA-1)") {
		t.Error(out)
	}
	refuses(breached, ben, "it is known")
	var lists []struct {
		List      string
		Passwords int
	}
	s.json(&lists, "account", "breached", "show")
	if len(lists) != 2 || lists[0].Passwords < 49_233 || lists[1].List != "loaded" || lists[1].Passwords != 1 {
		t.Errorf("%+v", lists)
	}
	if err := os.Truncate(filepath.Join(s.dir, "breached.list"), 40); err != nil {
		t.Fatal(err)
	}
	refuses(breached+" 2", ben, "is damaged or cut short; load it again")
	if out, _ := try("", binary, "check", "--config", s.config); !strings.Contains(out, "No password can be set") {
		t.Errorf("check does not tell of a damaged list: %s", out)
	}
	s.gatepost("account", "breached", "remove")
	for _, account := range []string{ben, s.address()} {
		if out, err := set(breached, account); err != nil {
			t.Errorf("%s: %v, %s", account, err, out)
		}
	}

	// Who has the same as another; and nowhere the password itself.
	out = s.gatepost("account", "list", "--json")
	if strings.Count(out, `"reused":true`) != 2 || strings.Count(out, `"weak":false`) != 2 {
		t.Error(out)
	}
	out += s.gatepost("account", "show", ben)
	if !regexp.MustCompile(`(?m)^password +reused$`).MatchString(out) {
		t.Error(out)
	}
	for _, secret := range []string{made[1], breached, password} {
		if strings.Contains(out+s.log.String(), secret) {
			t.Error("the log or a list holds a password")
		}
	}
}

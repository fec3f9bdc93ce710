package test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/dkim"
)

// network sets servers up, each with the DNS that it prints for its domain
// and an address of its own to send from, which alone SPF lets send, and
// starts none. more are other records.
func network(t *testing.T, more string, domains ...string) (list []*server, n *names) {
	t.Helper()
	for _, d := range domains {
		s := install(t, d, "")
		for line := range strings.Lines(run(t, "", binary, "dns", d, "--zone", "--config", s.config)) {
			if !strings.Contains(line, "mta-sts") && !strings.Contains(line, "_tls") { // there is no HTTPS here
				more += line
			}
		}
		more += fmt.Sprintf("$ORIGIN .\n%s. A %s\n", s.host, s.ip)
		list = append(list, s)
	}
	n = newNames(t, more)
	for _, s := range list {
		s.configure(n.config() + fmt.Sprintf("sources = [%q]\n", s.ip))
	}
	return list, n
}

// signs waits until a server has seen its keys in the DNS.
func (s *server) signs() {
	s.t.Helper()
	await(s.t, func() string {
		if strings.Count(s.log.String(), "a signing key is in the DNS") < 2 {
			return "the keys are not seen:\n" + s.log.String()
		}
		return ""
	})
}

// alias makes one.
func (s *server) alias(name string, targets ...string) {
	s.t.Helper()
	s.gatepost(append([]string{"alias", "add", name + "@" + s.domain}, targets...)...)
}

// rsaOwner is owner with a key that everybody can verify with.
func rsaOwner(t *testing.T, domain string) (key dkim.SigningKey, record string) {
	t.Helper()
	path, record := forwarderKey(t, domain)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return dkim.SigningKey{Domain: addr.Domain(domain), Selector: "s", Signer: private.(*rsa.PrivateKey)}, record
}

// results returns what a server found out about a message, by its field.
func results(t *testing.T, content, host string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^Authentication-Results: ` + regexp.QuoteMeta(host) + `;((?:.*\r?\n[ \t])*.*)`).FindStringSubmatch(content)
	if m == nil {
		t.Fatalf("%s says nothing of\n%s", host, content)
	}
	return strings.Join(strings.Fields(m[1]), " ")
}

// returnPath returns where the failures of a message go.
func returnPath(t *testing.T, content string) string {
	t.Helper()
	m := regexp.MustCompile(`^Return-Path: <(.*)>\r\n`).FindStringSubmatch(content)
	if m == nil {
		t.Fatalf("no Return-Path in\n%s", content)
	}
	return m[1]
}

const strict = `author.test. TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.author.test. TXT "v=DMARC1; p=reject"
author.test. MX 10 mx.author.test.
`

// What somebody else's server sends to an alias goes on to another server so
// that this one finds nothing wrong: SPF passes for us, the author's signature
// holds, and our seal tells what we found; by its own verdict and by those of
// dkimpy and Mail::DKIM.
func TestForward(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3", "/usr/bin/perl")
	key, record := rsaOwner(t, "author.test")
	servers, n := network(t, strict+record, "home.test", "remote.test")
	home, remote := servers[0], servers[1]
	home.serve()
	home.signs()
	home.alias("sales", remote.address())
	content := signed(t, key, letter("joe@author.test", "forwarded"))
	home.world(t).mail("<joe@author.test>", []string{"<sales@home.test>"}, content)

	// The other server is down: who gets it is told, and through which alias.
	var waiting []struct {
		ID         string
		From       string
		Recipients []struct{ To, Alias string }
	}
	await(t, func() string {
		home.json(&waiting, "queue", "list")
		if len(waiting) != 1 || !strings.Contains(home.gatepost("queue", "show", waiting[0].ID), "attempt") {
			return fmt.Sprintf("%+v", waiting)
		}
		return ""
	})
	if w := waiting[0]; w.From != "joe@author.test" || len(w.Recipients) != 1 || w.Recipients[0].To != remote.address() || w.Recipients[0].Alias != "sales@home.test" {
		t.Errorf("queued: %+v", w)
	}
	if out := home.gatepost("queue", "show", waiting[0].ID); !strings.Contains(out, remote.address()+" (for sales@home.test)") {
		t.Errorf("%s", out)
	}
	remote.serve()
	home.gatepost("queue", "retry", "all")
	got := remote.arrives(remote.address(), "forwarded")

	from := returnPath(t, got)
	if local, domain, _ := strings.Cut(from, "@"); domain != "home.test" || len(local) > 64 || strings.Contains(local, "joe") || strings.Contains(local, "author") {
		t.Errorf("it comes from %s", from)
	}
	found := results(t, got, "mx.remote.test")
	for _, want := range []string{`spf=pass reason="` + home.ip + ` may send for home.test (mx)" smtp.mailfrom=` + from, "dkim=pass header.d=author.test", "dmarc=pass header.from=author.test", "arc=pass"} {
		if !strings.Contains(found, want) {
			t.Errorf("the other server does not say %s, but %s", want, found)
		}
	}
	if strings.Count(got, "\nDKIM-Signature:") != 1 || !strings.Contains(got, "\nARC-Seal: i=1; a=rsa-sha256; cv=none; d=home.test;") || !strings.Contains(got, "\nDelivered-To: sales@home.test\r\n") {
		t.Errorf("%s", got)
	}
	verified(t, n, record, got)
	out := home.gatepost("proof", waiting[0].ID)
	if !strings.Contains(out, "Forwarded from sales@home.test, for "+remote.address()+" it went to mx.remote.test") {
		t.Errorf("%s", out)
	}
}

// verified has the seal of home.test on a message, and the author's signature,
// verified by others.
func verified(t *testing.T, n *names, record, content string) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	selector := regexp.MustCompile(`ARC-Seal: i=1;[^;]*;[^;]*; d=home.test;\s*s=(\w+);`).FindStringSubmatch(content)
	if selector == nil {
		t.Fatalf("no seal in\n%s", content)
	}
	name := selector[1] + "._domainkey.home.test"
	texts, err := n.client().LookupTXT(t.Context(), name+".")
	if err != nil {
		t.Fatal(err)
	}
	record += name + ". TXT \"" + strings.Join(texts, "") + "\"\n"
	known, message := file("records", zoneText(record)), file("message", content)
	for peer, got := range map[string]string{
		"dkimpy":     run(t, "", "/usr/bin/python3", file("arc.py", byDkimpy), known, message),
		"Mail::DKIM": run(t, "", "/usr/bin/perl", file("arc.pl", byMailDKIM), n.resolver, message),
	} {
		if !strings.HasPrefix(got, "pass ") {
			t.Errorf("by %s: %s\n%s", peer, got, content)
		}
	}
	author := file("author.py", byDkimpy[:strings.Index(byDkimpy, "cv, sets")]+
		"print(dkim.verify(open(sys.argv[2], 'rb').read(), dnsfunc=lookup))\n")
	if got := run(t, "", "/usr/bin/python3", author, known, message); got != "True\n" {
		t.Errorf("the author's signature, by dkimpy: %s", got)
	}
}

// Failures of forwarded mail find their way to the one who sent it: one that
// we are told in the session, and those that come back to us, over a second
// forwarder and around a loop.
func TestBouncesOfForwarded(t *testing.T) {
	t.Parallel()
	servers, _ := network(t, "nomail.test. MX 0 .\n", "author.test", "home.test", "remote.test")
	for _, s := range servers {
		s.serve()
	}
	for _, s := range servers {
		s.signs()
	}
	author, home, remote := servers[0], servers[1], servers[2]
	home.alias("gone", "nobody@remote.test")
	home.alias("later", "later@remote.test")
	remote.alias("later", "x@nomail.test")
	home.alias("loop", "loop@remote.test")
	remote.alias("loop", "loop@home.test")
	for subject, c := range map[string]struct{ status, says string }{
		"gone":  {"5.1.1", "there is no such address"},
		"later": {"5.1.10", "does not take mail"},
		"loop":  {"5.4.6", "has been forwarded from loop@home.test before"},
	} {
		t.Run(subject, func(t *testing.T) {
			t.Parallel()
			author, account := author.in(t), subject+"@author.test"
			author.account(account)
			author.signIn(t, account).mail("<"+account+">", []string{"<" + subject + "@home.test>"}, letter(account, subject))
			r := readReport(t, author.arrives(account, "Your message could not be delivered"))
			if len(r.Status) != 2 || r.Status[1]["Status"] != c.status || !strings.Contains(fmt.Sprint(r.Human, r.Status), c.says) || !strings.Contains(r.Original, "Subject: "+subject) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Whoever has seen a return address can do nothing with it but tell its
// sender, a few times, that something failed.
func TestReturnAddressesAreNoRelay(t *testing.T) {
	t.Parallel()
	servers, _ := network(t, records, "author.test", "home.test", "remote.test")
	for _, s := range servers {
		s.serve()
	}
	author, home, remote := servers[0], servers[1], servers[2]
	home.alias("sales", remote.address())
	run(t, "", binary, "domain", "add", "other.test", "--config", home.config)
	account := author.address()
	send := func(subject string) string {
		author.signIn(t, account).mail("<"+account+">", []string{"<sales@home.test>"}, letter(account, subject))
		return returnPath(t, remote.arrives(remote.address(), subject))
	}
	one, two := send("one"), send("two")
	if one == two {
		t.Error("two messages share a return address")
	}
	local, _, _ := strings.Cut(one, "@")
	forged := []byte(local)
	forged[len(forged)-1] = "01"[map[bool]int{true: 1}[forged[len(forged)-1] == '0']]
	bounce := func(subject string) string { return letter("MAILER-DAEMON@open.test", subject) }
	for name, c := range map[string]struct {
		from string
		to   []string
		want string
	}{
		"with a sender":      {"<x@good.test>", []string{one}, "550 5.7.1 this address takes nothing but reports"},
		"as our own user":    {"<" + home.address() + ">", []string{one}, "550 5.7.1 this address takes nothing but reports"},
		"forged":             {"<>", []string{string(forged) + "@home.test"}, "550 5.1.1"},
		"in another domain":  {"<>", []string{local + "@other.test"}, "550 5.1.1"},
		"in nobody's domain": {"<>", []string{local + "@remote.test"}, "550 5.7.1 relaying denied"},
		"many at once":       {"<>", []string{one, two}, "452 4.5.3"},
		"beside a mailbox":   {"<>", []string{home.address(), one}, "452 4.5.3"},
		"as a relay of old":  {"<>", []string{"\"" + one + "\"@home.test"}, "550 5.7.1"},
	} {
		to := make([]string, len(c.to))
		for i := range c.to {
			to[i] = "<" + c.to[i] + ">"
		}
		if reply, err := home.world(t).transact(c.from, to, bounce("never")); err != nil || !strings.HasPrefix(reply, c.want) {
			t.Errorf("%s: %s, %v; want %s", name, reply, err, c.want)
		}
	}
	// Three come back, whoever sends them and however it is spelled.
	for i, want := range []string{"250", "250", "250", "550 5.7.1 as much has come back"} {
		to := one
		if i%2 == 1 {
			to = strings.ToUpper(one)
		}
		subject := fmt.Sprintf("bounce %d", i)
		reply, err := home.world(t).transact("<>", []string{"<" + to + ">"}, bounce(subject))
		if err != nil || !strings.HasPrefix(reply, want) {
			t.Errorf("message %d: %s, %v; want %s", i, reply, err, want)
		}
		if want == "250" {
			if got := author.arrives(account, subject); returnPath(t, got) != "" {
				t.Errorf("it may be answered:\n%s", got)
			}
		}
	}
	if list := author.inbox(account); len(list) != 3 {
		t.Errorf("%s got %+v", account, list)
	}
}

// What fails DMARC or is junk stays here: its sender hears of it at once where
// the address has nothing but another server behind it; a mailbox behind the
// same alias keeps its copy; and of a recipient beside others postmaster hears.
func TestUnfitIsNotForwarded(t *testing.T) {
	t.Parallel()
	servers, _ := network(t, records, "home.test", "remote.test")
	for _, s := range servers {
		s.serve()
	}
	home, remote := servers[0], servers[1]
	home.alias("away", remote.address())
	home.alias("team", home.address(), remote.address())
	for _, c := range []struct{ subject, from, to, want, folder string }{
		{"wary", "x@wary.test", "away", "550 5.7.1 mail to this address goes on to another server", ""},
		{"calm", "x@calm.test", "away", "550 5.7.26 mail to this address goes on to another server", ""},
		{"strict", "x@reject.test", "away", "550 5.7.26 nothing shows", ""},
		{"wary team", "x@wary.test", "team", "250", "Junk"},
		{"calm team", "x@calm.test", "team", "250", "INBOX"},
		{"good", "x@good.test", "team", "250", "INBOX"},
	} {
		reply, err := home.world(t).transact("<x@good.test>", []string{"<" + c.to + "@home.test>"}, letter(c.from, c.subject))
		if err != nil || !strings.HasPrefix(reply, c.want) {
			t.Errorf("%s: %s, %v; want %s", c.subject, reply, err, c.want)
		}
		if c.folder == "" {
			continue
		}
		if folder, _ := home.folder(c.subject); folder != c.folder {
			t.Errorf("%s: in %s, want %s", c.subject, folder, c.folder)
		}
	}
	// The sender cannot be told of what is for somebody beside others.
	home.world(t).mail("<x@wary.test>", []string{"<" + home.address() + ">", "<away@home.test>"}, letter("x@wary.test", "beside"))
	home.folder("beside")
	remote.folder("good") // Junk: it has no signature that could hold
	home.settles()
	var junk []mail
	remote.json(&junk, "mailbox", "list", remote.address(), "Junk")
	if list := append(remote.inbox(remote.address()), junk...); len(list) != 1 {
		t.Errorf("the other server got %+v", list)
	}
	failed := home.queue("--failed")
	if len(failed) != 1 || len(failed[0].Recipients) != 1 || !strings.Contains(failed[0].Recipients[0].Reason, "not forwarded from away@home.test") {
		t.Errorf("%+v", failed)
	}
	if n := strings.Count(home.log.String(), "msg=\"not forwarded\""); n != 2 {
		t.Errorf("the log tells of %d:\n%s", n, home.log)
	}
}

// What waited before there was a key that the DNS shows, as what was held for
// so long that its key has gone, is signed when it is released.
func TestReleasedIsSigned(t *testing.T) {
	t.Parallel()
	servers, n := network(t, "", "home.test", "remote.test")
	home, remote := servers[0], servers[1]
	home.configure("[dns]\nresolvers = [\"127.0.0.1:1\"]\n") // which knows of no key
	home.serve()
	home.signIn(t, home.address()).mail("<"+home.address()+">", []string{"<" + remote.address() + ">"}, letter(home.address(), "held"))
	list := home.queue()
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	home.gatepost("queue", "hold", list[0].ID)
	home.kill()
	home.configure(n.config() + fmt.Sprintf("sources = [%q]\n", home.ip))
	home.serve()
	home.signs()
	remote.serve()
	home.gatepost("queue", "release", list[0].ID)
	home.gatepost("queue", "retry", "all") // it was deferred before
	got := remote.arrives(remote.address(), "held")
	if found := results(t, got, "mx.remote.test"); strings.Count(found, "dkim=pass header.d=home.test") != 2 || !strings.Contains(found, "dmarc=pass") {
		t.Errorf("%s\n%s", found, got)
	}
}

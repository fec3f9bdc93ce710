package test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// forwarderKey writes an RSA key as openssl does, and returns its record at
// s._domainkey of a domain.
func forwarderKey(t *testing.T, domain string) (path, record string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := base64.StdEncoding.EncodeToString(public)
	return path, fmt.Sprintf("s._domainkey.%s. TXT \"v=DKIM1; k=rsa; p=%s\" \"%s\"\n", domain, p[:200], p[200:])
}

// Chains are verified by dkimpy, which takes the keys from a file, and by
// Mail::DKIM, which asks the DNS of the case.
const (
	byDkimpy = `import sys, dkim
records = {}
for line in open(sys.argv[1]):
    name, _, text = line.rstrip("\n").partition(" ")
    records[name] = text.encode()
def lookup(name, timeout=5):
    return records.get((name.decode() if isinstance(name, bytes) else name).rstrip("."))
cv, sets, reason = dkim.arc_verify(open(sys.argv[2], "rb").read(), dnsfunc=lookup)
print((cv or b"none").decode(), len(sets), reason)
`
	byMailDKIM = `use strict; use Mail::DKIM::ARC::Verifier; use Mail::DKIM::DNS; use Net::DNS::Resolver;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => [$ARGV[0]]));
my $v = Mail::DKIM::ARC::Verifier->new;
open my $m, "<:raw", $ARGV[1] or die; local $/; my $text = <$m>; $v->PRINT($text); $v->CLOSE;
print $v->result, " ", $v->result_detail, "\n";
`
)

// message seal makes chains that others verify, and that message check
// believes where the forwarder is trusted.
func TestMessageSeal(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3", "/usr/bin/perl") // Debian has the modules for its own
	one, first := forwarderKey(t, "good.test")
	two, second := forwarderKey(t, "open.test")
	n := newNames(t, records+first+second)
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	known := file("records", zoneText(first+second))
	message := file("message", "Authentication-Results: mx.good.test; dmarc=pass header.from=reject.test\r\n"+letter("x@reject.test", "sealed"))
	at := time.Now().Add(-time.Minute).Format(time.RFC3339)
	seal := func(message, key, domain, id string) string {
		return run(t, "", binary, "message", "seal", message, "--key", key, "--domain", domain, "--selector", "s",
			"--id", id, "--time", at, "--resolver", n.resolver+":53")
	}
	once := seal(message, one, "good.test", "mx.good.test")
	if again := seal(message, one, "good.test", "mx.good.test"); again != once {
		t.Errorf("the same key, message and time make another seal:\n%s", again)
	}
	twice := seal(file("once", once), two, "open.test", "mx.open.test")
	python, perl := file("verify.py", byDkimpy), file("verify.pl", byMailDKIM)
	for name, c := range map[string]struct {
		content string
		want    string
	}{
		"once": {once, "pass"}, "twice": {twice, "pass"}, "changed": {strings.Replace(twice, "This is", "This was", 1), "fail"},
	} {
		path := file(name, c.content)
		for peer, got := range map[string]string{
			"dkimpy":     run(t, "", "/usr/bin/python3", python, known, path),
			"Mail::DKIM": run(t, "", "/usr/bin/perl", perl, n.resolver, path),
		} {
			if !strings.HasPrefix(got, c.want+" ") {
				t.Errorf("%s, by %s: %s\n%s", name, peer, got, c.content)
			}
		}
		var a struct{ ARC, Verdict string }
		out := run(t, "", binary, "message", "check", path, "--ip", "192.0.2.1", "--from", "x@open.test", "--trust", "good.test", "--trust", "open.test",
			"--resolver", n.resolver+":53", "--json")
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatal(err)
		}
		if believed := a.Verdict == "accept"; a.ARC != c.want || believed != (c.want == "pass") {
			t.Errorf("%s, by us: %s", name, out)
		}
	}
	if out, err := try("", binary, "message", "seal", message, "--key", one); err == nil || !strings.Contains(out, "--selector") {
		t.Errorf("half of the flags: %v, %s", err, out)
	}
	if out, err := try("", binary, "message", "seal", message, "--key", message, "--domain", "good.test", "--selector", "s"); err == nil || !strings.Contains(out, "no private key") {
		t.Errorf("no key: %v, %s", err, out)
	}
}

// zoneText returns TXT records as a name and its text on a line.
func zoneText(zone string) string {
	var b strings.Builder
	for line := range strings.Lines(zone) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " TXT ")
		b.WriteString(strings.TrimSuffix(name, ".") + " " + strings.ReplaceAll(strings.ReplaceAll(text, `" "`, ""), `"`, "") + "\n")
	}
	return b.String()
}

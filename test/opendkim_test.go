package test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openDKIM is an OpenDKIM of a case's own, that Postfix hands its mail to.
type openDKIM struct {
	milter string // where Postfix finds it
	door   string // the address at which Postfix takes what passes it
}

// newOpenDKIM prepares one, and a door of Postfix that it stands behind.
func newOpenDKIM(p *postfix) *openDKIM {
	p.t.Helper()
	need(p.t, "opendkim")
	o := &openDKIM{milter: newIP(), door: newIP()}
	p.master += fmt.Sprintf("%s:25 inet n - n - - smtpd -o smtpd_milters=inet:%s:8891 -o milter_default_action=tempfail\n", o.door, o.milter)
	return o
}

// serve starts it with more lines in its configuration, and a resolver.
func (o *openDKIM) serve(t *testing.T, n *names, settings string) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "opendkim.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `Socket inet:8891@%s
Background no
RequireSafeKeys no
OversignHeaders From
Nameservers %s
%s`, o.milter, n.resolver, settings), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, "opendkim", "-f", "-x", conf)
	await(t, func() string {
		conn, err := net.Dial("tcp", o.milter+":8891")
		if err != nil {
			return fmt.Sprint("OpenDKIM is not up: ", err)
		}
		conn.Close()
		return ""
	})
}

// edwardsKey is forwarderKey for an Ed25519 key at e._domainkey.
func edwardsKey(t *testing.T, domain string) (path, record string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("e._domainkey.%s. TXT \"v=DKIM1; k=ed25519; p=%s\"\n", domain, base64.StdEncoding.EncodeToString(public))
}

// awkward is what canonicalization looks at: folds, white space, dots, empty
// lines, and letters beyond ASCII.
func awkward(from, subject string) string {
	return fmt.Sprintf("From: Joe\r\n\t<%s>\r\nTo:   Anna   \t Karenina\r\n \t<anna@gate.test>\r\nSubject: %s\r\n"+
		"Date: Tue, 24 Nov 2026 08:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"+
		"Zwölf  Boxkämpfer \t jagen Viktor  \r\n\r\n.\r\n..dots\r\n \r\nüber den Deich.\t\r\n\r\n\r\n", from, subject)
}

// What Postfix with OpenDKIM signs, in every canonicalization, we verify, and
// DMARC takes it: the domain has no other proof.
func TestOpenDKIMSigns(t *testing.T) {
	t.Parallel()
	s := install(t, "gate.test", "")
	p := newPostfix(t, "signs.test", newIP())
	rsa, record := forwarderKey(t, "signs.test")
	edwards, other := edwardsKey(t, "signs.test")
	type variant struct {
		name, settings, algorithm string
		filter                    *openDKIM
	}
	var variants []variant
	for _, c := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"} {
		variants = append(variants, variant{c, "Selector s\nKeyFile " + rsa + "\nCanonicalization " + c + "\n", "rsa-sha256", newOpenDKIM(p)})
	}
	variants = append(variants, variant{"ed25519", "Selector e\nKeyFile " + edwards + "\nCanonicalization relaxed/relaxed\nSignatureAlgorithm ed25519-sha256\n", "ed25519-sha256", newOpenDKIM(p)})
	n := newNames(t, fmt.Sprintf("gate.test. MX 10 mx.gate.test.\nmx.gate.test. A %s\nsigns.test. TXT \"v=spf1 -all\"\n_dmarc.signs.test. TXT \"v=DMARC1; p=reject\"\n", s.ip)+record+other)
	s.configure(n.config())
	s.serve()
	p.serve("may", n)
	p.ready()
	for _, v := range variants {
		t.Run(strings.ReplaceAll(v.name, "/", " "), func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			v.filter.serve(t, n, "Mode s\nDomain signs.test\nInternalHosts 127.0.0.0/8\n"+v.settings)
			at := *p
			at.ip = v.filter.door
			at.submit(t, "joe@signs.test", s.address(), awkward("joe@signs.test", v.name))
			folder, got := s.folder(v.name)
			header, _, _ := strings.Cut(strings.Join(strings.Fields(got), " "), "DKIM-Signature:")
			for _, want := range []string{"spf=fail", "dkim=pass header.d=signs.test", "header.a=" + v.algorithm, "dmarc=pass"} {
				if !strings.Contains(header, want) {
					t.Errorf("no %s in:\n%s", want, got)
				}
			}
			if folder != "INBOX" || v.algorithm == "rsa-sha256" && !strings.Contains(got, "c="+v.name+";") {
				t.Errorf("in %s:\n%s", folder, got)
			}
		})
	}
}

// Signatures are verified by dkimpy and Mail::DKIM, which ask the DNS of the
// case. Each prints a line for every signature.
const (
	dkimByDkimpy = `import sys, dkim, dns.resolver
dns.resolver.default_resolver = dns.resolver.Resolver(configure=False)
dns.resolver.default_resolver.nameservers = [sys.argv[1]]
d = dkim.DKIM(open(sys.argv[2], "rb").read())
for i in range(sum(name.lower() == b"dkim-signature" for name, _ in d.headers)):
    try:
        ok = d.verify(idx=i)
    except dkim.ValidationError:
        ok = False
    print(d.signature_fields[b"a"].decode(), "pass" if ok else "fail")
`
	dkimByMailDKIM = `use strict; use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS::Resolver;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => [$ARGV[0]]));
my $v = Mail::DKIM::Verifier->new;
open my $m, "<:raw", $ARGV[1] or die; local $/; my $text = <$m>; $v->PRINT($text); $v->CLOSE;
print $_->algorithm, " ", $_->result, "\n" for $v->signatures;
`
)

// What a user submits leaves with two signatures, of which Postfix with
// OpenDKIM and dkimpy verify both, and Mail::DKIM the one that it knows.
func TestOpenDKIMVerifies(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3", "/usr/bin/perl") // Debian has the modules for its own
	s := install(t, "keys.example", "")          // OpenDKIM's resolver, which is Unbound's, knows that nothing is below test
	p := newPostfix(t, "reads.test", newIP())
	filter := newOpenDKIM(p)
	n := newNames(t, s.gatepost("dns", "keys.example", "--zone")+fmt.Sprintf("$ORIGIN .\nmx.keys.example. A %s\nreads.test. MX 10 mail.reads.test.\nmail.reads.test. A %s\n", s.ip, filter.door))
	filter.serve(t, n, "Mode v\nAlwaysAddARHeader yes\n")
	p.serve("may", n)
	p.ready()
	s.configure(n.config())
	s.serve()
	await(t, func() string {
		if strings.Count(s.log.String(), "a signing key is in the DNS") < 2 {
			return "the keys are not used:\n" + s.log.String()
		}
		return ""
	})
	s.signIn(t, s.address()).mail("<"+s.address()+"> BODY=8BITMIME", []string{"<bob@reads.test>"}, awkward(s.address(), "to OpenDKIM"))
	got := p.arrives(t, "Subject: to OpenDKIM")
	header, _, _ := strings.Cut(strings.Join(strings.Fields(got), " "), "DKIM-Signature:")
	for _, want := range []string{"header.a=rsa-sha256", "header.a=ed25519-sha256"} {
		if !strings.Contains(header, want) || strings.Count(header, "dkim=pass") != 2 {
			t.Errorf("OpenDKIM says nothing good of %s:\n%s\n%s", want, got, p.log)
		}
	}

	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	python, perl := file("verify.py", dkimByDkimpy), file("verify.pl", dkimByMailDKIM)
	whole := strings.ReplaceAll(got, "\n", "\r\n")
	for name, c := range map[string]struct{ content, want string }{
		"as it came": {whole, "pass"}, "changed": {strings.Replace(whole, "Deich", "Teich", 1), "fail"},
	} {
		path := file("message", c.content)
		if got := run(t, "", "/usr/bin/python3", python, n.resolver, path); got != "rsa-sha256 "+c.want+"\ned25519-sha256 "+c.want+"\n" {
			t.Errorf("%s: dkimpy says %s", name, got)
		}
		if got := run(t, "", "/usr/bin/perl", perl, n.resolver, path); !strings.Contains(got, "rsa-sha256 "+c.want+"\n") {
			t.Errorf("%s: Mail::DKIM says %s", name, got)
		}
	}
}

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// postfix is a Postfix of a case's own, from a directory of its own.
type postfix struct {
	t      *testing.T
	ip     string
	domain string // its name; whatever it takes goes to one mailbox
	dir    string
	log    *transcript
	master string // more lines of master.cf
	main   string // and of main.cf
	takes  string // domains that it takes mail for
}

// newPostfix prepares a Postfix for a domain at an address.
func newPostfix(t *testing.T, domain, ip string) *postfix {
	t.Helper()
	need(t, "postfix", "openssl")
	needRoot(t, "Postfix")
	p := &postfix{t: t, ip: ip, domain: domain, dir: t.TempDir(), log: &transcript{}, takes: domain}
	for _, dir := range []string{"queue", "data", "mail"} {
		if err := os.Mkdir(filepath.Join(p.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Its parts run as users of their own, who must get there.
	for dir := p.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "", "chown", "postfix", filepath.Join(p.dir, "data"))
	run(t, "", "chown", "nobody", filepath.Join(p.dir, "mail"))
	return p
}

// file writes one of its files.
func (p *postfix) file(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// services are the parts of Postfix that a case needs: name, type, whether it
// is private, whether it is unprivileged, wake-up, most processes, program.
const services = `pickup unix n - 60 1 pickup
cleanup unix n - - 0 cleanup
qmgr unix n - 300 1 qmgr
tlsmgr unix - - 1000 1 tlsmgr
rewrite unix - - - - trivial-rewrite
bounce unix - - - 0 bounce
defer unix - - - 0 bounce
trace unix - - - 0 bounce
proxymap unix - - - - proxymap
smtp unix - - - - smtp
virtual unix - n - - virtual
error unix - - - - error
retry unix - - - - error
discard unix - - - - discard
anvil unix - - - 1 anvil
scache unix - - - 1 scache
showq unix n - - - showq
flush unix n - 1000 0 flush
verify unix - - - 1 verify
postlog unix-dgram n - - 1 postlogd
`

// serve starts it with TLS as told ("may" or "none"), and a resolver.
func (p *postfix) serve(tls string, n *names) {
	p.t.Helper()
	cert, key := filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem")
	run(p.t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=mail."+p.domain, "-keyout", key, "-out", cert)
	p.file("main.cf", fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = /dev/stdout
myhostname = mail.%[2]s
inet_interfaces = 127.0.0.1
smtp_bind_address = %[3]s
inet_protocols = ipv4
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks reject
virtual_mailbox_domains = %[7]s
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtp_tls_security_level = %[4]s
smtpd_tls_security_level = %[4]s
smtpd_tls_received_header = yes
smtpd_tls_cert_file = %[5]s
smtpd_tls_key_file = %[6]s
%[8]s`, p.dir, p.domain, p.ip, tls, cert, key, p.takes, p.main))
	var master strings.Builder
	for line := range strings.Lines(services + p.ip + ":25 inet n - - - smtpd\n") { // the last, since it needs others
		w := strings.Fields(line)
		fmt.Fprintf(&master, "%s %s %s %s n %s %s %s\n", w[0], w[1], w[2], w[3], w[4], w[5], w[6])
	}
	p.file("master.cf", master.String()+p.master)
	resolv := p.file("resolv.conf", "nameserver "+n.resolver+"\n")
	cmd := exec.Command("unshare", "--mount", "--propagation", "slave", "sh", "-c", `mount --bind "$1" /etc/resolv.conf && exec postfix -c "$2" start-fg`, "sh", resolv, p.dir)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		try("", "postfix", "-c", p.dir, "stop")
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// ready waits until it answers.
func (p *postfix) ready() {
	p.t.Helper()
	await(p.t, func() string {
		c, greeting, err := connect(p.ip, "25")
		if err != nil {
			return fmt.Sprintf("Postfix is not up: %v\n%s", err, p.log)
		}
		defer c.conn.Close()
		if !strings.HasPrefix(greeting, "220 mail."+p.domain) {
			return "it greets with " + greeting
		}
		return ""
	})
}

// arrives waits for a message with a word in it and returns it.
func (p *postfix) arrives(t *testing.T, word string) string {
	t.Helper()
	var found string
	await(t, func() string {
		files, _ := filepath.Glob(filepath.Join(p.dir, "mail/inbox/new/*"))
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), word) {
				found = string(b)
				return ""
			}
		}
		return fmt.Sprintf("nothing with %q among %d messages of Postfix\n%s", word, len(files), p.log)
	})
	return found
}

// submit hands Postfix a message to send on.
func (p *postfix) submit(t *testing.T, from, to, content string) {
	t.Helper()
	c, _, err := connect(p.ip, "25")
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	if reply, err := c.tell("EHLO client.test"); err != nil || !strings.HasPrefix(reply, "250") {
		t.Fatal(reply, err)
	}
	if reply, err := c.transact("<"+from+">", []string{"<" + to + ">"}, content); err != nil || !strings.HasPrefix(reply, "250") {
		t.Fatal(reply, err)
	}
}

// Postfix and Gatepost find one another in the DNS, over a preferred host
// that is dead, and exchange mail in both directions: with TLS where both
// have it, without where one does not.
func TestPostfix(t *testing.T) {
	t.Parallel()
	s := install(t, "gate.test", "")
	able, plain := newPostfix(t, "able.test", newIP()), newPostfix(t, "plain.test", newIP())
	n := newNames(t, fmt.Sprintf(`gate.test. MX 10 mx.gate.test.
mx.gate.test. A %s
able.test. MX 10 dead.test.
able.test. MX 20 mail.able.test.
mail.able.test. A %s
dead.test. A %s
plain.test. MX 10 mail.plain.test.
mail.plain.test. A %s
`, s.ip, able.ip, newIP(), plain.ip))
	s.configure(n.config())
	s.serve()
	able.serve("may", n)
	plain.serve("none", n)
	able.ready()
	plain.ready()

	const text = "Zwölf Boxkämpfer jagen Viktor\r\n.\r\n..hidden dots\r\n\r\nquer über den großen Sylter Deich.\r\n"
	for name, c := range map[string]struct {
		p    *postfix
		with string // in the Received of either
	}{
		"with TLS":    {able, "with ESMTPS "},
		"without TLS": {plain, "with ESMTP "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, them := s.in(t), "bob@"+c.p.domain
			s.signIn(t, s.address()).mail("<"+s.address()+"> BODY=8BITMIME", []string{"<" + them + ">"}, letter(s.address(), "to Postfix")+text)
			got := c.p.arrives(t, "Subject: to Postfix")
			if !strings.HasSuffix(got, strings.ReplaceAll(text, "\r\n", "\n")) {
				t.Errorf("it got:\n%s", got)
			}
			if hop := lastHop(got); !strings.Contains(hop, c.with) || !strings.HasPrefix(hop, "Received: from mx.gate.test ") {
				t.Errorf("it came so:\n%s", hop)
			}

			c.p.submit(t, them, s.address(), letter(them, "from "+them)+text)
			got = s.arrives(s.address(), "from "+them)
			if !strings.HasSuffix(got, text) {
				t.Errorf("we got:\n%s", got)
			}
			if hop := lastHop(got); !strings.Contains(hop, c.with) || !strings.HasPrefix(hop, "Received: from mail."+c.p.domain+" ") {
				t.Errorf("it came so:\n%s", hop)
			}

			// What we refuse in the session Postfix tells its own user.
			c.p.submit(t, them, "nobody@gate.test", letter(them, "to nobody"))
			if bounce := c.p.arrives(t, "Undelivered Mail"); !strings.Contains(bounce, "550 5.1.1") {
				t.Errorf("Postfix says:\n%s", bounce)
			}
		})
	}
}

// lastHop returns the first Received field of a message, on one line.
func lastHop(content string) string {
	var hop string
	for line := range strings.Lines(content) {
		switch {
		case hop == "" && strings.HasPrefix(line, "Received:"):
			hop = line
		case hop != "" && strings.ContainsAny(line[:1], " \t"):
			hop += line
		case hop != "":
			return strings.Join(strings.Fields(hop), " ")
		}
	}
	return hop
}

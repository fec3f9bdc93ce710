package test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newSmarthost opens a server where one signs in, with a certificate for a
// name, or without any.
func newSmarthost(t *testing.T, by *authority, name string) *shielded {
	t.Helper()
	h := &shielded{ip: newIP(), offers: "AUTH PLAIN LOGIN"}
	if name != "" {
		cert, key := by.certify(time.Hour, name)
		h.cert = &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	}
	h.open(t, "587")
	return h
}

// Whoever stands in for a smarthost, and cannot prove its name, is not told
// the password, nor anything of a message.
func TestSmarthostCredential(t *testing.T) {
	t.Parallel()
	const secret = "the smarthost's own secret"
	ca := newAuthority(t)
	s := install(t, "smart.test", "")
	roots, file := filepath.Join(s.dir, "roots.pem"), filepath.Join(s.dir, "password")
	for name, text := range map[string]string{roots: ca.encode(nil, ca.cert), file: secret + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		domain string
		host   *shielded
		waits  string // why; empty: it is sent
	}{
		{"good.test", newSmarthost(t, ca, "smart.test"), ""},
		{"name.test", newSmarthost(t, ca, "other.test"), "the certificate is for another name"},
		{"self.test", newSmarthost(t, &authority{t: t}, "smart.test"), "nobody whom we trust vouches for the certificate"},
		{"stripped.test", newSmarthost(t, ca, ""), "does not offer it"},
	}
	config := fmt.Sprintf("roots = %q\n[remote]\nprivate = [\"127.0.0.0/8\"]\n", roots)
	for _, c := range cases {
		config += fmt.Sprintf("[[route]]\ndomain = %q\nvia = \"%s:587\"\ntls_name = \"smart.test\"\nuser = \"us\"\npassword_file = %q\n", c.domain, c.host.ip, file)
	}
	s.configure(config)
	s.serve()
	k := s.signIn(t, s.address())
	for _, c := range cases {
		k.mail("<"+s.address()+">", []string{"<bob@" + c.domain + ">"}, letter(s.address(), "by a smarthost"))
	}
	for _, c := range cases {
		if c.waits == "" {
			await(t, func() string {
				if heard := c.host.heard.String(); !strings.Contains(heard, "AUTH PLAIN "+plain("us", secret)+"\r\n") || !strings.Contains(heard, "DATA\r\n") {
					return "it was told:\n" + heard
				}
				return ""
			})
			continue
		}
		s.waits("bob@"+c.domain, c.waits)
		heard := c.host.heard.String()
		for _, word := range []string{"AUTH", "MAIL", plain("us", secret), secret} {
			if strings.Contains(heard, word) {
				t.Errorf("%s was told %q:\n%s", c.domain, word, heard)
			}
		}
		if !strings.Contains(heard, "EHLO") {
			t.Errorf("%s was told nothing: %q", c.domain, heard)
		}
	}
}

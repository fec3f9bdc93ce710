package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// acmeSite is a server whose certificates come from a Pebble of its own.
type acmeSite struct {
	*server
	names  *primary
	issued *x509.CertPool // who vouches for them
}

// newACMESite starts one, with certificates that are good for so long, and
// waits for them. between, if it is not nil, puts somebody between it and
// Pebble.
func newACMESite(t *testing.T, domain string, life time.Duration, between func(names *primary, directory string) (d, roots string)) *acmeSite {
	t.Helper()
	s := &acmeSite{server: install(t, domain, ""), names: newPrimary(t)}
	s.names.add(t, fmt.Sprintf(`%[1]s. 60 IN SOA ns.%[1]s. hostmaster.%[1]s. 1 3600 600 86400 60
%[1]s. 60 IN NS ns.%[1]s.
ns.%[1]s. 60 IN A %[3]s
mx.%[1]s. 60 IN A %[2]s
mta-sts.%[1]s. 60 IN A %[2]s
autoconfig.%[1]s. 60 IN A %[2]s
autodiscover.%[1]s. 60 IN A %[3]s`, domain, s.ip, s.names.ip))
	directory, roots, issued := newPebble(t, s.names, "pebble."+domain, life)
	s.issued = issued
	if between != nil {
		directory, roots = between(s.names, directory)
	}
	text := fmt.Sprintf(`hostname = %q
[listen]
mx = ["%[2]s:25"]
submission = ["%[2]s:587"]
submissions = ["%[2]s:465"]
imaps = []
http = ["%[2]s:80"]
https = ["%[2]s:443"]
[tls]
acme = %[3]q
acme_roots = %[4]q
[dns]
resolvers = ["%[5]s:53"]
`, s.host, s.ip, directory, roots, s.names.ip)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve()
	for _, name := range []string{s.host, "mta-sts." + domain, "autoconfig." + domain} {
		await(t, func() string {
			if _, err := shown(s.ip+":465", name, issued); err != nil {
				return name + ": " + err.Error() + "\n" + s.log.String()
			}
			return ""
		})
	}
	return s
}

// session is one session of a client that verifies whom it talks to, from
// connecting to QUIT.
func (s *acmeSite) session(port string) error {
	config := &tls.Config{RootCAs: s.issued, ServerName: s.host}
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", s.ip+":"+port)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	secure := func() error {
		t := tls.Client(conn, config)
		c.conn, c.r = t, bufio.NewReader(t)
		return t.Handshake()
	}
	want := func(code, reply string, err error) error {
		if err == nil && !strings.HasPrefix(reply, code) {
			err = fmt.Errorf("%q instead of %s", reply, code)
		}
		return err
	}
	if port == "465" {
		if err := secure(); err != nil {
			return err
		}
	}
	reply, err := c.reply()
	if err := want("220", reply, err); err != nil {
		return err
	}
	steps := [][2]string{{"EHLO client.test", "250"}, {"STARTTLS", "220"}, {"EHLO client.test", "250"}}
	switch port {
	case "25":
		steps = append(steps, [2]string{"MAIL FROM:<x@client.test>", "250"}, [2]string{"RCPT TO:<" + s.address() + ">", "250"})
	case "465":
		steps = steps[2:]
	case "587":
		steps = append(steps, [2]string{"AUTH PLAIN " + plain(s.address(), password), "235"})
	}
	steps = append(steps, [2]string{"QUIT", "221"})
	for _, step := range steps {
		reply, err := c.tell(step[0])
		if err := want(step[1], reply, err); err != nil {
			return fmt.Errorf("%s: %w", step[0], err)
		}
		if step[0] == "STARTTLS" {
			if err := secure(); err != nil {
				return err
			}
		}
	}
	return nil
}

// load runs sessions at all doors until it is stopped, which returns how many
// there were. None may fail.
func (s *acmeSite) load() (stop func() int64) {
	var work sync.WaitGroup
	var done atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	for _, port := range []string{"25", "465", "587"} {
		work.Go(func() {
			for ctx.Err() == nil {
				if err := s.session(port); err != nil {
					s.t.Errorf("a session at port %s failed: %v", port, err)
					return
				}
				done.Add(1)
			}
		})
	}
	stop = func() int64 {
		cancel()
		work.Wait()
		return done.Load()
	}
	s.t.Cleanup(func() { stop() })
	return stop
}

// Certificates are renewed, and the key is replaced, under load: no session
// fails, and those that run go on.
func TestRenewal(t *testing.T) {
	t.Parallel()
	// So short that each look finds them due.
	s := newACMESite(t, "renewal.example", 40*time.Minute, nil)
	if _, err := shown(s.ip+":465", "autodiscover.renewal.example", s.issued); err == nil {
		t.Error("a certificate for a name that leads elsewhere")
	}
	long := s.signIn(t, s.address())
	stop := s.load()
	now := func() *x509.Certificate {
		c, err := shown(s.ip+":465", s.host, s.issued)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := now()
	key := s.hostKeys()
	for range 3 {
		before := now()
		s.hup()
		await(t, func() string {
			if now().SerialNumber.Cmp(before.SerialNumber) == 0 {
				return "not renewed\n" + s.log.String()
			}
			return ""
		})
		if spki(now()) != spki(first) {
			t.Error("renewed for another key")
		}
	}
	if got := s.hostKeys(); got["in use"] != key["in use"] || got["in use"] != "3 1 1 "+spki(first) {
		t.Errorf("keys: %v, before: %v", got, key)
	}
	s.gatepost("certificate", "roll")
	await(t, func() string {
		if spki(now()) != strings.TrimPrefix(key["next"], "3 1 1 ") {
			return "the key is not replaced\n" + s.log.String()
		}
		return ""
	})
	if n := stop(); n < 30 {
		t.Errorf("only %d sessions", n)
	} else {
		t.Logf("%d sessions", n)
	}
	long.mail("<"+s.address()+">", []string{"<" + s.address() + ">"}, letter(s.address(), "before and after"))
	s.arrives(s.address(), "before and after")

	// All of it is known of a server that does not run, too.
	last := now()
	s.kill()
	var list []struct {
		Names     []string
		From, Key string
	}
	s.json(&list, "certificate", "list")
	if len(list) != 3 || list[2].From != "authority" && list[0].From != "authority" {
		t.Errorf("%+v", list)
	}
	for _, c := range list {
		if c.Names[0] == s.host && c.Key != spki(last) {
			t.Errorf("%+v", c)
		}
	}
	out, _ := try("", binary, "check", "--deep", "--config", s.config)
	for _, want := range []string{
		"The certificate is for " + s.host + " and good until " + last.NotAfter.UTC().Format(time.DateOnly),
		"Every certificate that was issued is whole",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check --deep says not %q but\n%s", want, out)
		}
	}
	if strings.Contains(out, "self-signed") {
		t.Errorf("check --deep looks at another certificate:\n%s", out)
	}
}

package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// hostKey is one of the keys of a server's own certificate.
type hostKey struct {
	State, Record string
	Due           bool
	Seen, Ready   *string
}

// hostKeys returns the values of the TLSA records of a server's keys by state,
// of those in one the first.
func (s *server) hostKeys() map[string]string {
	s.t.Helper()
	var list []hostKey
	s.json(&list, "certificate", "keys")
	keys := map[string]string{}
	for _, k := range list {
		if keys[k.State] == "" {
			keys[k.State] = k.Record
		}
	}
	return keys
}

// hup has the server look at everything again.
func (s *server) hup() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
}

// A server that delivers to none but those whose key the DNS names goes on
// delivering to us while our key changes; and it stops where the DNS names
// another, which we say loudly.
func TestTLSA(t *testing.T) {
	t.Parallel()
	s := install(t, "dane.test", "")
	first := s.hostKeys()
	zone := func(records ...string) string {
		text := fmt.Sprintf("dane.test. MX 10 mx.dane.test.\nmx.dane.test. A %s\n", s.ip)
		for _, r := range records {
			text += "_25._tcp.mx.dane.test. 1 TLSA " + r + "\n"
		}
		return text
	}
	p := newPostfix(t, "strict.test", newIP())
	p.main = "smtp_tls_security_level = dane-only\nsmtp_dns_support_level = dnssec\nsmtp_connection_cache_on_demand = no\nsmtp_tls_loglevel = 1\n"
	n := serveNames(t, zone(first["in use"], first["next"]), &signing{})
	s.configure(n.config())
	s.serve()
	p.serve("may", n)
	p.ready()

	sent := 0
	send := func() {
		sent++
		p.submit(t, "bob@strict.test", s.address(), letter("bob@strict.test", fmt.Sprintf("with dane %d", sent)))
	}
	send()
	s.arrives(s.address(), "with dane 1")
	if log := p.log.String(); !strings.Contains(log, "Verified TLS connection established to mx.dane.test") {
		t.Fatalf("Postfix did not look at our key:\n%s", log)
	}

	// The key changes while mail comes in, since the DNS has shown the next.
	s.gatepost("certificate", "roll")
	await(t, func() string {
		send()
		if now := s.hostKeys(); now["in use"] != first["next"] {
			return fmt.Sprintf("the key did not change: %v\n%s", now, s.log)
		}
		return ""
	})
	for range 3 {
		send()
	}
	second := s.hostKeys()
	if second["next"] == first["next"] || second["retired"] != first["in use"] {
		t.Errorf("after the change: %v, before: %v", second, first)
	}
	check := func() (string, error) { return try("", binary, "dns", "dane.test", "--check", "--config", s.config) }
	tlsa := func(out string) string {
		var lines strings.Builder
		for line := range strings.Lines(out) {
			if strings.Contains(line, "TLSA") || strings.Contains(line, "_25._tcp") {
				lines.WriteString(line)
			}
		}
		return lines.String()
	}
	if out, _ := check(); !strings.Contains(out, "does not use any more") || !strings.Contains(out, "Publish: _25._tcp.mx.dane.test. 3600 IN TLSA "+second["next"]) {
		t.Errorf("check after the change says\n%s", tlsa(out))
	}
	// The zone as it is printed, but for its TTLs.
	printed, names := "", 0
	for line := range strings.Lines(s.gatepost("dns", "dane.test")) {
		if strings.Contains(line, "._tcp.mx.dane.test. 3600 IN ") && !strings.HasPrefix(line, ";") {
			printed += strings.Replace(line, " 3600 ", " 1 ", 1)
			names++
		}
	}
	if names != 4 || !strings.Contains(printed, "_465._tcp.mx.dane.test. 1 IN CNAME _25._tcp.mx.dane.test.") {
		t.Errorf("for two keys and two more doors it prints\n%s", printed)
	}
	n.change(zone() + printed)
	await(t, func() string {
		if out, _ := check(); strings.Contains(out, "does not use any more") || strings.Contains(out, "a record is missing") || strings.Contains(out, "MATCH NO KEY") {
			return "check with the new records says\n" + tlsa(out)
		}
		return ""
	})
	send()
	for i := range sent {
		s.arrives(s.address(), fmt.Sprintf("with dane %d", i+1))
	}
	if log := p.log.String(); strings.Contains(log, "status=deferred") {
		t.Errorf("mail was put off:\n%s", log)
	}

	// What nobody would notice but by lost mail.
	n.change(zone("3 1 1 " + strings.Repeat("ab", 32)))
	await(t, func() string {
		if out, err := check(); err == nil || !strings.Contains(out, "MATCH NO KEY") || !strings.Contains(out, "Publish at once: _25._tcp.mx.dane.test. 3600 IN TLSA "+second["in use"]) {
			return "check says\n" + tlsa(out)
		}
		return ""
	})
	s.hup()
	await(t, func() string {
		if !strings.Contains(s.log.String(), "match no key in use") {
			return "nobody is told:\n" + s.log.String()
		}
		return ""
	})
	send()
	await(t, func() string {
		if !strings.Contains(p.log.String(), "status=deferred") {
			return "Postfix delivers to whoever answers:\n" + p.log.String()
		}
		return ""
	})
}

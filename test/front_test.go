package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What stands in front tells whose connections it passes on: HAProxy by the
// PROXY protocol, to doors with and without TLS, and a mail proxy by XCLIENT.
// Whoever is not listed is not believed.
func TestFront(t *testing.T) {
	t.Parallel()
	need(t, "haproxy", "swaks")
	proxy, mail := newIP(), newIP()
	s := start(t, "front.test", fmt.Sprintf("[front]\nproxies = [\"%s/32\"]\nxclient = [\"%s/32\"]\n", proxy, mail))
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
	for port, version := range map[string]string{"25": "send-proxy", "465": "send-proxy-v2"} {
		text += fmt.Sprintf("listen p%s\n  bind %s:%s\n  source %s\n  server s %s:%s %s\n", port, proxy, port, proxy, s.ip, port, version)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ha := exec.Command("haproxy", "-db", "-f", file)
	said := &transcript{}
	ha.Stdout, ha.Stderr = said, said
	if err := ha.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ha.Process.Kill(); ha.Wait() })
	await(t, func() string {
		c, err := net.Dial("tcp", proxy+":25")
		if err != nil {
			return err.Error() + said.String()
		}
		c.Close()
		return ""
	})
	client := newIP()
	send := func(subject, server, from string, more ...string) {
		t.Helper()
		run(t, "", "swaks", append([]string{"--server", server, "--local-interface", from, "--helo", "client.test",
			"--from", s.address(), "--to", s.address(), "--header", "Subject: " + subject}, more...)...)
	}
	in := []string{"--port", "465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", s.address(), "--auth-password", password}
	send("through TLS", proxy, client, in...)
	s.arrives(s.address(), "through TLS") // which does not show where users are
	await(t, func() string {
		if got := s.gatepost("activity", s.address()); !strings.Contains(got, client) {
			return got
		}
		return ""
	})
	world := []string{"--from", "a@elsewhere.test"}
	for subject, c := range map[string]struct{ server, from, seen string }{
		"passed on":   {proxy, client, client},
		"by a header": {s.ip, proxy, "192.0.2.77"},
		"by XCLIENT":  {s.ip, mail, "192.0.2.78"},
	} {
		more := world
		switch subject {
		case "by a header":
			more = append(more, "--proxy-version", "1", "--proxy-family", "TCP4", "--proxy-source", c.seen, "--proxy-source-port", "4711", "--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25")
		case "by XCLIENT":
			more = append(more, "--xclient-addr", c.seen, "--xclient-helo", "far.test")
		}
		send(subject, c.server, c.from, more...)
		if got := s.arrives(s.address(), subject); !strings.Contains(got, "["+c.seen+"]") {
			t.Errorf("%s: it did not come from %s:\n%s", subject, c.seen, got)
		}
	}
	for name, more := range map[string][]string{
		"a header":  {"--proxy-version", "1", "--proxy-family", "TCP4", "--proxy-source", "192.0.2.79", "--proxy-source-port", "4711", "--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25"},
		"XCLIENT":   {"--xclient-addr", "192.0.2.79", "--xclient-no-verify"},
		"no header": {"--local-interface", proxy},
	} {
		args := append([]string{"--server", s.ip, "--local-interface", client, "--timeout", "5", "--from", "a@elsewhere.test", "--to", s.address()}, more...)
		if out, err := try("", "swaks", args...); err == nil {
			t.Errorf("%s from %s was taken:\n%s", name, client, out)
		}
	}
}

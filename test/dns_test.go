package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// names is a DNS of a case's own: NSD serves the zone, and unbound resolves
// in front of it.
type names struct {
	resolver string // address of unbound; its port is 53
}

// newNames starts a DNS that knows the records, written as in a zone file,
// and nothing else.
func newNames(t *testing.T, records string) *names {
	t.Helper()
	need(t, "nsd", "unbound")
	dir, server, n := t.TempDir(), newIP(), &names{newIP()}
	file := func(name, format string, args ...any) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	zone := file("zone", `$TTL 60
. SOA ns.test. hostmaster.test. 1 3600 600 86400 60
. NS ns.test.
ns.test. A %s
ready.test. TXT "yes"
%s
`, server, records)
	background(t, "nsd", "-d", "-c", file("nsd.conf", `server:
  ip-address: %s
  username: ""
  zonesdir: %q
  database: ""
  pidfile: ""
  xfrdfile: ""
  zonelistfile: %q
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: %q
`, server, dir, filepath.Join(dir, "zone.list"), zone))
	background(t, "unbound", "-d", "-c", file("unbound.conf", `server:
  interface: %s
  username: ""
  chroot: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  local-zone: "test." nodefault
stub-zone:
  name: "."
  stub-addr: %s
`, n.resolver, dir, server))
	await(t, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if list, err := n.client().LookupTXT(ctx, "ready.test."); err != nil || len(list) != 1 {
			return fmt.Sprintf("the DNS is not up: %v, %v", list, err)
		}
		return ""
	})
	return n
}

// client returns a resolver that asks n.
func (n *names) client() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, n.resolver+":53")
	}}
}

// config returns the lines that make a server ask n, and let it connect to
// the hosts here.
func (n *names) config() string {
	return fmt.Sprintf("[dns]\nresolvers = [\"%s:53\"]\n[remote]\nprivate = [\"127.0.0.0/8\"]\n", n.resolver)
}

// background starts a program that serves a case until it ends. What it
// prints is shown if the case fails.
func background(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	out := &transcript{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s %s:\n%s", name, strings.Join(args, " "), out)
		}
	})
	return cmd
}

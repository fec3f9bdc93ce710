package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// names is a DNS of a case's own: NSD serves the zone, and unbound resolves
// in front of it.
type names struct {
	resolver string // address of unbound; its port is 53

	t       *testing.T
	dir     string
	server  string // address of NSD
	nsd     *exec.Cmd
	serial  int
	signing *signing
	key     string // of the zone, if it is signed
}

// newNames starts a DNS that knows the records, written as in a zone file,
// and nothing else.
func newNames(t *testing.T, records string) *names {
	t.Helper()
	return serveNames(t, records, nil)
}

// signing makes the zone signed and unbound validate.
type signing struct {
	spoil    func(zone string) string // what is done to the zone once it is signed
	unsigned map[string]string        // zones below it that are not signed, with their records
	reasons  bool                     // unbound says why it fails (RFC 8914)
}

func serveNames(t *testing.T, records string, sign *signing) *names {
	t.Helper()
	need(t, "nsd", "unbound")
	dir, server := t.TempDir(), newIP()
	n := &names{resolver: newIP(), t: t, dir: dir, server: server, signing: sign}
	file := func(name, format string, args ...any) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	zone := filepath.Join(dir, "zone")
	n.write(records)
	module, anchor, below := "iterator", "", ""
	if sign != nil {
		module = "validator iterator"
		anchor = "  trust-anchor-file: " + filepath.Join(dir, n.key+".ds") + "\n"
		if sign.reasons {
			anchor += "  ede: yes\n"
		}
		zone += ".signed"
		for name, text := range sign.unsigned {
			below += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", name, file(name, "$TTL 60\n$ORIGIN %[1]s.\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ NS ns.test.\n%[2]s", name, text))
		}
	}
	n.nsd = background(t, "nsd", "-d", "-c", file("nsd.conf", `server:
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
%s`, server, dir, filepath.Join(dir, "zone.list"), zone, below))
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
  module-config: %q
%s  local-zone: "test." nodefault
stub-zone:
  name: "."
  stub-addr: %s
`, n.resolver, dir, module, anchor, server))
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

// write writes the zone, and signs it where it is to be.
func (n *names) write(records string) {
	n.t.Helper()
	n.serial++
	text := fmt.Sprintf(`$TTL 60
. SOA ns.test. hostmaster.test. %d 3600 600 86400 60
. NS ns.test.
ns.test. A %s
ready.test. TXT "yes"
%s
`, n.serial, n.server, records)
	if err := os.WriteFile(filepath.Join(n.dir, "zone"), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
	if n.signing == nil {
		return
	}
	need(n.t, "ldns-keygen", "ldns-signzone")
	if n.key == "" {
		n.key = strings.TrimSpace(run(n.t, "", "sh", "-c", `cd "$1" && ldns-keygen -a ECDSAP256SHA256 -k .`, "sh", n.dir))
	}
	run(n.t, "", "sh", "-c", `cd "$1" && ldns-signzone zone "$2"`, "sh", n.dir, n.key)
	if n.signing.spoil == nil {
		return
	}
	signed := filepath.Join(n.dir, "zone.signed")
	b, err := os.ReadFile(signed)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(signed, []byte(n.signing.spoil(string(b))), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// change puts other records in the place of those that are served.
func (n *names) change(records string) {
	n.t.Helper()
	n.write(records)
	if err := n.nsd.Process.Signal(syscall.SIGHUP); err != nil {
		n.t.Fatal(err)
	}
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

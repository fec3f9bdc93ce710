package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A server reads nothing but what it was started with, also when somebody who
// can write its configuration asks for more.
func TestLandlock(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]string{"on": "", "off": "[system]\nlandlock = false\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, "confined.test", setting)
			roots := filepath.Join(t.TempDir(), "roots.pem")
			if err := os.WriteFile(roots, []byte(newAuthority(t).encode(nil, newAuthority(t).cert)), 0o644); err != nil {
				t.Fatal(err)
			}
			s.configure("roots = " + strconv.Quote(roots) + "\n" + setting)
			s.cmd.Process.Signal(syscall.SIGHUP)
			refused, taken := "permission denied", "configuration and certificates were read again"
			if name == "on" && strings.Contains(s.log.String(), "has no Landlock") {
				t.Fatal("this kernel has no Landlock")
			}
			await(t, func() string {
				if log := s.log.String(); !strings.Contains(log, taken) {
					return "not read again:\n" + log
				}
				return ""
			})
			if got := strings.Contains(s.log.String(), refused); got != (name == "on") {
				t.Errorf("refused: %v\n%s", got, s.log)
			}
			s.signIn(t, s.address()).mail("<"+s.address()+">", []string{"<" + s.address() + ">"}, letter(s.address(), "within"))
			s.arrives(s.address(), "within")
		})
	}
}

// image is what a Dockerfile makes of its last stage.
type image struct {
	root    string
	user    string
	command []string
}

// build carries out the last stage of the Dockerfile by hand: it needs no
// registry, and what is copied into it is what the first stage makes.
func build(t *testing.T) *image {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	m := &image{root: t.TempDir()}
	made := map[string]string{"/src/gatepost": binary, "/empty": t.TempDir()}
	_, last, _ := strings.Cut(string(text), "\nFROM scratch\n")
	for line := range strings.Lines(last) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := strings.Fields(rest)
		switch verb {
		case "COPY":
			from, to := words[len(words)-2], filepath.Join(m.root, words[len(words)-1])
			if own, ok := made[from]; ok {
				from = own
			}
			run(t, "", "mkdir", "-p", filepath.Dir(to))
			run(t, "", "cp", "-rL", from, to)
			if owner, ok := strings.CutPrefix(words[1], "--chown="); ok {
				run(t, "", "chown", "-R", owner, to)
			}
		case "USER":
			m.user = rest
		case "ENTRYPOINT", "CMD":
			var list []string
			if err := json.Unmarshal([]byte(rest), &list); err != nil {
				t.Fatal(err)
			}
			m.command = append(m.command, list...)
		}
	}
	if m.user == "" || len(m.command) != 4 {
		t.Fatalf("%+v", m)
	}
	// What Docker mounts.
	for _, dir := range []string{"dev", "proc", "etc", "tmp"} {
		run(t, "", "mkdir", "-p", filepath.Join(m.root, dir))
	}
	run(t, "", "cp", "/etc/resolv.conf", filepath.Join(m.root, "etc"))
	return m
}

// The container's file system has nothing in it but Gatepost, which sets
// itself up and carries mail there as an ordinary user.
func TestContainer(t *testing.T) {
	t.Parallel()
	needRoot(t, "chroot")
	m := build(t)
	inside := []string{"chroot", "--userspec=" + m.user, m.root}
	s := &server{t: t, dir: filepath.Join(m.root, "data"), ip: newIP(), domain: "boxed.test", host: "mx.boxed.test", log: &transcript{}}
	s.config = filepath.Join(s.dir, "gatepost.toml")
	run(t, password+"\n", inside[0], append(inside[1:], "/gatepost", "init", "/data", "--hostname", s.host,
		"--domain", s.domain, "--account", s.address(), "--password-stdin")...)
	s.configure("")
	run(t, "", "chown", m.user, s.config)
	c := exec.Command(inside[0], append(inside[1:], m.command...)...)
	c.Stdout, c.Stderr = s.log, s.log
	// Docker lets containers open low ports.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(c)
	s.signIn(t, s.address()).mail("<"+s.address()+">", []string{"<" + s.address() + ">"}, letter(s.address(), "in a box"))
	s.arrives(s.address(), "in a box")
	s.stop()
}

// The unit is what systemd takes, leaves little that an attacker could do, and
// has a socket for each door that systemd is to open.
func TestUnit(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	s := install(t, "unit.test", "")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	sockets := strings.Replace(string(text), `mx = ["`+s.ip+`:25"]`, `mx = ["systemd:mx"]`, 1)
	for name, c := range map[string]struct {
		config string
		files  int
		worst  float64
	}{
		"ports":   {string(text), 1, 2.0},
		"sockets": {strings.NewReplacer(s.ip+":587", "systemd:submission", s.ip+":465", "systemd:submissions").Replace(sockets), 4, 1.6},
	} {
		if err := os.WriteFile(s.config, []byte(c.config), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		files := strings.Fields(s.gatepost("unit", "--out", dir, "--user", "nobody", "--binary", binary))
		if len(files) != c.files {
			t.Errorf("%s: %q", name, files)
		}
		run(t, "", "systemd-analyze", append([]string{"verify", "--man=no"}, files...)...)
		out, _ := try("", "systemd-analyze", "security", "--offline=yes", "--no-pager", filepath.Join(dir, "gatepost.service"))
		_, rest, _ := strings.Cut(out, "Overall exposure level for gatepost.service: ")
		exposure, err := strconv.ParseFloat(strings.Fields(rest + " ?")[0], 64)
		if err != nil || exposure > c.worst {
			t.Errorf("%s: exposure %v, %v\n%s", name, exposure, err, out)
		}
	}
	if out, err := try("", binary, "unit", "--config", s.config, "--user", "a; reboot"); err == nil {
		t.Errorf("taken for a user: %s", out)
	}
}

// A systemd of its own runs the unit, opens a port for it, and the server
// carries mail within all that the unit takes from it.
func TestUnitRuns(t *testing.T) {
	t.Parallel()
	needRoot(t, "systemd")
	need(t, "systemd-nspawn")
	const owner = "games" // whom every Debian has
	s := install(t, "booted.test", "")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	activated := strings.Replace(string(text), s.ip+":465", "systemd:submissions", 1)
	if err := os.WriteFile(s.config, []byte(activated), 0o600); err != nil {
		t.Fatal(err)
	}
	// Inside, everything is where the package has it.
	units := t.TempDir()
	run(t, "", "mkdir", "-p", "/var/lib/gatepost")
	run(t, "", "mount", "--bind", s.dir, "/var/lib/gatepost")
	t.Cleanup(func() { run(t, "", "umount", "/var/lib/gatepost") })
	run(t, "", binary, "unit", "--config", "/var/lib/gatepost/gatepost.toml", "--binary", "/opt/gatepost", "--user", owner, "--out", units)
	socket := filepath.Join(units, "gatepost-submissions.socket")
	run(t, "", "sed", "-i", "s/ListenStream=465/ListenStream="+s.ip+":465/", socket)
	run(t, "", "chown", "-R", owner, s.dir)
	s.run(exec.Command("systemd-nspawn", "--directory=/", "--volatile=yes", "--register=no", "--keep-unit", "--console=pipe", "--machine=booted",
		"--bind-ro="+binary+":/opt/gatepost", "--bind=/var/lib/gatepost", "--bind-ro="+units+":/etc/systemd/system",
		"--boot", "systemd.unit=gatepost.service", "systemd.firstboot=off", "systemd.log_target=console"))
	s.signIn(t, s.address()).mail("<"+s.address()+">", []string{"<" + s.address() + ">"}, letter(s.address(), "under systemd"))
	s.arrives(s.address(), "under systemd")
	status := run(t, "", "sh", "-c", "cat /proc/$(pgrep -u "+owner+" -f 'opt/gatepost serve')/status")
	for _, want := range []string{"CapEff:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("%s is not in\n%s", want, status)
		}
	}
}

// The package unpacks to a program that runs, with its pages and its unit.
func TestPackage(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb", "fakeroot")
	work := t.TempDir()
	for from, to := range map[string]string{binary: "gatepost", "../README.md": "README.md", "../CHANGELOG.md": "CHANGELOG.md", "../LICENSE": "LICENSE"} {
		run(t, "", "cp", from, filepath.Join(work, to))
	}
	script, err := filepath.Abs("../tools/deb.sh")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(script, "v1.2.3")
	c.Dir = work
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	packages, err := filepath.Glob(filepath.Join(work, "bin", "gatepost_1.2.3_*.deb"))
	if err != nil || len(packages) != 1 {
		t.Fatal(packages, err)
	}
	root := filepath.Join(work, "root")
	run(t, "", "dpkg-deb", "-R", packages[0], root)
	for _, name := range []string{"usr/share/man/man1/gatepost-queue-list.1.gz", "usr/share/bash-completion/completions/gatepost", "DEBIAN/postinst"} {
		if fi, err := os.Stat(filepath.Join(root, name)); err != nil || fi.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	unit, err := os.ReadFile(filepath.Join(root, "lib/systemd/system/gatepost.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/usr/bin/gatepost serve --config /var/lib/gatepost/gatepost.toml\n") {
		t.Errorf("%v\n%s", err, unit)
	}
	run(t, "", filepath.Join(root, "usr/bin/gatepost"), "version")
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		run(t, "", "sh", "-n", filepath.Join(root, "DEBIAN", script))
	}
	out := run(t, "", "bash", "-c", `. "$1" && __gatepost_debug() { :; } && declare -F __start_gatepost`, "sh", filepath.Join(root, "usr/share/bash-completion/completions/gatepost"))
	if !strings.Contains(out, "__start_gatepost") {
		t.Error(out)
	}
}

// Mail goes from machine to machine, and comes from a client, where there is
// nothing but IPv6; it leaves from the address that it is to leave from.
func TestIPv6(t *testing.T) {
	t.Parallel()
	needRoot(t, "addresses of IPv6")
	const from, to, source = "fd00:6::1", "fd00:6::2", "fd00:6::3"
	for _, ip := range []string{from, to, source} {
		run(t, "", "ip", "-6", "addr", "add", ip+"/128", "dev", "lo", "nodad")
	}
	install := func(domain, ip, more string) *server {
		s := install(t, domain, "")
		s.ip = "[" + ip + "]"
		s.configure(more)
		s.serve()
		return s
	}
	there := install("there6.test", to, "")
	here := install("here6.test", from, `[remote]
private = ["fd00:6::/64"]
sources = ["`+source+`"]
[[route]]
domain = "there6.test"
via = "[`+to+`]:25"
tls = "require"
`)
	message := letter(here.address(), "over six")
	run(t, message, "curl", "-sS", "--insecure", "smtps://["+from+"]:465", "--user", here.address()+":"+password,
		"--mail-from", here.address(), "--mail-rcpt", there.address(), "--upload-file", "-")
	got := there.arrives(there.address(), "over six")
	if !strings.Contains(got, "[IPv6:"+source+"]") {
		t.Errorf("it did not come from %s:\n%s", source, got)
	}
	here.settles()
}

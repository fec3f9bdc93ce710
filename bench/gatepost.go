package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// gatepost is the server under test.
type gatepost struct {
	place
	needs needs
}

func newGatepost(b *bench, n needs) server { return &gatepost{place: place{b: b}, needs: n} }

func (g *gatepost) name() string { return "gatepost" }

// at leaves port 25 of every address to the rest of the world.
func (g *gatepost) at(port int) string {
	if port == 25 {
		port = 2525
	}
	return fmt.Sprintf("127.0.0.2:%d", port)
}

func (g *gatepost) config() string { return filepath.Join(g.dir, "gatepost.toml") }

// settings lifts what would stop one client from sending as thousands do;
// all else is as it comes.
const settings = `
[listen]
mx = ["127.0.0.2:2525"]
submission = ["127.0.0.2:587"]
submissions = ["127.0.0.2:465"]
imaps = []
https = []
http = []
metrics = ["127.0.0.2:9100"]
[tls]
self_signed = true
[relay]
networks = ["127.0.0.0/8"]
[remote]
private = ["127.0.0.0/8", "` + nowhere + `"]
[limits]
message_size = "200MiB"
sending_per_day = 0
`

// Where mail goes that is not for local.test.
const (
	toHop = `
[[route]]
domain = "*"
via = "` + hop + `"
tls = "opportunistic"
`
	toWorld = `
[dns]
resolvers = ["127.0.0.10:53"]
`
)

func (g *gatepost) start() error {
	if err := g.make("gatepost"); err != nil {
		return err
	}
	if err := g.install(); err != nil {
		return err
	}
	if !g.needs.signed {
		return g.serve()
	}
	return g.sign()
}

// sign publishes the server's keys, and serves once it signs with them.
func (g *gatepost) sign() error {
	l, err := g.b.letters()
	if err != nil {
		return err
	}
	if err := g.prepare("alias", "add", signedTo, "r@remote.test", "--config", g.config()); err != nil {
		return err
	}
	zone, err := exec.Command(g.b.gatepost, "dns", "local.test", "--zone", "--config", g.config()).Output()
	if err != nil {
		return err
	}
	if g.names, err = openNames(l.zone, string(zone)); err != nil {
		return err
	}
	if err := g.serve(); err != nil {
		return err
	}
	return await("its keys", func() bool {
		log, err := os.ReadFile(filepath.Join(g.dir, "log"))
		return err == nil && strings.Count(string(log), "a signing key is in the DNS") == 2
	})
}

// install sets the server up, from a copy of one that has the accounts
// already: each takes a password hash.
func (g *gatepost) install() error {
	template := filepath.Join(filepath.Dir(g.b.gatepost), fmt.Sprintf("template-%d", g.needs.accounts))
	if _, err := os.Stat(template); err != nil {
		if err := g.furnish(template); err != nil {
			os.RemoveAll(template)
			return err
		}
	}
	if err := command("cp", "-a", template+"/.", g.dir); err != nil {
		return err
	}
	where := toHop
	if g.needs.world {
		where = toWorld
	}
	text := settings
	if g.needs.guarded {
		if _, err := g.b.guardedCert(); err != nil {
			return err
		}
		where = toGuarded
		text = strings.Replace(settings, "[tls]\n", fmt.Sprintf("[tls]\nroots = %q\n", g.b.guardedRoots()), 1)
	}
	if g.needs.signed {
		where = toHop + toWorld
		text = strings.Replace(settings, `["127.0.0.0/8"]`, `["`+relayFrom+`/32"]`, 1) // [relay]
	}
	return os.WriteFile(g.config(), []byte("hostname = \"mx.bench.test\"\n"+text+where), 0o600)
}

func (g *gatepost) furnish(dir string) error {
	if err := g.prepare("init", dir, "--hostname", "mx.bench.test", "--domain", "local.test", "--account", "admin@local.test", "--password-stdin"); err != nil {
		return err
	}
	for n := range g.needs.accounts {
		if err := g.prepare("account", "add", account(n), "--password-stdin", "--config", filepath.Join(dir, "gatepost.toml")); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatepost) prepare(args ...string) error {
	cmd := exec.Command(g.b.gatepost, args...)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gatepost %s: %w\n%s", args[0], err, out)
	}
	return nil
}

func (g *gatepost) serve() error {
	log, err := os.Create(filepath.Join(g.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	g.cmd = exec.Command(g.b.gatepost, "serve", "--config", g.config())
	g.cmd.Stdout, g.cmd.Stderr = log, log
	if err := g.cmd.Start(); err != nil {
		return err
	}
	return await("gatepost", func() bool { return answers(g.at(25)) })
}

func (g *gatepost) stop() error {
	defer g.remove()
	g.names.close()
	return end(g.cmd, syscall.SIGTERM)
}

func (g *gatepost) delivered() (int, error) {
	return g.metric(`gatepost_deliveries_total{result="delivered"}`)
}

// metric reads one of the server's own figures.
func (g *gatepost) metric(name string) (int, error) {
	r, err := http.Get("http://" + g.at(9100) + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			return int(f), err
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

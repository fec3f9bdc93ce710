package config

import (
	"maps"
	"testing"
)

// Values move and everything else stays, however the file is written.
func TestRelocate(t *testing.T) {
	t.Parallel()
	const text = `# data = "no"
hostname = "mx.example.org" # data
data     = '/var/lib/gatepost'   # where all is

[listen]
mx = [":25"]

[tls]
certificate = """/etc/ssl/a.pem"""
"key" = "/etc/ssl/\u00e4.key"
[[route]]
domain = "a.example"
via = "smtp.example.net"
user = "u"
password_file = "secret/one" # data = "x"
[[route]]
domain = "b.example"
via = "smtp.example.net"
`
	const inline = `hostname = "mx.example.org"
tls = { certificate = "a", key = 'b' }
route = [ { domain = "a.example", via = "x.example", user = "u", password_file = "two" } ]
`
	moves := map[string]string{
		"data": ".", "tls.certificate": "files/a", "tls.key": "files/b", "route.0.password_file": "files/c", "tls.roots": "files/none",
	}
	for name, c := range map[string]struct{ text, want string }{
		"tables": {text, `# data = "no"
hostname = "mx.example.org" # data
data     = "."   # where all is

[listen]
mx = [":25"]

[tls]
certificate = "files/a"
"key" = "files/b"
[[route]]
domain = "a.example"
via = "smtp.example.net"
user = "u"
password_file = "files/c" # data = "x"
[[route]]
domain = "b.example"
via = "smtp.example.net"
`},
		"inline": {inline, `hostname = "mx.example.org"
tls = { certificate = "files/a", key = "files/b" }
route = [ { domain = "a.example", via = "x.example", user = "u", password_file = "files/c" } ]
`},
	} {
		got, err := Relocate([]byte(c.text), moves)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
		cfg, err := Parse("/new/gatepost.toml", got)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := map[string]string{
			"tls.certificate": "/new/files/a", "tls.key": "/new/files/b", "route.0.password_file": "/new/files/c",
		}
		if files := cfg.Files(); !maps.Equal(files, want) || cfg.DataDir() != "/new" {
			t.Errorf("%s: %v, %s", name, files, cfg.DataDir())
		}
	}
	if _, err := Relocate([]byte("data = "), nil); err == nil {
		t.Error("what is no TOML was taken")
	}
}

// Whatever file can be read can be relocated, and then be read.
func FuzzRelocate(f *testing.F) {
	f.Add("hostname = \"mx.example.org\"\ndata = \"x\"\n[tls]\nself_signed = true\n")
	f.Add("hostname = 'mx.example.org'\ntls = { certificate = \"a\", key = 'b' }\nroute = [ { domain = \"a.example\", via = \"x\" } ]")
	f.Add("hostnAme='a.example'\ntls={CertifiCate=\"0\", key = \"files/x\" }#0")
	f.Add("\"hostname\" = \"\"\"\nmx.example.org\"\"\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		before, err := Parse("/old/gatepost.toml", []byte(text))
		if err != nil {
			return
		}
		moves := map[string]string{"data": "."}
		for setting := range before.Files() {
			moves[setting] = "files/x"
		}
		moved, err := Relocate([]byte(text), moves)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		after, err := Parse("/new/gatepost.toml", moved)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, moved, err)
		}
		if after.DataDir() != "/new" || len(after.Files()) != len(before.Files()) || after.Hostname != before.Hostname {
			t.Errorf("%q became %q", text, moved)
		}
		for setting, path := range after.Files() {
			if path != "/new/files/x" {
				t.Errorf("%s is %s in %q", setting, path, moved)
			}
		}
	})
}

package config

import (
	"strings"
	"testing"
	"time"
)

const minimal = "hostname = \"mx.example.org\"\n"

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	c, err := Parse("/etc/gatepost/gatepost.toml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.DataDir(); got != "/etc/gatepost" {
		t.Errorf("DataDir = %q", got)
	}
	if got := c.Path("a/key.pem"); got != "/etc/gatepost/a/key.pem" {
		t.Errorf("Path = %q", got)
	}
	if c.Limits.MessageSize != 50<<20 {
		t.Errorf("message_size = %v", c.Limits.MessageSize)
	}
}

// The file in the design is a contract: each of its keys is accepted.
func TestEveryKey(t *testing.T) {
	t.Parallel()
	c, err := Parse("gatepost.toml", []byte(`
hostname = "MX.example.org"
data     = "data"

[listen]
mx          = [":25", "[::1]:2525"]
submission  = []
submissions = [":465"]
imaps       = [":993"]
imap        = []
https       = [":443"]
http        = [":80"]
metrics     = ["127.0.0.1:9100"]

[tls]
acme = "https://acme.example/directory"
acme_roots = "ca.pem"
email = "postmaster@example.org"
roots = "extra.pem"

[dns]
resolvers = ["127.0.0.1:53", "::1"]
trust_ad  = ["192.0.2.53:53"]
update    = { server = "192.0.2.53", key = "gatepost", algorithm = "hmac-sha512", key_file = "dns.key" }

[relay]
networks = ["10.0.0.0/8", "fd00::/8"]

[remote]
private  = ["127.0.0.0/8"]
sources  = ["192.0.2.1"]
ipv6     = false

[limits]
message_size = "1MiB"
queue_lifetime = "2d"
recipients = 150

[[route]]
domain = "remote.example"
via    = "198.51.100.7:25"
tls    = "verify"
tls_name = "mail.example"

[[route]]
domain = "*"
via = "smtp.example:587"
user = "me"
password_file = "password"
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "mx.example.org" || len(c.Listen.Submission) != 0 || c.DNS.Resolvers[1] != "[::1]:53" {
		t.Errorf("read as %+v", c)
	}
	if c.Route[1].TLS != TLSVerify || c.Route[0].TLS != TLSVerify {
		t.Errorf("routes: %+v", c.Route)
	}
	if c.Limits.MessageSize != 1<<20 || time.Duration(c.Limits.QueueLifetime) != 48*time.Hour || c.Limits.Recipients != 150 {
		t.Errorf("limits: %+v", c.Limits)
	}
	if c.Limits.HeaderSize != DefaultLimits().HeaderSize {
		t.Error("a limit that is not named lost its default")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"no hostname", "data = \".\"\n", "f.toml: hostname: it is missing"},
		{"unknown key", minimal + "hostnam = 1\n", "f.toml:2: there is no setting hostnam"},
		{"unknown key in a table", minimal + "[listen]\nmx = []\nsmtp = []\n", "f.toml:4: there is no setting listen.smtp"},
		{"unknown table", minimal + "[lissen]\nmx = []\n", "f.toml:2: there is no setting lissen"},
		{"wrong type", minimal + "[listen]\nmx = \":25\"\n", "f.toml:3: listen.mx"},
		{"not TOML", minimal + "[listen\n", "f.toml:2:"},
		{"bad size", minimal + "[limits]\nmessage_size = \"fifty\"\n", "f.toml:3:"},
		{"negative size", minimal + "[limits]\nmessage_size = \"-1\"\n", "f.toml:3:"},
		{"overflowing size", minimal + "[limits]\nmessage_size = \"9999999999GiB\"\n", "f.toml:3:"},
		{"small limit", minimal + "[limits]\nrecipients = 10\n", "f.toml:3: limits.recipients: it must be at least 100"},
		{"bad span", minimal + "[limits]\nqueue_lifetime = \"5 days\"\n", "f.toml:3:"},
		{"bad address", minimal + "[listen]\nmx = [\"25\"]\n", "f.toml:3: listen.mx: \"25\" is not an address"},
		{"same address twice", minimal + "[listen]\nmx = [\":25\"]\nsubmission = [\":25\"]\n", "f.toml:4: listen.submission: :25 is already used by listen.mx"},
		{"certificate without key", minimal + "[tls]\n\ncertificate = \"c.pem\"\n", "f.toml:4: tls.certificate: it needs key"},
		{"two sources of certificates", minimal + "[tls]\nacme = \"https://a/\"\nself_signed = true\n", "f.toml:4: tls.self_signed: it contradicts acme"},
		{"bad network", minimal + "[relay]\nnetworks = [\"10.0.0.0\"]\n", "f.toml:3:"},
		{"open relay", minimal + "[relay]\nnetworks = [\"10.0.0.0/8\", \"::/0\"]\n", "f.toml:3: relay.networks: ::/0 is everybody"},
		{"route without via", minimal + "[[route]]\ndomain = \"a.example\"\nvia = \"h\"\n[[route]]\ndomain = \"b.example\"\n", "f.toml:5: route.1.via: it is missing"},
		{"route twice", minimal + "[[route]]\ndomain = \"a.example\"\nvia = \"h\"\n[[route]]\ndomain = \"A.example\"\nvia = \"h\"\n", "f.toml:6: route.1.domain: there is already"},
		{"password in the clear", minimal + "[[route]]\ndomain = \"*\"\nvia = \"h\"\nuser = \"u\"\npassword_file = \"p\"\ntls = \"require\"\n", "f.toml:7: route.0.tls: a password is only sent over verified TLS"},
		{"a forwarder that is an address", minimal + "[trusted]\nforwarders = [\"list@a.example\"]\n", "f.toml:3: trusted.forwarders: \"list@a.example\" is not a domain"},
		{"sender twice", minimal + "[[sender]]\ndomain = \"a.example\"\nfailure = \"junk\"\n[[sender]]\ndomain = \"A.example\"\nfailure = \"junk\"\n", "f.toml:6: sender.1.domain: a.example has a choice already"},
		{"everybody twice", minimal + "[[sender]]\ndomain = \"*\"\nfailure = \"junk\"\n[[sender]]\ndomain = \"*\"\nfailure = \"reject\"\n", "f.toml:6: sender.1.domain: * has a choice already"},
		{"sender without domain", minimal + "[[sender]]\nfailure = \"junk\"\n", "f.toml:2: sender.0.domain: \"\" is not a domain"},
		{"sender with another wish", minimal + "[[sender]]\ndomain = \"a.example\"\nfailure = \"drop\"\n", "f.toml:4: sender.0.failure: \"drop\" is none of"},
		{"bad default", minimal + "[remote]\ntls = \"none\"\n", "f.toml:3: remote.tls: \"none\" is not one of opportunistic, require, verify"},
		{"bad tls", minimal + "[[route]]\ndomain = \"*\"\nvia = \"h\"\ntls = \"yes\"\n", "f.toml:5: route.0.tls"},
		{"bad resolver", minimal + "[dns]\nresolvers = [\"localhost\"]\n", "f.toml:3: dns.resolvers"},
		{"update without server", minimal + "[dns]\nupdate = { key = \"k\" }\n", "f.toml:3: dns.update: it needs server"},
		{"update by name", minimal + "[dns.update]\nserver = \"ns.example.org\"\n", "f.toml:3: dns.update.server: \"ns.example.org\" is not a name server"},
		{"update without key", minimal + "[dns.update]\nserver = \"192.0.2.1\"\n", "f.toml:2: dns.update: it needs key,"},
		{"update without key file", minimal + "[dns.update]\nserver = \"192.0.2.1\"\nkey = \"k\"\n", "f.toml:2: dns.update: it needs key_file"},
		{"update with a broken hash", minimal + "[dns.update]\nserver = \"192.0.2.1\"\nkey = \"k\"\nkey_file = \"f\"\nalgorithm = \"hmac-md5\"\n", "f.toml:6: dns.update.algorithm: \"hmac-md5\" is not one of"},
		{"passwords of seven characters", minimal + "[password]\nmin_length = 7\n", "f.toml:3: password.min_length: it must be from 8 to 64"},
		{"passwords that nobody types", minimal + "[password]\nmin_length = 65\n", "f.toml:3: password.min_length: it must be from 8 to 64"},
		{"strength beyond the scale", minimal + "[password]\nstrength = 5\n", "f.toml:3: password.strength: it must be from 0 to 4"},
		{"a long history", minimal + "[password]\nhistory = 11\n", "f.toml:3: password.history: it must be from 0 to 10"},
		{"unknown class", minimal + "[password]\nrequire = [\"digits\"]\n", "f.toml:3: password.require: \"digits\" is not one of lower, upper, digit, symbol"},
		{"class twice", minimal + "[password]\nrequire = [\"digit\", \"digit\"]\n", "f.toml:3: password.require: \"digit\" is there twice"},
		{"a role that is none", minimal + "[factor]\nrequired = [\"root\"]\n", `f.toml:3: factor.required: "root" is not one of admin, user`},
		{"a role twice", minimal + "[factor]\nrequired = [\"user\", \"user\"]\n", `f.toml:3: factor.required: "user" is there twice`},
		{"passwords of an hour", minimal + "[password]\nmax_age = \"1h\"\n", "f.toml:3: password.max_age: it must be at least 1d"},
		{"tokens without a door", minimal + "[listen]\nhttps = []\n[oauth]\nenabled = true\n", "f.toml:5: oauth.enabled: it needs listen.https"},
		{"hostname is an address", "hostname = \"[192.0.2.1]\"\n", "f.toml:1: hostname: it must be a name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("f.toml", []byte(tt.text))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s…", err, tt.want)
			}
		})
	}
}

func TestValuesReadBack(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"50MiB", "64KiB", "2GiB", "1TiB", "100B", "0"} {
		var v Size
		if err := v.UnmarshalText([]byte(s)); err != nil || v.String() != s {
			t.Errorf("size %s reads back as %s (%v)", s, v, err)
		}
	}
	for _, s := range []string{"30s", "5m", "4h", "5d", "1h30m", "90ms", "0s"} {
		var v Span
		if err := v.UnmarshalText([]byte(s)); err != nil || v.String() != s {
			t.Errorf("span %s reads back as %s (%v)", s, v, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(minimal + "[[route]]\ndomain = \"*\"\nvia = \"[::1]:25\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f.toml", text)
		if (c == nil) == (err == nil) {
			t.Error("neither a configuration nor an error, or both")
		}
	})
}

package test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// device is a device password or certificate as commands show it.
type device struct {
	ID       int64      `json:"id"`
	Name     string     `json:"name"`
	Scope    string     `json:"scope"`
	Used     *time.Time `json:"used"`
	Expires  *time.Time `json:"expires"`
	Expired  bool       `json:"expired"`
	Networks []string   `json:"networks"`
	Password string     `json:"password"`
}

// addDevice makes a device password.
func (s *server) addDevice(name string, more ...string) (d device) {
	s.t.Helper()
	s.json(&d, append([]string{"account", "device", "add", s.address(), name}, more...)...)
	if !regexp.MustCompile(`^([0-9a-z]{4}-){6}[0-9a-z]{4}$`).MatchString(d.Password) {
		s.t.Fatalf("%+v", d)
	}
	return d
}

// with opens a session that is signed in, over TLS with a configuration.
func (s *server) with(t *testing.T, c *tls.Config, auth, want string) *client {
	t.Helper()
	k := s.dial(t, "587")
	k.say("EHLO client.test", "250")
	k.say("STARTTLS", "220")
	secured := tls.Client(k.conn, c)
	k.conn = secured
	k.r.Reset(secured)
	k.say("EHLO client.test", "250")
	k.say("AUTH "+auth, want)
	return k
}

// ended says that the server must end a session within a second after the
// command was answered that ended it, with a goodbye.
func (c *client) ended(since time.Time) {
	c.t.Helper()
	c.expect("421 4.7.0")
	c.closed()
	if took := time.Since(since); took > time.Second {
		c.t.Errorf("the session went on for %s", took)
	}
}

// The life of device passwords: made and shown once, used by programs, refused
// where they are not for, taken away while sessions stand.
func TestDevicePasswords(t *testing.T) {
	t.Parallel()
	s := start(t, "device.test", "")
	if out := s.gatepost("account", "device", "add", s.address(), "tablet", "--qr", "--expires", "90d"); !strings.Contains(out, "shown only now") || strings.Count(out, "\n\x1b[38;5;16;48;5;231m") < 10 {
		t.Errorf("no QR code:\n%s", out)
	}
	phone := s.addDevice("phone")
	t.Run("swaks", func(t *testing.T) {
		need(t, "swaks")
		s := s.in(t)
		run(t, "", "swaks", "--server", s.ip, "--port", "465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", s.address(),
			"--auth-password", phone.Password, "--from", s.address(), "--to", s.address(), "--header", "Subject: swaks", "--body", "x")
		s.arrives(s.address(), "swaks")
	})
	t.Run("msmtp", func(t *testing.T) {
		need(t, "msmtp")
		s := s.in(t)
		s.msmtp(t, "auth scram-sha-256\nuser "+s.address()+"\npassword "+phone.Password, "msmtp")
	})

	refused := func(what, pw, detail string) {
		t.Helper()
		s.with(t, careless, "PLAIN "+plain(s.address(), pw), "535 5.7.8 authentication credentials invalid")
		await(t, func() string {
			if out := s.gatepost("activity", s.address(), "--failed"); !strings.Contains(out, detail) {
				return fmt.Sprintf("%s: %q is not in\n%s", what, detail, out)
			}
			return ""
		})
	}
	refused("to read", s.addDevice("reader", "--scope", "read").Password, `the device "reader" is not for this`)
	away := s.addDevice("desk", "--scope", "send", "--network", "192.0.2.0/24", "--network", "2001:db8::/32")
	refused("elsewhere", away.Password, `the device "desk" is not for use from there`)
	home := s.addDevice("home", "--network", "127.0.0.0/8")
	s.with(t, careless, "PLAIN "+plain(s.address(), home.Password), "235")

	var list []device
	s.json(&list, "account", "device", "list", s.address())
	if len(list) != 5 || list[0].Expires == nil || list[1].Used == nil || list[1].Password != "" || list[2].Scope != "read" || list[2].Used != nil || strings.Join(list[3].Networks, " ") != "192.0.2.0/24 2001:db8::/32" {
		t.Errorf("%+v", list)
	}

	// Taken away: an idle session, one in a message, and nobody else's.
	auth := "PLAIN " + plain(s.address(), phone.Password)
	idle, writing := s.with(t, careless, auth, "235"), s.with(t, careless, auth, "235")
	other := s.signIn(t, s.address())
	for _, line := range []string{"MAIL FROM:<" + s.address() + ">", "RCPT TO:<" + s.address() + ">"} {
		writing.say(line, "250")
	}
	writing.say("DATA", "354")
	writing.send(letter(s.address(), "half a message"))
	s.gatepost("account", "device", "remove", s.address(), "phone")
	since := time.Now()
	idle.ended(since)
	writing.ended(since)
	other.say("NOOP", "250")
	s.with(t, careless, auth, "535")

	// A new password, and freezing.
	if out, err := try("another pelican turbine 7\n", binary, "account", "password", s.address(), "--password-stdin", "--config", s.config); err != nil {
		t.Fatal(out)
	}
	other.ended(time.Now())
	still := s.with(t, careless, "PLAIN "+plain(s.address(), home.Password), "235")
	s.gatepost("account", "freeze", s.address())
	still.ended(time.Now())
	for _, m := range s.inbox(s.address()) {
		if m.Subject == "half a message" {
			t.Error("it was taken")
		}
	}
	for _, secret := range []string{phone.Password, away.Password, home.Password} {
		if strings.Contains(s.log.String()+s.gatepost("activity", "--json"), secret) {
			t.Error("the log or the activity holds a password")
		}
	}
}

// msmtp sends with what the configuration says of signing in.
func (s *server) msmtp(t *testing.T, auth, subject string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "msmtprc")
	text := fmt.Sprintf("account default\nhost %s\nport 465\ntls on\ntls_starttls off\ntls_certcheck off\nfrom %s\n%s\n", s.ip, s.address(), auth)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "Subject: "+subject+"\nFrom: "+s.address()+"\n\nx\n", "msmtp", "--debug", "-C", file, s.address())
	s.arrives(s.address(), subject)
}

// Certificates: issued, used by programs, in resumed sessions, revoked.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	s := start(t, "extern.test", "")
	if k := s.with(t, careless, "EXTERNAL =", "534 5.7.9"); strings.Contains(k.say("EHLO x", "250"), "EXTERNAL") {
		t.Error("offered to who shows nothing")
	}
	dir := t.TempDir()
	issue := func(args ...string) string {
		t.Helper()
		return s.gatepost(append([]string{"account", "certificate", "issue", s.address()}, args...)...)
	}
	pemFile := filepath.Join(dir, "laptop.pem")
	issue("laptop", "--pem", pemFile, "--scope", "send")
	laptop, err := tls.LoadX509KeyPair(pemFile, pemFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(pemFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if out, err := try("", binary, "account", "certificate", "issue", s.address(), "x", "--pem", pemFile, "--config", s.config); err == nil || !strings.Contains(out, "exists") {
		t.Errorf("a key was written over: %s", out)
	}

	t.Run("openssl reads the file for phones, and makes a request", func(t *testing.T) {
		need(t, "openssl")
		s := s.in(t)
		p12 := filepath.Join(dir, "phone.p12")
		made := regexp.MustCompile(`(?m)^    ([A-Z2-7]{26})$`).FindStringSubmatch(issue("phone", "--out", p12))
		if made == nil {
			t.Fatal("no password is shown")
		}
		out := run(t, made[1], "openssl", "pkcs12", "-in", p12, "-nodes", "-passin", "stdin")
		if strings.Count(out, "BEGIN CERTIFICATE") != 2 || !strings.Contains(out, "PRIVATE KEY") {
			t.Error(out)
		}
		own := filepath.Join(dir, "own.p12")
		if out, err := try("a password of mine\n", binary, "account", "certificate", "issue", s.address(), "own", "--out", own, "--password-stdin", "--config", s.config); err != nil || strings.Contains(out, "a password of mine") {
			t.Errorf("%v: %s", err, out)
		}
		run(t, "a password of mine", "openssl", "pkcs12", "-in", own, "-nodes", "-passin", "stdin")

		key, csr, crt := filepath.Join(dir, "own.key"), filepath.Join(dir, "own.csr"), filepath.Join(dir, "own.crt")
		run(t, "", "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=root", "-keyout", key, "-out", csr)
		issue("server", "--csr", csr, "--pem", crt)
		pair, err := tls.LoadX509KeyPair(crt, key)
		if err != nil || pair.Leaf.Subject.CommonName != s.address() {
			t.Fatalf("%v, %v", pair.Leaf, err)
		}
		s.with(t, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}, "EXTERNAL =", "235")
	})
	certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	split(t, pemFile, certificate, key)
	t.Run("gsasl", func(t *testing.T) {
		need(t, "gsasl")
		out := run(t, "", "gsasl", "--verbose", "--connect", s.ip+":587", "--smtp", "--starttls", "--x509-ca-file=", "--mechanism", "EXTERNAL",
			"--x509-cert-file", certificate, "--x509-key-file", key, "--authorization-id", s.address())
		if !strings.Contains(out, "Client authentication finished") {
			t.Error(out)
		}
	})
	t.Run("msmtp", func(t *testing.T) {
		need(t, "msmtp")
		s.in(t).msmtp(t, "auth external\nuser "+s.address()+"\ntls_cert_file "+certificate+"\ntls_key_file "+key, "msmtp")
	})
	t.Run("swaks", func(t *testing.T) { // it knows no EXTERNAL, and minds no question
		need(t, "swaks")
		s := s.in(t)
		run(t, "", "swaks", "--server", s.ip, "--port", "465", "--tls-on-connect", "--tls-cert", certificate, "--tls-key", key, "--auth", "PLAIN",
			"--auth-user", s.address(), "--auth-password", password, "--from", s.address(), "--to", s.address(), "--header", "Subject: swaks", "--body", "x")
		s.arrives(s.address(), "swaks")
	})
	// Programs without a certificate do not mind that they are asked for one.
	for program, send := range map[string]func(*testing.T, *server, string, string){"swaks": swaks, "curl": curl, "msmtp": msmtp, "python3": smtplib} {
		t.Run(program+" without one", func(t *testing.T) {
			need(t, program)
			s := s.in(t)
			send(t, s, "465", program+" 465")
			send(t, s, "587", program+" 587")
			s.arrives(s.address(), program+" 465")
			s.arrives(s.address(), program+" 587")
		})
	}

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		name := fmt.Sprintf("device %x", version)
		file := filepath.Join(dir, name+".pem")
		issue(name, "--pem", file)
		pair, err := tls.LoadX509KeyPair(file, file)
		if err != nil {
			t.Fatal(err)
		}
		c := &tls.Config{InsecureSkipVerify: true, ServerName: s.host, Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		first := s.with(t, c, "EXTERNAL =", "235")
		second := s.with(t, c, "EXTERNAL", "334")
		second.say("", "235")
		if !second.conn.(*tls.Conn).ConnectionState().DidResume {
			t.Errorf("%x: not resumed", version)
		}
		s.gatepost("account", "certificate", "revoke", s.address(), name)
		since := time.Now()
		first.ended(since)
		second.ended(since)
		third := s.with(t, c, "EXTERNAL =", "535 5.7.8")
		if !third.conn.(*tls.Conn).ConnectionState().DidResume {
			t.Errorf("%x: not resumed after it was revoked", version)
		}
	}
	s.with(t, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{laptop}}, "EXTERNAL =", "235")

	// The other servers' door asks for none.
	k := s.world(t)
	k.say("STARTTLS", "220")
	asked := false
	secured := tls.Client(k.conn, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return &laptop, nil
	}})
	if err := secured.Handshake(); err != nil || asked {
		t.Errorf("asked: %v, %v", asked, err)
	}
	out := s.gatepost("activity", s.address())
	for _, want := range []string{`The device "laptop" of ` + s.address() + ` got a certificate`, "with its certificate laptop (EXTERNAL)", "the certificate was revoked"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// split takes certificate and key of one file apart.
func split(t *testing.T, from, certificate, key string) {
	t.Helper()
	rest, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		to := key
		if b.Type == "CERTIFICATE" {
			to = certificate
			if _, err := x509.ParseCertificate(b.Bytes); err != nil {
				t.Error(err)
			}
		}
		files[to] += string(pem.EncodeToMemory(b))
	}
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

package test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each client signs in and submits over both doors, as its own manual says,
// and the way to sign in that it was told.
func TestClients(t *testing.T) {
	t.Parallel()
	s := start(t, "clients.test", "")
	for _, c := range []struct {
		program string
		send    func(t *testing.T, s *server, port, subject string)
	}{
		{"swaks", swaks}, {"curl", curl}, {"msmtp", msmtp}, {"python3", smtplib},
	} {
		for _, port := range []string{"465", "587"} {
			t.Run(c.program+" on "+port, func(t *testing.T) {
				t.Parallel()
				need(t, c.program)
				s := s.in(t)
				subject := c.program + " " + port
				c.send(t, s, port, subject)
				got := s.arrives(s.address(), subject)
				for _, want := range []string{"Message-ID: <", "Date: ", "hello from " + c.program} {
					if !strings.Contains(strings.ToLower(got), strings.ToLower(want)) {
						t.Errorf("%q is not in\n%s", want, got)
					}
				}
				if strings.Contains(got, "bcc@") || strings.Contains(got, "127.0.0.1") {
					t.Errorf("it tells more than it should:\n%s", got)
				}
			})
		}
	}
}

func swaks(t *testing.T, s *server, port, subject string) {
	tls := "--tls"
	if port == "465" {
		tls = "--tls-on-connect"
	}
	run(t, "", "swaks", "--server", s.ip, "--port", port, tls, "--auth", "LOGIN",
		"--auth-user", s.address(), "--auth-password", password, "--from", s.address(), "--to", s.address(),
		"--header", "Subject: "+subject, "--header", "Bcc: bcc@clients.test", "--body", "hello from swaks")
}

func curl(t *testing.T, s *server, port, subject string) {
	url := "smtp://" + s.ip + ":587"
	if port == "465" {
		url = "smtps://" + s.ip + ":465"
	}
	run(t, "Subject: "+subject+"\r\nFrom: "+s.address()+"\r\nBcc: bcc@clients.test\r\n\r\nhello from curl\r\n",
		"curl", "--silent", "--show-error", "--ssl-reqd", "--insecure", "--url", url, "--user", s.address()+":"+password,
		"--mail-from", s.address(), "--mail-rcpt", s.address(), "--upload-file", "-")
}

func msmtp(t *testing.T, s *server, port, subject string) {
	starttls := "on"
	if port == "465" {
		starttls = "off"
	}
	file := filepath.Join(t.TempDir(), "msmtprc")
	text := fmt.Sprintf(`account default
host %s
port %s
tls on
tls_starttls %s
tls_certcheck off
auth scram-sha-256
user %s
password %q
from %s
`, s.ip, port, starttls, s.address(), password, s.address())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, "Subject: "+subject+"\nFrom: "+s.address()+"\nBcc: bcc@clients.test\n\nhello from msmtp\n",
		"msmtp", "--debug", "-C", file, s.address())
	if !regexp.MustCompile(`(?m)^--> AUTH SCRAM-SHA-256\r?$`).MatchString(out) {
		t.Errorf("it signed in some other way:\n%s", out)
	}
}

func smtplib(t *testing.T, s *server, port, subject string) {
	run(t, "", "python3", "-c", `
import smtplib, ssl, sys
ip, port, user, password, subject = sys.argv[1:]
context = ssl._create_unverified_context()
if port == "465":
    c = smtplib.SMTP_SSL(ip, 465, context=context)
else:
    c = smtplib.SMTP(ip, 587)
    c.starttls(context=context)
c.login(user, password)
c.sendmail(user, [user], f"Subject: {subject}\r\nFrom: {user}\r\nBcc: bcc@clients.test\r\n\r\nhello from python3\r\n")
c.quit()
`, s.ip, port, s.address(), password, subject)
}

// gsasl binds its sign-in to the connection. It knows STARTTLS only, and
// sends nothing.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	s := start(t, "binding.test", "")
	t.Run("gsasl on 587", func(t *testing.T) {
		t.Parallel()
		need(t, "gsasl")
		out := run(t, "", "gsasl", "--verbose", "--connect", s.ip+":587", "--smtp", "--starttls", "--x509-ca-file=",
			"--mechanism", "SCRAM-SHA-256-PLUS", "--authentication-id", s.address(), "--password", password)
		if !regexp.MustCompile(`(?m)^AUTH SCRAM-SHA-256-PLUS`).MatchString(out) || !strings.Contains(out, "\n235 ") {
			t.Errorf("not signed in so:\n%s", out)
		}
		await(t, func() string {
			if strings.Contains(s.log.String(), "mechanism=SCRAM-SHA-256-PLUS") {
				return ""
			}
			return "the server logs another way:\n" + s.log.String()
		})
	})
	t.Run("libgsasl on 465", func(t *testing.T) {
		t.Parallel()
		needLibgsasl(t)
		c := s.dial(t, "465")
		if got := bindingSignIn(t, c, s.address(), binding(t, c)); !strings.HasPrefix(got, "235 ") {
			t.Errorf("not signed in: %s", got)
		}
	})
	// Somebody in the middle speaks TLS with both sides; the binding of one
	// connection is worth nothing on the other.
	t.Run("somebody in the middle", func(t *testing.T) {
		t.Parallel()
		needLibgsasl(t)
		c := s.dial(t, "465")
		if got := bindingSignIn(t, c, s.address(), binding(t, s.dial(t, "465"))); !strings.HasPrefix(got, "535 ") {
			t.Errorf("signed in with another connection's binding: %s", got)
		}
	})
}

// binding returns what is bound to: RFC 9266.
func binding(t *testing.T, c *client) string {
	t.Helper()
	state := c.conn.(*tls.Conn).ConnectionState()
	b, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// libgsasl is the library beneath gsasl, since that knows no TLS from the
// first octet. It is told the account, the password and the binding, and
// gets challenges and gives responses, a line each.
const libgsasl = `
import ctypes, sys
lib = ctypes.CDLL("libgsasl.so.18")
context, session, out = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_char_p()
assert lib.gsasl_init(ctypes.byref(context)) == 0
assert lib.gsasl_client_start(context, b"SCRAM-SHA-256-PLUS", ctypes.byref(session)) == 0
AUTHID, PASSWORD, CB_TLS_EXPORTER = 1, 3, 25
for p in AUTHID, PASSWORD, CB_TLS_EXPORTER:
    lib.gsasl_property_set(session, p, sys.stdin.readline().rstrip("\n").encode())
OK, NEEDS_MORE = 0, 1
for challenge in sys.stdin:
    status = lib.gsasl_step64(session, challenge.rstrip("\n").encode(), ctypes.byref(out))
    assert status in (OK, NEEDS_MORE), status
    print(out.value.decode(), flush=True)
`

func needLibgsasl(t *testing.T) {
	t.Helper()
	need(t, "python3")
	if out, err := try("", "python3", "-c", `import ctypes; ctypes.CDLL("libgsasl.so.18")`); err != nil {
		t.Skipf("libgsasl is not installed: %s", out)
	}
}

// bindingSignIn signs in with libgsasl and returns the last reply.
func bindingSignIn(t *testing.T, c *client, account, binding string) string {
	t.Helper()
	cmd := exec.Command("python3", "-c", libgsasl)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	fmt.Fprintf(in, "%s\n%s\n%s\n", account, password, binding)
	responses := bufio.NewScanner(out)
	c.say("EHLO client.test", "250")
	reply := c.say("AUTH SCRAM-SHA-256-PLUS", "334")
	for strings.HasPrefix(reply, "334 ") {
		fmt.Fprintln(in, reply[4:])
		if !responses.Scan() {
			t.Fatalf("libgsasl does not like %q", reply)
		}
		if reply, err = c.tell(responses.Text()); err != nil {
			t.Fatal(err)
		}
	}
	return reply
}

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each client signs in and submits over both doors, as its own manual says.
func TestClients(t *testing.T) {
	t.Parallel()
	s := start(t, "clients.test", "")
	for _, c := range []struct {
		program string
		send    func(t *testing.T, s *server, port, subject string)
	}{
		{"swaks", swaks}, {"curl", curl}, {"msmtp", msmtp}, {"python3", smtplib}, {"gsasl", gsasl},
	} {
		for _, port := range []string{"465", "587"} {
			if c.program == "gsasl" && port == "465" {
				continue // it knows STARTTLS only
			}
			t.Run(c.program+" on "+port, func(t *testing.T) {
				t.Parallel()
				need(t, c.program)
				subject := c.program + " " + port
				c.send(t, s, port, subject)
				if c.program == "gsasl" {
					return // it signs in and sends nothing
				}
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
	run(t, "Subject: "+subject+"\nFrom: "+s.address()+"\nBcc: bcc@clients.test\n\nhello from msmtp\n", "msmtp", "-C", file, s.address())
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

// gsasl binds its sign-in to the connection.
func gsasl(t *testing.T, s *server, port, _ string) {
	out := run(t, "", "gsasl", "--verbose", "--connect", s.ip+":"+port, "--smtp", "--starttls", "--x509-ca-file=", "--mechanism", "SCRAM-SHA-256-PLUS",
		"--authentication-id", s.address(), "--password", password)
	if !strings.Contains(out, "235 ") {
		t.Errorf("not signed in:\n%s", out)
	}
}

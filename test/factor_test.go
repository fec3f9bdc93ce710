package test

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// enrol gives an account an app, which is oathtool, and returns its secret and
// the recovery codes.
func (s *server) enrol(account string) (secret string, codes []string) {
	s.t.Helper()
	c := exec.Command(binary, "account", "factor", "add", "totp", account, "--name", "oathtool", "--code-stdin", "--json", "--config", s.config)
	in, err := c.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	line := func(v any) {
		s.t.Helper()
		lines.Scan()
		if err := json.Unmarshal(lines.Bytes(), v); err != nil {
			s.t.Fatalf("%q: %v", lines.Text(), err)
		}
	}
	var setup struct{ Secret, URI string }
	line(&setup)
	if !strings.HasPrefix(setup.URI, "otpauth://totp/") || !strings.Contains(setup.URI, setup.Secret) {
		s.t.Errorf("%+v", setup)
	}
	if _, err := in.Write([]byte(run(s.t, "", "oathtool", "--totp", "--base32", setup.Secret))); err != nil {
		s.t.Fatal(err)
	}
	var made struct {
		Codes []string `json:"recovery_codes"`
	}
	line(&made)
	if err := c.Wait(); err != nil {
		s.t.Fatal(err)
	}
	return setup.Secret, made.Codes
}

// With an app enrolled the password opens no mail by any client, until the app
// is taken away; an account whose role owes one is no better off.
func TestFactor(t *testing.T) {
	t.Parallel()
	need(t, "oathtool", "swaks", "curl", "gsasl")
	s := start(t, "factor.test", "")
	opens := func(what string, want bool) {
		t.Helper()
		url := "smtps://" + s.ip + ":465"
		for client, args := range map[string][]string{
			"swaks, LOGIN": {"swaks", "--server", s.ip, "--port", "587", "--tls", "--auth", "LOGIN", "--quit-after", "AUTH", "--auth-user", s.address(), "--auth-password", password},
			"curl, PLAIN": {"curl", "--silent", "--show-error", "--insecure", "--url", url, "--user", s.address() + ":" + password, "--login-options", "AUTH=PLAIN",
				"--mail-from", s.address(), "--mail-rcpt", s.address(), "--upload-file", "-"},
			"gsasl, SCRAM-PLUS": {"gsasl", "--verbose", "--connect", s.ip + ":587", "--smtp", "--starttls", "--x509-ca-file=",
				"--mechanism", "SCRAM-SHA-256-PLUS", "--authentication-id", s.address(), "--password", password},
		} {
			out, err := try("Subject: "+what+"\r\n\r\nhello\r\n", args[0], args[1:]...)
			if got := err == nil; got != want || !want && !strings.Contains(out, "535") && client != "curl, PLAIN" {
				t.Errorf("%s, %s: %v, %s", what, client, err, out)
			}
		}
	}
	opens("before", true)
	phone := s.addDevice("phone")
	secret, codes := s.enrol(s.address())
	if len(codes) != 10 {
		t.Errorf("%d recovery codes", len(codes))
	}
	opens("with an app", false)
	device := s.dial(t, "465")
	device.say("EHLO client.test", "250")
	device.say("AUTH PLAIN "+plain(s.address(), phone.Password), "235")
	device.say("QUIT", "221")

	var list struct {
		Factors []struct {
			ID         int64
			Kind, Name string
		}
		Left int `json:"recovery_codes"`
	}
	s.json(&list, "account", "factor", "list", s.address())
	if len(list.Factors) != 1 || list.Factors[0].Kind != "totp" || list.Factors[0].Name != "oathtool" || list.Left != 10 {
		t.Errorf("%+v", list)
	}
	told := 0 // of PLAIN and LOGIN; by SCRAM nobody knows whether it was right
	for _, e := range s.activity(s.address(), "--failed") {
		if strings.Contains(e.Sentence, "the password was right, but it opens no mail") {
			told += int(e.Count)
		}
	}
	if told != 2 {
		t.Errorf("its owner is told of %d tries with the right password", told)
	}
	if mail := s.alerted(s.address(), "Your mail got a second factor"); !strings.Contains(mail, "app oathtool") || strings.Contains(mail, secret) {
		t.Error(mail)
	}
	if out, err := try("000000\n", binary, "account", "factor", "add", "totp", s.address(), "--code-stdin", "--config", s.config); err == nil ||
		!strings.Contains(out, "not the code") || !strings.Contains(out, "\u2588") || !strings.Contains(out, "otpauth://totp/mx.factor.test:"+s.address()) {
		t.Errorf("%v, %s", err, out)
	}
	if out := s.gatepost("account", "factor", "remove", s.address(), "--all"); !strings.Contains(out, "Removed all second factors") {
		t.Error(out)
	}
	if err := exec.Command(binary, "account", "factor", "codes", s.address(), "--config", s.config).Run(); err == nil {
		t.Error("codes for an account without a second factor")
	}
	s.gatepost("account", "password", s.address(), "--generate") // and so the one before opens nothing
	opens("another password", false)
}

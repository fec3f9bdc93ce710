package smtpclient

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"
)

// The server of the tests is server.example to whoever knows roots.
var serverTLS, roots = certificate("server.example")

func certificate(name string) (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

var (
	verified   = &tls.Config{ServerName: "server.example", RootCAs: roots}
	unverified = &tls.Config{ServerName: "server.example", InsecureSkipVerify: true}
)

const offersTLS = hello + `
	S: 250-server.example
	S: 250-AUTH PLAIN
	S: 250-PIPELINING
	S: 250 STARTTLS
	C: STARTTLS
`

const inTLS = offersTLS + `
	S: 220 go ahead
	T:
	C: EHLO client.example
`

func TestStartTLS(t *testing.T) {
	t.Parallel()
	c, _ := talk(t, inTLS+"S: 250-server.example\nS: 250 DSN")
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(verified); err != nil {
		t.Fatal(err)
	}
	if want := (Extensions{DSN: true}); *c.Extensions() != want {
		t.Errorf("what was offered before TLS is still believed: %+v", *c.Extensions())
	}
	if !c.Verified() || c.TLS().Version != tls.VersionTLS13 || !c.Alive() {
		t.Errorf("verified %v, version %x, alive %v", c.Verified(), c.TLS().Version, c.Alive())
	}
	c.Quit()
}

// TestStartTLSOld: a server that knows TLS and no EHLO offers nothing, also
// not what it seemed to offer before.
func TestStartTLSOld(t *testing.T) {
	t.Parallel()
	c, _ := talk(t, inTLS+"S: 502 what?\nC: HELO client.example\nS: 250 hello")
	if err := errors.Join(c.Hello(), c.StartTLS(verified)); err != nil {
		t.Fatal(err)
	}
	if *c.Extensions() != (Extensions{}) {
		t.Errorf("%+v", *c.Extensions())
	}
	c.Quit()
}

// TestInjection: what was said before the handshake is never an answer
// inside it.
func TestInjection(t *testing.T) {
	t.Parallel()
	c, _ := talk(t, offersTLS+`
		S: 220 go ahead
		S: 250-injected
		S: 250 AUTH PLAIN
		T:
		C: EHLO client.example
		S: 250-server.example
		S: 250 DSN`)
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(verified); err != nil {
		t.Fatal(err)
	}
	if want := (Extensions{DSN: true}); *c.Extensions() != want {
		t.Errorf("injected: %+v", *c.Extensions())
	}
	c.Quit()
}

func TestStartTLSFails(t *testing.T) {
	t.Parallel()
	other, _ := certificate("other.example")
	_, strangers := certificate("server.example")
	cases := []struct {
		name      string
		script    script
		config    *tls.Config
		fails     string
		handshake bool
		usable    bool
	}{
		{"not now", offersTLS + "S: 454 4.7.0 no", verified, "454 4.7.0 no", false, true},
		{"never", offersTLS + "S: 502 5.5.1 no", verified, "502 5.5.1 no", false, true},
		{"closing", offersTLS + "S: 421 bye", verified, "421 bye", false, false},
		{"unexpected", offersTLS + "S: 250 ok", verified, "STARTTLS: protocol error: unexpected 250", false, false},
		{"name", inTLS, &tls.Config{ServerName: "other.example", RootCAs: roots}, "certificate is valid for server.example, not other.example", true, false},
		{"root", inTLS, &tls.Config{ServerName: "server.example", RootCAs: strangers}, "unknown authority", true, false},
		{"client's certificate", inTLS, &tls.Config{ServerName: "x", RootCAs: roots, Certificates: other.Certificates}, "certificate is valid for", true, false},
		{"hangs up", offersTLS + "S< 220 go ahead", verified, "the TLS handshake: EOF", true, false},
		{"no TLS", offersTLS + "S: 220 go ahead\nC* 10\nS< 500 what?", verified, "first record does not look like a TLS handshake", true, false},
		{"silent inside", offersTLS + "S: 220 go ahead\nT:\nC: EHLO client.example\nS< 250-", verified, "EHLO: unexpected EOF", false, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, _ := talk(t, tc.script)
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			err := c.StartTLS(tc.config)
			if err == nil || !strings.Contains(err.Error(), tc.fails) {
				t.Fatalf("%v, want %s", err, tc.fails)
			}
			if IsHandshake(err) != tc.handshake || c.Usable() != tc.usable {
				t.Errorf("handshake %v, usable %v: %v", IsHandshake(err), c.Usable(), err)
			}
			if tc.handshake && c.Verified() {
				t.Error("verified")
			}
			c.Close()
		})
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuth(t *testing.T) {
	t.Parallel()
	offers := func(mechanisms string) script { return inTLS + script("S: 250-x\nS: 250 AUTH "+mechanisms+"\n") }
	const plainLine = "C: AUTH PLAIN AHVzZXIAcMOkc3M="
	cases := []struct {
		name   string
		script script
		config *tls.Config
		fails  string
		usable bool
	}{
		{"PLAIN", offers("PLAIN") + plainLine + "\nS: 235 welcome", verified, "", true},
		{"PLAIN before LOGIN", offers("LOGIN PLAIN") + plainLine + "\nS: 235 welcome", verified, "", true},
		{"LOGIN", offers("LOGIN") + script("C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: "+b64("user")+"\nS: 334 UGFzc3dvcmQ6\nC: "+b64("päss")+"\nS: 235 welcome"), verified, "", true},
		{"wrong", offers("PLAIN") + plainLine + "\nS: 535 5.7.8 no", verified, "535 5.7.8 no", true},
		{"later", offers("PLAIN") + plainLine + "\nS: 454 4.7.0 later", verified, "454 4.7.0 later", true},
		{"closing", offers("PLAIN") + plainLine + "\nS< 421 bye", verified, "421 bye", false},
		{"unexpected", offers("PLAIN") + plainLine + "\nS: 250 fine", verified, "AUTH: protocol error: unexpected 250", false},
		{"wants more", offers("PLAIN") + plainLine + "\nS: 334 ", verified, "AUTH: protocol error: unexpected 334", false},
		{"none of ours", offers("GSSAPI") + "", verified, ErrMechanism.Error(), true},
		{"not verified", offers("PLAIN"), unverified, ErrNotVerified.Error(), true},
		{"too soon", offers("SCRAM-SHA-256") + "C+ \nS: 235 trust me", verified, "AUTH: protocol error: unexpected 235", false},
		{"not base64", offers("LOGIN") + "C: AUTH LOGIN\nS: 334 Username:", verified, "AUTH: protocol error: a challenge that is not base64", false},
		{"someone else's nonce", offers("SCRAM-SHA-256") + script("C+ \nS: 334 "+b64("r=abc,s=QSXCR+Q6sek8bf92,i=4096")), verified, "AUTH: protocol error: server nonce did not extend client nonce", false},
		{"too much work", offers("SCRAM-SHA-256") + script("C+ \nS: 334 "+b64("r=abc,s=QSXCR+Q6sek8bf92,i=2000001")), verified, "AUTH: protocol error: too many iterations", false},
		{"far too much work", offers("SCRAM-SHA-256") + script("C+ \nS: 334 "+b64("r=abc,s=QSXCR+Q6sek8bf92,i=99999999999999999999")), verified, "AUTH: protocol error: too many iterations", false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, _ := talk(t, tc.script)
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			if err := c.StartTLS(tc.config); err != nil {
				t.Fatal(err)
			}
			err := c.Auth("user", "päss")
			if got := fmt.Sprint(err); got != tc.fails && (err != nil || tc.fails != "") {
				t.Errorf("%v, want %q", err, tc.fails)
			}
			if c.Usable() != tc.usable {
				t.Errorf("usable %v", c.Usable())
			}
			c.Quit()
		})
	}
}

// TestAuthPlainText: no credential leaves without TLS, whatever is offered.
func TestAuthPlainText(t *testing.T) {
	t.Parallel()
	c, count := talk(t, hello+"S: 250-x\nS: 250 AUTH PLAIN LOGIN SCRAM-SHA-256")
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	before := count.writes.Load()
	if err := c.Auth("user", "pass"); !errors.Is(err, ErrNotVerified) || count.writes.Load() != before {
		t.Errorf("%v, %d writes", err, count.writes.Load()-before)
	}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	c, _ := talk(t, inTLS+"S: 250-x\nS: 250 AUTH PLAIN")
	if err := errors.Join(c.Hello(), c.StartTLS(verified)); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"", "p"}, {"u", ""}, {"u\x00v", "p"}, {"u", "p\x00"}} {
		if err := c.Auth(pair[0], pair[1]); !errors.Is(err, ErrCredential) {
			t.Errorf("%q: %v", pair, err)
		}
	}
}

// TestSCRAM signs in to a server that holds the other half of the proof, and
// to ones that only pretend to.
func TestSCRAM(t *testing.T) {
	t.Parallel()
	cases := []struct{ server, password, fails string }{
		{"honest", "pässword", ""},
		{"honest", "wrong", "535 5.7.8 no"},
		{"liar", "pässword", "AUTH: protocol error: server validation failed"},
		{"hasty", "pässword", "AUTH: protocol error: unexpected 235"},
	}
	for _, tc := range cases {
		t.Run(tc.server+tc.password, func(t *testing.T) {
			t.Parallel()
			c, _ := talk(t, inTLS+script("S: 250-x\nS: 250 AUTH PLAIN SCRAM-SHA-256\nX: "+tc.server))
			if err := errors.Join(c.Hello(), c.StartTLS(verified)); err != nil {
				t.Fatal(err)
			}
			err := c.Auth("user", tc.password)
			if got := fmt.Sprint(err); got != tc.fails && (err != nil || tc.fails != "") {
				t.Errorf("%v, want %q", err, tc.fails)
			}
			c.Quit()
		})
	}
}

// serveSCRAM is the server's side: one that is honest, a liar, which does
// not know the password, or hasty, which does not prove that it does.
func serveSCRAM(nc io.Writer, in *bufio.Reader, how string) error {
	talk, err := scramServer()
	if err != nil {
		return err
	}
	line, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	line = strings.TrimPrefix(line, "AUTH SCRAM-SHA-256 ")
	for {
		heard, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil {
			return err
		}
		said, err := talk.Step(string(heard))
		switch {
		case err != nil:
			_, err := io.WriteString(nc, "535 5.7.8 no\r\n")
			return err
		case talk.Done() && how == "hasty":
			_, err := io.WriteString(nc, "235 2.7.0 trust me\r\n")
			return err
		case talk.Done() && how == "liar":
			said = "v=" + b64("something of the right size, 32B")
		}
		if _, err := io.WriteString(nc, "334 "+b64(said)+"\r\n"); err != nil {
			return err
		}
		if line, err = in.ReadString('\n'); err != nil {
			return nil // it does not believe us
		}
		if talk.Done() {
			if line != "\r\n" {
				return fmt.Errorf("%q instead of an empty line", line)
			}
			_, err := io.WriteString(nc, "235 2.7.0 welcome\r\n")
			return err
		}
	}
}

func scramServer() (*scram.ServerConversation, error) {
	known, err := scram.SHA256.NewClient("user", "pässword", "")
	if err != nil {
		return nil, err
	}
	stored, err := known.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	if err != nil {
		return nil, err
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return nil, err
	}
	return server.NewConversation(), nil
}

package test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// rogue is an access point that is in the way: it ends the client's TLS with
// a certificate of its own, opens another to the server, and reads along.
type rogue struct {
	ip, to string
	cert   tls.Certificate
	heard  transcript // from the client, in the clear
	told   transcript // to it
}

func newRogue(t *testing.T, to string) *rogue {
	t.Helper()
	cert, key := (&authority{t: t}).certify(time.Hour, "mx.rogue.test")
	r := &rogue{ip: newIP(), to: to, cert: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	ln, err := net.Listen("tcp", r.ip+":587")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go r.between(conn)
		}
	}()
	return r
}

// between passes on what is said, and is TLS for both once the client asks.
func (r *rogue) between(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.to+":587")
	if err != nil {
		return
	}
	defer server.Close()
	from, to := bufio.NewReader(client), bufio.NewReader(server)
	copyReply := func() {
		for {
			line, err := to.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(client, line)
			if len(line) < 4 || line[3] != '-' {
				return
			}
		}
	}
	for copyReply(); ; copyReply() {
		line, err := from.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(server, line)
		if strings.EqualFold(strings.TrimSpace(line), "STARTTLS") {
			copyReply()
			break
		}
	}
	ours, theirs := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{r.cert}}), tls.Client(server, careless)
	go func() {
		io.Copy(io.MultiWriter(ours, &r.told), theirs)
		client.Close()
	}()
	io.Copy(io.MultiWriter(theirs, &r.heard), ours)
}

// A client that takes any certificate signs in through a rogue access point:
// bound to the connection it cannot, and what was overheard is worth nothing.
func TestRogueAccessPoint(t *testing.T) {
	t.Parallel()
	need(t, "gsasl")
	s := start(t, "rogue.test", "")
	r := newRogue(t, s.ip)
	signIn := func(mechanism string) (string, error) {
		return try("", "gsasl", "--verbose", "--connect", r.ip+":587", "--smtp", "--starttls", "--x509-ca-file=",
			"--mechanism", mechanism, "--authentication-id", s.address(), "--password", password)
	}
	out, err := signIn("SCRAM-SHA-256-PLUS")
	if err == nil || strings.Contains(out, "\n235 ") {
		t.Fatalf("signed in through the middle:\n%s", out)
	}
	heard := r.heard.String()
	if !strings.Contains(heard, "AUTH SCRAM-SHA-256-PLUS") || !strings.Contains(r.told.String(), "535 ") {
		t.Fatalf("the rogue heard:\n%s\nand told:\n%s", heard, r.told.String())
	}
	for _, secret := range []string{password, base64.StdEncoding.EncodeToString([]byte(password)), plain(s.address(), password)} {
		if strings.Contains(heard, secret) {
			t.Errorf("the rogue heard the password:\n%s", heard)
		}
	}
	await(t, func() string {
		if log := s.log.String(); !strings.Contains(log, `msg="channel binding mismatch"`) || !strings.Contains(log, "account="+s.address()) {
			return "the log does not tell of it:\n" + log
		}
		return ""
	})

	// What it heard, said again.
	_, said, _ := strings.Cut(heard, "AUTH ")
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(said, "\r", "")), "\n")
	c := s.dial(t, "465")
	c.say("EHLO rogue.test", "250")
	reply := c.say("AUTH SCRAM-SHA-256-PLUS", "334")
	replayed := 0
	for _, line := range lines {
		word := line[strings.LastIndexByte(line, ' ')+1:]
		if word == "SCRAM-SHA-256-PLUS" {
			continue
		}
		if reply, err = c.tell(word); err != nil || !strings.HasPrefix(reply, "334") {
			break
		}
		replayed++
	}
	if replayed != 1 || !strings.HasPrefix(reply, "535 ") {
		t.Errorf("said again, of %q: %d responses, then %q, %v", lines, replayed, reply, err)
	}

	// PLAIN leads in the same way, so the middle is really there; and then it
	// has the password.
	if out, err := signIn("PLAIN"); err != nil || !strings.Contains(out, "\n235 ") || !strings.Contains(r.heard.String(), plain(s.address(), password)) {
		t.Errorf("%v\n%s", err, out)
	}
}

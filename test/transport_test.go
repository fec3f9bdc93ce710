package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// What a domain offered is asked of it again: an attacker who takes STARTTLS
// away gets nothing, until the operator says that it was no attacker.
func TestTransport(t *testing.T) {
	t.Parallel()
	s := install(t, "gate.test", "")
	hop := newPostfix(t, "moves.test", newIP())
	middle := newMan(t, newIP(), hop.ip)
	n := newNames(t, fmt.Sprintf("gate.test. MX 10 mx.gate.test.\nmx.gate.test. A %s\nmoves.test. MX 10 mx.moves.test.\nmx.moves.test. A %s\n", s.ip, middle.ip))
	wire := newTap(t, []string{middle.ip})
	s.configure(n.config())
	s.serve()
	hop.serve("may", n)
	hop.ready()

	send := func(subject string) string {
		return s.signIn(t, s.address()).mail("<"+s.address()+">", []string{"<bob@moves.test>"}, letter(s.address(), subject))
	}
	id := send("before the attack")
	got := hop.arrives(t, "Subject: before the attack")
	if hop := lastHop(got); !strings.Contains(hop, "with ESMTPS ") {
		t.Errorf("it came so:\n%s", hop)
	}
	_, rest, _ := strings.Cut(got, "\nMessage-ID: ")
	messageID, _, _ := strings.Cut(rest, "\n")
	for _, name := range []string{id, messageID, strings.Trim(messageID, "<>")} {
		if _, out := s.proof(name, "mx.moves.test"); out.ID != id || out.TLS != "TLS 1.3" || !strings.Contains(s.gatepost("proof", name), out.Sentence) {
			t.Errorf("of %s is told: %+v", name, out)
		}
	}
	middle.attack()
	send("during the attack")
	s.waits("bob@moves.test", "TLS is required (moves.test had TLS on ")
	if heard := middle.heard.String(); !strings.Contains(heard, "EHLO mx.gate.test") || strings.Contains(heard, "MAIL FROM") || strings.Contains(heard, "attack") {
		t.Errorf("the attacker heard:\n%s", heard)
	}
	if heard := wire.to(t, middle.ip); strings.Contains(heard, "the attack") {
		t.Errorf("read on the way:\n%.2000q", heard)
	}
	// Until the operator knows better.
	if out := s.gatepost("proof", "forget", "moves.test"); out != "Forgotten: moves.test.\n" {
		t.Errorf("forget: %s", out)
	}
	s.gatepost("queue", "retry", "moves.test")
	if hop := lastHop(hop.arrives(t, "Subject: during the attack")); !strings.Contains(hop, "with ESMTP ") {
		t.Errorf("it came so:\n%s", hop)
	}
	if heard := wire.to(t, middle.ip); !strings.Contains(heard, "during the attack") {
		t.Errorf("it was not read on the way:\n%.2000q", heard)
	}
	var list []struct {
		Domain, Met string
		TLS         bool
		Messages    int
	}
	s.json(&list, "proof", "unverified")
	found := false
	for _, u := range list {
		found = found || u.Domain == "moves.test" && !u.TLS && u.Messages == 1
	}
	if !found {
		t.Errorf("what a stricter default would have stopped: %+v", list)
	}
}

// man is in the middle between us and a next hop. Once he attacks, he takes
// STARTTLS away and listens.
type man struct {
	ip    string
	to    string // the next hop
	heard transcript

	mu    sync.Mutex
	evil  bool
	conns []net.Conn
}

func newMan(t *testing.T, ip, to string) *man {
	t.Helper()
	m := &man{ip: ip, to: to}
	ln, err := net.Listen("tcp", ip+":25")
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
			go m.between(conn)
		}
	}()
	return m
}

// attack begins, also for whom is connected.
func (m *man) attack() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evil = true
	for _, c := range m.conns {
		c.Close()
	}
}

// between passes on what is said.
func (m *man) between(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", m.to+":25")
	if err != nil {
		return
	}
	defer server.Close()
	m.mu.Lock()
	evil := m.evil
	m.conns = append(m.conns, client)
	m.mu.Unlock()
	go func() {
		var listener io.Writer = io.Discard
		if evil {
			listener = &m.heard
		}
		io.Copy(io.MultiWriter(server, listener), client)
		server.Close()
	}()
	if !evil {
		io.Copy(client, server)
		return
	}
	for lines := bufio.NewScanner(server); lines.Scan(); {
		line := strings.ReplaceAll(strings.TrimRight(lines.Text(), "\r"), "STARTTLS", "XXXXXXXA")
		if _, err := io.WriteString(client, line+"\r\n"); err != nil {
			return
		}
	}
}

// waits waits until a recipient is deferred for a reason.
func (s *server) waits(to, reason string) {
	s.t.Helper()
	await(s.t, func() string {
		for _, m := range s.queue() {
			for _, r := range m.Recipients {
				if r.To == to && r.Status == "deferred" && strings.Contains(r.Reason, reason) {
					return ""
				}
				if r.To == to && r.Status == "deferred" {
					return fmt.Sprintf("%s waits since %q", to, r.Reason)
				}
			}
		}
		return to + " is not deferred\n" + s.log.String()
	})
}

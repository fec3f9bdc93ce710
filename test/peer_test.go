package test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// peer is another server whose answers a case writes.
type peer struct {
	addr string

	mu     sync.Mutex
	got    []delivery
	answer func(command string) string // "" for 250
	offers []string
	conns  int
}

// delivery is one message that a peer took.
type delivery struct {
	from string // the argument of MAIL
	to   []string
	data string
}

// newPeer starts a peer on port 25 of an address of its own. answer, which
// may be nil, returns what is answered to a command line instead of success;
// the end of the data is ".".
func newPeer(t *testing.T, answer func(command string) string, offers ...string) *peer {
	t.Helper()
	p := &peer{addr: newIP(), answer: answer, offers: offers}
	ln, err := net.Listen("tcp", p.addr+":25")
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
			go p.serve(conn)
		}
	}()
	return p
}

// route returns the lines that send a domain's mail to the peer.
func (p *peer) route(domain string) string {
	return fmt.Sprintf("[[route]]\ndomain = %q\nvia = \"%s:25\"\ntls = \"none\"\n", domain, p.addr)
}

// deliveries returns what the peer has taken.
func (p *peer) deliveries() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]delivery(nil), p.got...)
}

func (p *peer) serve(conn net.Conn) {
	defer conn.Close()
	p.mu.Lock()
	p.conns++
	p.mu.Unlock()
	r := bufio.NewReader(conn)
	say := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	say("220 peer.test ESMTP")
	var d delivery
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb := strings.ToUpper(line[:min(4, len(line))])
		if reply := p.reply(line); reply != "" {
			say(reply)
			continue
		}
		switch verb {
		case "EHLO":
			for _, o := range p.offers {
				say("250-" + o)
			}
			say("250 PIPELINING")
		case "MAIL":
			d = delivery{from: line[len("MAIL FROM:"):]}
			say("250 ok")
		case "RCPT":
			d.to = append(d.to, line[len("RCPT TO:"):])
			say("250 ok")
		case "DATA":
			if len(d.to) == 0 {
				say("554 no recipients")
				continue
			}
			say("354 go ahead")
			if d.data, err = readData(r); err != nil {
				return
			}
			if reply := p.reply("."); reply != "" {
				say(reply)
				continue
			}
			p.mu.Lock()
			p.got = append(p.got, d)
			p.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (p *peer) reply(command string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answer == nil {
		return ""
	}
	return p.answer(command)
}

// readData reads up to the line with the dot and undoes the stuffing. It is
// as careless about line ends as the worst of servers: whatever might end a
// message for one of them ends it here, so that smuggling would show.
func readData(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if strings.TrimRight(line, "\r\n") == "." {
			return b.String(), nil
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

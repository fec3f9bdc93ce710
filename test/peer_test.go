package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// peer is another server whose answers a case writes. It is as careless about
// line ends as the worst of servers: whatever might end a message for one of
// them ends it here, so that smuggling would show.
type peer struct {
	addr   string
	answer func(command string) string // "" for success
	offers []string
	bare   atomic.Int64   // CR and LF that did not stand together
	sink   func(delivery) // gets what was taken, if it is set, instead of got

	mu  sync.Mutex
	got []delivery
}

// delivery is one message that a peer took.
type delivery struct {
	from string // the argument of MAIL
	to   []string
	data string
}

// newPeer starts a peer on port 25 of an address of its own. answer, which
// may be nil, returns what is answered to a command line instead of success,
// where "" stands for the connection and "." for the end of a message. It may
// be called from several sessions at once. offers are what EHLO lists.
func newPeer(t *testing.T, answer func(command string) string, offers ...string) *peer {
	t.Helper()
	p := &peer{addr: newIP(), answer: answer, offers: offers}
	if p.answer == nil {
		p.answer = func(string) string { return "" }
	}
	p.open(t)
	return p
}

// open lets a peer answer.
func (p *peer) open(t *testing.T) {
	t.Helper()
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
}

// route returns the lines that send a domain's mail to the peer.
func (p *peer) route(domain string) string {
	return fmt.Sprintf("[[route]]\ndomain = %q\nvia = \"%s:25\"\ntls = \"none\"\n", domain, p.addr)
}

// deliveries returns what the peer has taken.
func (p *peer) deliveries() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// gets waits until the peer has taken a number of messages, and returns them.
func (p *peer) gets(t *testing.T, n int) []delivery {
	t.Helper()
	var got []delivery
	await(t, func() string {
		if got = p.deliveries(); len(got) == n {
			return ""
		}
		return fmt.Sprintf("the peer has %d messages, not %d", len(got), n)
	})
	return got
}

// call is one session of a peer.
type call struct {
	*peer
	r *bufio.Reader
	w io.Writer
	d delivery
}

func (p *peer) serve(conn net.Conn) {
	defer conn.Close()
	c := &call{peer: p, r: bufio.NewReader(&lineEnds{r: conn, p: p}), w: conn}
	if !c.say("220 peer.test ESMTP", p.answer("")) {
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb := strings.ToUpper(line[:min(4, len(line))])
		var reply string
		if verb != "BDAT" { // its answer comes after its octets
			reply = p.answer(line)
		}
		if reply == "" {
			if reply, err = c.obey(verb, line); err != nil {
				return
			}
		}
		if !c.say(reply, "") || verb == "QUIT" {
			return
		}
	}
}

// say says instead, if that is something, or line. It reports whether the
// session goes on.
func (c *call) say(line, instead string) bool {
	if instead != "" {
		line = instead
	}
	_, err := fmt.Fprintf(c.w, "%s\r\n", line)
	return err == nil && !strings.HasPrefix(line, "421")
}

func (c *call) obey(verb, line string) (string, error) {
	switch verb {
	case "EHLO":
		return "250-" + strings.Join(append([]string{"peer.test"}, c.offers...), "\r\n250-") + "\r\n250 PIPELINING", nil
	case "MAIL":
		c.d = delivery{from: line[len("MAIL FROM:"):]}
	case "RCPT":
		c.d.to = append(c.d.to, line[len("RCPT TO:"):])
	case "DATA":
		if len(c.d.to) == 0 {
			return "554 no recipients", nil
		}
		c.say("354 go ahead", "")
		data, err := readData(c.r)
		if err != nil {
			return "", err
		}
		c.d.data = data
		return c.take(), nil
	case "BDAT":
		return c.chunk(line)
	case "QUIT":
		return "221 bye", nil
	}
	return "250 ok", nil
}

func (c *call) chunk(line string) (string, error) {
	var size int
	if _, err := fmt.Sscanf(line, "BDAT %d", &size); err != nil {
		return "", err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return "", err
	}
	c.d.data += string(b)
	switch {
	case len(c.d.to) == 0:
		return "554 no recipients", nil
	case strings.HasSuffix(line, " LAST"):
		return c.take(), nil
	}
	return "250 ok", nil
}

// take takes a message, unless the case has another answer to it.
func (c *call) take() string {
	if reply := c.answer("."); reply != "" {
		return reply
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sink != nil {
		c.sink(c.d)
	} else {
		c.got = append(c.got, c.d)
	}
	return "250 taken"
}

// readData reads up to a line with a dot, where a CR, a LF and both together
// end a line, and undoes the stuffing.
func readData(r *bufio.Reader) (string, error) {
	var content, line []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		line = append(line, c)
		if c == '\r' {
			if next, err := r.Peek(1); err == nil && next[0] == '\n' {
				continue
			}
		} else if c != '\n' {
			continue
		}
		if string(bytes.TrimRight(line, "\r\n")) == "." {
			return string(content), nil
		}
		content = append(content, bytes.TrimPrefix(line, []byte("."))...)
		line = line[:0]
	}
}

// lineEnds counts the CR and LF that stand alone, on their way to a peer.
type lineEnds struct {
	r    io.Reader
	p    *peer
	last byte
}

func (l *lineEnds) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	for _, c := range b[:n] {
		if (l.last == '\r') != (c == '\n') {
			l.p.bare.Add(1)
		}
		l.last = c
	}
	return n, err
}

package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hopCount is how many other servers there are, each with a domain.
const hopCount = 4

func hopDomain(n int) string { return fmt.Sprintf("hop%d.test", n) }
func hopAddr(n int) string   { return fmt.Sprintf("127.0.1.%d:25", n+1) }

// hop is another server. What it does is mostly right, and sometimes what
// the RFCs allow and nobody wants.
type hop struct {
	addr string
	book *ledger
	calm atomic.Bool // it takes everything

	mu     sync.Mutex
	random *rand.Rand
	ln     net.Listener
	conns  map[net.Conn]bool
}

// openHops starts all of them.
func openHops(seed uint64, book *ledger) (list []*hop, err error) {
	for n := range hopCount {
		h := &hop{addr: hopAddr(n), book: book, random: rand.New(rand.NewPCG(seed, uint64(n)+100)), conns: map[net.Conn]bool{}}
		if err := h.up(); err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, nil
}

// up lets a hop answer.
func (h *hop) up() error {
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.ln = ln
	h.mu.Unlock()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go h.serve(conn)
		}
	}()
	return nil
}

// down makes nothing answer there, and cuts off who was connected.
func (h *hop) down() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ln.Close()
	for conn := range h.conns {
		conn.Close()
	}
}

// whim is true in so many of a thousand cases.
func (h *hop) whim(of1000 int) bool {
	if h.calm.Load() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.random.IntN(1000) < of1000
}

// serve is one session. It ends when the client leaves, or at a whim.
func (h *hop) serve(conn net.Conn) {
	h.mu.Lock()
	h.conns[conn] = true
	h.mu.Unlock()
	defer func() {
		conn.Close()
		h.mu.Lock()
		delete(h.conns, conn)
		h.mu.Unlock()
	}()
	if h.whim(10) {
		fmt.Fprint(conn, "421 too busy\r\n")
		return
	}
	s := &visit{hop: h, conn: conn, r: bufio.NewReader(conn), w: bufio.NewWriter(conn)}
	fmt.Fprint(s.w, "220 hop.test ESMTP\r\n")
	for {
		if s.r.Buffered() == 0 && s.w.Flush() != nil {
			return
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
		line, err := s.r.ReadString('\n')
		if err != nil || h.whim(2) || !s.obey(strings.TrimRight(line, "\r\n")) {
			return
		}
	}
}

// visit is one session of a hop.
type visit struct {
	*hop
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	mail bool     // MAIL was taken
	to   []string // so far
}

// obey answers a command and reports whether the session goes on.
func (s *visit) obey(line string) bool {
	switch verb, rest, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
	case "EHLO":
		fmt.Fprint(s.w, "250-hop.test\r\n250 PIPELINING\r\n")
	case "MAIL":
		s.to = nil
		if s.mail = !s.whim(10); !s.mail {
			fmt.Fprint(s.w, "451 4.3.0 not now\r\n")
			break
		}
		fmt.Fprint(s.w, "250 ok\r\n")
	case "RCPT":
		s.rcpt(rest)
	case "DATA":
		if len(s.to) == 0 {
			fmt.Fprint(s.w, "554 5.5.1 no recipients\r\n")
			break
		}
		return s.data()
	case "QUIT":
		fmt.Fprint(s.w, "221 bye\r\n")
		s.w.Flush()
		return false
	default:
		fmt.Fprint(s.w, "250 ok\r\n")
	}
	return true
}

func (s *visit) rcpt(rest string) {
	_, to, _ := strings.Cut(rest, "<")
	to, _, _ = strings.Cut(to, ">")
	switch {
	case !s.mail:
		fmt.Fprint(s.w, "503 5.5.1 MAIL first\r\n")
	case s.whim(40):
		fmt.Fprint(s.w, "451 4.7.1 greylisted\r\n")
	case s.whim(30):
		s.book.refuses(to)
		fmt.Fprint(s.w, "550 5.1.1 no such user\r\n")
	default:
		s.to = append(s.to, to)
		fmt.Fprint(s.w, "250 ok\r\n")
	}
}

// data takes a message or does not; whether it says so is another matter.
func (s *visit) data() bool {
	fmt.Fprint(s.w, "354 go ahead\r\n")
	if s.w.Flush() != nil {
		return false
	}
	content, err := textproto.NewReader(s.r).ReadDotBytes()
	if err != nil || s.whim(10) {
		return false
	}
	switch {
	case s.whim(20):
		fmt.Fprint(s.w, "452 4.3.1 no room\r\n")
	case s.whim(20):
		for _, to := range s.to {
			s.book.refuses(to)
		}
		fmt.Fprint(s.w, "554 5.7.1 not wanted\r\n")
	default:
		for _, to := range s.to {
			s.book.relayed(to, strings.ReplaceAll(string(content), "\n", "\r\n"))
		}
		if s.whim(5) {
			return false // taken, and the client will not know
		}
		fmt.Fprint(s.w, "250 taken\r\n")
	}
	s.mail, s.to = false, nil
	return true
}

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// host is a mail host of the rest of the world, which takes everything.
type host struct {
	name  string
	tls   *tls.Config               // of STARTTLS; nil: it is not offered
	greet func(net.Conn) bool       // asked before it greets; nil: yes
	take  func(*bufio.Reader) error // reads a message, to the end of its data
}

// open lets the host answer at an address.
func (h *host) open(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go h.serve(conn)
		}
	}()
	return ln, nil
}

func (h *host) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	if h.greet != nil && !h.greet(conn) {
		return
	}
	r, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	fmt.Fprintf(out, "220 %s ESMTP\r\n", h.name)
	for {
		if r.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "EHLO":
			fmt.Fprintf(out, "250-%s\r\n", h.name)
			if h.tls != nil {
				fmt.Fprint(out, "250-STARTTLS\r\n")
			}
			fmt.Fprint(out, "250-8BITMIME\r\n250 PIPELINING\r\n")
		case "STARTTLS":
			fmt.Fprint(out, "220 go ahead\r\n")
			out.Flush()
			t := tls.Server(conn, h.tls)
			conn = t
			r, out = bufio.NewReader(t), bufio.NewWriter(t)
		case "DATA":
			fmt.Fprint(out, "354 go ahead\r\n")
			if out.Flush() != nil || h.take(r) != nil {
				return
			}
			fmt.Fprint(out, "250 taken\r\n")
		case "QUIT":
			fmt.Fprint(out, "221 bye\r\n")
			out.Flush()
			return
		default:
			fmt.Fprint(out, "250 ok\r\n")
		}
	}
}

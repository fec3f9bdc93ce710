package test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

// shielded is a server that a case writes, with TLS if it has a certificate. It
// takes whatever it is told, and notes every line of it, also inside TLS.
type shielded struct {
	ip     string
	cert   *tls.Certificate
	offers string // a line of EHLO, once there is TLS, if it has any
	heard  transcript
	got    transcript // contents
}

// open lets it answer at a port.
func (h *shielded) open(t *testing.T, port string) {
	t.Helper()
	ln, err := net.Listen("tcp", h.ip+":"+port)
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
			go h.serve(conn)
		}
	}()
}

func (h *shielded) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	secure := h.cert == nil
	in := bufio.NewReader(conn)
	io.WriteString(conn, "220 shielded.test ESMTP\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(&h.heard, line)
		reply := "250 ok"
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "EHLO":
			reply = "250-shielded.test\r\n250 STARTTLS"
			if secure {
				reply = "250-shielded.test\r\n250 " + h.offers
			}
		case "STARTTLS":
			io.WriteString(conn, "220 go ahead\r\n")
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*h.cert}})
			secure = true
			in.Reset(conn)
			continue
		case "AUTH":
			reply = "235 welcome"
		case "DATA":
			io.WriteString(conn, "354 go ahead\r\n")
			content, err := readData(in)
			if err != nil {
				return
			}
			io.WriteString(&h.got, content)
		case "QUIT":
			reply = "221 bye"
		}
		if _, err := io.WriteString(conn, reply+"\r\n"); err != nil {
			return
		}
	}
}

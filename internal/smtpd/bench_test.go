package smtpd

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

// null takes messages and keeps nothing.
type null struct{}

func (null) Create() Draft                                           { return null{} }
func (null) Write(p []byte) (int, error)                             { return len(p), nil }
func (null) Commit(e *envelope.Envelope, _ ...envelope.Change) error { return nil }
func (null) Discard()                                                {}

// letter is 4 KiB of mail.
var letter = "From: Anna <anna@example.org>\r\nTo: Bert <bert@example.net>\r\nSubject: minutes\r\n" +
	"Date: Sun, 22 Nov 2026 03:04:05 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" +
	strings.Repeat("The quick brown fox jumps over the lazy dog, again and again, today.\r\n", 55) + ".\r\n"

// BenchmarkSession is one message after the other in one session over
// loopback, MAIL, RCPT and DATA in one write and the letter in a second, with
// a client that only counts octets.
func BenchmarkSession(b *testing.B) {
	s := newSite(envelope.MX, func(o *Options) {
		o.Spool, o.Log = null{}, slog.New(slog.DiscardHandler)
		o.Limits.Messages = 1 << 30
	})
	k := s.dial(b, false).hello()
	conn := k.conn
	one := []byte("MAIL FROM:<a@example.org> SIZE=4096\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
	two := []byte(letter)
	in := make([]byte, 4096)
	b.SetBytes(int64(len(letter)))
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, conn, one, in, 3)
		exchange(b, conn, two, in, 1)
	}
}

func exchange(b *testing.B, conn net.Conn, out, in []byte, lines int) {
	if _, err := conn.Write(out); err != nil {
		b.Fatal(err)
	}
	for lines > 0 {
		n, err := conn.Read(in)
		if err != nil {
			b.Fatal(err)
		}
		lines -= strings.Count(string(in[:n]), "\n")
	}
}

// memory is a connection whose client has said everything already: what a
// session costs without the system.
type memory struct {
	net.Conn
	in io.Reader
}

func (m *memory) Read(p []byte) (int, error)       { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error)      { return len(p), nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkEngine is BenchmarkSession without a network: the client's words
// come from memory, in the pieces that it would send.
func BenchmarkEngine(b *testing.B) {
	s := newSite(envelope.MX, func(o *Options) {
		o.Spool, o.Log = null{}, slog.New(slog.DiscardHandler)
		o.Limits.Messages = 1 << 30
	})
	here, there := net.Pipe()
	defer here.Close()
	b.SetBytes(int64(len(letter)))
	b.ReportAllocs()
	b.ResetTimer()
	s.Serve(&memory{there, &script{n: b.N}})
	b.StopTimer()
	if got := s.Counters.Messages.Load(); got != int64(b.N) {
		b.Fatalf("%d messages of %d", got, b.N)
	}
}

// script says EHLO and then n messages.
type script struct {
	n, part int
	rest    string
}

func (s *script) Read(p []byte) (int, error) {
	if s.rest == "" {
		switch {
		case s.part == 0:
			s.rest = "EHLO x\r\n"
		case s.part%2 == 1 && s.n == 0:
			return 0, io.EOF
		case s.part%2 == 1:
			s.n--
			s.rest = "MAIL FROM:<a@example.org> SIZE=4096\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
		default:
			s.rest = letter
		}
		s.part++
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// BenchmarkConnection is one message a connection, with a client that reads
// its replies.
func BenchmarkConnection(b *testing.B) {
	s := newSite(envelope.MX, func(o *Options) { o.Spool, o.Log = null{}, slog.New(slog.DiscardHandler) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.Serve(conn)
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReaderSize(conn, smtp.MaxReadLine)
		for _, part := range []struct {
			say     string
			replies int
		}{{"", 1}, {"EHLO x\r\n", 1}, {"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n", 3}, {letter, 1}, {"QUIT\r\n", 1}} {
			io.WriteString(conn, part.say)
			for range part.replies {
				if r, err := smtp.ReadReply(r); err != nil || !r.Positive() {
					b.Fatal(r, err)
				}
			}
		}
		conn.Close()
	}
}

// BenchmarkLarge is 10 MiB messages, like an attachment.
func BenchmarkLarge(b *testing.B) {
	for _, with := range []string{"DATA", "BDAT"} {
		b.Run(with, func(b *testing.B) {
			s := newSite(envelope.MX, func(o *Options) {
				o.Spool, o.Log = null{}, slog.New(slog.DiscardHandler)
				o.Limits.MessageSize, o.Limits.Messages = 1<<30, 1<<30
			})
			k := s.dial(b, false).hello()
			content := "Subject: x\r\n\r\n" + strings.Repeat("TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0\r\n", 10<<20/78)
			one, replies := "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n", 3
			two := []byte(content + ".\r\n")
			if with == "BDAT" {
				one, replies = fmt.Sprintf("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nBDAT %d LAST\r\n", len(content)), 2
				two = []byte(content)
			}
			in := make([]byte, 4096)
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				if with == "BDAT" {
					exchange(b, k.conn, append([]byte(one), two...), in, replies+1)
					continue
				}
				exchange(b, k.conn, []byte(one), in, replies)
				exchange(b, k.conn, two, in, 1)
			}
		})
	}
}

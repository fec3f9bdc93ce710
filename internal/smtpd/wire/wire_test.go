package wire

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/smtp"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan net.Conn, 1)
	go func() {
		c, _ := net.Dial("tcp", l.Addr().String())
		dialled <- c
	}()
	there, err = l.Accept()
	here = <-dialled
	if err != nil || here == nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

func newConn(c net.Conn) *Conn {
	w := New(c, clock.System, new(atomic.Bool))
	w.Expect(10*time.Second, time.Time{})
	return w
}

// waiting reports whether w, which another goroutine uses, holds buffers
// while its client says nothing.
func holdsBuffer(w *Conn) bool { return w.in != nil || w.outBuf != nil }

// TestIdleHoldsNothing: the point of socket.go.
func TestIdleHoldsNothing(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	w := newConn(there)
	for _, line := range []string{"NOOP", "EHLO x"} {
		io.WriteString(here, line+"\r\n")
		got, err := w.Command(512)
		if err != nil || string(got) != line {
			t.Fatalf("%q, %v", got, err)
		}
		w.Reply(&smtp.Reply{Code: 250, Text: "ok"})
		w.Expect(50*time.Millisecond, time.Time{})
		if _, err := w.Command(512); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		if holdsBuffer(w) {
			t.Error("a buffer is held after waiting")
		}
		w.Expect(10*time.Second, time.Time{})
	}
	if r, err := smtp.ReadReply(bufio.NewReaderSize(here, smtp.MaxReadLine)); err != nil || r.Code != 250 {
		t.Error(r, err)
	}
	// Half a line has to be kept.
	io.WriteString(here, "NO")
	w.Expect(200*time.Millisecond, time.Time{})
	if _, err := w.Command(512); !errors.Is(err, ErrTimeout) || !holdsBuffer(w) {
		t.Error(err)
	}
	io.WriteString(here, "OP\r\n")
	w.Expect(10*time.Second, time.Time{})
	if got, err := w.Command(512); string(got) != "NOOP" {
		t.Error(got, err)
	}
}

func serverConfig(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	w := newConn(there)
	client := tls.Client(here, &tls.Config{InsecureSkipVerify: true})
	said := make(chan error, 1)
	go func() {
		_, err := io.WriteString(here, "STARTTLS\r\nQUIT\r\n") // injected
		if err == nil {
			_, err = io.ReadFull(here, make([]byte, len("220 go\r\n")))
		}
		if err == nil {
			_, err = io.WriteString(client, "NOOP\r\n")
		}
		said <- err
	}()
	if got, err := w.Command(512); string(got) != "STARTTLS" {
		t.Fatal(got, err)
	}
	for len(w.buffered()) == 0 {
		if err := w.fill(); err != nil {
			t.Fatal(err)
		}
	}
	w.Reply(&smtp.Reply{Code: 220, Text: "go"})
	if _, err := w.StartTLS(serverConfig(t), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	if got, err := w.Command(512); string(got) != "NOOP" {
		t.Fatalf("%q %v: what was injected survived the handshake", got, err)
	}
	w.Expect(50*time.Millisecond, time.Time{})
	if _, err := w.Command(512); !errors.Is(err, ErrTimeout) || holdsBuffer(w) {
		t.Errorf("%v, holds a buffer: %v", err, holdsBuffer(w))
	}
	// A timeout does not spoil the connection.
	go io.WriteString(client, "RSET\r\n")
	w.Expect(10*time.Second, time.Time{})
	if got, err := w.Command(512); string(got) != "RSET" {
		t.Error(got, err)
	}
}

// pieces is a connection that delivers its input cut up.
type pieces struct {
	net.Conn
	in  string
	cut int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.in == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.cut)], p.in)
	p.in = p.in[n:]
	return n, nil
}

func (p *pieces) SetReadDeadline(time.Time) error { return nil }

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 600)
	huge := strings.Repeat("y", 15000)
	for _, c := range []struct{ in, want string }{
		{"NOOP\r\nRSET\r\n", "NOOP RSET EOF"},
		{"\r\nNOOP\r\n", " NOOP EOF"},
		{"NOOP", "EOF"},
		{"NOOP\nRSET\r\n", "bare"},
		{"\nRSET\r\n", "bare"},
		{"NO\rOP\r\nRSET\r\n", "NO\rOP RSET EOF"}, // the grammar refuses it
		{"NOOP\r\r\nRSET\r\n", "NOOP\r RSET EOF"},
		{long + "\r\nRSET\r\n", "long RSET EOF"},
		{"MAIL " + long + "\r\nRSET\r\n", "MAIL " + long + " RSET EOF"},
		{huge + "\r\nRSET\r\n", "long RSET EOF"},
		{"AUTH " + huge + "\r\nRSET\r\n", "long RSET EOF"},
		{huge + "\r" + huge + "\r\nRSET\r\n", "long RSET EOF"},
		{huge + "\r\r\nRSET\r\n", "long RSET EOF"},
		{strings.Repeat("z", maxSkip+inSize+1), "long endless"},
	} {
		for _, cut := range []int{1, 7, 4096, 1 << 20} {
			if len(c.in) > 5000 && cut < 4096 {
				continue
			}
			w := newConn(&pieces{in: c.in, cut: cut})
			var got []string
		loop:
			for {
				line, err := w.Command(smtp.MaxAuthLine)
				var tooLong LongLine
				switch {
				case err == nil:
					got = append(got, string(line))
				case errors.As(err, &tooLong):
					got = append(got, "long")
				case errors.Is(err, ErrBareLF):
					got = append(got, "bare")
					break loop
				case errors.Is(err, ErrEndless):
					got = append(got, "endless")
					break loop
				default:
					got = append(got, err.Error())
					break loop
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%.30q in pieces of %d: %.100q, want %.100q", c.in, cut, s, c.want)
			}
		}
	}
}

// TestNoTailIsACommand: wherever a long line with an LF in it is cut, nothing
// behind the LF is read as a line of its own.
func TestNoTailIsACommand(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("x", 12280) + "\nQUIT\r\n"
	for cut := range 100 {
		w := newConn(&pieces{in: in, cut: 100 + cut*397})
		for {
			line, err := w.Command(smtp.MaxAuthLine)
			if string(line) == "QUIT" {
				t.Fatalf("in pieces of %d the tail is a command", 100+cut*397)
			}
			var tooLong LongLine
			if err != nil && !errors.As(err, &tooLong) {
				if !errors.Is(err, ErrBareLF) {
					t.Errorf("in pieces of %d: %v", 100+cut*397, err)
				}
				break
			}
		}
	}
}

func TestContent(t *testing.T) {
	t.Parallel()
	w := newConn(&pieces{in: "DATA\r\nabcdef\r\n.\r\nQUIT\r\n", cut: 9})
	w.Command(512)
	var got string
	w.Bulk = true
	for len(got) < 11 {
		p, err := w.More()
		if err != nil {
			t.Fatal(err)
		}
		n := min(len(p), 11-len(got))
		got += string(p[:n])
		w.Used(n)
	}
	w.Bulk = false
	if line, err := w.Command(512); got != "abcdef\r\n.\r\n" || string(line) != "QUIT" {
		t.Errorf("%q, then %q %v", got, line, err)
	}
}

// TestInterrupt: an interrupt ends a wait only if the server drains and the
// client owes nothing, and one that comes too early is not lost.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stop, idle, early bool
		want              error
	}{
		{false, true, false, ErrTimeout}, {true, false, false, ErrTimeout}, {true, true, false, ErrDraining}, {true, true, true, ErrDraining},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				defer here.Close()
				w := newConn(there)
				w.Idle = c.idle
				interrupt := func() {
					w.stop.Store(c.stop)
					w.Interrupt()
				}
				if c.early {
					interrupt()
				} else {
					go func() { time.Sleep(time.Second); interrupt() }()
				}
				start := time.Now()
				_, err := w.Command(512)
				took := time.Since(start)
				if !errors.Is(err, c.want) || err == ErrTimeout && took != 10*time.Second || err == ErrDraining && took > time.Second {
					t.Errorf("%v after %v, want %v", err, took, c.want)
				}
			})
		})
	}
}

// TestInterruptSocket is TestInterrupt where no buffer is held.
func TestInterruptSocket(t *testing.T) {
	t.Parallel()
	_, there := pair(t)
	w := newConn(there)
	w.Idle = true
	done := make(chan error)
	go func() { _, err := w.Command(512); done <- err }()
	w.stop.Store(true)
	for {
		w.Interrupt()
		select {
		case err := <-done:
			if !errors.Is(err, ErrDraining) {
				t.Error(err)
			}
			return
		case <-t.Context().Done():
			t.Fatal("the wait goes on")
		default:
		}
	}
}

// TestLastWords: a client that is cut off while it still sends learns why.
func TestLastWords(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	w := newConn(there)
	io.WriteString(here, "GET / HTTP/1.1\r\n"+strings.Repeat("Cookie: 1\r\n", 10000))
	if _, err := w.Command(512); err != nil {
		t.Fatal(err)
	}
	w.Reply(&smtp.Reply{Code: 502, Text: "no"})
	go w.Close(false)
	if r, err := smtp.ReadReply(bufio.NewReaderSize(here, smtp.MaxReadLine)); err != nil || r.Code != 502 {
		t.Error(r, err)
	}
}

// That a client has left is seen, with and without something unread.
func TestGone(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"", "NOOP\r\n"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		there, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		here, err := l.Accept()
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		var stop atomic.Bool
		c := New(here, clock.System, &stop)
		if _, err := io.WriteString(there, words); err != nil || c.Gone() {
			t.Errorf("%q: gone while it is there, %v", words, err)
		}
		there.Close()
		for !c.Gone() { // it is on its way
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	b.Close()
	var stop atomic.Bool
	if New(a, clock.System, &stop).Gone() {
		t.Error("what is no socket cannot be known to be gone")
	}
}

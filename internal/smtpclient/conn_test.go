package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A script is a dialogue, a line each:
//
//	S: what the server says        C: what it must hear
//	S< says, and hangs up          C+ a line of anything
//	                               C* so many octets of anything
//	T: begins TLS                  X: signs in with SCRAM
//
// Lines of the server that follow one another leave in one write.
type script string

// counted counts the writes of the client.
type counted struct {
	net.Conn
	writes atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// talk returns a connection to a server that follows the script. The test
// fails if the client does not, or says more.
func talk(t testing.TB, s script, change ...func(*Options)) (*Conn, *counted) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		if err := s.play(server); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { nc.Close(); <-done })
	return client(nc, change...)
}

func client(nc net.Conn, change ...func(*Options)) (*Conn, *counted) {
	o := Options{Hostname: "client.example", Clock: clock.System}
	for _, f := range change {
		f(&o)
	}
	count := &counted{Conn: nc}
	c := New(count, o)
	c.raw = nc // for Alive, which looks at the socket
	return c, count
}

func (s script) play(nc net.Conn) error {
	in, said := bufio.NewReader(nc), ""
	say := func() error {
		_, err := io.WriteString(nc, said)
		said = ""
		return err
	}
	for line := range strings.SplitSeq(strings.Trim(string(s), "\n"), "\n") {
		line = strings.TrimLeft(line, "\t")
		kind, text, _ := strings.Cut(line, " ")
		switch kind {
		case "":
		case "T:":
			if err := say(); err != nil {
				return err
			}
			secured := tls.Server(nc, serverTLS)
			if err := secured.Handshake(); err != nil {
				return nil // the client says what it thinks of that
			}
			nc, in = secured, bufio.NewReader(secured)
		case "S:", "S<":
			said += text + "\r\n"
			if kind == "S<" {
				return say()
			}
		case "C:", "C+":
			if err := say(); err != nil {
				return nil // the client has had enough
			}
			got, err := in.ReadString('\n')
			if kind == "C:" && got != text+"\r\n" {
				return fmt.Errorf("the client said %q (%v), not %q", got, err, text)
			}
		case "X:":
			if err := say(); err != nil {
				return err
			}
			if err := serveSCRAM(nc, in, text); err != nil {
				return err
			}
		case "C*":
			if err := say(); err != nil {
				return err
			}
			var n int
			fmt.Sscan(text, &n)
			if _, err := io.CopyN(io.Discard, in, int64(n)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("bad script line %q", line)
		}
	}
	say()
	if rest, _ := io.ReadAll(in); string(rest) != "" && string(rest) != "QUIT\r\n" {
		return fmt.Errorf("the client went on: %q", rest)
	}
	return nil
}

const hello = `
	S: 220 server.example ESMTP
	C: EHLO client.example
`

func TestHello(t *testing.T) {
	t.Parallel()
	all := Extensions{Pipelining: true, EightBit: true, UTF8: true, Chunking: true, DSN: true, StartTLS: true, RequireTLS: true,
		Size: true, MaxSize: 1000, MailMax: 5, RcptMax: 20, RcptDomainMax: 1, auth: plain | login | scramSHA256}
	cases := []struct {
		name   string
		script script
		want   Extensions
		fails  string
	}{
		{"all", hello + `
			S: 250-server.example at your service
			S: 250-PIPELINING
			S: 250-8bitmime
			S: 250-SMTPUTF8
			S: 250-CHUNKING
			S: 250-DSN
			S: 250-STARTTLS
			S: 250-REQUIRETLS
			S: 250-SIZE 1000
			S: 250-AUTH LOGIN plain GSSAPI SCRAM-SHA-256
			S: 250-LIMITS rcptmax=20 MAILMAX=5 RCPTDOMAINMAX=1 X=9
			S: 250 X-OTHER`, all, ""},
		{"none", hello + "S: 250 PIPELINING", Extensions{}, ""},
		{"odd values", hello + `
			S: 250-x
			S: 250-SIZE
			S: 250-LIMITS RCPTMAX=0 MAILMAX=-1 RCPTDOMAINMAX=1000000 RCPTMAX MAILMAX=x
			S: 250-AUTH
			S: 250 AUTH=PLAIN`, Extensions{Size: true}, ""},
		{"huge size", hello + "S: 250-x\nS: 250 SIZE 99999999999999999999999", Extensions{Size: true}, ""},
		{"HELO", hello + "S: 502 5.5.1 what?\nC: HELO client.example\nS: 250 hello", Extensions{}, ""},
		{"neither", hello + "S: 502 no\nC: HELO client.example\nS: 550 no", Extensions{}, "550 no"},
		{"not now", hello + "S: 450 4.3.2 later", Extensions{}, "450 4.3.2 later"},
		{"closing", hello + "S< 421 4.3.2 bye", Extensions{}, "421 4.3.2 bye"},
		{"refused", "S: 554 5.7.1 not you", Extensions{}, "554 5.7.1 not you"},
		{"busy", "S< 421 busy", Extensions{}, "421 busy"},
		{"long greeting", "S: 220-a\nS: 220-b\nS: 220 c\nC: EHLO client.example\nS: 250 x", Extensions{}, ""},
		{"another protocol", "S: * OK IMAP4rev1", Extensions{}, "its greeting: not a valid SMTP reply: no reply code"},
		{"a strange greeting", "S: 250 hello", Extensions{}, "its greeting: protocol error: unexpected 250"},
		{"out of turn", "S: 220 hello\nS: 250 you need not ask", Extensions{}, "EHLO: protocol error: it speaks out of turn"},
		{"a reply to nothing", hello + "S: 250 x\nS: 250 y", Extensions{}, "a time when it was asked nothing: protocol error: a reply to nothing"},
		{"hangs up", hello + "S< 250-x", Extensions{}, "EHLO: unexpected EOF"},
		{"unexpected", hello + "S: 354 go on", Extensions{}, "EHLO: protocol error: unexpected 354"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, _ := talk(t, tc.script)
			err := c.Hello()
			if err == nil {
				err = c.failed
			}
			if got := fmt.Sprint(err); got != tc.fails && (err != nil || tc.fails != "") {
				t.Errorf("%v, want %q", err, tc.fails)
			}
			if err == nil && *c.Extensions() != tc.want {
				t.Errorf("%+v", *c.Extensions())
			}
			if c.Usable() != (err == nil || c.failed == nil) || c.buf != nil {
				t.Error("not put away")
			}
			c.Quit()
		})
	}
}

// TestTimeouts: each step has its own time, and Patience shortens it.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	const ehlo = "EHLO client.example\r\n"
	offers := func(what ...string) string { return "250-x\r\n250-" + strings.Join(what, "\r\n250-") + "\r\n250 X\r\n" }
	commands := "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"
	cases := []struct {
		step     string
		dialogue []string // server, client, server, …
		want     time.Duration
	}{
		{"its greeting", []string{""}, 5 * time.Minute},
		{"EHLO", []string{"220 x\r\n", ehlo}, 5 * time.Minute},
		{"MAIL", []string{"220 x\r\n", ehlo, "250 x\r\n", "MAIL FROM:<>\r\n"}, 5 * time.Minute},
		{"RCPT", []string{"220 x\r\n", ehlo, "250 x\r\n", "MAIL FROM:<>\r\n", "250 x\r\n", "RCPT TO:<a@b.example>\r\n"}, 5 * time.Minute},
		{"DATA", []string{"220 x\r\n", ehlo, "250 x\r\n", "MAIL FROM:<>\r\n", "250 x\r\n", "RCPT TO:<a@b.example>\r\n", "250 x\r\n", "DATA\r\n"}, 2 * time.Minute},
		{"MAIL", []string{"220 x\r\n", ehlo, offers("PIPELINING"), commands + "DATA\r\n"}, 5 * time.Minute},
		{"the content", []string{"220 x\r\n", ehlo, offers("PIPELINING"), commands + "DATA\r\n", "250 x\r\n250 x\r\n354 x\r\n"}, 3 * time.Minute},
		{"the end of the content", []string{"220 x\r\n", ehlo, offers("PIPELINING"), commands + "DATA\r\n", "250 x\r\n250 x\r\n354 x\r\n", "a\r\n.\r\n"}, 10 * time.Minute},
	}
	for _, tc := range cases {
		for _, patience := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprint(tc.step, len(tc.dialogue), patience), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					nc, server := net.Pipe()
					defer server.Close()
					go func() {
						for i, s := range tc.dialogue {
							if i%2 == 0 {
								io.WriteString(server, s)
							} else {
								io.ReadFull(server, make([]byte, len(s)))
							}
						}
					}()
					c, _ := client(nc, func(o *Options) { o.Patience = patience })
					defer c.Close()
					start := time.Now()
					err := c.Hello()
					tr := &Transaction{Recipients: []Recipient{{To: addr.MustParse("a@b.example")}}, Content: Content{Body: []byte("a\r\n"), Size: 3}}
					if err == nil {
						err = c.Send(tr)
					}
					want := tc.want
					if patience > 0 {
						want = patience
					}
					var lost *Error
					if !errors.As(err, &lost) || lost.Step != tc.step || time.Since(start) != want {
						t.Errorf("%v after %v, want %s after %v", err, time.Since(start), tc.step, want)
					}
					if wants := "it did not answer " + tc.step + " in time"; lost.Public() != wants {
						t.Errorf("%q, want %q", lost.Public(), wants)
					}
					if c.Usable() || tr.Unknown != (tc.want == FinalTimeout) {
						t.Errorf("usable %v, unknown %v", c.Usable(), tr.Unknown)
					}
				})
			})
		}
	}
}

func TestBind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nc, server := net.Pipe()
		defer server.Close()
		c, _ := client(nc)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		release := c.Bind(ctx)
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		err := c.Hello()
		if !errors.Is(err, ErrAborted) || time.Since(start) != time.Second || c.Usable() {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if release() {
			t.Error("the interruption was not noticed")
		}
	})
	// One that ends between two steps stops the next.
	c, _ := talk(t, "S: 220 hello")
	ctx, cancel := context.WithCancel(t.Context())
	release := c.Bind(ctx)
	cancel()
	for !c.aborted.Load() {
		<-ctx.Done()
	}
	if err := c.Hello(); !errors.Is(err, ErrAborted) || release() {
		t.Errorf("%v", err)
	}
	// One that is released does not.
	c, _ = talk(t, hello+"S: 250 x")
	ctx, cancel = context.WithCancel(t.Context())
	if !c.Bind(ctx)() {
		t.Error("not released")
	}
	cancel()
	if err := c.Hello(); err != nil {
		t.Error(err)
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	wait := func(c *Conn) bool {
		for range 1000 {
			if !c.Alive() {
				return false
			}
			time.Sleep(time.Millisecond)
		}
		return true
	}
	c, _ := talk(t, hello+"S: 250 x")
	if err := c.Hello(); err != nil || !c.Alive() {
		t.Errorf("a quiet connection is alive: %v", err)
	}
	c, _ = talk(t, hello+"S< 250 x")
	if err := c.Hello(); err != nil || wait(c) {
		t.Errorf("the server has hung up: %v", err)
	}
	c, count := talk(t, hello+"S: 250 x\nC: \nS: 421 idle for too long")
	if err := c.Hello(); err != nil {
		t.Error(err)
	}
	io.WriteString(count, "\r\n") // makes it say that
	if wait(c) {
		t.Error("the server has said something")
	}
	if c.Close(); c.Alive() {
		t.Error("it is closed")
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	secret := errors.New("10.0.0.1")
	cases := map[string]*Error{
		"the connection broke at MAIL":                     {"MAIL", secret},
		"the TLS handshake failed":                         {"the TLS handshake", secret},
		"it broke the protocol at DATA":                    {"DATA", fmt.Errorf("%w: 10.0.0.1", smtp.ErrReply)},
		"the message could not be read on our side":        {"the content", fmt.Errorf("%w: 10.0.0.1", ErrContent)},
		"delivery was interrupted at the end of something": {"the end of something", ErrAborted},
	}
	for want, err := range cases {
		if got := err.Public(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
)

// tape is a connection whose client says what it has to say in pieces and
// leaves; what it is answered is kept.
type tape struct {
	net.Conn // nil: nothing else is called
	in       string
	piece    func() int
	out      bytes.Buffer
	closed   bool
}

func (c *tape) Read(p []byte) (int, error) {
	if c.in == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), max(1, c.piece()))], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *tape) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *tape) Close() error                     { c.closed = true; return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }
func (c *tape) LocalAddr() net.Addr              { return nil }
func (c *tape) RemoteAddr() net.Addr             { return nil }

// zeros is a source of randomness that makes ids repeatable.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// play runs a session and returns what the client was answered and what was
// taken.
func play(t *testing.T, in string, piece func() int) (out, taken string) {
	t.Helper()
	s := newSite(envelope.MX, func(o *Options) {
		o.TLS, o.Random, o.Clock = nil, zeros{}, clock.NewFake(time.Unix(1e9, 0))
		o.Limits.MessageSize, o.Limits.HeaderSize = 4000, 500
	})
	s.rules.rcpt = func(_ *envelope.Envelope, r envelope.Recipient) ([]envelope.Recipient, error) {
		return []envelope.Recipient{r}, nil
	}
	c := &tape{in: in, piece: piece}
	s.Serve(c)
	if !c.closed || s.store.open != 0 || s.Counters.Open.Load() != 0 {
		t.Fatalf("closed %v, %d drafts, %d sessions", c.closed, s.store.open, s.Counters.Open.Load())
	}
	for _, m := range s.store.all() {
		taken += fmt.Sprintf("%v %v %v %q%q\n", m.From, m.Recipients, m.Form, m.Header, m.content)
		if strings.ContainsAny(strings.ReplaceAll(string(m.Header)+m.content, "\r\n", ""), "\r\n\x00") || !strings.HasSuffix(m.content, "\r\n") {
			t.Errorf("taken: %q", m.content)
		}
	}
	return c.out.String(), taken
}

// FuzzSession holds that what a session does depends on what the client says
// and not on how the network cuts it up, and that whatever is taken is
// canonical.
func FuzzSession(f *testing.F) {
	hello := "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	for _, s := range []string{
		hello + "DATA\r\nSubject: x\r\n\r\n..hi\r\n.\r\nQUIT\r\n",
		hello + "BDAT 5\r\nA: b\r\nBDAT 4 LAST\r\n\n\r\nhQUIT\r\n",
		hello + "DATA\r\nhi\r\n.\r\n" + hello + "DATA\r\n\n.\n\r\n.\r\n",
		hello + "BDAT 2\r\n\n\nBDAT 4 LAST\r\nQUITRSET\r\n",
		"HELO x\r\nVRFY x\r\nEXPN x\r\nHELP\r\nNOOP\r\nRSET\r\nAUTH PLAIN\r\nSTARTTLS\r\nGET / HTTP/1.1\r\n",
		"EHLO " + strings.Repeat("x", 490) + "\r\nNOOP\n" + hello,
	} {
		f.Add(s, 5)
	}
	f.Fuzz(func(t *testing.T, in string, seed int) {
		for l := range strings.Lines(in) {
			if len(l) > 500 {
				return // when a line that is too long is answered depends on how it comes
			}
		}
		out, taken := play(t, in, func() int { return 1 << 20 })
		for _, piece := range []func() int{
			func() int { return 1 },
			func() int { seed = seed*1103515245 + 12345; return seed >> 16 & 31 },
		} {
			if again, same := play(t, in, piece); again != out || same != taken {
				t.Fatalf("%q is answered\n%q, or\n%q; taken\n%q, or\n%q", in, out, again, taken, same)
			}
		}
		for l := range strings.Lines(out) {
			if len(l) < 6 || !strings.HasSuffix(l, "\r\n") || strings.Contains(l[:len(l)-2], "\r") {
				t.Errorf("reply %q", l)
			}
		}
	})
}

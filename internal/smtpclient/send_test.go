package smtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatepost/internal/addr"
	"gatepost/internal/smtp"
)

const (
	simple    = hello + "S: 250 x\n"
	pipelined = hello + "S: 250-x\nS: 250 PIPELINING\n"
	chunking  = hello + "S: 250-x\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
	envelope  = `
		C: MAIL FROM:<a@a.example>
		C: RCPT TO:<b@b.example>
		C: RCPT TO:<c@b.example>
	`
	message = "C: A: b\nC: \nC: text\n"
	bdat    = "C: BDAT 14 LAST\n" + message
)

// transaction is from a@a.example to b@ and c@b.example.
func transaction() *Transaction {
	return &Transaction{
		From:       addr.MustParse("a@a.example"),
		Recipients: []Recipient{{To: addr.MustParse("b@b.example")}, {To: addr.MustParse("c@b.example")}},
		Content:    Content{Header: []byte("A: b\r\n"), Body: []byte("\r\ntext\r\n"), Size: 14},
	}
}

// TestSend tells who gets which reply, in how many writes, and whether the
// connection may be used again.
func TestSend(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		script  script
		change  func(*Transaction)
		replies [2]string // of the recipients; "" if undecided
		fails   string
		usable  bool
		writes  int // after EHLO
		unknown bool
	}{
		{name: "one by one", script: simple + `
			C: MAIL FROM:<a@a.example>
			S: 250 ok
			C: RCPT TO:<b@b.example>
			S: 250 ok
			C: RCPT TO:<c@b.example>
			S: 550 5.1.1 who?
			C: DATA
			S: 354 go
			` + message + `
			C: .
			S: 250 2.0.0 queued as 7`,
			replies: [2]string{"250 2.0.0 queued as 7", "550 5.1.1 who?"}, usable: true, writes: 5},
		{name: "one by one, MAIL refused", script: simple + "C: MAIL FROM:<a@a.example>\nS: 452 4.3.1 full",
			replies: [2]string{"452 4.3.1 full", "452 4.3.1 full"}, usable: true, writes: 1},
		{name: "one by one, nobody", script: simple + `
			C: MAIL FROM:<a@a.example>
			S: 250 ok
			C: RCPT TO:<b@b.example>
			S: 550 b
			C: RCPT TO:<c@b.example>
			S: 450 c`,
			replies: [2]string{"550 b", "450 c"}, usable: true, writes: 3},
		{name: "one by one, closing at RCPT", script: simple + `
			C: MAIL FROM:<a@a.example>
			S: 250 ok
			C: RCPT TO:<b@b.example>
			S< 421 bye`,
			replies: [2]string{"421 bye", "421 bye"}, writes: 2},
		{name: "one by one, chunked", script: hello + `
			S: 250-x
			S: 250 CHUNKING
			C: MAIL FROM:<a@a.example>
			S: 250 ok
			C: RCPT TO:<b@b.example>
			S: 250 ok
			C: RCPT TO:<c@b.example>
			S: 250 ok
			` + bdat + "S: 250 done",
			replies: [2]string{"250 done", "250 done"}, usable: true, writes: 4},

		{name: "pipelined", script: pipelined + envelope + `
			C: DATA
			S: 250 ok
			S: 250 ok
			S: 251 elsewhere
			S: 354 go
			` + message + `
			C: .
			S: 250 done`,
			replies: [2]string{"250 done", "250 done"}, usable: true, writes: 2},
		{name: "pipelined, refused at the end", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS: 550 5.1.1 c\nS: 354 go\n" + message + "C: .\nS: 554 5.7.1 spam",
			replies: [2]string{"554 5.7.1 spam", "550 5.1.1 c"}, usable: true, writes: 2},
		{name: "pipelined, MAIL refused", script: pipelined + envelope + "C: DATA\nS: 550 5.7.1 no\nS: 503 what\nS: 503 what\nS: 503 what",
			replies: [2]string{"550 5.7.1 no", "550 5.7.1 no"}, usable: true, writes: 1},
		{name: "pipelined, nobody, and DATA knows it", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 550 b\nS: 450 c\nS: 554 nobody",
			replies: [2]string{"550 b", "450 c"}, usable: true, writes: 1},
		{name: "pipelined, nobody, but DATA goes on", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 550 b\nS: 450 c\nS: 354 go\nC: .\nS: 250 delivered to nobody",
			replies: [2]string{"550 b", "450 c"}, usable: true, writes: 2},
		{name: "pipelined, MAIL refused but all else accepted", script: pipelined + envelope + "C: DATA\nS: 550 no\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: .\nS: 250 fine",
			replies: [2]string{"550 no", "550 no"}, usable: true, writes: 2},
		{name: "pipelined, DATA refused", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS: 550 c\nS: 451 4.3.0 not now",
			replies: [2]string{"451 4.3.0 not now", "550 c"}, usable: true, writes: 1},
		{name: "pipelined, DATA 250", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok",
			fails: "DATA: protocol error: unexpected 250", writes: 1},
		{name: "pipelined, one reply too few", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go",
			fails: "RCPT: protocol error: unexpected 354", writes: 1},
		{name: "pipelined, one reply too many", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + message + "C: .\nS: 250 done\nS: 250 done twice",
			replies: [2]string{"250 done", "250 done"}, writes: 2},
		{name: "pipelined, 354 to MAIL", script: pipelined + envelope + "C: DATA\nS: 354 go",
			fails: "MAIL: protocol error: unexpected 354", writes: 1},
		{name: "pipelined, 354 to the end", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + message + "C: .\nS: 354 more",
			fails: "the end of the content: protocol error: unexpected 354", writes: 2, unknown: true},
		{name: "pipelined, closing at once", script: pipelined + envelope + "C: DATA\nS< 421 4.7.0 bye",
			replies: [2]string{"421 4.7.0 bye", "421 4.7.0 bye"}, writes: 1},
		{name: "pipelined, closing at RCPT", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS< 421 bye",
			replies: [2]string{"421 bye", "421 bye"}, writes: 1},
		{name: "pipelined, closing at DATA", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 550 b\nS: 250 ok\nS< 421 bye",
			replies: [2]string{"550 b", "421 bye"}, writes: 1},
		{name: "pipelined, closing at the end", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 550 b\nS: 250 ok\nS: 354 go\n" + message + "C: .\nS< 421 bye",
			replies: [2]string{"550 b", "421 bye"}, writes: 2},
		{name: "pipelined, lost at once", script: pipelined + "C: MAIL FROM:<a@a.example>\nS< ",
			fails: "MAIL: not a valid SMTP reply: no reply code", writes: 1},
		{name: "pipelined, lost at the end", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 550 b\nS: 250 ok\nS: 354 go\n" + message + "C: .\nS< 250-do",
			replies: [2]string{"550 b", ""}, fails: "the end of the content: unexpected EOF", writes: 2, unknown: true},

		{name: "whole", script: chunking + envelope + bdat + "S: 250 ok\nS: 250 ok\nS: 550 c\nS: 250 done",
			replies: [2]string{"250 done", "550 c"}, usable: true, writes: 1},
		{name: "whole, refused", script: chunking + envelope + bdat + "S: 550 no\nS: 503 no\nS: 503 no\nS: 503 no",
			replies: [2]string{"550 no", "550 no"}, usable: true, writes: 1},
		{name: "whole, nobody", script: chunking + envelope + bdat + "S: 250 ok\nS: 550 b\nS: 550 c\nS: 554 nobody",
			replies: [2]string{"550 b", "550 c"}, usable: true, writes: 1},
		{name: "whole, 354", script: chunking + envelope + bdat + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go",
			fails: "the end of the content: protocol error: unexpected 354", writes: 1, unknown: true},
		{name: "whole, lost", script: chunking + envelope + bdat + "S< 250 ok",
			fails: "RCPT: unexpected EOF", writes: 1, unknown: true},

		{name: "quoted", script: simple + `C: MAIL FROM:<"a b> SIZE=1"@a.example>` + "\nS: 550 no",
			change:  func(t *Transaction) { t.From.Local = "a b> SIZE=1" },
			replies: [2]string{"550 no", "550 no"}, usable: true, writes: 1},
		{name: "injected sender", script: simple, change: func(t *Transaction) { t.From.Local = "a\r\nRCPT TO:<x@x.example>" },
			fails: errControl.Error(), usable: true},
		{name: "injected domain", script: simple, change: func(t *Transaction) { t.Recipients[1].To.Domain = "x\r\nQUIT" },
			fails: errControl.Error(), usable: true},
		{name: "too long", script: chunking + "C* 0\n", change: func(t *Transaction) { t.Size = 13 },
			fails: "the content: the message could not be read: the message has another size than was recorded"},
		{name: "too short", script: chunking + "C* 0\n", change: func(t *Transaction) { t.Size = 15 },
			fails: "the content: the message could not be read: the message has another size than was recorded"},
		{name: "unreadable", script: pipelined + envelope + "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go",
			change: func(t *Transaction) {
				t.Stream = func(w io.Writer) error { w.Write([]byte("half")); return io.ErrNoProgress }
			},
			fails: "the content: the message could not be read: " + io.ErrNoProgress.Error(), writes: 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, count := talk(t, tc.script)
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			before := count.writes.Load()
			tr := transaction()
			if tc.change != nil {
				tc.change(tr)
			}
			err := c.Send(tr)
			if got := fmt.Sprint(err); got != tc.fails && (err != nil || tc.fails != "") {
				t.Errorf("%v, want %q", err, tc.fails)
			}
			for i, want := range tc.replies {
				if r := tr.Recipients[i].Reply; want == "" && r.Code != 0 || want != "" && r.Error() != want {
					t.Errorf("recipient %d: %v, want %s", i, r.Error(), want)
				}
			}
			if got := int(count.writes.Load() - before); got != tc.writes {
				t.Errorf("%d writes, want %d", got, tc.writes)
			}
			if c.Usable() != tc.usable || tr.Unknown != tc.unknown {
				t.Errorf("usable %v, unknown %v", c.Usable(), tr.Unknown)
			}
			if c.buf != nil {
				t.Error("holds a buffer")
			}
			c.Quit()
		})
	}
}

// TestSendAgain: what a refused transaction leaves behind is reset along
// with the next one, and only then.
func TestSendAgain(t *testing.T) {
	t.Parallel()
	good := "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + message + "C: .\nS: 250 done\n"
	reset := "C: DATA\nS: 250 reset\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n" + message + "C: .\nS: 250 done\n"
	nobody := "C: DATA\nS: 250 ok\nS: 550 b\nS: 550 c\nS: 554 nobody\n"
	cases := []struct {
		name   string
		script script
		fails  string
	}{
		{"nothing to reset", script(pipelined + envelope + good + envelope + good + envelope + good), ""},
		{"reset", script(pipelined + envelope + nobody + "C: RSET\n" + envelope + reset + envelope + good), ""},
		{"reset refused", script(pipelined + envelope + good + envelope + nobody + "C: RSET\n" + envelope + "C: DATA\nS: 500 what?"), "RSET: 500 what?"},
		{"reset is what it closes at", script(pipelined + envelope + good + envelope + nobody + "C: RSET\n" + envelope + "C: DATA\nS< 421 bye"), ""},
		{"reset after BDAT", script(chunking + envelope + bdat + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 452 later\n" +
			"C: RSET\n" + envelope + bdat + "S: 250 reset\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 done\n" +
			envelope + bdat + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 done\n"), ""},
		{"reset one by one", script(simple + "C: MAIL FROM:<a@a.example>\nS: 550 no\n" +
			"C: RSET\nS: 250 ok\nC: MAIL FROM:<a@a.example>\nS: 550 no\nC: RSET\nS: 250 ok\nC: MAIL FROM:<a@a.example>\nS: 550 no\n"), ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, _ := talk(t, tc.script)
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			var err error
			for range 3 {
				if err = c.Send(transaction()); err != nil {
					break
				}
			}
			if got := fmt.Sprint(err); got != tc.fails && (err != nil || tc.fails != "") {
				t.Errorf("%v, want %q", err, tc.fails)
			}
			c.Quit()
		})
	}
}

// TestMailMax: the server's limit of transactions ends a connection.
func TestMailMax(t *testing.T) {
	t.Parallel()
	once := "C: MAIL FROM:<a@a.example>\nS: 550 no\n"
	c, _ := talk(t, script(hello+"S: 250-x\nS: 250 LIMITS MAILMAX=2\n"+once+"C: RSET\nS: 250 ok\n"+once))
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if !c.Usable() {
			t.Errorf("of no use after %d", i)
		}
		if err := c.Send(transaction()); err != nil {
			t.Fatal(err)
		}
	}
	if c.Usable() {
		t.Error("used beyond its limit")
	}
	c.Quit()
}

// TestParameters: each goes out if the server offers it, and only then.
func TestParameters(t *testing.T) {
	t.Parallel()
	full := func(t *Transaction) {
		t.EightBit, t.UTF8, t.Ret, t.EnvID = true, true, "HDRS", "x+3D1"
		t.Recipients[0].Notify, t.Recipients[0].ORcpt = "SUCCESS,FAILURE", "rfc822;d@d.example"
	}
	cases := []struct {
		name, offers string
		change       func(*Transaction)
		mail, rcpt   string
	}{
		{"nothing offered", "X", full, "", ""},
		{"nothing to say", "SIZE\nS: 250-8BITMIME\nS: 250-SMTPUTF8\nS: 250 DSN", func(*Transaction) {}, " SIZE=14", ""},
		{"size unknown", "SIZE", func(t *Transaction) { t.Size = -1 }, "", ""},
		{"8BITMIME", "8BITMIME", full, " BODY=8BITMIME", ""},
		{"SMTPUTF8", "SMTPUTF8", full, " SMTPUTF8", ""},
		{"DSN", "DSN", full, " RET=HDRS ENVID=x+3D1", " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;d@d.example"},
		{"injection", "DSN", func(t *Transaction) {
			t.EnvID, t.Ret, t.Recipients[0].Notify, t.Recipients[0].ORcpt = "a\r\nQUIT", "x y", "NEVER\x00", "utf-8;ä"
		}, "", ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			offers := "S: 250-x\nS: 250-" + strings.ReplaceAll(tc.offers, "250 ", "250-") + "\nS: 250 X\n"
			c, _ := talk(t, script(hello+offers+"C: MAIL FROM:<a@a.example>"+tc.mail+"\nS: 250 ok\nC: RCPT TO:<b@b.example>"+tc.rcpt+"\nS< 421 bye"))
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			tr := transaction()
			tc.change(tr)
			if err := c.Send(tr); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEarly: a server that has had enough says so before it hangs up, while
// we are still writing.
func TestEarly(t *testing.T) {
	t.Parallel()
	for _, offers := range []string{"PIPELINING", "CHUNKING"} {
		end := "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nC* 1000\nS< 552 5.3.4 too big"
		if offers == "CHUNKING" {
			end = "S: 250 ok\nS: 250 ok\nS: 250 ok\nC* 1000\nS< 552 5.3.4 too big"
		}
		nc, server := net.Pipe()
		go func() {
			script("S: 220 x\nC: EHLO client.example\nS: 250-PIPELINING\nS: 250-PIPELINING\nS: 250 " + offers + envelope + end).play(server)
			server.Close()
		}()
		c, _ := client(halfOpen{nc})
		if err := c.Hello(); err != nil {
			t.Fatal(err)
		}
		tr := transaction()
		tr.Body = bytes.Repeat([]byte("0123456789\r\n"), 100_000)
		tr.Size = int64(len(tr.Header) + len(tr.Body))
		if err := c.Send(tr); err != nil || c.Usable() || tr.Recipients[1].Reply.Error() != "552 5.3.4 too big" {
			t.Errorf("%v, usable %v, %v", err, c.Usable(), tr.Recipients[1].Reply.Error())
		}
		c.Close()
	}
}

// halfOpen makes a pipe behave like a socket: what was said before the other
// side hung up can still be read after a write has failed.
type halfOpen struct{ net.Conn }

func (h halfOpen) Write(p []byte) (int, error) {
	if len(p) > 1000 {
		n, _ := h.Conn.Write(p[:1000])
		return n, errors.New("broken pipe")
	}
	return h.Conn.Write(p)
}

func (h halfOpen) SetReadDeadline(time.Time) error { return nil }

// TestContent sends content of any shape through each way and reads it back
// with the grammar of the server.
func TestContent(t *testing.T) {
	t.Parallel()
	lines := rapid.SliceOf(rapid.OneOf(
		rapid.SampledFrom([]string{"", ".", "..", ".x", "text", strings.Repeat("long", 250)}),
		rapid.StringMatching(`[ -~]{0,80}`),
		rapid.Custom(func(t *rapid.T) string { return strings.Repeat(".", rapid.IntRange(0, 70_000).Draw(t, "dots")) }),
	))
	rapid.Check(t, func(t *rapid.T) {
		header := "Received: by x\r\n"
		body := strings.Join(append(lines.Draw(t, "lines"), ""), "\r\n")
		tr := transaction()
		tr.Header, tr.Body, tr.Size = []byte(header), []byte(body), int64(len(header)+len(body))
		tr.Dots = strings.HasPrefix(body, ".") || strings.Contains(body, "\n.")
		if rapid.Bool().Draw(t, "stream") {
			tr.Body, tr.Stream = nil, func(w io.Writer) error {
				_, err := io.Copy(w, io.NewSectionReader(strings.NewReader(body), 0, int64(len(body))))
				return err
			}
		}
		offers := rapid.SampledFrom([]string{"X", "PIPELINING", "CHUNKING", "PIPELINING\r\n250-CHUNKING"}).Draw(t, "offers")
		nc, server := net.Pipe()
		got := make(chan string)
		go func() { got <- receive(server, offers) }()
		c, _ := client(nc)
		if err := errors.Join(c.Hello(), c.Send(tr)); err != nil {
			t.Error(err)
		}
		c.Quit()
		if s := <-got; s != header+body {
			t.Fatalf("%q, want %q", s, header+body)
		}
		if r := tr.Recipients[0].Reply; r.Code != 250 || tr.Unknown {
			t.Errorf("%v", r.Error())
		}
	})
}

// receive is a server of one message; it returns the content.
func receive(nc net.Conn, offers string) string {
	defer nc.Close()
	in := bufio.NewReader(nc)
	var content []byte
	io.WriteString(nc, "220 x\r\n")
	answers := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return string(content)
		}
		var size int
		switch verb := line[:4]; {
		case verb == "EHLO":
			answers += "250-x\r\n250-" + offers + "\r\n250 X\r\n"
		case verb == "BDAT":
			fmt.Sscanf(line, "BDAT %d LAST", &size)
			content = make([]byte, size)
			io.ReadFull(in, content)
			answers += "250 ok\r\n"
		case verb == "DATA":
			io.WriteString(nc, answers+"354 go\r\n")
			answers = "250 ok\r\n"
			content = readData(in)
		default:
			answers += "250 ok\r\n"
		}
		if in.Buffered() == 0 {
			io.WriteString(nc, answers)
			answers = ""
		}
	}
}

func readData(in *bufio.Reader) []byte {
	var d smtp.Data
	var content []byte
	buf := make([]byte, 1)
	for done := false; !done; {
		if _, err := in.Read(buf); err != nil {
			return nil
		}
		var part []byte
		part, _, done = d.Next(buf)
		content = append(content, part...)
	}
	return content
}

// FuzzServer lets a server say anything: the client ends, and tells the
// truth about what it heard.
func FuzzServer(f *testing.F) {
	f.Add([]byte("220 x\r\n250-x\r\n250-CHUNKING\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"))
	f.Add([]byte("220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n550 no\r\n354 ok\r\n250 ok\r\n"))
	f.Add([]byte("220 x\r\n500 x\r\n250 ok\r\n421 bye\r\n"))
	f.Add([]byte("220-x\r\n221 x\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		nc := &deaf{in: bytes.NewReader(said)}
		c, _ := client(nc)
		if err := c.Hello(); err != nil {
			return
		}
		tr := transaction()
		err := c.Send(tr)
		if err != nil && c.Usable() {
			t.Errorf("usable after %v", err)
		}
		for _, r := range tr.Recipients {
			if err == nil && r.Reply.Code == 0 {
				t.Error("undecided without an error")
			}
			if r.Reply.Positive() && (!r.accepted || !tr.Mail.Positive() || r.Reply.Code/100 != 2) {
				t.Errorf("delivered, although refused: %+v", tr)
			}
			if r.Reply.Code == 421 && c.Usable() {
				t.Error("usable after 421")
			}
		}
		for line := range bytes.Lines(nc.out.Bytes()) {
			if !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Errorf("half a line: %q", line)
			}
		}
	})
}

// deaf is a server that has said all it will ever say.
type deaf struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (d *deaf) Read(p []byte) (int, error)  { return d.in.Read(p) }
func (d *deaf) Write(p []byte) (int, error) { return d.out.Write(p) }
func (d *deaf) SetDeadline(time.Time) error { return nil }

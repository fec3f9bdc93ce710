// Package trial is a first look: a server on loopback that writes to itself,
// and tells out what happens. It belongs to daemon.
package trial

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/mailbox"
	"gatepost/internal/message"
	"gatepost/internal/passwords"
)

// What a first look is made of: a domain of RFC 6761, section 6.2, which can
// never be a real one.
const (
	tryDomain  = "gatepost.test"
	tryHost    = "mx." + tryDomain
	tryAccount = "you@" + tryDomain
)

// tryPatience is how long sending the first message may take, and how long
// it may then take to arrive: much on a machine that is busy with other
// things, since signing in is made to be work.
const tryPatience = 30 * time.Second

// Run runs a server on loopback in a directory of its own, sends itself a
// message, tells out what happened, and stays up until ctx ends.
func Run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "gatepost-try-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := &trial{out: out, dir: dir}
	if err := t.start(ctx); err != nil {
		return err
	}
	if err := t.show(ctx); err != nil {
		return errors.Join(err, t.server.Drain())
	}
	<-ctx.Done()
	fmt.Fprintln(out, "\nStopped; the directory is removed.")
	return t.server.Drain()
}

// trial is one first look.
type trial struct {
	out      io.Writer
	dir      string
	password string
	server   *daemon.Server
	cfg      *config.Config
	log      logTail
}

// start sets up and starts the server.
func (t *trial) start(ctx context.Context) error {
	path := filepath.Join(t.dir, "gatepost.toml")
	text := fmt.Sprintf(`hostname = %q
[listen]
mx = ["127.0.0.1:0"]
submission = ["127.0.0.1:0"]
submissions = ["127.0.0.1:0"]
imaps = []
https = []
http = []
[tls]
self_signed = true
[remote]
ipv6 = false
`, tryHost)
	cfg, err := config.Parse(path, []byte(text))
	if err != nil {
		return err
	}
	t.cfg = cfg
	if err := operate.WriteNew(path, text); err != nil {
		return err
	}
	if t.password, err = passwords.Generate(rand.Reader, settings.Passwords(cfg), passwords.Person{Address: addr.MustParse(tryAccount)}); err != nil {
		return err
	}
	if err := operate.Fill(ctx, cfg, tryDomain, tryAccount, t.password); err != nil {
		return err
	}
	t.server, err = daemon.Start(ctx, cfg, daemon.Options{Log: &t.log, Capture: addr.MustParse(tryAccount)})
	return err
}

// show sends a message through the front door, follows it home and says how
// to connect.
func (t *trial) show(ctx context.Context) error {
	fmt.Fprintf(t.out, "Gatepost is up in %s, with the account %s.\n\nSending it a message through its own front door:\n\n", t.dir, tryAccount)
	sending, cancel := context.WithTimeoutCause(ctx, tryPatience, fmt.Errorf("it took longer than %v", tryPatience))
	defer cancel()
	if err := t.send(sending); err != nil {
		if sending.Err() != nil { // what it broke off is no reason
			err = context.Cause(sending)
		}
		return fmt.Errorf("the message could not be sent: %w", err)
	}
	m, err := t.await(ctx)
	if err != nil {
		return err
	}
	t.server.FlushLog()
	fmt.Fprintln(t.out, "\nWhat the server wrote down about it:")
	fmt.Fprintln(t.out)
	for _, line := range t.log.about("250 ", "message") {
		fmt.Fprintf(t.out, "    %s\n", line)
	}
	if err := t.read(ctx, m); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "\nDelivered: %q from %s is message %d in the INBOX of %s (%d octets).\n", m.Subject, m.From, m.ID, tryAccount, m.Size)
	t.connect()
	return nil
}

// send submits one message as any client would, and shows the dialogue.
func (t *trial) send(ctx context.Context) error {
	address := t.address("submissions")
	own := x509.NewCertPool()
	own.AddCert(t.server.Certificate())
	d := tls.Dialer{Config: &tls.Config{RootCAs: own, ServerName: tryHost}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	state := conn.(*tls.Conn).ConnectionState()
	fmt.Fprintf(t.out, "    (%s to %s)\n", tls.VersionName(state.Version), address)
	c := &dialogue{out: t.out, conn: conn, r: bufio.NewReader(conn)}
	c.expect("")
	c.say("EHLO laptop." + tryDomain)
	c.sayHidden("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+tryAccount+"\x00"+t.password)), "AUTH PLAIN (the password, in TLS)")
	c.say("MAIL FROM:<" + tryAccount + ">")
	c.say("RCPT TO:<" + tryAccount + ">")
	c.say("DATA")
	c.sayHidden("From: You <"+tryAccount+">\r\nTo: You <"+tryAccount+">\r\nSubject: Between you, me and the gatepost\r\n\r\n"+
		"If you can read this, the whole way works.\r\n.", "(a message of three lines) and a dot")
	c.say("QUIT")
	return c.err
}

// received is a message as a list of its folder shows it.
type received struct {
	ID      int64  `json:"id"`
	Subject string `json:"subject"`
	From    string `json:"from"`
	Size    int64  `json:"size"`
}

// await waits until the message is in the mailbox.
func (t *trial) await(ctx context.Context) (received, error) {
	for waited := time.Duration(0); waited < tryPatience; waited += tryPause {
		var m received
		found := false
		err := t.ask(ctx, "mailbox.list", control.Folder{Account: tryAccount, Folder: mailbox.Inbox}, func(it control.Item) error {
			found = true
			return json.Unmarshal(it.JSON, &m)
		})
		if found {
			return m, err
		}
		if err := pause(ctx, clock.System, tryPause); err != nil {
			return received{}, err
		}
	}
	return received{}, errors.New("the message was accepted but did not arrive in its mailbox; please report this")
}

// tryPause is how long await waits before it looks again.
const tryPause = 20 * time.Millisecond

func pause(ctx context.Context, c clock.Clock, d time.Duration) error {
	over := make(chan struct{})
	defer c.AfterFunc(d, func() { close(over) }).Stop()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read shows the message as it is in the mailbox.
func (t *trial) read(ctx context.Context, m received) error {
	fmt.Fprintln(t.out, "\nRead back from the mailbox:")
	fmt.Fprintln(t.out)
	return t.ask(ctx, "mailbox.show", control.Message{Account: tryAccount, ID: strconv.FormatInt(m.ID, 10)}, func(it control.Item) error {
		lines := bufio.NewScanner(it.Body)
		for lines.Scan() {
			fmt.Fprintf(t.out, "    %s\n", message.Printable(lines.Text()))
		}
		return lines.Err()
	})
}

// ask asks the server as any command would.
func (t *trial) ask(ctx context.Context, verb string, args any, each func(control.Item) error) error {
	op, err := operate.Open(ctx, t.cfg)
	if err != nil {
		return err
	}
	return errors.Join(op.Do(ctx, verb, args, each), op.Close())
}

// connect says how to use the server that is up.
func (t *trial) connect() {
	host, port, _ := net.SplitHostPort(t.address("submissions"))
	_, plain, _ := net.SplitHostPort(t.address("submission"))
	_, mx, _ := net.SplitHostPort(t.address("mx"))
	fmt.Fprintf(t.out, `
Now send with a client of your own (its certificate is self-signed):

    server    %s
    port      %s with TLS, or %s with STARTTLS; %s is where other servers deliver
    user      %s
    password  %s

    swaks --server %s --port %s --tls --auth PLAIN --auth-user %s \
        --auth-password %s --from %s --to friend@example.org

Nothing leaves this machine: mail to other domains is kept in the folder
Captured. In another terminal:

    gatepost mailbox list %s INBOX --config %s
    gatepost mailbox list %s Captured --config %s

Stop it with Ctrl-C.
`, host, port, plain, mx, tryAccount, t.password, host, plain, tryAccount, t.password, tryAccount,
		tryAccount, t.cfg.File(), tryAccount, t.cfg.File())
}

func (t *trial) address(door string) string {
	for _, a := range t.server.Addresses() {
		if address, ok := strings.CutPrefix(a, door+"="); ok {
			return address
		}
	}
	return ""
}

// dialogue is one SMTP session that is shown while it is spoken. After the
// first error it says nothing more.
type dialogue struct {
	out  io.Writer
	conn net.Conn
	r    *bufio.Reader
	err  error
}

func (d *dialogue) say(line string) { d.sayHidden(line, line) }

// sayHidden says a line and shows another.
func (d *dialogue) sayHidden(line, shown string) {
	if d.err != nil {
		return
	}
	fmt.Fprintf(d.out, "    you       %s\n", shown)
	if _, d.err = io.WriteString(d.conn, line+"\r\n"); d.err == nil {
		d.expect(shown)
	}
}

// expect shows a reply and takes anything but success for an error.
func (d *dialogue) expect(command string) {
	for d.err == nil {
		var line string
		line, d.err = d.r.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if d.err != nil {
			return
		}
		fmt.Fprintf(d.out, "    gatepost  %s\n", line)
		if len(line) < 4 || line[3] == '-' {
			continue
		}
		if line[0] != '2' && line[0] != '3' {
			d.err = fmt.Errorf("%s was answered %s", command, line)
		}
		return
	}
}

// logTail keeps the log of a first look.
type logTail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// maxTail bounds what is kept, in octets.
const maxTail = 1 << 20

func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len()+len(p) <= maxTail {
		l.text.Write(p)
	}
	return len(p), nil
}

// about returns the lines that hold one of the words.
func (l *logTail) about(words ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for line := range strings.Lines(l.text.String()) {
		for _, w := range words {
			if strings.Contains(line, w) {
				list = append(list, strings.TrimSpace(line))
				break
			}
		}
	}
	return list
}

package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

// rules is a Policy of functions; one that is nil lets everything pass.
type rules struct {
	connect func(*envelope.Peer) error
	helo    func(*envelope.Peer) error
	mail    func(*envelope.Peer, *envelope.Envelope, int64) error
	rcpt    func(*envelope.Envelope, envelope.Recipient) ([]envelope.Recipient, error)
	header  func(*envelope.Envelope, []byte) ([]byte, error)
	watch   func(header []byte) Watcher
	sign    func(header []byte) Watcher
	data    func(*envelope.Envelope) error
}

func (r *rules) Connect(_ context.Context, p *envelope.Peer) error {
	if r.connect != nil {
		return r.connect(p)
	}
	return nil
}

func (r *rules) Helo(_ context.Context, p *envelope.Peer) error {
	if r.helo != nil {
		return r.helo(p)
	}
	return nil
}

func (r *rules) Mail(_ context.Context, p *envelope.Peer, e *envelope.Envelope, size int64) error {
	if r.mail != nil {
		return r.mail(p, e, size)
	}
	return nil
}

func (r *rules) Rcpt(_ context.Context, _ *envelope.Peer, e *envelope.Envelope, to envelope.Recipient) ([]envelope.Recipient, error) {
	switch {
	case r.rcpt != nil:
		return r.rcpt(e, to)
	case to.To.Local == "nobody":
		return nil, envelope.Refuse(550, "5.1.1", "no such user")
	}
	return []envelope.Recipient{to}, nil
}

func (r *rules) Watch(_ *envelope.Peer, _ *envelope.Envelope, header []byte) Watcher {
	if r.watch != nil {
		return r.watch(header)
	}
	return nil
}

func (r *rules) Sign(_ *envelope.Peer, _ *envelope.Envelope, header []byte) (Watcher, error) {
	if r.sign != nil {
		return r.sign(header), nil
	}
	return nil, nil
}

func (r *rules) Header(_ context.Context, _ *envelope.Peer, e *envelope.Envelope, header []byte) ([]byte, error) {
	if r.header != nil {
		return r.header(e, header)
	}
	return header, nil
}

func (r *rules) Data(_ context.Context, _ *envelope.Peer, e *envelope.Envelope) error {
	if r.data != nil {
		return r.data(e)
	}
	return nil
}

// store is a Spool in memory.
type store struct {
	mu       sync.Mutex
	messages []stored
	open     int // drafts that were neither committed nor discarded
	write    error
	commit   func() error
}

type stored struct {
	envelope.Envelope
	content string
}

type draft struct {
	s    *store
	b    bytes.Buffer
	done bool
}

func (s *store) Create() Draft {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &draft{s: s}
}

func (d *draft) Write(p []byte) (int, error) {
	if d.s.write != nil {
		return 0, d.s.write
	}
	return d.b.Write(p)
}

func (d *draft) Commit(e *envelope.Envelope, _ ...envelope.Change) error {
	if d.s.commit != nil {
		if err := d.s.commit(); err != nil {
			return err
		}
	}
	d.s.mu.Lock()
	d.s.messages = append(d.s.messages, stored{*e, d.b.String()})
	d.s.mu.Unlock()
	d.Discard()
	return nil
}

func (d *draft) Discard() {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if !d.done {
		d.done = true
		d.s.open--
	}
}

func (s *store) all() []stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

// users know one account, and PLAIN; CHATTY asks a second time after proof.
type users struct {
	until time.Time // when its credential is over
	gone  bool      // it ended while the client signed in
}

func (users) Mechanisms(t *tls.ConnectionState) []string {
	if t == nil {
		return nil
	}
	return []string{"PLAIN", "CHATTY"}
}

func (u users) Start(mechanism string, _ *envelope.Peer) (Exchange, error) {
	return &proof{users: u, chatty: mechanism == "CHATTY"}, nil
}

type proof struct {
	users
	chatty, asked bool
}

func (x *proof) Next(_ context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !x.asked {
		x.asked = true
		return nil, false, nil
	}
	f := strings.FieldsFunc(string(response), func(r rune) bool { return r == 0 || r == ' ' })
	if len(f) != 3 || f[2] != "secretpassword" {
		return nil, false, envelope.Refuse(535, "5.7.8", "wrong")
	}
	if x.chatty {
		return []byte("v=proof"), true, nil
	}
	return nil, true, nil
}

func (x *proof) Account() string { return "user@testserver" }

func (x *proof) Credential() (int64, time.Time) { return 7, x.until }

func (x *proof) Holds(context.Context) bool { return !x.gone }

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.test"}, DNSNames: []string{"mx.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func tlsConfig(door envelope.Door) *tls.Config {
	return DoorTLS(&tls.Config{Certificates: []tls.Certificate{certificate()}}, door)
}

// site is a server with what stands around it.
type site struct {
	*Server
	rules *rules
	store *store
	book  *book
	log   *bytes.Buffer
}

// book is a Book that notes the ids of messages, ours and their own.
type book struct {
	mu   sync.Mutex
	list []string
}

func (b *book) Arrived(p *envelope.Peer, e *envelope.Envelope, messageID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, p.Helo+" "+e.ID.String()+" "+messageID)
}

func limits() Limits {
	return Limits{
		MessageSize: 1 << 20, HeaderSize: 64 << 10, Recipients: 10, Messages: 20, Commands: 20, Errors: 20, AuthFailures: 3,
		SessionTime: time.Hour, CommandTimeout: 5 * time.Minute, DataTimeout: 3 * time.Minute, HandshakeTimeout: 10 * time.Second, DataRate: 256,
	}
}

// newSite returns a server of a door; change may change its options.
func newSite(door envelope.Door, change func(*Options)) *site {
	s := &site{rules: &rules{}, store: &store{}, book: &book{}, log: &bytes.Buffer{}}
	o := Options{
		Name: "test", Hostname: "mx.test", Door: door, Policy: s.rules, Spool: s.store, Book: s.book, TLS: tlsConfig(door), Limits: limits(),
		Clock: clock.System, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	if door == envelope.Submission {
		o.Auth = users{}
	}
	if change != nil {
		change(&o)
	}
	s.Server = New(o)
	return s
}

// client is the other end of a session.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// pipe connects a client through memory, for tests in a bubble of synctest.
func (s *site) pipe(t testing.TB) *client {
	here, there := net.Pipe()
	go s.Serve(there)
	return &client{t, here, bufio.NewReader(here)}
}

// dial connects a client through TCP.
func (s *site) dial(t testing.TB, implicit bool) *client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		l.Close()
		if err != nil {
			return
		}
		if implicit {
			conn = tls.Server(conn, s.o.TLS)
			if conn.(*tls.Conn).Handshake() != nil {
				conn.Close()
				return
			}
		}
		s.Serve(conn)
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if implicit {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { conn.Close(); <-done })
	return &client{t, conn, bufio.NewReader(conn)}
}

// send writes s as it stands.
func (c *client) send(s string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(s)); err != nil {
		c.t.Fatalf("sending %.60q: %v", s, err)
	}
}

// reply reads one reply.
func (c *client) reply() smtp.Reply {
	c.t.Helper()
	r, err := smtp.ReadReply(c.r)
	if err != nil {
		c.t.Fatalf("reading a reply: %v", err)
	}
	return r
}

// expect reads replies, one for each of the codes, "250" or "550 5.1.1".
func (c *client) expect(codes ...string) smtp.Reply {
	c.t.Helper()
	var r smtp.Reply
	for i, want := range codes {
		r = c.reply()
		got := strconv.Itoa(r.Code)
		if len(want) > 3 {
			got += " " + r.Enhanced
		}
		if got != want {
			c.t.Fatalf("reply %d is %v, want %s", i+1, &r, want)
		}
	}
	return r
}

// say sends a line and expects replies.
func (c *client) say(line string, codes ...string) smtp.Reply {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.expect(codes...)
}

// hello gets a session to where MAIL is in place.
func (c *client) hello() *client {
	c.t.Helper()
	c.expect("220")
	c.say("EHLO client.test", "250")
	return c
}

// gone expects that the server has closed the connection.
func (c *client) gone() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		rest, _ := c.r.Peek(c.r.Buffered())
		c.t.Fatalf("the server goes on: %q", string(b)+string(rest))
	}
}

// startTLS turns the client to TLS.
func (c *client) startTLS() {
	c.t.Helper()
	t := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	if err := t.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.conn, c.r = t, bufio.NewReader(t)
}

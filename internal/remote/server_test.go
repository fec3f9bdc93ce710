package remote

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/resolve"
	"gatepost/internal/smtp"
	"gatepost/internal/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a host of a test. What it offers and answers can be changed by a
// test before it is used.
type server struct {
	greeting string
	offers   string // extensions, separated by spaces; "_" stands for a space inside one
	tls      *tls.Config
	// answer may replace the usual reply to a line; "" leaves it. A reply
	// that begins with "!" is the last word before hanging up, "!" alone is
	// none.
	answer func(n int, line string) string // n: transactions begun on the connection

	mu       sync.Mutex
	conns    int
	lines    []string // commands heard, with the number of their connection
	messages []string
	open     sync.WaitGroup
	l        net.Listener
}

// world is a network of hosts by address, and its DNS.
type world struct {
	t       testing.TB
	dns     *resolve.Fake
	hosts   map[netip.Addr]*server
	mu      sync.Mutex
	dialled []string
	silent  map[netip.Addr]bool // addresses that never answer
}

func newWorld(t testing.TB, zone string) *world {
	return &world{t: t, dns: resolve.NewFake(zone), hosts: map[netip.Addr]*server{}, silent: map[netip.Addr]bool{}}
}

// host puts a server at an address.
func (w *world) host(ip string, s *server) *server {
	if s.greeting == "" {
		s.greeting = "220 host ESMTP"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s.l = l
	w.hosts[netip.MustParseAddr(ip)] = s
	s.open.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Go(func() { s.serve(nc) })
		}
	})
	w.t.Cleanup(func() { l.Close(); s.open.Wait() })
	return s
}

func (w *world) dial(ctx context.Context, source netip.Addr, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	entry := to.String()
	if source.IsValid() {
		entry = source.String() + ">" + entry
	}
	w.dialled = append(w.dialled, entry)
	s, silent := w.hosts[to.Addr()], w.silent[to.Addr()]
	w.mu.Unlock()
	switch {
	case silent:
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	case s == nil:
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	return net.Dial("tcp", s.l.Addr().String())
}

// terms is a Policy that knows the terms for each hop, and learns nothing.
type terms func(transport.Hop) *transport.Terms

func (f terms) Terms(_ context.Context, h transport.Hop) *transport.Terms { return f(h) }

func (terms) Learn(*transport.Check, netip.Addr, netip.Addr) {}

// chance is a world without policies.
func chance(h transport.Hop) *transport.Terms {
	return &transport.Terms{Level: transport.Opportunistic, Basis: transport.Chance, Name: h.Host}
}

// proofs are what was kept, one line for each message and connection.
type proofs struct {
	mu   sync.Mutex
	list []string
}

func (p *proofs) Keep(e *envelope.Envelope, recipients []int, proof *envelope.Proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, fmt.Sprint(recipients, " ", proof))
}

// sender returns a Sender in the world.
func (w *world) sender(change ...func(*Options)) *Sender {
	o := Options{
		Hostname: "us.example", Resolver: w.dns, Clock: clock.System, Log: slog.New(slog.DiscardHandler),
		Dial: w.dial, Pick: func(n int) int { return n - 1 }, Policy: terms(chance), Proofs: &proofs{}, Roots: roots, Port: 25, IPv6: true,
		OwnNames: []string{"us.example"}, OwnAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.99")},
		ConnectTimeout: 10 * time.Second, FindTimeout: time.Minute,
		IdleTime: time.Minute, IdlePerDestination: 2, IdleTotal: 10,
	}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

func (s *server) serve(nc net.Conn) {
	defer func() { nc.Close() }()
	s.mu.Lock()
	s.conns++
	id := s.conns
	s.mu.Unlock()
	in := bufio.NewReaderSize(nc, 64<<10)
	said, n := "", 0
	say := func(reply string) bool {
		bye := strings.HasPrefix(reply, "!")
		if reply = strings.TrimPrefix(reply, "!"); reply != "" {
			said += reply + "\r\n"
		}
		if in.Buffered() == 0 || bye || strings.HasPrefix(reply, "354") {
			io.WriteString(nc, said)
			said = ""
		}
		return !bye
	}
	if !say(s.greeting) {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.note(fmt.Sprintf("%d %s", id, line))
		verb, _, _ := strings.Cut(line, " ")
		if verb == "MAIL" {
			n++
		}
		content, more := s.chunk(in, line)
		reply := s.reply(n, line, s.usual(nc, verb))
		if verb == "STARTTLS" && strings.HasPrefix(reply, "220") {
			io.WriteString(nc, reply+"\r\n")
			secured := tls.Server(nc, s.tls)
			if secured.Handshake() != nil {
				return
			}
			nc = secured
			in.Reset(nc)
			continue
		}
		if more {
			s.take(reply, content)
		}
		if !say(reply) {
			return
		}
		if verb == "DATA" && strings.HasPrefix(reply, "354") {
			var whole bool
			if content, whole = readData(in); !whole {
				return
			}
			reply = s.reply(n, ".", "250 2.0.0 queued")
			s.take(reply, content)
			if !say(reply) {
				return
			}
		}
	}
}

// take keeps a message if the reply says so.
func (s *server) take(reply, content string) {
	if strings.HasPrefix(reply, "250") {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.messages = append(s.messages, content)
	}
}

// reply is the usual one, or the test's own.
func (s *server) reply(n int, line, usual string) string {
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if own := answer(n, line); own != "" {
			return own
		}
	}
	return usual
}

// setAnswer changes answer while the host is in use.
func (s *server) setAnswer(answer func(int, string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// connections returns the number of those it has had.
func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// usual is what a host that has nothing against us says.
func (s *server) usual(nc net.Conn, verb string) string {
	_, secure := nc.(*tls.Conn)
	switch verb {
	case "EHLO":
		reply := "250-host"
		s.mu.Lock()
		offers := s.offers
		s.mu.Unlock()
		for offer := range strings.FieldsSeq(offers) {
			if !secure || offer != "STARTTLS" {
				reply += "\r\n250-" + strings.ReplaceAll(offer, "_", " ")
			}
		}
		return reply + "\r\n250 HELP"
	case "STARTTLS":
		return "220 go ahead"
	case "DATA":
		return "354 go ahead"
	case "BDAT":
		return "250 2.0.0 queued"
	case "AUTH":
		return "235 2.7.0 welcome"
	case "QUIT":
		return "!221 bye"
	}
	return "250 2.1.0 ok"
}

// chunk reads what follows BDAT.
func (s *server) chunk(in *bufio.Reader, line string) (string, bool) {
	var size int
	if _, err := fmt.Sscanf(line, "BDAT %d LAST", &size); err != nil {
		return "", false
	}
	content := make([]byte, size)
	_, err := io.ReadFull(in, content)
	return string(content), err == nil
}

func readData(in *bufio.Reader) (string, bool) {
	var d smtp.Data
	var content strings.Builder
	for done := false; !done; {
		if _, err := in.Peek(1); err != nil {
			return "", false
		}
		p, _ := in.Peek(in.Buffered())
		part, n, end := d.Next(slices.Clone(p))
		content.Write(part)
		in.Discard(n)
		done = end
	}
	return content.String(), true
}

func (s *server) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

// heard returns the commands whose verb is among verbs.
func (s *server) heard(verbs ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, line := range s.lines {
		_, command, _ := strings.Cut(line, " ")
		verb, _, _ := strings.Cut(command, " ")
		if slices.Contains(verbs, verb) {
			list = append(list, line)
		}
	}
	return list
}

// got returns the messages received.
func (s *server) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// attempt is a message to recipients of a destination.
func attempt(destination, body string, to ...string) *envelope.Attempt {
	e := &envelope.Envelope{From: addr.MustParse("a@us.example"), Header: []byte("Received: by us.example\r\n")}
	a := &envelope.Attempt{Envelope: e, Body: envelope.MemoryBody([]byte(body)), Destination: destination}
	for i, r := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(r)})
		a.Recipients = append(a.Recipients, i)
	}
	return a
}

// show is an outcome as the tests write it.
func show(o envelope.Outcome) string {
	s := o.Status.String()
	if o.Destination {
		s += " all"
	}
	if o.Host != "" {
		s += " by " + o.Host
	}
	if o.Err != nil {
		s += ": " + o.Err.Reply.Error()
	}
	return s
}

// host.example to whoever knows roots.
var hostTLS, roots = certificate("host.example")

func certificate(names ...string) (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		IPAddresses: []net.IP{net.ParseIP("192.0.2.1")},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

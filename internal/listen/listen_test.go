package listen

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gatepost/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBounds(t *testing.T) {
	t.Parallel()
	b := NewBounds(Limits{Connections: 6, PerAddress: 2, PerNetwork: 3, Exempt: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	ip := netip.MustParseAddr
	for i, step := range []struct {
		from string
		want bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, // its address
		{"192.0.2.2", true}, {"192.0.2.3", false}, // its network
		{"10.0.0.1", true}, {"10.0.0.1", true}, {"10.0.0.1", true}, // exempt
		{"198.51.100.1", false}, {"10.0.0.1", false}, // all of them
	} {
		if got := b.Enter(ip(step.from)); got != step.want {
			t.Errorf("step %d, %s: %v", i, step.from, got)
		}
	}
	b.Leave(ip("10.0.0.1"))
	b.Leave(ip("192.0.2.1"))
	if !b.Enter(ip("192.0.2.3")) || b.Enter(ip("192.0.2.4")) {
		t.Error("who left still counts, or who came does not")
	}
	for _, a := range []string{"10.0.0.1", "10.0.0.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		b.Leave(ip(a))
	}
	if b.Open() != 0 || len(b.addresses) != 0 || len(b.networks) != 0 {
		t.Errorf("%d open, %v, %v", b.Open(), b.addresses, b.networks)
	}
	b.Set(Limits{Connections: 9, PerAddress: 1, PerNetwork: 2})
	for a, want := range map[string]bool{"2001:db8:1:2::1": true} {
		if b.Enter(ip(a)) != want {
			t.Errorf("%s: want %v", a, want)
		}
	}
	if !b.Enter(ip("2001:db8:1:2:ffff::1")) || b.Enter(ip("2001:db8:1:2:ffff::2")) || !b.Enter(ip("2001:db8:1:3::1")) {
		t.Error("a network of IPv6 is not a /64")
	}
}

// local opens a listener.
func local(t *testing.T) net.Listener {
	t.Helper()
	list, err := (&Sockets{}).Open(t.Context(), []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// open opens a door; change may change its options. It is closed at the end.
func open(t *testing.T, l net.Listener, change func(*Options)) (*Door, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o := Options{
		Name: "mx", Listeners: []net.Listener{l}, Serve: echo, HandshakeTimeout: 10 * time.Second,
		Bounds: NewBounds(Limits{Connections: 100, PerAddress: 100, PerNetwork: 100}), Refusal: "421 4.7.0 no\r\n",
		Clock: clock.System, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	if change != nil {
		change(&o)
	}
	d := Open(o)
	t.Cleanup(func() {
		d.Close()
		if err := d.Wait(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d, &log
}

func echo(c net.Conn) {
	defer c.Close()
	io.WriteString(c, "hello\n")
	io.Copy(c, c)
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

func hears(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Errorf("%q, %v, want %q", b, err, want)
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	l := local(t)
	d, log := open(t, l, func(o *Options) { o.Bounds = NewBounds(Limits{Connections: 1, PerAddress: 1, PerNetwork: 1}) })
	first := dial(t, l)
	hears(t, first, "hello\n")
	for range 3 {
		c := dial(t, l)
		hears(t, c, "421 4.7.0 no\r\n")
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the connection stays")
		}
	}
	first.Close()
	for d.o.Bounds.Open() > 0 {
		time.Sleep(time.Millisecond)
	}
	hears(t, dial(t, l), "hello\n")
	d.Close()
	if d.Counters.Accepted.Load() != 2 || d.Counters.Refused.Load() != 3 || strings.Count(log.String(), "too many") != 1 {
		t.Errorf("%d accepted, %d refused, log %s", d.Counters.Accepted.Load(), d.Counters.Refused.Load(), log)
	}
}

func certificate(t *testing.T) *tls.Config {
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

// TestTLS: who is slow to shake hands keeps nobody waiting, and is cut off.
func TestTLS(t *testing.T) {
	t.Parallel()
	l := local(t)
	d, _ := open(t, l, func(o *Options) { o.TLS, o.HandshakeTimeout = certificate(t), 300*time.Millisecond })
	slow := dial(t, l)
	quick := tls.Client(dial(t, l), &tls.Config{InsecureSkipVerify: true})
	hears(t, quick, "hello\n")
	if _, err := slow.Read(make([]byte, 1)); err == nil {
		t.Error("the slow one was told something")
	}
	plain := dial(t, l)
	io.WriteString(plain, "EHLO x\r\n")
	io.Copy(io.Discard, plain)
	for d.Counters.Handshakes.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	// The deadline of the handshake is not that of the session.
	time.Sleep(400 * time.Millisecond)
	io.WriteString(quick, "still here\n")
	hears(t, quick, "still here\n")
}

func TestFaultInConnection(t *testing.T) {
	t.Parallel()
	l := local(t)
	d, log := open(t, l, func(o *Options) {
		o.Serve = func(c net.Conn) {
			b := make([]byte, 1)
			if c.Read(b); b[0] == 'x' {
				panic("oh")
			}
			c.Close()
		}
	})
	bad := dial(t, l)
	io.WriteString(bad, "x")
	if _, err := bad.Read(make([]byte, 1)); err == nil {
		t.Error("the connection stays")
	}
	good := dial(t, l)
	io.WriteString(good, "y")
	good.Read(make([]byte, 1))
	d.Close()
	if err := d.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.o.Bounds.Open() != 0 || !strings.Contains(log.String(), "fault=oh") {
		t.Errorf("%d open, log %s", d.o.Bounds.Open(), log)
	}
}

func TestCloseAndWait(t *testing.T) {
	t.Parallel()
	l := local(t)
	d, _ := open(t, l, nil)
	c := dial(t, l)
	hears(t, c, "hello\n")
	d.Close()
	d.Close() // again does nothing
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("still open: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := d.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	io.WriteString(c, "go on\n")
	hears(t, c, "go on\n")
}

// starved is a listener without descriptors for a while.
type starved struct {
	mu     sync.Mutex
	fails  int
	asked  []time.Time
	closed chan struct{}
	conns  chan net.Conn
}

func (s *starved) Accept() (net.Conn, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	n := len(s.asked)
	s.mu.Unlock()
	if n <= s.fails {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *starved) Close() error   { close(s.closed); return nil }
func (s *starved) Addr() net.Addr { return &net.TCPAddr{} }

func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &starved{fails: 12, closed: make(chan struct{}), conns: make(chan net.Conn)}
		served := make(chan struct{})
		d := Open(Options{Listeners: []net.Listener{s}, Serve: func(c net.Conn) { c.Close(); close(served) },
			Bounds: NewBounds(Limits{Connections: 1, PerAddress: 1, PerNetwork: 1}), Clock: clock.System, Log: slog.New(slog.DiscardHandler)})
		here, there := net.Pipe()
		s.conns <- there
		<-served
		here.Close()
		d.Close()
		d.Wait(t.Context())
		var pauses []time.Duration
		for i := range 12 {
			pauses = append(pauses, s.asked[i+1].Sub(s.asked[i]))
		}
		if pauses[0] != firstPause || pauses[1] != 2*firstPause || pauses[11] != longPause {
			t.Errorf("%v", pauses)
		}
	})
}

// TestCloseWhileStarved: a door that pauses closes at once.
func TestCloseWhileStarved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &starved{fails: 1 << 30, closed: make(chan struct{})}
		d := Open(Options{Listeners: []net.Listener{s}, Clock: clock.System, Log: slog.New(slog.DiscardHandler)})
		time.Sleep(10 * time.Minute)
		start := time.Now()
		d.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestSockets(t *testing.T) {
	t.Parallel()
	given := local(t)
	s := &Sockets{map[string][]net.Listener{"mx": {given}, "spare": {local(t)}}}
	defer s.given["spare"][0].Close()
	list, err := s.Open(t.Context(), []string{"systemd:mx", "127.0.0.1:0"})
	if err != nil || len(list) != 2 || list[0] != given {
		t.Fatal(list, err)
	}
	taken := list[1].Addr().String()
	if _, err := s.Open(t.Context(), []string{"systemd:mx"}); err == nil || !strings.Contains(err.Error(), `"mx"`) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := s.Open(t.Context(), []string{"127.0.0.1:0", taken}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	if got := s.Unused(); len(got) != 1 || got[0] != "spare" {
		t.Errorf("unused: %v", got)
	}
	closeAll(list)
}

// TestActivated runs this test again as systemd would, with a socket as
// descriptor 3.
func TestActivated(t *testing.T) {
	if os.Getenv("LISTEN_FDS") != "" {
		s, err := Activated()
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Open(t.Context(), []string{"systemd:mx"})
		if err != nil || len(list) != 1 || os.Getenv("LISTEN_FDS") != "" {
			t.Fatal(list, err, os.Getenv("LISTEN_FDS"))
		}
		c, err := list[0].Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "it works")
		c.Close()
		list[0].Close()
		return
	}
	l := local(t)
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer file.Close()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run=^TestActivated$`, os.Args[0])
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=mx")
	cmd.ExtraFiles = []*os.File{file}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, l)
	hears(t, c, "it works")
	c.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &out)
	}
}

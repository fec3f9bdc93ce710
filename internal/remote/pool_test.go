package remote

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/remote/avoid"
	"gatepost/internal/resolve"
	"gatepost/internal/smtpclient"
	"gatepost/internal/transport"
)

const queued = "relayed by host.example: 250 2.0.0 queued"

// one is the world of one destination.
func one(t testing.TB, s *server, change ...func(*Options)) (*Sender, func() string) {
	w := newWorld(t, "d.example. MX 10 host.example.\ne.example. MX 10 host.example.\nhost.example. A 192.0.2.1")
	w.host("192.0.2.1", s)
	sender := w.sender(change...)
	return sender, func() string {
		return show(sender.Deliver(t.Context(), attempt("d.example", body, "b@d.example"))[0])
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.Now())
	h := &server{offers: "PIPELINING"}
	s, deliver := one(t, h, func(o *Options) { o.Clock = now })
	expect := func(when string, conns, messages int) {
		t.Helper()
		if got := deliver(); got != queued || h.connections() != conns || len(h.got()) != messages {
			t.Fatalf("%s: %s, %d connections, %d messages", when, got, h.connections(), len(h.got()))
		}
	}
	expect("first", 1, 1)
	expect("second", 1, 2)
	now.Advance(s.o.IdleTime - 1)
	expect("just in time", 1, 3)
	now.Advance(s.o.IdleTime)
	if now.Pending() != 0 || s.pool.count != 0 {
		t.Errorf("%d timers, %d connections kept", now.Pending(), s.pool.count)
	}
	expect("too late", 2, 4)
	for range 10 {
		now.Advance(s.o.IdleTime - 1)
		deliver()
	}
	if h.connections() != 3 { // each is used for five minutes and a bit
		t.Errorf("%d connections in ten minutes", h.connections())
	}
	// Other domains of the same host use it, too.
	before := h.connections()
	if got := s.Deliver(t.Context(), attempt("e.example", body, "b@e.example")); show(got[0]) != queued || h.connections() != before {
		t.Errorf("%s over %d connections", show(got[0]), h.connections())
	}
	s.Close()
	if now.Pending() != 0 {
		t.Errorf("%d timers after Close", now.Pending())
	}
	deliver()
	if s.pool.count != 0 {
		t.Error("kept after Close")
	}
}

// TestReuseNeedsTheSame: a connection is used again only for what it was
// made for.
func TestReuseNeedsTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "d.example. MX 10 host.example.\nhost.example. A 192.0.2.1\nhost.example. A 192.0.2.2")
	h := w.host("192.0.2.1", &server{offers: "STARTTLS AUTH_PLAIN", tls: hostTLS})
	var need transport.Terms
	s := w.sender(func(o *Options) {
		o.Policy = terms(func(transport.Hop) *transport.Terms { return &need })
		for _, name := range []string{"r", "s"} {
			o.Routes = append(o.Routes, Route{Name: name, Via: "host.example", TLS: transport.Verify, User: name, Password: func() (string, error) { return "x", nil }})
		}
	})
	for i, step := range []struct {
		destination string
		need        transport.Terms
		conns       int
	}{
		{"d.example", transport.Terms{Level: transport.Opportunistic}, 1},
		{"d.example", transport.Terms{Level: transport.Verify, Name: "host.example"}, 2},
		{"d.example", transport.Terms{Level: transport.Opportunistic}, 2},
		{"d.example", transport.Terms{Level: transport.Require}, 3},
		{"route:r", transport.Terms{}, 4},
		{"route:s", transport.Terms{}, 5},
		{"route:r", transport.Terms{}, 5},
		{"d.example", transport.Terms{Level: transport.Verify, Name: "host.example"}, 5},
	} {
		need = step.need
		if got := show(s.Deliver(t.Context(), attempt(step.destination, body, "b@d.example"))[0]); got != queued || h.connections() != step.conns {
			t.Errorf("step %d: %s, %d connections", i, got, h.connections())
		}
	}
}

func TestPoolBounds(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Now())
	p := newPool(c, time.Minute, 2, 3)
	put := func(port uint16) (closed chan struct{}) {
		near, far := net.Pipe()
		closed = make(chan struct{})
		go func() {
			io.Copy(io.Discard, far) // hears QUIT
			close(closed)
		}()
		p.put(&connection{
			Conn:   smtpclient.New(near, smtpclient.Options{Clock: clock.System}),
			key:    key{to: netip.AddrPortFrom(netip.IPv4Unspecified(), port)},
			opened: c.Now(),
		})
		return closed
	}
	a, b, tooMany := put(1), put(1), put(1)
	d, full := put(2), put(2)
	<-tooMany
	<-full
	if p.count != 3 {
		t.Errorf("%d kept", p.count)
	}
	p.close()
	<-a
	<-b
	<-d
	if p.count != 0 || c.Pending() != 0 {
		t.Errorf("%d kept, %d timers", p.count, c.Pending())
	}
}

// TestDead: a kept connection that the host has left is noticed before it is
// used, or else the message is sent once more, if it cannot have been taken.
func TestDead(t *testing.T) {
	t.Parallel()
	second := func(verb, reply string) func(int, string) string {
		var mu sync.Mutex
		done := false
		return func(n int, line string) string {
			mu.Lock()
			defer mu.Unlock()
			if n == 2 && strings.HasPrefix(line, verb) && !done {
				done = true
				return reply
			}
			return ""
		}
	}
	cases := []struct {
		name     string
		server   *server
		want     string // of the second message
		conns    int
		messages int
	}{
		{"421 to MAIL", &server{offers: "PIPELINING", answer: second("MAIL", "!421 4.4.2 idle")}, queued, 2, 2},
		{"lost at MAIL", &server{offers: "PIPELINING", answer: second("MAIL", "!")}, queued, 2, 2},
		{"nonsense at MAIL", &server{offers: "PIPELINING", answer: second("MAIL", "!nonsense")}, queued, 2, 2},
		{"lost at RCPT", &server{offers: "PIPELINING", answer: second("RCPT", "!")}, "deferred by host.example: 451 4.4.2 host.example: the connection broke at RCPT", 1, 1},
		{"421 to RCPT", &server{offers: "PIPELINING", answer: second("RCPT", "!421 bye")}, "deferred all by host.example: 421 bye", 1, 1},
		{"lost at the end", &server{offers: "PIPELINING", answer: second(".", "!")}, "deferred by host.example: 451 4.4.2 host.example: the connection broke at the end of the content", 1, 1},
		{"content was sent along", &server{offers: "PIPELINING CHUNKING", answer: second("MAIL", "!")}, "deferred all by host.example: 451 4.4.2 host.example: the connection broke at MAIL", 1, 1},
		{"content was sent along, but 421", &server{offers: "PIPELINING CHUNKING", answer: second("MAIL", "!421 4.4.2 idle")}, queued, 2, 2},
		{"it goes on without us", &server{offers: "PIPELINING", answer: second("RSET", "")}, queued, 1, 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, deliver := one(t, tc.server)
			if got := deliver(); got != queued {
				t.Fatal(got)
			}
			if got := deliver(); got != tc.want || tc.server.connections() != tc.conns || len(tc.server.got()) != tc.messages {
				t.Errorf("%s, %d connections, %d messages\nwant %s, %d, %d", got, tc.server.connections(), len(tc.server.got()), tc.want, tc.conns, tc.messages)
			}
			if lost := s.Counters.Lost.Load() == 1; lost != (tc.conns == 2) {
				t.Errorf("lost %v", lost)
			}
		})
	}
}

// TestHungUp: a host that closes an idle connection costs nothing.
func TestHungUp(t *testing.T) {
	t.Parallel()
	h := &server{offers: "PIPELINING CHUNKING"}
	s, deliver := one(t, h)
	h.setAnswer(func(n int, line string) string {
		if strings.HasPrefix(line, "BDAT") {
			return "!250 2.0.0 queued"
		}
		return ""
	})
	for i := range 3 {
		if got := deliver(); got != queued || h.connections() != i+1 {
			t.Fatalf("%s over %d connections", got, h.connections())
		}
		for s.pool.count > 0 && s.pool.anyAlive() {
			time.Sleep(time.Millisecond) // until the news is here
		}
	}
	if s.Counters.Lost.Load() != 0 || s.Counters.Reused.Load() != 0 {
		t.Errorf("%d lost, %d reused", s.Counters.Lost.Load(), s.Counters.Reused.Load())
	}
}

func (p *pool) anyAlive() bool {
	for _, list := range p.kept {
		for _, c := range list {
			if c.Alive() {
				return true
			}
		}
	}
	return false
}

// TestNotKept: a connection whose delivery was interrupted at the very end
// is not kept: its next deadline would be in the past.
func TestNotKept(t *testing.T) {
	t.Parallel()
	s, _ := one(t, &server{})
	ctx, cancel := context.WithCancel(t.Context())
	to, err := s.target(ctx, "d.example")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.connection(ctx, to, false, &envelope.Envelope{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if s.done(c); s.pool.count != 0 {
		t.Error("kept")
	}
}

// TestDeadBoth: when one kept connection is dead, the others are not trusted
// with the same message.
func TestDeadBoth(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	old := true
	h := &server{offers: "PIPELINING", answer: func(_ int, line string) string {
		mu.Lock()
		defer mu.Unlock()
		if old && strings.HasPrefix(line, "MAIL") {
			return "!421 4.4.2 idle"
		}
		return ""
	}}
	s, deliver := one(t, h)
	to, err := s.target(t.Context(), "d.example")
	if err != nil {
		t.Fatal(err)
	}
	var kept []*connection
	for range 2 {
		c, err := s.connection(t.Context(), to, true, &envelope.Envelope{})
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, c)
	}
	s.done(kept[0])
	s.done(kept[1])
	if got := deliver(); got != "deferred all by host.example: 421 4.4.2 idle" || h.connections() != 3 || s.Counters.Lost.Load() != 1 {
		t.Errorf("%s, %d connections, %d lost", got, h.connections(), s.Counters.Lost.Load())
	}
	mu.Lock()
	old = false
	mu.Unlock()
	if got := deliver(); got != queued {
		t.Error(got)
	}
}

// TestDeadTwice: one more connection is all that a message gets.
func TestDeadTwice(t *testing.T) {
	t.Parallel()
	h := &server{offers: "PIPELINING"}
	s, deliver := one(t, h)
	deliver()
	h.setAnswer(func(_ int, line string) string {
		if strings.HasPrefix(line, "MAIL") {
			return "!421 4.7.0 not today"
		}
		return ""
	})
	if got := deliver(); got != "deferred all by host.example: 421 4.7.0 not today" || h.connections() != 2 {
		t.Errorf("%s, %d connections", got, h.connections())
	}
	if s.pool.count != 0 {
		t.Error("a dead connection was kept")
	}
}

// TestSilent measures how long hosts that do not answer are waited for, and
// that they are avoided afterwards.
func TestSilent(t *testing.T) {
	t.Parallel()
	const zone = `
d.example. MX 10 a.example.
d.example. MX 20 b.example.
many.example. MX 10 m.example.
a.example. AAAA 2001:db8::1
a.example. A 192.0.2.1
b.example. A 192.0.2.2
m.example. A 192.0.2.11
m.example. A 192.0.2.12
m.example. A 192.0.2.13
m.example. A 192.0.2.14
m.example. A 192.0.2.15
`
	silent := func(t *testing.T) (*world, *Sender) {
		w := newWorld(t, zone)
		for _, ip := range []string{"2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14", "192.0.2.15"} {
			w.silent[netip.MustParseAddr(ip)] = true
		}
		return w, w.sender(func(o *Options) { o.ConnectTimeout = 30 * time.Second })
	}
	try := func(t *testing.T, w *world, s *Sender, destination string) (string, time.Duration) {
		start := time.Now()
		w.dialled = nil
		got := s.Deliver(t.Context(), attempt(destination, body, "x@d.example"))
		return show(got[0]) + " after " + strings.Join(w.dialled, " "), time.Since(start)
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, s := silent(t)
			const want = "deferred all by b.example: 451 4.4.1 no connection to b.example (192.0.2.2): no answer after [2001:db8::1]:25 192.0.2.1:25 192.0.2.2:25"
			if got, took := try(t, w, s, "d.example"); got != want || took != quickConnect+60*time.Second {
				t.Errorf("%s in %v", got, took)
			}
			// All have failed: so all are tried again, in the same order.
			const again = "deferred all by b.example: 451 4.4.1 no connection to b.example (192.0.2.2): no answer after [2001:db8::1]:25 192.0.2.1:25 192.0.2.2:25"
			if got, took := try(t, w, s, "d.example"); got != again || took != 2*quickConnect+30*time.Second {
				t.Errorf("%s in %v", got, took)
			}
		})
	})
	t.Run("many", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, s := silent(t)
			s.o.FindTimeout = 2 * quickConnect
			const want = "deferred all by m.example: 451 4.4.1 no connection to m.example (192.0.2.13): no answer after 192.0.2.11:25 192.0.2.12:25 192.0.2.13:25"
			if got, took := try(t, w, s, "many.example"); got != want || took != 3*quickConnect {
				t.Errorf("%s in %v", got, took)
			}
		})
	})
	t.Run("avoided", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, s := silent(t)
			delete(w.silent, netip.MustParseAddr("192.0.2.2")) // refused at once
			try(t, w, s, "d.example")
			s.avoid = avoid.List{}
			s.avoid.Add(netip.MustParseAddrPort("[2001:db8::1]:25"), time.Now())
			const want = "deferred all by a.example: 451 4.4.1 no connection to a.example (2001:db8::1): no answer after 192.0.2.1:25 192.0.2.2:25 [2001:db8::1]:25"
			if got, took := try(t, w, s, "d.example"); got != want || took != 60*time.Second {
				t.Errorf("%s in %v", got, took)
			}
		})
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			_, s := silent(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			got := s.Deliver(ctx, attempt("d.example", body, "x@d.example"))
			if show(got[0]) != "deferred: 451 4.3.2 delivery was interrupted" || time.Since(start) != time.Second {
				t.Errorf("%s in %v", show(got[0]), time.Since(start))
			}
			for _, to := range []string{"[2001:db8::1]:25", "192.0.2.1:25", "192.0.2.2:25"} {
				if s.avoid.Has(netip.MustParseAddrPort(to), time.Now()) {
					t.Error("the host is avoided for what we did")
				}
			}
		})
	})
}

// sleepy is a resolver that takes its time, and may know nothing but MX.
type sleepy struct {
	*resolve.Fake
	knows bool
}

func (r sleepy) Lookup(ctx context.Context, name string, qtype uint16) (resolve.Answer, error) {
	time.Sleep(20 * time.Second)
	if qtype != dns.TypeMX && !r.knows {
		return resolve.Answer{}, &resolve.Error{Name: name, Type: qtype, Kind: resolve.ErrTemporary}
	}
	return r.Fake.Lookup(ctx, name, qtype)
}

// TestSlowDNS: a domain with many hosts and a slow DNS does not hold a worker
// for as long as it likes.
func TestSlowDNS(t *testing.T) {
	t.Parallel()
	for _, step := range []int{0, 10} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "")
			for i := range 10 {
				w.dns.Add(fmt.Sprintf("d.example. MX %d h%d.example.", 10+i*step, i))
			}
			s := w.sender(func(o *Options) { o.Resolver = sleepy{w.dns, false} })
			start := time.Now()
			got := show(s.Deliver(t.Context(), attempt("d.example", body, "x@d.example"))[0])
			if took := time.Since(start); took != 100*time.Second || !strings.HasPrefix(got, "deferred all: 451 4.4.3") {
				t.Errorf("%s in %v", got, took)
			}
		})
	}
}

// TestSlowButSure: one address is tried even if finding it took all the time,
// also one that failed a short time ago.
func TestSlowButSure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "d.example. MX 10 a.example.\na.example. A 192.0.2.1")
		s := w.sender(func(o *Options) { o.Resolver, o.IPv6, o.FindTimeout = sleepy{w.dns, true}, false, 30*time.Second })
		for range 2 {
			w.dialled = nil
			got := show(s.Deliver(t.Context(), attempt("d.example", body, "x@d.example"))[0])
			if d := strings.Join(w.dialled, " "); d != "192.0.2.1:25" || !strings.HasPrefix(got, "deferred all by a.example: 451 4.4.1") {
				t.Errorf("%s after %s", got, d)
			}
		}
	})
}

// TestInterrupted: the end of the context interrupts a dialogue, too.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"EHLO", "MAIL", "."} {
		for _, reused := range []bool{false, true} {
			if reused && verb == "EHLO" {
				continue
			}
			t.Run(fmt.Sprint(verb, reused), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				stuck := make(chan struct{})
				h := &server{}
				w := newWorld(t, "d.example. A 192.0.2.1")
				w.host("192.0.2.1", h)
				s := w.sender()
				if reused {
					s.Deliver(t.Context(), attempt("d.example", body, "x@d.example"))
				}
				h.setAnswer(func(_ int, line string) string {
					if strings.HasPrefix(line, verb) {
						cancel()
						<-stuck
						return "!"
					}
					return ""
				})
				defer close(stuck)
				o := s.Deliver(ctx, attempt("d.example", body, "x@d.example"))[0]
				if o.Status != envelope.Deferred || o.Destination || o.Err.Enhanced != "4.3.2" {
					t.Error(show(o))
				}
				if s.pool.count != 0 {
					t.Error("kept what was interrupted")
				}
			})
		}
	}
}

// TestAtOnce delivers from many goroutines and counts what arrives.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	const workers, each = 8, 25
	h := &server{offers: "PIPELINING LIMITS_MAILMAX=7"}
	s, deliver := one(t, h)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				if got := deliver(); got != queued {
					t.Error(got)
				}
			}
		})
	}
	all.Wait()
	if len(h.got()) != workers*each || s.Counters.Delivered.Load() != workers*each {
		t.Errorf("%d arrived, %d counted", len(h.got()), s.Counters.Delivered.Load())
	}
	if s.pool.count > 2 {
		t.Errorf("%d kept", s.pool.count)
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "d.example. A 192.0.2.1\nd.example. AAAA 2001:db8::1")
	s := w.sender(func(o *Options) {
		for _, a := range []string{"203.0.113.1", "2001:db8::99", "203.0.113.2"} {
			o.Sources = append(o.Sources, netip.MustParseAddr(a))
		}
	})
	s.Deliver(t.Context(), attempt("d.example", body, "x@d.example"))
	if d := cmp.Diff(2, len(w.dialled)); d != "" {
		t.Fatal(d)
	}
	v6, v4 := w.dialled[0], w.dialled[1]
	if v6 != "2001:db8::99>[2001:db8::1]:25" || v4 != "203.0.113.1>192.0.2.1:25" && v4 != "203.0.113.2>192.0.2.1:25" {
		t.Error(w.dialled)
	}
	used := map[netip.Addr]bool{}
	for range 10 {
		used[s.source(netip.MustParseAddr("192.0.2.1"))] = true
	}
	if len(used) != 2 {
		t.Errorf("used %v", used)
	}
}

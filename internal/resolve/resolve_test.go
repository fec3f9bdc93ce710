package resolve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"gatepost/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Servers of the tests: one on loopback, whose AD bit counts, and one that
// is not.
var (
	near = netip.MustParseAddrPort("127.0.0.1:53")
	far  = netip.MustParseAddrPort("192.0.2.53:53")
)

// answerer is a server of a test: it returns the packets to send for a
// query; none is silence, an error refuses the connection.
type answerer func(network string, q *dns.Msg) ([][]byte, error)

// network is a Dial to answerers over pipes, by address.
type network struct {
	t       testing.TB
	servers map[string]answerer
	queries atomic.Int64
}

func (n *network) dial(_ context.Context, proto, address string) (net.Conn, error) {
	serve := n.servers[address]
	if _, err := serve(proto, nil); err != nil {
		return nil, err
	}
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		buf := make([]byte, 4096)
		size, err := server.Read(buf)
		if err != nil {
			return
		}
		n.queries.Add(1)
		body := buf[:size]
		if proto == "tcp" {
			body = body[2:]
		}
		q := new(dns.Msg)
		if err := q.Unpack(body); err != nil {
			n.t.Errorf("the query does not parse: %v", err)
			return
		}
		packets, _ := serve(proto, q)
		for _, p := range packets {
			if proto == "tcp" {
				p = append([]byte{byte(len(p) >> 8), byte(len(p))}, p...)
			}
			if _, err := server.Write(p); err != nil {
				return
			}
		}
		server.Read(buf) // until the client hangs up
	}()
	return client, nil
}

// client returns a client of the servers, asked in the order near, far.
func (n *network) client(c clock.Clock) *Client {
	var list []netip.AddrPort
	for _, s := range []netip.AddrPort{near, far} {
		if n.servers[s.String()] != nil {
			list = append(list, s)
		}
	}
	return New(Options{Servers: list, Dial: n.dial, Random: rand.Reader, Clock: c, CacheBytes: 1 << 20})
}

// replies answers from a zone as a recursive server would: with the whole
// chain of aliases, and with soa when there is nothing at its end.
func replies(t testing.TB, zone string, change func(network string, m *dns.Msg)) answerer {
	f := NewFake(zone)
	return func(network string, q *dns.Msg) ([][]byte, error) {
		if q == nil {
			return nil, nil
		}
		m := new(dns.Msg)
		m.SetReply(q)
		m.RecursionAvailable = true
		name := host(q.Question[0].Name)
		for range 20 {
			alias := f.zone[question{name, dns.TypeCNAME}]
			if len(alias) == 0 {
				break
			}
			m.Answer = append(m.Answer, alias...)
			name = host(alias[0].(*dns.CNAME).Target)
		}
		found := f.zone[question{name, q.Question[0].Qtype}]
		m.Answer = append(m.Answer, found...)
		if len(found) == 0 {
			m.Ns = append(m.Ns, mustRR(t, "example. 3600 IN SOA a. b. 1 2 3 4 60"))
			if !f.exists(name) {
				m.Rcode = dns.RcodeNameError
			}
		}
		if change != nil {
			change(network, m)
		}
		return [][]byte{pack(t, m)}, nil
	}
}

func mustRR(t testing.TB, s string) dns.RR {
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func pack(t testing.TB, m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		t.Errorf("pack: %v", err)
	}
	return b
}

func rcode(code int) func(string, *dns.Msg) {
	return func(_ string, m *dns.Msg) { m.Rcode, m.Answer, m.Ns = code, nil, nil }
}

const zone = `
example. MX 10 mx1.example.
example. MX 20 mx2.example.
example. TXT "v=spf1 " "-all"
mx1.example. A 192.0.2.1
mx1.example. AAAA 2001:db8::1
mx2.example. A 192.0.2.2
www.example. CNAME web.example.
web.example. CNAME mx1.example.
dead.example. CNAME gone.example.
ring.example. CNAME ring2.example.
ring2.example. CNAME ring.example.
null.example. MX 0 .
both.example. MX 0 .
both.example. MX 5 mx1.example.
1.2.0.192.in-addr.arpa. PTR MX1.example.
`

func TestLookup(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		qtype uint16
		want  string // name and records, or the error
	}{
		{"example", dns.TypeMX, "example = 10 mx1.example. 20 mx2.example."},
		{"EXAMPLE.", dns.TypeMX, "example = 10 mx1.example. 20 mx2.example."},
		{"www.example", dns.TypeA, "mx1.example = 192.0.2.1"},
		{"www.example", dns.TypeCNAME, "www.example = web.example."},
		{"mx2.example", dns.TypeAAAA, "mx2.example AAAA: no such name or record"},
		{"none.example", dns.TypeA, "none.example A: no such name or record (NXDOMAIN)"},
		{"dead.example", dns.TypeA, "dead.example A: no such name or record (NXDOMAIN)"},
		{"ring.example", dns.TypeA, "ring.example A: no answer from the DNS: too many aliases"},
		{"localhost", dns.TypeA, "localhost = 127.0.0.1"},
		{"a.localhost.", dns.TypeAAAA, "a.localhost = ::1"},
		{"localhost", dns.TypeMX, "localhost MX: no such name or record"},
		{"", dns.TypeA, " A: no such name or record (NXDOMAIN)"},
		{"a..example", dns.TypeA, "a..example A: no such name or record (NXDOMAIN)"},
		{`a\.b.example`, dns.TypeA, `a\.b.example A: no such name or record (NXDOMAIN)`},
		{"a b.example", dns.TypeA, "a b.example A: no such name or record (NXDOMAIN)"},
		{strings.Repeat("a", 64) + ".example", dns.TypeA, strings.Repeat("a", 64) + ".example A: no such name or record (NXDOMAIN)"},
	}
	ring := func(_ string, m *dns.Msg) {
		if strings.HasPrefix(m.Question[0].Name, "ring") {
			m.Rcode, m.Ns = dns.RcodeSuccess, nil
		}
	}
	n := &network{t: t, servers: map[string]answerer{near.String(): replies(t, zone, ring)}}
	c := n.client(clock.System)
	for _, tc := range cases {
		for _, round := range []string{"asked", "kept"} {
			a, err := c.Lookup(t.Context(), tc.name, tc.qtype)
			got := a.Name + " ="
			for _, rr := range a.RRs {
				got += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
			}
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("%s, %s %d:\ngot  %q\nwant %q", round, tc.name, tc.qtype, got, tc.want)
			}
		}
	}
}

// TestServers tells which server's word counts, and who is asked after whom.
func TestServers(t *testing.T) {
	t.Parallel()
	ad := func(_ string, m *dns.Msg) { m.AuthenticatedData = true }
	bogus := func(_ string, m *dns.Msg) {
		rcode(dns.RcodeServerFailure)("", m)
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeSignatureExpired})
	}
	referral := func(_ string, m *dns.Msg) {
		m.Answer, m.Ns = nil, []dns.RR{mustRR(t, "example. NS ns.example.")}
	}
	good := func(change func(string, *dns.Msg)) answerer { return replies(t, zone, change) }
	silent := func(string, *dns.Msg) ([][]byte, error) { return nil, nil }
	down := func(string, *dns.Msg) ([][]byte, error) { return nil, refused }
	cases := []struct {
		name      string
		near, far answerer
		trust     []netip.AddrPort
		want      string
		queries   int64
	}{
		{"loopback may say AD", good(ad), nil, nil, "secure", 1},
		{"no AD", good(nil), nil, nil, "insecure", 1},
		{"another may not", nil, good(ad), nil, "insecure", 1},
		{"unless listed", nil, good(ad), []netip.AddrPort{far}, "secure", 1},
		{"SERVFAIL of a plain one: the next is asked", nil, good(rcode(dns.RcodeServerFailure)), nil, "temporary", 2},
		{"SERVFAIL of a validating one is not got round", good(rcode(dns.RcodeServerFailure)), good(nil), nil, "temporary", 2},
		{"nor its silence", silent, good(nil), nil, "temporary", 2},
		{"one that is down is", down, good(ad), nil, "insecure", 1},
		{"bogus is final", good(bogus), good(nil), nil, "bogus", 1},
		{"bogus of one that is not trusted is a SERVFAIL", nil, good(bogus), nil, "temporary", 2},
		{"REFUSED", good(rcode(dns.RcodeRefused)), nil, nil, "temporary", 2},
		{"a referral is no denial", nil, good(referral), nil, "temporary", 2},
		{"no EDNS there", formerr(t), nil, nil, "insecure", 2},
		{"all down", down, down, nil, "temporary", 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &network{t: t, servers: map[string]answerer{}}
				if tc.near != nil {
					n.servers[near.String()] = tc.near
				}
				if tc.far != nil {
					n.servers[far.String()] = tc.far
				}
				c := n.client(clock.System)
				c.o.TrustAD = tc.trust
				a, err := c.Lookup(t.Context(), "mx1.example", dns.TypeA)
				if got := describe(a, err); got != tc.want || n.queries.Load() != tc.queries {
					t.Errorf("%s (%v) with %d queries, want %s with %d", got, err, n.queries.Load(), tc.want, tc.queries)
				}
			})
		})
	}
}

var refused = &net.OpError{Op: "read", Err: errnoRefused}

func describe(a Answer, err error) string {
	switch {
	case errors.Is(err, ErrBogus):
		return "bogus"
	case errors.Is(err, ErrTemporary):
		return "temporary"
	case errors.Is(err, ErrNotFound):
		return "not found"
	case err != nil:
		return err.Error()
	case a.Secure:
		return "secure"
	}
	return "insecure"
}

// formerr is a server that cannot read EDNS and returns a bare header.
func formerr(t *testing.T) answerer {
	plain := replies(t, zone, nil)
	return func(network string, q *dns.Msg) ([][]byte, error) {
		if q == nil || q.IsEdns0() == nil {
			return plain(network, q)
		}
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeFormatError}}
		return [][]byte{pack(t, m)}, nil
	}
}

// TestForged sends what a spoofer would before, or instead of, the answer.
func TestForged(t *testing.T) {
	t.Parallel()
	right := replies(t, zone, nil)
	wrong := map[string]func(m *dns.Msg){
		"id":       func(m *dns.Msg) { m.Id++ },
		"name":     func(m *dns.Msg) { m.Question[0].Name = "other.example." },
		"type":     func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT },
		"class":    func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		"question": func(m *dns.Msg) { m.Question = nil },
		"twice":    func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		"query":    func(m *dns.Msg) { m.Response = false },
		"opcode":   func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
	}
	for name, spoil := range wrong {
		for _, times := range []int{1, maxForged} {
			t.Run(fmt.Sprint(name, times), func(t *testing.T) {
				t.Parallel()
				serve := func(network string, q *dns.Msg) ([][]byte, error) {
					good, err := right(network, q)
					if q == nil || network == "tcp" {
						return good, err
					}
					m := new(dns.Msg)
					m.SetReply(q)
					m.Answer = []dns.RR{mustRR(t, "mx1.example. A 203.0.113.66")}
					spoil(m)
					bad := pack(t, m)
					return append(slices.Repeat([][]byte{bad}, times), good...), nil
				}
				n := &network{t: t, servers: map[string]answerer{near.String(): serve}}
				c := n.client(clock.System)
				addrs, err := Addrs(t.Context(), c, "mx1.example", false)
				if err != nil || len(addrs) != 1 || addrs[0].String() != "192.0.2.1" {
					t.Errorf("got %v, %v", addrs, err)
				}
				if got := c.Counters.Forged.Load(); got != int64(times) {
					t.Errorf("%d forged, want %d", got, times)
				}
				if got, want := c.Counters.TCP.Load() == 1, times == maxForged; got != want {
					t.Errorf("TCP %v, want %v", got, want)
				}
			})
		}
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		udp  func(b []byte) []byte
		tcp  func(b []byte) []byte
		want string
	}{
		"TC":          {func(b []byte) []byte { b[2] |= 2; return b }, nil, "insecure"},
		"cut":         {func(b []byte) []byte { return b[:len(b)-2] }, nil, "insecure"},
		"too large":   {func(b []byte) []byte { return append(b, make([]byte, udpSize)...) }, nil, "insecure"},
		"TC on TCP":   {func(b []byte) []byte { b[2] |= 2; return b }, func(b []byte) []byte { b[2] |= 2; return b }, "temporary"},
		"cut on TCP":  {func(b []byte) []byte { b[2] |= 2; return b }, func(b []byte) []byte { return b[:len(b)-2] }, "temporary"},
		"empty":       {func(b []byte) []byte { b[2] |= 2; return b }, func([]byte) []byte { return nil }, "temporary"},
		"id on TCP":   {func(b []byte) []byte { b[2] |= 2; return b }, func(b []byte) []byte { b[0]++; return b }, "temporary"},
		"silent then": {func(b []byte) []byte { b[2] |= 2; return b[:12] }, nil, "temporary"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				right := replies(t, zone, nil)
				serve := func(network string, q *dns.Msg) ([][]byte, error) {
					p, err := right(network, q)
					if q == nil {
						return p, err
					}
					if network == "udp" {
						p[0] = tc.udp(p[0])
					} else if tc.tcp != nil {
						p[0] = tc.tcp(p[0])
					}
					return p, nil
				}
				n := &network{t: t, servers: map[string]answerer{near.String(): serve}}
				c := n.client(clock.System)
				a, err := c.Lookup(t.Context(), "mx1.example", dns.TypeA)
				if got := describe(a, err); got != tc.want {
					t.Errorf("%s (%v), want %s", got, err, tc.want)
				}
				if tcp := c.Counters.TCP.Load() > 0; tcp == (name == "silent then") {
					t.Errorf("TCP %v", tcp)
				}
			})
		})
	}
}

// TestAliasAlone: a server may leave it to us to follow an alias. Every step
// must be secure for the answer to be.
func TestAliasAlone(t *testing.T) {
	t.Parallel()
	for _, insecure := range []string{"", "www.example.", "web.example.", "mx1.example."} {
		one := func(_ string, m *dns.Msg) {
			m.AuthenticatedData = m.Question[0].Name != insecure
			if len(m.Answer) > 1 {
				m.Answer = m.Answer[:1]
			}
		}
		n := &network{t: t, servers: map[string]answerer{near.String(): replies(t, zone, one)}}
		a, err := n.client(clock.System).Lookup(t.Context(), "www.example", dns.TypeA)
		if err != nil || a.Name != "mx1.example" || len(a.RRs) != 1 || a.Secure != (insecure == "") || n.queries.Load() != 3 {
			t.Errorf("insecure at %q: %+v, %v, %d queries", insecure, a, err, n.queries.Load())
		}
	}
}

// TestPatience measures how long silent servers are waited for.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := func(string, *dns.Msg) ([][]byte, error) { return nil, nil }
		n := &network{t: t, servers: map[string]answerer{far.String(): silent}}
		c := n.client(clock.System)
		start := time.Now()
		_, err := c.Lookup(t.Context(), "mx1.example", dns.TypeA)
		if took := time.Since(start); !errors.Is(err, ErrTemporary) || took != patience[0]+patience[1] {
			t.Errorf("%v after %v", err, took)
		}
		// RFC 9520: the failure is kept for a while.
		c.Lookup(t.Context(), "mx1.example", dns.TypeA)
		if n.queries.Load() != 2 {
			t.Errorf("%d queries: the failure was not kept", n.queries.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = c.Lookup(ctx, "mx2.example", dns.TypeA)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestPrefersWhoAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := func(string, *dns.Msg) ([][]byte, error) { return nil, nil }
		n := &network{t: t, servers: map[string]answerer{near.String(): replies(t, zone, nil), far.String(): silent}}
		c := n.client(clock.System)
		c.o.Servers, c.servers.fixed = nil, []netip.AddrPort{far, near}
		ask := func(name string) time.Duration {
			start := time.Now()
			if _, err := c.Lookup(t.Context(), name, dns.TypeA); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		first, second := ask("mx1.example"), ask("mx2.example")
		time.Sleep(preferFor)
		if third := ask("www.example"); first != patience[0] || second != 0 || third != patience[0] {
			t.Errorf("took %v, %v and %v", first, second, third)
		}
	})
}

func TestCache(t *testing.T) {
	t.Parallel()
	const zone = `
long. 100000000 A 192.0.2.1
short. 60 A 192.0.2.2
zero. 0 A 192.0.2.3
alias. 30 CNAME short.
`
	cases := []struct {
		name string
		life time.Duration // how long it is kept
	}{
		{"long", maxTTL},
		{"short", time.Minute},
		{"zero", minTTL},
		{"alias", 30 * time.Second},
		{"none", time.Minute}, // the minimum of the SOA
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			now := clock.NewFake(time.Now())
			n := &network{t: t, servers: map[string]answerer{near.String(): replies(t, zone, nil)}}
			c := n.client(now)
			steps := []struct {
				wait    time.Duration
				queries int64
			}{{0, 1}, {tc.life - 1, 1}, {1, 2}, {0, 2}}
			for _, s := range steps {
				now.Advance(s.wait)
				c.Lookup(t.Context(), tc.name, dns.TypeA)
				if got := n.queries.Load(); got != s.queries {
					t.Fatalf("%d queries after %v more, want %d", got, s.wait, s.queries)
				}
			}
			c.Reload()
			c.Lookup(t.Context(), tc.name, dns.TypeA)
			if n.queries.Load() != 3 {
				t.Error("Reload did not forget")
			}
		})
	}
}

func TestCacheBound(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.Now())
	c := newCache(10 * entryCost)
	put := func(i int) bool {
		q := question{fmt.Sprint(i), dns.TypeA}
		_, f, leads := c.get(q, now.Now())
		if leads {
			c.land(q, f, result{ttl: time.Hour}, now.Now())
		}
		return leads
	}
	for i := range 100 {
		put(i)
		if put(0) { // in use, so never the one to go
			t.Errorf("forgotten after %d", i)
		}
	}
	if c.bytes != 10*entryCost || len(c.entries) != 10 || c.recent.Len() != 10 || len(c.flights) != 0 {
		t.Errorf("%d bytes, %d entries, %d recent, %d flights", c.bytes, len(c.entries), c.recent.Len(), len(c.flights))
	}
	for _, i := range []int{0, 99, 98, 91} {
		if c.entries[question{fmt.Sprint(i), dns.TypeA}] == nil {
			t.Errorf("%d was forgotten", i)
		}
	}
	q := question{"huge", dns.TypeA}
	_, f, _ := c.get(q, now.Now())
	c.land(q, f, result{ttl: time.Hour, size: 2 * entryCost}, now.Now())
	if len(c.entries) != 10 || c.entries[q] != nil {
		t.Error("an answer larger than its share was kept")
	}
}

// TestFlight: those who ask the same at once share one query, and one who
// goes away takes nobody's answer along.
func TestFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		right := replies(t, zone, nil)
		n := &network{t: t, servers: map[string]answerer{near.String(): func(network string, q *dns.Msg) ([][]byte, error) {
			if q != nil {
				time.Sleep(time.Second)
			}
			return right(network, q)
		}}}
		c := n.client(clock.System)
		leader, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := c.Lookup(leader, "example", dns.TypeMX); !errors.Is(err, context.Canceled) {
				t.Errorf("the leader got %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			all.Go(func() {
				if _, err := c.Lookup(t.Context(), "example", dns.TypeMX); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if n.queries.Load() != 2 {
			t.Errorf("%d queries, want the abandoned one and one for all", n.queries.Load())
		}
	})
}

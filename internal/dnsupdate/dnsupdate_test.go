package dnsupdate

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"gatepost/internal/clock"
	"gatepost/internal/resolve"
)

var secret = []byte("a key that is thirty-two octets!")

// primary is a name server that carries updates out, by the letter of RFC
// 2136, section 3.4.2.
type primary struct {
	address string
	spoil   func(*dns.Msg) // changes the answer after it was decided on

	mu   sync.Mutex
	zone []dns.RR
}

func newPrimary(t *testing.T, spoil func(*dns.Msg)) *primary {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{address: ln.Addr().String(), spoil: spoil}
	up := make(chan struct{})
	s := &dns.Server{
		Listener: ln, Handler: p, NotifyStartedFunc: func() { close(up) },
		TsigSecret:    map[string]string{"gatepost.": base64.StdEncoding.EncodeToString(secret)},
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
	}
	go s.ActivateAndServe()
	<-up
	t.Cleanup(func() { s.Shutdown() })
	return p
}

func (p *primary) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	answer := new(dns.Msg).SetReply(m)
	t := m.IsTsig()
	switch {
	case t == nil || w.TsigStatus() != nil:
		answer.Rcode = dns.RcodeNotAuth
	case m.Question[0].Name != "example.org." || m.Question[0].Qtype != dns.TypeSOA:
		answer.Rcode = dns.RcodeNotZone
	default:
		p.apply(m.Ns)
	}
	if t != nil && w.TsigStatus() == nil {
		answer.SetTsig(t.Hdr.Name, t.Algorithm, fudge, time.Now().Unix())
	}
	if p.spoil != nil {
		p.spoil(answer)
	}
	w.WriteMsg(answer)
}

func (p *primary) apply(changes []dns.RR) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		h := c.Header()
		switch h.Class {
		case dns.ClassANY:
			p.zone = slices.DeleteFunc(p.zone, func(rr dns.RR) bool {
				return rr.Header().Name == h.Name && rr.Header().Rrtype == h.Rrtype
			})
		case dns.ClassNONE:
			h.Class = dns.ClassINET
			p.zone = slices.DeleteFunc(p.zone, func(rr dns.RR) bool { return dns.IsDuplicate(rr, c) })
		default:
			p.zone = append(p.zone, c)
		}
	}
}

func (p *primary) lines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, rr := range p.zone {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	return strings.Join(out, "\n")
}

func options(server string) Options {
	return Options{
		Server: server, Key: "gatepost", Algorithm: "hmac-sha256", Secret: secret,
		Dial: (&net.Dialer{}).DialContext, Clock: clock.System,
	}
}

func client(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rr(t *testing.T, line string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(line)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, nil)
	c := client(t, options(p.address))
	steps := []struct {
		update Update
		want   string
	}{
		{Update{Add: []dns.RR{rr(t, "a.example.org. 60 IN A 192.0.2.1"), rr(t, "a.example.org. 60 IN A 192.0.2.2")}},
			"a.example.org. 60 IN A 192.0.2.1\na.example.org. 60 IN A 192.0.2.2"},
		{Update{Remove: []dns.RR{rr(t, "a.example.org. 999 IN A 192.0.2.1")}}, "a.example.org. 60 IN A 192.0.2.2"},
		{Update{Clear: []RRset{{"A.example.org", dns.TypeA}}, Add: []dns.RR{rr(t, "a.example.org. 60 IN A 192.0.2.3")}},
			"a.example.org. 60 IN A 192.0.2.3"},
	}
	for i, s := range steps {
		if err := c.Update(t.Context(), "example.org", s.update); err != nil {
			t.Fatal(err)
		}
		if got := p.lines(); got != s.want {
			t.Errorf("step %d: %s", i, got)
		}
	}
	if steps[1].update.Remove[0].Header().Ttl != 999 {
		t.Error("the caller's record was changed")
	}
	for name, bad := range map[string]Update{
		"nothing":   {},
		"elsewhere": {Add: []dns.RR{rr(t, "a.example.net. 60 IN A 192.0.2.3")}},
		"too much":  {Clear: make([]RRset, maxChanges+1)},
	} {
		if err := c.Update(t.Context(), "example.org", bad); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	update := Update{Clear: []RRset{{"a.example.org.", dns.TypeA}}}
	for _, tt := range []struct {
		name   string
		change func(*Options)
		spoil  func(*dns.Msg)
		zone   string
		want   string
	}{
		{"another key", func(o *Options) { o.Secret = []byte("another key of some octets") }, nil, "example.org", "NOTAUTH"},
		{"another name", func(o *Options) { o.Key = "other" }, nil, "example.org", "NOTAUTH"},
		{"another zone", nil, nil, "a.example.org", "NOTZONE"},
		{"late clock", func(o *Options) { o.Clock = clock.NewFake(time.Now().Add(-time.Hour)) }, nil, "example.org", "NOTAUTH"},
		{"not signed", nil, func(m *dns.Msg) { m.Extra = nil }, "example.org", "not signed"},
		{"another question's", nil, func(m *dns.Msg) { m.Id++; m.IsTsig().OrigId++ }, "example.org", "something else"},
		{"a question", nil, func(m *dns.Msg) { m.Response = false }, "example.org", "something else"},
		{"told why", nil, func(m *dns.Msg) { m.IsTsig().Error = dns.RcodeBadTime }, "example.org", "clocks"},
		{"nobody there", func(o *Options) {
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody there") }
		}, nil, "example.org", "nobody there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPrimary(t, tt.spoil)
			o := options(p.address)
			if tt.change != nil {
				tt.change(&o)
			}
			err := client(t, o).Update(t.Context(), tt.zone, update)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A server that takes the update and says nothing is left in time.
func TestSilence(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	o := options("192.0.2.1:53")
	o.Dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		theirs.Read(make([]byte, 1024))
		cancel(enough)
	}()
	if err := client(t, o).Update(ctx, "example.org", Update{Clear: []RRset{{"example.org", dns.TypeA}}}); !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestProvider(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, nil)
	provider := Provider{client(t, options(p.address))}
	long := strings.Repeat("x", 300)
	list := []libdns.Record{
		libdns.TXT{Name: "_acme-challenge.mx", TTL: time.Minute, Text: `to"ken\`},
		libdns.TXT{Name: "@", Text: long},
	}
	if _, err := provider.AppendRecords(t.Context(), "example.org.", list); err != nil {
		t.Fatal(err)
	}
	want := `_acme-challenge.mx.example.org. 60 IN TXT "to\"ken\\"` + "\n" +
		`example.org. 0 IN TXT "` + long[:255] + `" "` + long[255:] + `"`
	if got := p.lines(); got != want {
		t.Errorf("%s", got)
	}
	if _, err := provider.DeleteRecords(t.Context(), "example.org.", list); err != nil || p.lines() != "" {
		t.Errorf("%v, left: %s", err, p.lines())
	}
	for _, bad := range []libdns.Record{libdns.CNAME{Name: "a", Target: "b."}, libdns.TXT{Name: strings.Repeat("a", 64), Text: "x"}} {
		if _, err := provider.AppendRecords(t.Context(), "example.org.", []libdns.Record{bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
		if _, err := provider.DeleteRecords(t.Context(), "example.org.", []libdns.Record{bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	r := resolve.NewFake(`
example.org. IN SOA ns.example.org. h.example.org. 1 1 1 1 1
sub.example.org. IN SOA ns.example.org. h.example.org. 1 1 1 1 1
alias.example.org. IN CNAME sub.example.org.
`)
	for name, want := range map[string]string{
		"_acme-challenge.mx.example.org": "example.org.",
		"example.org.":                   "example.org.",
		"a.SUB.example.org":              "sub.example.org.",
		"alias.example.org":              "example.org.",
		"example.net":                    "",
	} {
		if got, err := Zone(t.Context(), r, name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	r.Fail("mx.example.org", dns.TypeSOA, resolve.ErrTemporary)
	if _, err := Zone(t.Context(), r, "mx.example.org"); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("no answer is no proof: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for s, ok := range map[string]bool{
		base64.StdEncoding.EncodeToString(secret) + "\n": true,
		"c2hvcnQ=":                  false,
		"not base64":                false,
		strings.Repeat("AAAA", 200): false,
	} {
		got, err := ParseSecret(s)
		if (err == nil) != ok || ok && string(got) != string(secret) {
			t.Errorf("%q: %v", s, err)
		}
		if err != nil && strings.Contains(err.Error(), s) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	o := options("192.0.2.1:53")
	o.Algorithm = "hmac-md5"
	if _, err := New(o); err == nil {
		t.Error("an algorithm that is broken was taken")
	}
	o = options("192.0.2.1:53")
	o.Key = strings.Repeat("a", 64)
	if _, err := New(o); err == nil {
		t.Error("a name that cannot be was taken")
	}
}

// FuzzAnswer: whatever somebody on the way says, it is not taken for the
// server's consent, since they cannot sign it.
func FuzzAnswer(f *testing.F) {
	m := new(dns.Msg).SetUpdate("example.org.")
	for _, rcode := range []int{dns.RcodeSuccess, dns.RcodeRefused} {
		answer := new(dns.Msg).SetRcode(m, rcode)
		plain, err := answer.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
		answer.SetTsig("gatepost.", dns.HmacSHA256, fudge, 1)
		signed, _, err := dns.TsigGenerate(answer, base64.StdEncoding.EncodeToString([]byte("another")), "", false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if len(answer) > 65000 {
			return
		}
		ours, theirs := net.Pipe()
		o := options("192.0.2.1:53")
		o.Dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer theirs.Close()
			sent := make([]byte, 4096)
			if n, _ := theirs.Read(sent); n > 4 && len(answer) > 2 {
				copy(answer, sent[2:4]) // the id is no secret from who is on the way
			}
			theirs.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...))
		}()
		if client(t, o).Update(t.Context(), "example.org", Update{Clear: []RRset{{"example.org", dns.TypeA}}}) == nil {
			t.Errorf("taken for consent: %x", answer)
		}
		<-done
	})
}

package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/resolve"
	"gatepost/internal/smtp"
	"gatepost/internal/verdict"
)

// town is a directory and its mailboxes in memory: anna and ben of
// example.org, some aliases, and a catch-all at catch.example.
type town struct {
	aliases map[string][]string
	owners  map[string]string // address to account
	full    map[string]int64  // address to the room that is left
	spent   map[string]int
	limit   int
	broken  error
	names   *resolve.Fake
	returns *returns
}

func newTown() *town {
	return &town{
		aliases: map[string][]string{
			"sales@example.org":         {"anna@example.org", "ben@example.org"},
			"away@example.org":          {"anna@remote.example"},
			"mixed@example.org":         {"anna@example.org", "x@remote.example"},
			"postmaster@mx.example.org": {"anna@example.org"},
			"postmaster@example.org":    {"anna@example.org"},
			"söl@example.org":           {"ben@example.org"},
		},
		owners: map[string]string{
			"anna@example.org":  "anna@example.org",
			"sales@example.org": "anna@example.org",
			"söl@example.org":   "anna@example.org",
			"ben@example.org":   "ben@example.org",
		},
		full:  map[string]int64{},
		spent: map[string]int{},
		limit: 100,
		names: resolve.NewFake(""),
		returns: &returns{
			senders: map[string]string{
				"bounce-1@example.org": "x@remote.example", "bounce-2@example.org": "", "bounce-3@example.org": "sales@example.org",
			},
			spent: map[string]int{},
		},
	}
}

func (w *town) IsLocal(_ context.Context, d addr.Domain) (bool, error) {
	return d == "example.org" || d == "mx.example.org" || d == "catch.example", w.broken
}

func (w *town) Resolve(_ context.Context, to addr.Address) ([]addr.Address, error) {
	if targets, ok := w.aliases[to.Fold().String()]; ok {
		var list []addr.Address
		for _, t := range targets {
			list = append(list, addr.MustParse(t))
		}
		return list, nil
	}
	base, _, _ := strings.Cut(to.Fold().Local, "+")
	switch {
	case w.owners[base+"@"+string(to.Domain)] != "":
		return []addr.Address{to.Fold()}, nil
	case to.Domain == "catch.example":
		return []addr.Address{addr.MustParse("anna@example.org")}, nil
	}
	return nil, envelope.Refuse(550, "5.1.1", "no such user")
}

func (w *town) Owns(_ context.Context, account string, from addr.Address) (bool, error) {
	base, _, _ := strings.Cut(from.Fold().Local, "+")
	return w.owners[base+"@"+string(from.Domain)] == account, w.broken
}

func (w *town) IsReports(to addr.Address) bool { return to.Local == "dmarc-reports" }

func (w *town) Spend(_ context.Context, account string, n int) error {
	if w.spent[account]+n > w.limit {
		return envelope.Refuse(452, "4.7.1", "enough for today")
	}
	w.spent[account] += n
	return nil
}

func (w *town) HasRoom(_ context.Context, to addr.Address, size int64) (bool, error) {
	left, ok := w.full[to.String()]
	return !ok || size < left, nil
}

var now = time.Date(2026, 11, 22, 3, 29, 0, 0, time.UTC)

func newGate(w *town) *Gate {
	return New(Options{
		Hostname:  "mx.example.org",
		Relay:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:7::/48")},
		Directory: w,
		Mailboxes: w,
		Returns:   w.returns,
		Log:       slog.New(slog.DiscardHandler),
		Signer:    noKeys{},
		Checker:   &verdict.Checker{Resolver: w.names, Now: func() time.Time { return now }, IsOwn: w.IsLocal},
		Clock:     clock.NewFake(now),
		Random:    rand.Reader,
	})
}

// peer returns a client as the session knows it after its greeting.
func peer(t *testing.T, g *Gate, door envelope.Door, from, account string) *envelope.Peer {
	t.Helper()
	p := &envelope.Peer{
		Door:    door,
		Addr:    netip.AddrPortFrom(netip.MustParseAddr(from), 40000),
		Local:   netip.MustParseAddrPort("203.0.113.5:25"),
		Account: account,
	}
	if err := g.Connect(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func world(t *testing.T, g *Gate) *envelope.Peer { return peer(t, g, envelope.MX, "198.51.100.1", "") }

func anna(t *testing.T, g *Gate) *envelope.Peer {
	return peer(t, g, envelope.Submission, "198.51.100.1", "anna@example.org")
}

// code is the reply to an error, 250 for none.
func code(err error) int {
	if err == nil {
		return 250
	}
	return envelope.AsError(err).Code
}

// rcptTo asks for one forward-path as a session would, and returns the code
// and whom it stands for.
func rcptTo(t *testing.T, g *Gate, p *envelope.Peer, e *envelope.Envelope, path string) (int, []envelope.Recipient) {
	t.Helper()
	r, bad := smtp.ParseRcpt("TO:"+path, smtp.ExtDSN|smtp.ExtUTF8, true)
	if bad != nil {
		return bad.Code, nil
	}
	list, err := g.Rcpt(t.Context(), p, e, envelope.Recipient{To: r.To, ORcpt: r.ORcpt, Notify: envelope.Notify(r.Notify)})
	return code(err), list
}

func TestConnectMarksRelays(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	for _, c := range []struct {
		door envelope.Door
		from string
		want bool
	}{
		{envelope.MX, "10.1.2.3", true},
		{envelope.MX, "::ffff:10.1.2.3", true},
		{envelope.MX, "2001:db8:7::1", true},
		{envelope.MX, "2001:db8:8::1", false},
		{envelope.MX, "11.1.2.3", false},
		{envelope.MX, "127.0.0.1", false},
		{envelope.Submission, "10.1.2.3", false},
	} {
		if p := peer(t, g, c.door, c.from, ""); p.Relay != c.want {
			t.Errorf("door %d from %s: Relay = %v", c.door, c.from, p.Relay)
		}
	}
}

// Every form that has made a server an open relay, from everybody, with
// every sender that was ever trusted: only who is verified gets through, and
// nobody with a form that hides the destination behind a domain of ours.
func TestRelay(t *testing.T) {
	t.Parallel()
	forms := []struct {
		path                string
		world, relay, users int
	}{
		{"<x@remote.example>", 550, 250, 250},
		{"<x%remote.example@example.org>", 550, 550, 550},
		{"<x%remote.example@mx.example.org>", 550, 550, 550},
		{"<x%remote.example@catch.example>", 550, 550, 550},
		{"<x%remote.example@[203.0.113.5]>", 550, 550, 550},
		{"<x%remote.example>", 501, 501, 501},
		{"<x@remote.example%example.org>", 501, 501, 501},
		{"<@example.org:x@remote.example>", 550, 250, 250},
		{"<@example.org,@mx.example.org:x@remote.example>", 550, 250, 250},
		{"<@[203.0.113.5]:x@remote.example>", 550, 250, 250},
		{"<\"x@remote.example\"@example.org>", 550, 550, 550},
		{"<\"x@remote.example\"@catch.example>", 550, 550, 550},
		{"<\"x%remote.example\"@example.org>", 550, 550, 550},
		{"<\"x@remote.example\">", 501, 501, 501},
		{"<\"x@remote.example\"@[203.0.113.5]>", 550, 550, 550},
		{"<remote.example!x@example.org>", 550, 550, 550},
		{"<remote.example!x@catch.example>", 550, 550, 550},
		{"<\"remote.example!x\"@example.org>", 550, 550, 550},
		{"<remote.example!x>", 501, 501, 501},
		{"<x@remote.example@example.org>", 501, 501, 501},
		{"<x@example.org@remote.example>", 501, 501, 501},
		{"<x@[192.0.2.99]>", 550, 250, 250},
		{"<x@[IPv6:2001:db8::99]>", 550, 250, 250},
		{"<anna@[203.0.113.5]>", 550, 550, 550},
		{"<x@sub.example.org>", 550, 250, 250},
		{"<x@example.org.remote.example>", 550, 250, 250},
		{"<nobody@example.org>", 550, 550, 550},

		{"<anna@example.org>", 250, 250, 250},
		{"<ANNA@EXAMPLE.ORG>", 250, 250, 250},
		{"<anna+shop@example.org>", 250, 250, 250},
		{"<@relay.example:anna@example.org>", 250, 250, 250},
		{"<away@example.org>", 250, 250, 250},
		{"<anybody@catch.example>", 250, 250, 250},
		{"<Postmaster>", 250, 250, 250},
		{"<postmaster@[203.0.113.5]>", 250, 250, 250},
		{"<POSTMASTER@[IPv6:::ffff:203.0.113.5]>", 250, 250, 250},
	}
	senders := []string{"", "x@remote.example", "anna@example.org", "postmaster@mx.example.org", "x@[203.0.113.5]"}
	g := newGate(newTown())
	for _, f := range forms {
		for _, from := range senders {
			e := &envelope.Envelope{}
			if from != "" {
				e.From = addr.MustParse(from)
			}
			for who, c := range map[string]struct {
				peer *envelope.Peer
				want int
			}{
				"world":      {world(t, g), f.world},
				"loopback":   {peer(t, g, envelope.MX, "127.0.0.1", ""), f.world},
				"submission": {peer(t, g, envelope.Submission, "10.1.1.1", ""), f.world},
				"relay":      {peer(t, g, envelope.MX, "10.1.1.1", ""), f.relay},
				"user":       {anna(t, g), f.users},
			} {
				if c.peer.Account == "" {
					if err := g.Mail(t.Context(), c.peer, e, 0); err != nil {
						t.Errorf("%s: MAIL FROM:<%s>: %v", who, from, err)
					}
				}
				if got, _ := rcptTo(t, g, c.peer, e, f.path); got != c.want {
					t.Errorf("%s: from <%s> to %s: %d, want %d", who, from, f.path, got, c.want)
				}
			}
		}
	}
}

func TestRcptResolves(t *testing.T) {
	t.Parallel()
	type r struct {
		to, orcpt string
		notify    envelope.Notify
	}
	for _, c := range []struct {
		args string
		want []r
	}{
		{"<anna@example.org>", []r{{"anna@example.org", "", 0}}},
		{"<Anna+x@example.org>", []r{{"anna+x@example.org", "", 0}}},
		{"<sales@example.org>", []r{{"anna@example.org", "rfc822;sales@example.org", 0}, {"ben@example.org", "rfc822;sales@example.org", 0}}},
		{"<mixed@example.org> NOTIFY=SUCCESS,DELAY", []r{
			{"anna@example.org", "rfc822;mixed@example.org", envelope.NotifySuccess | envelope.NotifyDelay},
			{"x@remote.example", "rfc822;mixed@example.org", envelope.NotifySuccess | envelope.NotifyDelay}}},
		{"<sales@example.org> ORCPT=rfc822;first@other.example", []r{{"anna@example.org", "rfc822;first@other.example", 0}, {"ben@example.org", "rfc822;first@other.example", 0}}},
		{"<postmaster>", []r{{"anna@example.org", "rfc822;postmaster@mx.example.org", 0}}},
		{"<a+b@catch.example>", []r{{"anna@example.org", "rfc822;a+2Bb@catch.example", 0}}},
		{"<söl@example.org>", []r{{"ben@example.org", `utf-8;s\x{F6}l@example.org`, 0}}},
	} {
		g := newGate(newTown())
		got, list := rcptTo(t, g, world(t, g), &envelope.Envelope{}, c.args)
		if got != 250 || len(list) != len(c.want) {
			t.Errorf("%s: %d %v", c.args, got, list)
			continue
		}
		for i, w := range c.want {
			if l := list[i]; l.To.String() != w.to || l.ORcpt != w.orcpt || l.Notify != w.notify {
				t.Errorf("%s: got %s %q %b, want %v", c.args, l.To, l.ORcpt, l.Notify, w)
			}
		}
	}
}

// What we write as ORCPT must be taken by the parser, ours as well as the
// next hop's.
func TestOriginalRecipientIsWellFormed(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a@example.org", "a+b=c@example.org", `"a \"b"@example.org`, "söl+x@example.org", `"sö\\l"@example.org`, "x@bücher.example"} {
		orcpt := originalRecipient(addr.MustParse(s))
		r, bad := smtp.ParseRcpt("TO:<x@example.org> ORCPT="+orcpt, smtp.ExtDSN, false)
		if bad != nil || r.ORcpt != orcpt {
			t.Errorf("%s: %s: %v", s, orcpt, bad)
		}
	}
	long := addr.MustParse(strings.Repeat("ö", 64) + "@" + strings.Repeat("a.", 58) + "example")
	if got := originalRecipient(long); got != "" {
		t.Errorf("%d octets", len(got))
	}
}

func TestFullMailbox(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.full["anna@example.org"] = 1000
	g := newGate(w)
	for _, c := range []struct {
		path string
		size int64
		want int
	}{
		{"<anna@example.org>", 0, 250},
		{"<anna@example.org>", 999, 250},
		{"<anna@example.org>", 1000, 452},
		{"<postmaster>", 1000, 452},
		{"<sales@example.org>", 1000, 250}, // ben has room
		{"<mixed@example.org>", 1000, 250}, // the other server decides
		{"<ben@example.org>", 1000, 250},
	} {
		p, e := world(t, g), &envelope.Envelope{}
		if err := g.Mail(t.Context(), p, e, c.size); err != nil {
			t.Fatal(err)
		}
		if got, _ := rcptTo(t, g, p, e, c.path); got != c.want {
			t.Errorf("%s, %d octets: %d, want %d", c.path, c.size, got, c.want)
		}
		if err := g.Data(t.Context(), p, e); err != nil || e.Size != 0 {
			t.Errorf("the spool would believe the declared size %d, %v", e.Size, err)
		}
	}
}

// A socket for both IP versions shows IPv4 addresses mapped into IPv6.
func TestOwnLiteralOnDualStackSocket(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	p := world(t, g)
	p.Local = netip.MustParseAddrPort("[::ffff:203.0.113.5]:25")
	if got, _ := rcptTo(t, g, p, &envelope.Envelope{}, "<postmaster@[203.0.113.5]>"); got != 250 {
		t.Errorf("postmaster: %d", got)
	}
}

func TestOwnReversePath(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	for from, want := range map[string]int{
		"":                       250,
		"anna@example.org":       250,
		"Anna+tag@Example.Org":   250,
		"sales@example.org":      250,
		"ben@example.org":        550,
		"anna@remote.example":    550,
		"anna@[203.0.113.5]":     550,
		"postmaster@example.org": 550,
	} {
		e := &envelope.Envelope{}
		if from != "" {
			e.From = addr.MustParse(from)
		}
		if got := code(g.Mail(t.Context(), anna(t, g), e, 0)); got != want {
			t.Errorf("anna as <%s>: %d, want %d", from, got, want)
		}
		if got := code(g.Mail(t.Context(), world(t, g), e, 0)); got != 250 {
			t.Errorf("the world as <%s>: %d", from, got)
		}
	}
}

func TestDailyLimit(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.limit = 3
	g := newGate(w)
	e := &envelope.Envelope{Recipients: make([]envelope.Recipient, 2)}
	for i, c := range []struct {
		peer *envelope.Peer
		want int
	}{{anna(t, g), 250}, {anna(t, g), 452}, {world(t, g), 250}, {peer(t, g, envelope.MX, "10.0.0.1", ""), 250}} {
		if got := code(g.Data(t.Context(), c.peer, e)); got != c.want {
			t.Errorf("message %d: %d, want %d", i, got, c.want)
		}
	}
	if w.spent["anna@example.org"] != 2 {
		t.Errorf("spent %v", w.spent)
	}
}

// Trouble of ours is never a verdict on the client: it fails closed, and for
// now only.
func TestTroubleIsTemporary(t *testing.T) {
	t.Parallel()
	w := newTown()
	g := newGate(w)
	w.broken = errors.New("no store")
	e := &envelope.Envelope{From: addr.MustParse("anna@example.org")}
	for name, err := range map[string]error{
		"MAIL":   g.Mail(t.Context(), anna(t, g), e, 0),
		"header": second(g.Header(t.Context(), anna(t, g), e, []byte("From: anna@example.org\r\n\r\n"))),
		"RCPT":   second(g.Rcpt(t.Context(), world(t, g), e, envelope.Recipient{To: addr.MustParse("x@remote.example")})),
	} {
		if code(err) != 451 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The words that a person reads in their mail program.
func TestWords(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	e := &envelope.Envelope{From: addr.MustParse("ben@example.org")}
	err := g.Mail(t.Context(), anna(t, g), e, 0)
	for _, want := range []string{"550 5.7.1", "anna@example.org", "ben@example.org", "alias"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

// Whoever could get no answer sends nothing: RFC 7505, section 4.2.
func TestNullMXSenders(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.names.Add("silent.example. MX 0 .\nremote.example. MX 10 mx.remote.example.\n")
	w.names.Fail("broken.example", dns.TypeMX, resolve.ErrTemporary)
	g := newGate(w)
	for from, want := range map[string]string{
		"x@silent.example": "5.7.27", "x@remote.example": "", "x@broken.example": "", "x@unknown.example": "", "": "", "x@[192.0.2.1]": "",
	} {
		e := &envelope.Envelope{}
		if from != "" {
			e.From = addr.MustParse(from)
		}
		got := ""
		if err := g.Mail(t.Context(), world(t, g), e, 0); err != nil {
			got = envelope.AsError(err).Enhanced
		}
		if got != want {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
	}
	asked := w.names.Queries.Load()
	e := &envelope.Envelope{From: addr.MustParse("printer@silent.example")}
	if err := g.Mail(t.Context(), peer(t, g, envelope.MX, "10.0.0.1", ""), e, 0); err != nil || w.names.Queries.Load() != asked {
		t.Errorf("a [relay] client: %v, and %d look-ups", err, w.names.Queries.Load()-asked)
	}
}

package gate

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// returns are return addresses in memory: all that begins with "bounce-" is
// one, genuine if its sender is there, of one use.
type returns struct {
	senders map[string]string
	spent   map[string]int
	broken  error
}

func (r *returns) Find(_ context.Context, to addr.Address) (addr.Address, bool, error) {
	if !strings.HasPrefix(to.Fold().Local, "bounce-") {
		return addr.Address{}, false, nil
	}
	sender, ok := r.senders[to.Fold().String()]
	switch {
	case r.broken != nil:
		return addr.Address{}, true, r.broken
	case !ok:
		return addr.Address{}, true, envelope.Refuse(550, "5.1.1", "no such address")
	case sender == "":
		return addr.Address{}, true, nil
	}
	return addr.MustParse(sender), true, nil
}

func (r *returns) Spend(_ context.Context, to addr.Address) error {
	if _, ok := r.senders[to.String()]; !ok {
		return nil
	}
	if r.spent[to.String()]++; r.spent[to.String()] > 1 {
		return envelope.Refuse(550, "5.7.1", "enough")
	}
	return nil
}

// What goes on elsewhere keeps in mind through which alias; what stays, or
// was sent there, does not.
func TestVia(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"<anna@example.org>":     "anna@example.org",
		"<away@example.org>":     "anna@remote.example via away@example.org",
		"<Away@example.org>":     "anna@remote.example via away@example.org",
		"<mixed@example.org>":    "anna@example.org, x@remote.example via mixed@example.org",
		"<x@remote.example>":     "x@remote.example",
		"<bounce-1@example.org>": "x@remote.example via bounce-1@example.org",
		// Nobody who was not proven is told, but postmaster.
		"<bounce-2@example.org>": "anna@example.org via bounce-2@example.org",
		"<BOUNCE-3@example.org>": "anna@example.org via bounce-3@example.org, ben@example.org via bounce-3@example.org",
	} {
		g := newGate(newTown())
		code, list := rcptTo(t, g, peer(t, g, envelope.MX, "10.0.0.1", ""), &envelope.Envelope{}, path)
		var got []string
		for _, r := range list {
			s := r.To.String()
			if !r.Via.IsNull() {
				s += " via " + r.Via.String()
			}
			got = append(got, s)
		}
		if s := strings.Join(got, ", "); code != 250 || s != want {
			t.Errorf("%s: %d %s, want %s", path, code, s, want)
		}
	}
}

// A return address passes on nothing but what has no sender, one at a time,
// and only if it is genuine; whoever asks.
func TestReturnAddress(t *testing.T) {
	t.Parallel()
	null, letter := &envelope.Envelope{}, &envelope.Envelope{From: addr.MustParse("x@remote.example")}
	ours := &envelope.Envelope{From: addr.MustParse("anna@example.org")}
	second := &envelope.Envelope{Recipients: []envelope.Recipient{{To: addr.MustParse("anna@example.org")}}}
	for _, c := range []struct {
		name, path string
		e          *envelope.Envelope
		want       int
	}{
		{"a bounce", "<bounce-1@example.org>", null, 250},
		{"a letter", "<bounce-1@example.org>", letter, 550},
		{"a letter in our name", "<bounce-1@example.org>", ours, 550},
		{"a letter for one who may not be told", "<bounce-2@example.org>", letter, 550},
		{"after another", "<bounce-1@example.org>", second, 452},
		{"forged", "<bounce-9@example.org>", null, 550},
		{"forged, in a domain that takes everything", "<bounce-9@catch.example>", null, 550},
		{"of another domain", "<bounce-1@catch.example>", null, 550},
		{"elsewhere", "<bounce-1@remote.example>", null, 550},
	} {
		g := newGate(newTown())
		for who, p := range map[string]*envelope.Peer{"the world": world(t, g), "a user": anna(t, g), "a relay": peer(t, g, envelope.MX, "10.0.0.1", "")} {
			want := c.want
			if c.name == "elsewhere" && who != "the world" {
				want = 250 // it is no address of ours at all
			}
			e := *c.e
			if got, _ := rcptTo(t, g, p, &e, c.path); got != want {
				t.Errorf("%s by %s: %d, want %d", c.name, who, got, want)
			}
		}
	}
	w := newTown()
	w.returns.broken = errors.New("the disk is gone")
	g := newGate(w)
	if got, _ := rcptTo(t, g, world(t, g), &envelope.Envelope{}, "<bounce-1@example.org>"); got != 451 {
		t.Errorf("while nobody can tell: %d", got)
	}
}

// A message counts when it has come whole, and then the address is used up.
func TestReturnIsCounted(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	for i, want := range []int{250, 550} {
		e := &envelope.Envelope{}
		_, e.Recipients = rcptTo(t, g, world(t, g), e, "<bounce-1@example.org>")
		if got := code(g.Data(t.Context(), world(t, g), e)); got != want {
			t.Errorf("message %d: %d, want %d", i+1, got, want)
		}
	}
	e := &envelope.Envelope{}
	_, e.Recipients = rcptTo(t, g, world(t, g), e, "<mixed@example.org>")
	if got := code(g.Data(t.Context(), world(t, g), e)); got != 250 {
		t.Errorf("to an alias: %d", got)
	}
}

func TestNoCircle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to, field string
		want      int
	}{
		{"<away@example.org>", "Delivered-To: away@example.org", 554},
		{"<away@example.org>", "delivered-to:  AWAY@Example.ORG ", 554},
		{"<mixed@example.org>", "Delivered-To: mixed@example.org", 554},
		{"<away@example.org>", "Delivered-To: other@example.org", 250},
		{"<away@example.org>", "Delivered-To: anna@remote.example", 250},
		{"<away@example.org>", "Delivered-To: <away@example.org> of old", 250},
		{"<away@example.org>", "X-Delivered-To: away@example.org", 250},
		{"<anna@example.org>", "Delivered-To: anna@example.org", 250}, // filed like any other
		{"<sales@example.org>", "Delivered-To: sales@example.org", 250},
	} {
		g := newGate(newTown())
		for who, p := range map[string]*envelope.Peer{"the world": world(t, g), "a user": anna(t, g)} {
			e := &envelope.Envelope{}
			_, e.Recipients = rcptTo(t, g, p, e, c.to)
			_, err := g.Header(t.Context(), p, e, []byte(section("Received: by x", c.field, "From: anna@example.org")))
			if got := code(err); got != c.want {
				t.Errorf("%s with %q, by %s: %d, want %d", c.to, c.field, who, got, c.want)
			}
		}
	}
}

// What fails DMARC or is junk is not forwarded: the client hears of it where
// nothing else is to be done, a mailbox behind the alias keeps its copy, and
// whoever else got the message gets it.
func TestUnfit(t *testing.T) {
	t.Parallel()
	const junk, calm, good = "x@wary.example", "x@calm.example", "x@remote.example"
	for _, c := range []struct {
		name, from string
		to         []string
		code       int
		want       string // who is left, in order
		unfit      bool
	}{
		{"good", good, []string{"away", "mixed"}, 250, "anna@remote.example anna@example.org x@remote.example", false},
		{"junk", junk, []string{"away"}, 550, "", false},
		{"p=none fails", calm, []string{"away"}, 550, "", false},
		{"junk with a mailbox", junk, []string{"mixed"}, 250, "anna@example.org", false},
		{"p=none fails, with a mailbox", calm, []string{"mixed"}, 250, "anna@example.org", false},
		{"junk to another beside", junk, []string{"away", "ben"}, 250, "anna@remote.example ben@example.org", true},
		{"p=none fails, to another beside", calm, []string{"ben", "away"}, 250, "ben@example.org anna@remote.example", true},
		{"junk, all at once", junk, []string{"away", "mixed", "ben"}, 250, "anna@remote.example anna@example.org ben@example.org", true},
		// The mailbox behind mixed is anna's, who is there by another way.
		{"junk, the mailbox twice", junk, []string{"anna", "mixed"}, 250, "anna@example.org", false},
		{"junk to nobody elsewhere", junk, []string{"sales"}, 250, "anna@example.org ben@example.org", false},
		{"two aliases", junk, []string{"away", "far"}, 550, "", false},
		{"a bounce that is junk", junk, []string{"bounce-1"}, 550, "", false},
		{"a bounce that is junk, for postmaster", junk, []string{"bounce-2"}, 250, "anna@example.org", false},
		{"a bounce", good, []string{"bounce-1"}, 250, "x@remote.example", false},
	} {
		w := newTown()
		w.aliases["far@example.org"] = []string{"ben@remote.example"}
		w.names.Add(someZone + "calm.example. TXT \"v=spf1 -all\"\n_dmarc.calm.example. TXT \"v=DMARC1; p=none\"\n")
		g := newGate(w)
		var log strings.Builder
		g.o.Log = slog.New(slog.NewTextHandler(&log, nil))
		e := &envelope.Envelope{ID: envelope.ID{1}}
		if !strings.HasPrefix(c.to[0], "bounce") {
			e.From = addr.MustParse("x@remote.example")
		}
		for _, to := range c.to {
			_, list := rcptTo(t, g, world(t, g), e, "<"+to+"@example.org>")
			for _, r := range list { // as the session does
				if !slices.ContainsFunc(e.Recipients, func(o envelope.Recipient) bool { return o.To == r.To }) {
					e.Recipients = append(e.Recipients, r)
				}
			}
		}
		before := len(e.Recipients)
		p := world(t, g)
		p.Helo = "remote.example" // whose server it is
		watch := g.Watch(p, e, []byte(section("From: "+c.from)))
		err := watch.Judge(t.Context(), e)
		if got := code(err); got != c.code {
			t.Errorf("%s: %v, want %d", c.name, err, c.code)
			continue
		}
		if err != nil {
			if !strings.Contains(err.Error(), "goes on to another server, and this message does not: ") {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var got []string
		for _, r := range e.Recipients {
			got = append(got, r.To.String())
		}
		if s := strings.Join(got, " "); s != c.want || e.Unfit != c.unfit {
			t.Errorf("%s: %s, unfit: %v; want %s, %v", c.name, s, e.Unfit, c.want, c.unfit)
		}
		if (len(got) < before) != strings.Contains(log.String(), "not forwarded") {
			t.Errorf("%s: %d of %d are left, and the log says %q", c.name, len(got), before, &log)
		}
	}
}

func TestUnfitWhileNobodyCanTell(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.names.Add(someZone)
	g := newGate(w)
	e := &envelope.Envelope{From: addr.MustParse("x@remote.example")}
	_, e.Recipients = rcptTo(t, g, world(t, g), e, "<mixed@example.org>")
	watch := g.Watch(world(t, g), e, []byte(section("From: x@wary.example")))
	g.o.Checker.IsOwn = func(context.Context, addr.Domain) (bool, error) { return false, nil }
	w.broken = errors.New("the disk is gone")
	if got := code(watch.Judge(t.Context(), e)); got != 451 || len(e.Recipients) != 2 {
		t.Errorf("%d, %d recipients", got, len(e.Recipients))
	}
}

// Who hears of mail in their name hears that it was refused, if it was only
// because it would have been forwarded; the override says that it was us.
func TestWitnessOfUnfit(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.names.Add(`calm.example. TXT "v=spf1 -all"
_dmarc.calm.example. TXT "v=DMARC1; p=none; rua=mailto:d@calm.example"`)
	var b book
	o := newGate(w).o
	o.Witness = &b
	g := New(o)
	for _, to := range []string{"<away@example.org>", "<mixed@example.org>"} {
		e := &envelope.Envelope{From: addr.MustParse("x@calm.example")}
		_, e.Recipients = rcptTo(t, g, world(t, g), e, to)
		g.Watch(world(t, g), e, []byte(section("From: x@calm.example"))).Judge(t.Context(), e)
	}
	if len(b) != 2 || !strings.Contains(b[0], " reject ") || !strings.Contains(b[1], " none ") {
		t.Errorf("%q", b)
	}
}

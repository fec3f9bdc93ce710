package gate

import (
	"errors"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

const someZone = `
remote.example. TXT "v=spf1 ip4:198.51.100.1 -all"
_dmarc.remote.example. TXT "v=DMARC1; p=reject"
wary.example. TXT "v=spf1 -all"
_dmarc.wary.example. TXT "v=DMARC1; p=quarantine"
`

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.names.Add(someZone)
	g := newGate(w)
	for _, c := range []struct {
		name, from string
		code       int
		junk       bool
		dmarc      string
	}{
		{"its server", "x@remote.example", 0, false, "dmarc=pass"},
		{"another's, to be wary of", "x@wary.example", 0, true, "dmarc=fail"},
		{"ours", "anna@example.org", 550, false, ""},
	} {
		e := &envelope.Envelope{From: addr.MustParse("x@remote.example")}
		watch := g.Watch(world(t, g), e, []byte(section("From: "+c.from)))
		watch.Write([]byte("hi\r\n"))
		err := watch.Judge(t.Context(), e)
		var refused *envelope.Error
		if errors.As(err, &refused); (refused == nil) != (c.code == 0) || refused != nil && refused.Code != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		if e.Bounceable() != (c.code == 0) {
			t.Errorf("%s: it may be bounced: %v", c.name, e.Bounceable())
		}
		if e.IsJunk() != c.junk || !strings.Contains(string(e.Header), c.dmarc) {
			t.Errorf("%s: %q", c.name, e.Header)
		}
		if message.Count(e.Header, "Authentication-Results") != 1 && c.code == 0 {
			t.Errorf("%s: %q", c.name, e.Header)
		}
	}
}

// Whoever signed in or is listed in [relay] waits for no DNS.
func TestWatchLeavesOwnClients(t *testing.T) {
	t.Parallel()
	w := newTown()
	g := newGate(w)
	for _, p := range []*envelope.Peer{anna(t, g), peer(t, g, envelope.MX, "10.0.0.1", "")} {
		if g.Watch(p, &envelope.Envelope{}, nil) != nil {
			t.Errorf("%+v is watched", p)
		}
	}
	if n := w.names.Queries.Load(); n != 0 {
		t.Errorf("%d questions were asked", n)
	}
}

func TestWatchSendersInUTF8(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	e := &envelope.Envelope{From: addr.MustParse("söl@remote.example"), UTF8: true}
	if err := g.Watch(world(t, g), e, []byte(section("From: x@remote.example"))).Judge(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Header), "söl") != (e.Form&envelope.HeaderUTF8 != 0) {
		t.Errorf("form %v of %q", e.Form, e.Header)
	}
}

// book is a Witness.
type book []string

func (b *book) Saw(p aggregate.Published, row aggregate.Row) {
	*b = append(*b, p.Domain+" "+row.IP.String()+" "+row.Disposition+" "+row.From+" "+row.EnvelopeFrom)
}

// Whoever wants to know is told of mail in their name, also of what was
// refused; but not of reports, which would make reports for ever.
func TestWitness(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.names.Add(`_dmarc.remote.example. TXT "v=DMARC1; p=reject; rua=mailto:d@remote.example"
_dmarc.silent.example. TXT "v=DMARC1; p=reject"`)
	var b book
	o := newGate(w).o
	o.Witness = &b
	g := New(o)
	for _, c := range []struct{ from, to string }{
		{"x@remote.example", "anna@example.org"}, {"x@silent.example", "anna@example.org"},
		{"x@remote.example", "dmarc-reports@example.org"}, {"x@remote.example", "dmarc-reports@example.org anna@example.org"},
	} {
		e := &envelope.Envelope{From: addr.MustParse("secret@other.example")}
		for _, to := range strings.Fields(c.to) {
			e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(to)})
		}
		watch := g.Watch(world(t, g), e, []byte(section("From: "+c.from)))
		watch.Write([]byte("hi\r\n"))
		watch.Judge(t.Context(), e)
	}
	const one = "remote.example 198.51.100.1 reject remote.example other.example"
	if len(b) != 2 || b[0] != one || b[1] != one {
		t.Errorf("%q", b)
	}
}

package outbound

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// ring is a ring of one key, and remote what the next server gets.
type ring struct {
	key   dkim.SigningKey
	shown bool // by the DNS
}

func (r *ring) Begin(section []byte) (*dkim.Signer, error) {
	from, err := message.Senders(section)
	if err != nil || !r.shown || len(from) != 1 || from[0].Domain != r.key.Domain {
		return nil, nil
	}
	return dkim.NewSigner(section, []dkim.SigningKey{r.key}, now, time.Hour)
}

func (r *ring) Uses(d addr.Domain, selector string) bool {
	return r.shown && d == r.key.Domain && selector == r.key.Selector
}

func (r *ring) Sealing(d addr.Domain) (dkim.SigningKey, bool) {
	return r.key, r.shown && d == r.key.Domain
}

// sent is a message as it left.
type sent struct {
	from, to, content string
	envelope          *envelope.Envelope
}

// town is Outbound with what is around it: example.org is ours.
type town struct {
	*Outbound
	keys    ring
	t       *testing.T
	names   *resolve.Fake
	clock   *clock.Fake
	out     []sent
	refused bool  // no return address can be kept
	broken  error // of IsLocal
	log     strings.Builder
}

var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newTown(t *testing.T) *town {
	w := &town{t: t, names: resolve.NewFake(""), clock: clock.NewFake(now)}
	w.keys = ring{dkim.SigningKey{Domain: "example.org", Selector: "s", Signer: key()}, true}
	der, err := x509.MarshalPKIXPublicKey(key().Public())
	if err != nil {
		t.Fatal(err)
	}
	p := base64.StdEncoding.EncodeToString(der)
	for _, d := range []string{"example.org", "author.example"} {
		w.names.Add(fmt.Sprintf("s._domainkey.%s. TXT \"p=%s\" \"%s\"", d, p[:200], p[200:]))
	}
	w.Outbound = New(Options{
		Next: w, Keys: &w.keys, Returns: w, Hostname: "mx.example.org", Clock: w.clock, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		IsLocal: func(_ context.Context, d addr.Domain) (bool, error) { return d == "example.org", w.broken },
	})
	return w
}

// next is town as the deliverer behind Outbound.
func (w *town) Deliver(_ context.Context, a *envelope.Attempt) []envelope.Outcome {
	body, err := io.ReadAll(a.Body.Reader())
	if err != nil {
		w.t.Error(err)
	}
	e := a.Envelope
	if e.Size != int64(len(e.Header)+len(body)) {
		w.t.Errorf("%d octets are said to be %d", len(e.Header)+len(body), e.Size)
	}
	var to []string
	var outcomes []envelope.Outcome
	for _, i := range a.Recipients {
		to = append(to, e.Recipients[i].To.String())
		outcomes = append(outcomes, envelope.Outcome{Status: envelope.Delivered, Host: e.Recipients[i].To.Local})
	}
	w.out = append(w.out, sent{e.From.String(), strings.Join(to, " "), string(e.Header) + string(body), e})
	return outcomes
}

func (w *town) Address(_ context.Context, _ *envelope.Envelope, alias addr.Address) (addr.Address, error) {
	if w.refused {
		return addr.Address{}, errors.New("the disk is full")
	}
	return addr.Address{Local: "bounce-" + strings.ReplaceAll(alias.Local, "ö", "oe"), Domain: alias.Domain}, nil
}

const (
	author = "joe@author.example"
	letter = "From: joe@author.example\r\nSubject: hi\r\nTo: sales@example.org\r\n\r\nHello.\r\n"
	// found is what gate puts in front.
	found = "Received: from x by mx.example.org; Wed, 25 Nov 2026 12:00:00 +0000\r\n" +
		"Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=author.example;\r\n\tdmarc=pass header.from=author.example\r\n"
)

// post makes an attempt for recipients, written as "x@remote.example" or
// "x@remote.example via sales@example.org".
func (w *town) post(origin envelope.Origin, from, header, content string, to ...string) *envelope.Attempt {
	e := &envelope.Envelope{ID: envelope.ID{1}, Received: now, Origin: origin, Header: []byte(header), Size: int64(len(header) + len(content))}
	if from != "" {
		e.From = addr.MustParse(from)
	}
	a := &envelope.Attempt{Envelope: e, Body: envelope.MemoryBody([]byte(content)), Destination: "remote.example"}
	for i, text := range to {
		name, via, _ := strings.Cut(text, " via ")
		r := envelope.Recipient{To: addr.MustParse(name)}
		if via != "" {
			r.Via = addr.MustParse(via)
		}
		e.Recipients, a.Recipients = append(e.Recipients, r), append(a.Recipients, i)
	}
	return a
}

// chain verifies the seals of a message as the next server would.
func (w *town) chain(content string) arc.Result {
	header, body, _ := strings.Cut(content, "\r\n\r\n")
	v := arc.NewVerifier([]byte(header + "\r\n"))
	io.WriteString(v, body)
	return v.Verify(w.t.Context(), w.names, now)
}

// signatures returns the status of each signature.
func (w *town) signatures(content string) (list []string) {
	header, body, _ := strings.Cut(content, "\r\n\r\n")
	v := dkim.NewVerifier([]byte(header + "\r\n"))
	io.WriteString(v, body)
	for _, r := range v.Verify(w.t.Context(), w.names, w.clock.Now()) {
		list = append(list, r.Status.String()+" "+string(r.Domain))
	}
	return list
}

// signed returns a message with a signature of its author in front.
func (w *town) signed(d addr.Domain, content string) string {
	header, body, _ := strings.Cut(content, "\r\n\r\n")
	s, err := dkim.NewSigner([]byte(header+"\r\n"), []dkim.SigningKey{{Domain: d, Selector: "s", Signer: key()}}, now, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	io.WriteString(s, body)
	field, err := s.Sign()
	if err != nil {
		w.t.Fatal(err)
	}
	return string(field) + content
}

// A message that goes on through an alias comes from us, sealed, with its
// author's signature as good as before and none of ours.
func TestForwarded(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.post(envelope.Proven, author, found, w.signed("author.example", letter), "x@remote.example via sales@example.org")
	before := *a.Envelope
	if got := w.Outbound.Deliver(t.Context(), a); len(got) != 1 || got[0].Status != envelope.Delivered || len(w.out) != 1 {
		t.Fatalf("%+v, %+v", got, w.out)
	}
	s := w.out[0]
	if s.from != "bounce-sales@example.org" || !strings.HasSuffix(s.content, string(a.Body.Bytes())) {
		t.Errorf("from %s:\n%s", s.from, s.content)
	}
	if r := w.chain(s.content); r.Status != arc.Pass || len(r.Sets) != 1 || r.Sets[0].Sealer != "example.org" ||
		r.Sets[0].Results.ID != "mx.example.org" || len(r.Sets[0].Results.Find("dmarc")) != 1 {
		t.Errorf("%+v", r)
	}
	if got := w.signatures(s.content); !slices.Equal(got, []string{"pass author.example"}) {
		t.Errorf("%q", got)
	}
	if !strings.Contains(s.content, "\r\nDelivered-To: sales@example.org\r\nReceived: from x") || message.Check([]byte(s.content[:strings.Index(s.content, "\r\n\r\n")+2])) != nil {
		t.Errorf("%s", s.content)
	}
	if e := a.Envelope; string(e.Header) != found || e.From != before.From || e.Size != before.Size {
		t.Error("the envelope of the spool was changed")
	}
}

// Aliases do not learn of one another, nor of those who were written to.
func TestGroups(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.post(envelope.User, "anna@example.org", "", letter,
		"a@remote.example via one@example.org", "b@remote.example", "c@remote.example via two@example.org", "d@remote.example via one@example.org", "e@remote.example")
	var hosts []string
	for _, o := range w.Outbound.Deliver(t.Context(), a) {
		hosts = append(hosts, o.Host)
	}
	if !slices.Equal(hosts, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("outcomes of %v", hosts)
	}
	want := map[string]string{
		"a@remote.example d@remote.example": "one@example.org", "b@remote.example e@remote.example": "", "c@remote.example": "two@example.org",
	}
	for _, s := range w.out {
		alias, ok := want[s.to]
		if !ok || strings.Contains(s.content, "Delivered-To: ") != (alias != "") || alias != "" && !strings.Contains(s.content, "Delivered-To: "+alias+"\r\n") {
			t.Errorf("%s:\n%s", s.to, s.content)
		}
		delete(want, s.to)
	}
	if len(want) > 0 {
		t.Errorf("nothing for %v", want)
	}
}

// An alias that needs SMTPUTF8 does not make the message need it.
func TestAliasInUTF8(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.post(envelope.Proven, author, found, letter, "x@remote.example via söl@example.org")
	a.Envelope.UTF8 = true
	w.Outbound.Deliver(t.Context(), a)
	s := w.out[0]
	if e := s.envelope; e.NeedsUTF8(&e.Recipients[0]) || w.chain(s.content).Status != arc.Pass || strings.Contains(s.content, "söl") {
		t.Errorf("%+v\n%s", s, s.content)
	}
}

func TestReversePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		origin envelope.Origin
		from   string
		want   string
	}{
		{"the world", envelope.Proven, author, "bounce-sales@example.org"},
		{"not proven", envelope.Remote, author, "bounce-sales@example.org"},
		{"the world as one of ours", envelope.Remote, "anna@example.org", "bounce-sales@example.org"},
		{"a user", envelope.User, "anna@example.org", "anna@example.org"},
		{"a relay in our name", envelope.Relay, "printer@example.org", "printer@example.org"},
		{"a relay in another's", envelope.Relay, author, "bounce-sales@example.org"},
		{"a bounce", envelope.Remote, "", ""},
		{"a bounce of ours", envelope.Self, "", ""},
	} {
		w := newTown(t)
		w.Outbound.Deliver(t.Context(), w.post(c.origin, c.from, "", letter, "x@remote.example via sales@example.org"))
		if w.out[0].from != c.want {
			t.Errorf("%s: from %s, want %s", c.name, w.out[0].from, c.want)
		}
		if c.origin == envelope.User || c.origin == envelope.Relay {
			continue
		}
		w.out = nil
		w.Outbound.Deliver(t.Context(), w.post(c.origin, c.from, "", letter, "x@remote.example"))
		if w.out[0].from != c.from {
			t.Errorf("%s, not through an alias: from %s", c.name, w.out[0].from)
		}
	}
}

// What must not go on does not, and nothing is sent that could not come back.
func TestNotSent(t *testing.T) {
	t.Parallel()
	const to = "x@remote.example via sales@example.org"
	for name, c := range map[string]struct {
		set    func(*town, *envelope.Envelope)
		status envelope.Status
		code   int
	}{
		"unfit":          {func(_ *town, e *envelope.Envelope) { e.Unfit = true }, envelope.Failed, 550},
		"a full disk":    {func(w *town, _ *envelope.Envelope) { w.refused = true }, envelope.Deferred, 451},
		"a broken store": {func(w *town, e *envelope.Envelope) { w.broken, e.Origin = errors.New("broken"), envelope.Relay }, envelope.Deferred, 451},
	} {
		w := newTown(t)
		a := w.post(envelope.Proven, author, found, letter, "y@remote.example", to)
		c.set(w, a.Envelope)
		got := w.Outbound.Deliver(t.Context(), a)
		if len(w.out) != 1 || w.out[0].to != "y@remote.example" || got[0].Status != envelope.Delivered {
			t.Errorf("%s: %+v, %+v", name, got, w.out)
		}
		if got[1].Status != c.status || !got[1].Ours || got[1].Destination || got[1].Err.Code != c.code {
			t.Errorf("%s: %+v", name, got[1])
		}
	}
}

// While a message is made ready the spool may change its state, and does: the
// race detector sees whoever reads that.
func TestReadsNothingThatChanges(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.post(envelope.User, "anna@example.org", "", "From: anna@example.org\r\n\r\nHello.\r\n", "x@remote.example via sales@example.org", "y@remote.example")
	a.Afresh = true
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := uint16(0); ; n++ {
			select {
			case <-over:
				return
			default:
				e := a.Envelope
				e.Held, e.Delayed = !e.Held, !e.Delayed
				r := &e.Recipients[0]
				r.Status, r.Attempts, r.Next, r.Reason = envelope.Deferred, n, now, "later"
			}
		}
	}()
	w.Outbound.Deliver(t.Context(), a)
	close(over)
	<-ended
	if len(w.out) != 2 {
		t.Errorf("%+v", w.out)
	}
}

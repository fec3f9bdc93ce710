package courier

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/audit"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/reach"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
	"gatepost/internal/store/storetest"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/witness"
)

var yesterday = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// world is everything around a courier: what was counted, the doors of those
// who want reports, and the queue.
type world struct {
	clk  *clock.Fake
	zone *resolve.Fake
	db   *store.DB
	tls  map[string][]tlsrpt.Sum // of yesterday
	mail map[string]witness.Seen
	from addr.Domain // that signs; empty: none does

	mu     sync.Mutex
	posted []string // URLs
	last   *tlsrpt.Report
	mailed []mailed
	fail   error // of URLs
	keys   error // of the queue
}

// mailed is a message in the queue.
type mailed struct {
	e    *envelope.Envelope
	text []byte
}

type tally struct{ *world }

func (w tally) Domains(_ context.Context, day time.Time) (list []string, err error) {
	if day.Equal(yesterday) {
		for d := range w.tls {
			list = append(list, d)
		}
	}
	return list, nil
}

func (w tally) Of(_ context.Context, _ time.Time, domain string) ([]tlsrpt.Sum, error) {
	return w.tls[domain], nil
}

type seen struct{ *world }

func (w seen) Domains(_ context.Context, day time.Time) (list []string, err error) {
	if day.Equal(yesterday) {
		for d := range w.mail {
			list = append(list, d)
		}
	}
	return list, nil
}

func (w seen) Of(_ context.Context, _ time.Time, domain string) (witness.Seen, error) {
	return w.mail[domain], nil
}

func (w *world) post(_ context.Context, url string, body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	r, err := tlsrpt.Read(bytes.NewReader(body))
	if err != nil {
		return err
	}
	w.posted, w.last = append(w.posted, url), r
	return nil
}

func (w *world) submit(_ context.Context, e *envelope.Envelope, write func(io.Writer) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys != nil {
		return w.keys
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	var err error
	e.Origin = envelope.Self
	e.ID, err = envelope.NewID(w.clk.Now(), rand.Reader)
	w.mailed = append(w.mailed, mailed{e, b.Bytes()})
	return err
}

func newWorld(t *testing.T, zone string) *world {
	t.Helper()
	db := storetest.Open(t)
	return &world{
		clk: clock.NewFake(yesterday.Add(24 * time.Hour)), zone: resolve.NewFake(zone), db: db, from: "example.org",
		tls: map[string][]tlsrpt.Sum{}, mail: map[string]witness.Seen{},
	}
}

// courier returns a new one, as after a start of the server.
func (w *world) courier() *Courier {
	return New(Options{
		DB: w.db, Tally: tally{w}, Mail: seen{w}, Resolver: w.zone, Clock: w.clk, Log: slog.New(slog.DiscardHandler), Hostname: "mx.example.org",
		Post: w.post, Sender: func() addr.Domain { return w.from }, Submit: w.submit, Random: rand.Reader,
	})
}

// met counts sessions with a domain.
func (w *world) met(domain string) {
	p := tlsrpt.Policy{Kind: tlsrpt.NoPolicy, Domain: domain}
	w.tls[domain] = []tlsrpt.Sum{
		{Day: yesterday, Domain: domain, Policy: p, Failure: tlsrpt.Failure{Count: 7}},
		{Day: yesterday, Domain: domain, Policy: p, Failure: tlsrpt.Failure{Count: 2, Result: tlsrpt.Expired}},
	}
}

// saw counts messages in the name of a domain.
func (w *world) saw(domain string) {
	w.mail[domain] = witness.Seen{
		Policy: aggregate.Published{Domain: domain, Policy: "reject"},
		Rows:   []aggregate.Row{{IP: netip.MustParseAddr("192.0.2.7"), Count: 3, Disposition: "reject", From: domain}},
	}
}

// rounds runs a courier for some time.
func (w *world) rounds(t *testing.T, c *Courier, d time.Duration) {
	t.Helper()
	const step = time.Hour // a tick would take long on a real store
	for ; d > 0; d -= step {
		w.clk.Advance(step)
		if err := c.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// shown returns what operators see, as "KIND DOMAIN TO STATE".
func shown(t *testing.T, c *Courier, domain addr.Domain) (list []string, reasons []string) {
	t.Helper()
	err := c.Sent(t.Context(), domain, func(s Sent) error {
		list, reasons = append(list, fmt.Sprintf("%s %s %s %s", s.Kind, s.Domain, s.To, s.State)), append(reasons, s.Reason)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, reasons
}

const wants = `_smtp._tls.d.example. TXT "v=TLSRPTv1; rua=mailto:tls@d.example,https://tls.d.example/report,mailto:tls@d.example"
`

// A domain gets its report once at each of its destinations, some time after
// the day has ended, also when the server is started again.
func TestTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wants)
	w.met("d.example")
	c := w.courier()
	if err := c.round(t.Context()); err != nil || len(w.posted)+len(w.mailed) > 0 {
		t.Errorf("at once: %v, %v", w.posted, err)
	}
	w.rounds(t, c, spread+time.Hour)
	again := w.courier()
	w.rounds(t, again, retryTime+spread)
	if len(w.posted) != 1 || w.posted[0] != "https://tls.d.example/report" || len(w.mailed) != 1 || again.Counters[TLS].Posted.Load() != 0 {
		t.Fatalf("%v, %d", w.posted, len(w.mailed))
	}
	read, err := tlsrpt.ReadMessage(bytes.NewReader(w.mailed[0].text))
	for _, r := range []*tlsrpt.Report{w.last, read} {
		if err != nil || r.ID != "20261124.d.example@mx.example.org" || r.Organization != "mx.example.org" || r.Contact != "postmaster@mx.example.org" ||
			len(r.Policies) != 1 || r.Policies[0].Summary != (tlsrpt.Summary{Success: 7, Failure: 2}) || !r.Range.Start.Equal(yesterday) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	e, header := w.mailed[0].e, w.mailed[0].text
	if !e.IsErrand() || !e.TLSOptional || !e.From.IsNull() || len(e.Recipients) != 1 || e.Recipients[0].To.String() != "tls@d.example" ||
		e.Recipients[0].Notify != envelope.NotifyNever {
		t.Errorf("%+v", e)
	}
	for name, want := range map[string]string{
		"From": "<tls-reports@example.org>", "To": "<tls@d.example>", "TLS-Report-Domain": "d.example", "TLS-Report-Submitter": "mx.example.org",
		"TLS-Required": "No", "Auto-Submitted": "auto-generated",
		"Subject": "Report Domain: d.example Submitter: mx.example.org Report-ID: <20261124.d.example@mx.example.org>",
	} {
		if f, _ := message.Find(header, name); f.Value() != want {
			t.Errorf("%s: %q", name, f.Value())
		}
	}
}

const asks = `_dmarc.a.example. TXT "v=DMARC1; p=reject; rua=mailto:d@a.example!1k,mailto:big@a.example,mailto:x@victim.example,mailto:x@agrees.example"
a.example._report._dmarc.agrees.example. TXT "v=DMARC1; rua=mailto:y@agrees.example"
`

// A DMARC report goes to those who may get it and can take it.
func TestDMARC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, asks)
	w.saw("a.example")
	c := w.courier()
	w.rounds(t, c, spread+time.Hour)
	w.rounds(t, c, retryTime)
	var to []string
	for _, m := range w.mailed {
		to = append(to, m.e.Recipients[0].To.String())
		r, err := aggregate.ReadMessage(bytes.NewReader(m.text))
		if err != nil || r.ID != "20261124.a.example@mx.example.org" || len(r.Rows) != 1 || r.Rows[0].Count != 3 || !r.Begin.Equal(yesterday) || m.e.TLSOptional {
			t.Errorf("%+v, %v", r, err)
		}
		if f, _ := message.Find(m.text, "From"); f.Value() != "<dmarc-reports@example.org>" {
			t.Errorf("%q", f.Value())
		}
	}
	if slices.Sort(to); strings.Join(to, " ") != "big@a.example y@agrees.example" {
		t.Errorf("%q", to)
	}
	list, reasons := shown(t, c, "a.example")
	want := []string{"dmarc a.example mailto:big@a.example queued", "dmarc a.example mailto:d@a.example failed",
		"dmarc a.example mailto:x@victim.example failed", "dmarc a.example mailto:y@agrees.example queued"}
	if !slices.Equal(list, want) || !strings.Contains(reasons[1], "1024") || !strings.Contains(reasons[2], "agree") {
		t.Errorf("%q, %q", list, reasons)
	}
}

// What there was no room for is told as such.
func TestErrorElement(t *testing.T) {
	t.Parallel()
	w := newWorld(t, asks)
	w.saw("a.example")
	more := w.mail["a.example"]
	more.More = 12
	w.mail["a.example"] = more
	w.rounds(t, w.courier(), spread+time.Hour)
	r, err := aggregate.ReadMessage(bytes.NewReader(w.mailed[0].text))
	if err != nil || len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0], "12 messages") {
		t.Errorf("%+v, %v", r, err)
	}
}

// What the queue makes of a report is shown, at once and after a restart; a
// report that the queue gave up is not made again.
func TestEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, asks)
	w.saw("a.example")
	c := w.courier()
	w.rounds(t, c, spread+time.Hour)
	for _, m := range w.mailed {
		change := envelope.Change{ID: m.e.ID, Status: envelope.Delivered}
		if m.e.Recipients[0].To.Local == "y" {
			change = envelope.Change{ID: m.e.ID, Status: envelope.Failed, Reason: "mx answered 550 no"}
		}
		c.Ended(m.e, change)
	}
	for range 2 {
		list, reasons := shown(t, c, "")
		if len(list) != 4 || !strings.HasSuffix(list[0], "taken") || !strings.HasSuffix(list[3], "failed") || reasons[3] != "mx answered 550 no" {
			t.Errorf("%q, %q", list, reasons)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = w.courier()
	}
	w.rounds(t, c, retryTime)
	if len(w.mailed) != 2 {
		t.Errorf("%d mails", len(w.mailed))
	}
	if err := Check(snapshot{w.db}, func(f audit.Finding) { t.Error(f.Text) }); err != nil {
		t.Error(err)
	}
}

// Nothing goes unsigned: reports wait for a key, and go when there is one; if
// there is none for a day they are given up, and operators see why.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	for _, comes := range []bool{true, false} {
		w := newWorld(t, wants+asks)
		w.met("d.example")
		w.saw("a.example")
		w.from = ""
		c := w.courier()
		w.rounds(t, c, spread+2*time.Hour)
		list, reasons := shown(t, c, "d.example")
		if len(w.mailed) > 0 || len(w.posted) != 1 || len(list) != 2 || list[1] != "tls d.example mailto:tls@d.example waiting" || reasons[1] != noKey {
			t.Fatalf("%d mails, %v, %q, %q", len(w.mailed), w.posted, list, reasons)
		}
		w.from, w.keys = "example.org", envelope.ErrUnsigned // it has just gone
		w.rounds(t, c, 2*time.Hour)
		if comes {
			w.keys = nil
		}
		w.rounds(t, c, 30*time.Hour)
		list, _ = shown(t, c, "d.example")
		if len(w.mailed) != map[bool]int{true: 3, false: 0}[comes] || comes != strings.HasSuffix(list[1], "queued") || comes == strings.HasSuffix(list[1], "failed") ||
			c.Counters[TLS].Unsigned.Load() < 2 || len(c.tried) > 0 {
			t.Errorf("%v: %d mails, %q, %v", comes, len(w.mailed), list, c.tried)
		}
	}
}

// What is not taken is tried again by the hour, for a day.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `_smtp._tls.d.example. TXT "v=TLSRPTv1; rua=https://tls.d.example/report"`)
	w.met("d.example")
	w.fail = errors.New("down")
	c := w.courier()
	w.rounds(t, c, spread+settleTime+3*time.Hour)
	if n := c.Counters[TLS].Failed.Load(); n < 3 || n > 8 {
		t.Errorf("%d attempts", n)
	}
	w.fail = nil
	w.rounds(t, c, 2*time.Hour)
	if len(w.posted) != 1 {
		t.Errorf("%v", w.posted)
	}
	w = newWorld(t, wants)
	w.met("d.example")
	w.fail, w.keys = errors.New("down"), errors.New("full")
	c = w.courier()
	w.rounds(t, c, 36*time.Hour)
	if n := c.Counters[TLS].Failed.Load(); n < 40 || n > 50 || len(c.tried) > 0 {
		t.Errorf("%d attempts, %v", n, c.tried)
	}
	if list, reasons := shown(t, c, ""); len(list) != 2 || !strings.HasSuffix(list[0], "failed") || reasons[0] != "down" || reasons[1] != "full" {
		t.Errorf("%q, %q", list, reasons)
	}
}

// Who does not ask for reports, or may not get any, gets none, and is not
// asked again. An operator may want none to be sent.
func TestUnwanted(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"", `_smtp._tls.d.example. TXT "v=TLSRPTv1; rua=nonsense"
_dmarc.d.example. TXT "v=DMARC1; p=none; rua=https://d.example/,mailto:x@victim.example"`} {
		w := newWorld(t, zone)
		w.met("d.example")
		w.saw("d.example")
		c := w.courier()
		w.rounds(t, c, spread+time.Hour)
		for _, k := range []Kind{TLS, DMARC} {
			if done, err := c.settled(t.Context(), errand{k, yesterday, "d.example"}); len(w.posted)+len(w.mailed) > 0 || !done[""] || err != nil {
				t.Errorf("%s: %v, %v, %v", k, w.posted, done, err)
			}
		}
	}
	w := newWorld(t, wants+asks)
	w.met("d.example")
	w.saw("a.example")
	c := w.courier()
	c.Set(Settings{DMARC: true})
	w.rounds(t, c, spread+time.Hour)
	if len(w.posted) > 0 || len(w.mailed) != 2 {
		t.Errorf("%v, %d", w.posted, len(w.mailed))
	}
}

// While the DNS does not say where reports go they wait, but those whose
// destination is known.
func TestBrokenDNS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wants+asks)
	w.met("d.example")
	w.saw("a.example")
	w.zone.Fail("_smtp._tls.d.example", dns.TypeTXT, resolve.ErrTemporary)
	w.zone.Fail("a.example._report._dmarc.agrees.example", dns.TypeTXT, resolve.ErrTemporary)
	c := w.courier()
	w.rounds(t, c, spread+time.Hour)
	list, _ := shown(t, c, "")
	if len(w.posted) > 0 || len(w.mailed) != 1 || !slices.Contains(list, "tls d.example  waiting") || !slices.Contains(list, "dmarc a.example  waiting") {
		t.Errorf("%v, %d, %q", w.posted, len(w.mailed), list)
	}
	w.zone.Fail("_smtp._tls.d.example", dns.TypeTXT, nil)
	w.zone.Fail("a.example._report._dmarc.agrees.example", dns.TypeTXT, nil)
	w.rounds(t, c, 2*time.Hour)
	if len(w.posted) != 1 || len(w.mailed) != 3 {
		t.Errorf("%v, %d", w.posted, len(w.mailed))
	}
}

// A host of another organization than the domain that signs reports in the
// name of that domain.
func TestSubmitter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wants)
	w.met("d.example")
	w.from = "other.example"
	w.rounds(t, w.courier(), spread+time.Hour)
	if f, _ := message.Find(w.mailed[0].text, "TLS-Report-Submitter"); f.Value() != "other.example" {
		t.Errorf("%q", f.Value())
	}
}

// Many domains at once do not fill the queue, and many destinations of one do
// not make us send for ever.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	const round = 30
	for i := range round/maxTo + 2 {
		d := fmt.Sprintf("d%d.example", i)
		w.saw(d)
		var rua []string
		for n := range 2 * maxTo {
			rua = append(rua, fmt.Sprintf("mailto:a%d@%s", n, d))
		}
		w.zone.Add("_dmarc." + d + `. TXT "v=DMARC1\; p=none\; rua=` + strings.Join(rua, `," "`) + `"`)
	}
	w.clk.Advance(settleTime + spread)
	c := w.courier()
	c.most = round
	if err := c.round(t.Context()); err != nil || len(w.mailed) != round {
		t.Fatalf("%d, %v", len(w.mailed), err)
	}
	w.rounds(t, c, 2*time.Hour)
	if len(w.mailed) != round+2*maxTo {
		t.Errorf("%d", len(w.mailed))
	}
	w.clk.Advance(sentLife + pruneEvery)
	if err := c.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, _ := shown(t, c, ""); len(list) > 0 {
		t.Errorf("%d are still there", len(list))
	}
}

// Tend goes on from tick to tick, and ends.
func TestTend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wants)
	w.met("d.example")
	c := w.courier()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		c.Tend(ctx)
		close(ended)
	}()
	for w.clk.Pending() != 1 {
		runtime.Gosched()
	}
	w.clk.Advance(spread + time.Hour)
	for c.Counters[TLS].Posted.Load() != 1 {
		runtime.Gosched()
	}
	cancel()
	<-ended
}

// A deep check tells of rows that nobody has written so.
func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	err := w.db.Update(t.Context(), func(tx *store.Tx) error {
		for _, q := range []string{
			`INSERT INTO mail_sum (day, domain, detail, messages, latest) VALUES (0, 'a.example', '{', 1, 0)`,
			`INSERT INTO mail_sum (day, domain, detail, messages, latest) VALUES (0, 'a.example', '{}', 1, 0)`,
			`INSERT INTO mail_sum (day, domain, detail, messages, latest) VALUES (0, 'a.example', '', 1, 0)`,
			`INSERT INTO mail_sum (day, domain, detail, messages, latest) VALUES (0, 'a b', '', 1, 0)`,
			`INSERT INTO report_out (kind, day, domain, destination, state, reason, message, changed) VALUES ('x', 0, 'a.example', '', 'done', '', '', 0)`,
			`INSERT INTO report_out (kind, day, domain, destination, state, reason, message, changed) VALUES ('tls', 0, 'a.example', '', 'x', '', '', 0)`,
		} {
			if _, err := tx.Exec(q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := Check(snapshot{w.db}, func(audit.Finding) { n++ }); err != nil || n != 5 {
		t.Errorf("%d findings, %v", n, err)
	}
}

// snapshot is the store as the deep check sees it.
type snapshot struct{ db *store.DB }

func (s snapshot) View(f func(*store.Tx) error) error { return s.db.View(context.Background(), f) }

// A report is posted to a host that proves its name, never into a private
// network that is not listed, and no redirect is followed.
func TestPoster(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var requests []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		requests = append(requests, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+" "+string(body))
		mu.Unlock()
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/taken", http.StatusTemporaryRedirect)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/flood":
			io.Copy(w, io.LimitReader(endless{}, 1<<20))
		}
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	poster := func(roots *x509.CertPool, private ...netip.Prefix) *Poster {
		d := &reach.Dialer{
			Guard: reach.Guard{Private: private}, Resolver: resolve.NewFake("example.com. A 127.0.0.1\nother.example. A 127.0.0.1"),
			Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
			},
		}
		return &Poster{Dial: d.DialContext, Roots: roots, Clock: clock.System}
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	good := poster(roots, loopback)
	for _, c := range []struct {
		poster *Poster
		url    string
		want   string // in the error; none if empty
	}{
		{good, "https://example.com" + port + "/taken", ""},
		{good, "https://example.com" + port + "/flood", ""},
		{good, "https://example.com" + port + "/moved", "answers 307"},
		{good, "https://example.com" + port + "/broken", "answers 500"},
		{good, "https://other.example" + port + "/taken", "certificate"},
		{poster(x509.NewCertPool(), loopback), "https://example.com" + port + "/taken", "certificate"},
		{poster(roots), "https://example.com" + port + "/taken", reach.ErrForbidden.Error()},
		{poster(roots), "https://127.0.0.1" + port + "/taken", reach.ErrForbidden.Error()},
		{good, "https://nowhere.example/taken", "nowhere.example"},
		{good, ":", "missing"},
	} {
		err := c.poster.Post(t.Context(), c.url, []byte("report"))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.url, err, c.want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(requests) != 4 || requests[0] != "POST /taken application/tlsrpt+gzip report" {
		t.Errorf("%q", requests)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

package reputation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/reach"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

// tallied are sums by day and domain.
type tallied map[time.Time]map[string][]tlsrpt.Sum

func (t tallied) Domains(_ context.Context, day time.Time) (list []string, err error) {
	for d := range t[day] {
		list = append(list, d)
	}
	return list, nil
}

func (t tallied) Of(_ context.Context, day time.Time, domain string) ([]tlsrpt.Sum, error) {
	return t[day][domain], nil
}

var yesterday = tlsrpt.Day(now).AddDate(0, 0, -1)

// post is the door of those who want reports.
type post struct {
	mu   sync.Mutex
	got  []string // URLs
	last *tlsrpt.Report
	fail error
}

func (p *post) take(_ context.Context, url string, body []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return p.fail
	}
	r, err := tlsrpt.Read(bytes.NewReader(body))
	if err != nil {
		return err
	}
	p.got, p.last = append(p.got, url), r
	return nil
}

func newCourier(t *testing.T, zone string, c clock.Clock, p *post) *Courier {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	policy := tlsrpt.Policy{Kind: tlsrpt.NoPolicy, Domain: "d.example"}
	sums := []tlsrpt.Sum{
		{Day: yesterday, Domain: "d.example", Policy: policy, Failure: tlsrpt.Failure{Count: 7}},
		{Day: yesterday, Domain: "d.example", Policy: policy, Failure: tlsrpt.Failure{Count: 2, Result: tlsrpt.Expired}},
	}
	return NewCourier(CourierOptions{
		DB: db, Tally: tallied{yesterday: {"d.example": sums}}, Resolver: resolve.NewFake(zone), Clock: c,
		Log: slog.New(slog.DiscardHandler), Hostname: "mx.example.org", Post: p.take,
	})
}

const wants = `_smtp._tls.d.example. TXT "v=TLSRPTv1; rua=mailto:tls@d.example,https://tls.d.example/report"`

// rounds runs a courier for some time, tick by tick.
func rounds(t *testing.T, c *Courier, clk *clock.Fake, d time.Duration) {
	t.Helper()
	for ; d > 0; d -= tick {
		clk.Advance(tick)
		if err := c.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A domain gets its report once, some time after the day has ended, also when
// the server is started again; its address for mail gets none.
func TestCourier(t *testing.T) {
	t.Parallel()
	clk, p := clock.NewFake(yesterday.Add(24*time.Hour)), &post{}
	c := newCourier(t, wants, clk, p)
	if err := c.round(t.Context()); err != nil || len(p.got) > 0 {
		t.Errorf("at once: %v, %v", p.got, err)
	}
	rounds(t, c, clk, spread+time.Hour)
	rounds(t, NewCourier(c.o), clk, retryTime+spread)
	if len(p.got) != 1 || p.got[0] != "https://tls.d.example/report" || c.Sent.Load() != 1 || c.NoMail.Load() != 1 || c.Failed.Load() != 0 {
		t.Fatalf("%v, %d, %d, %d", p.got, c.Sent.Load(), c.NoMail.Load(), c.Failed.Load())
	}
	r := p.last
	if r.ID != "20261124.d.example@mx.example.org" || r.Organization != "mx.example.org" || r.Contact != "postmaster@mx.example.org" ||
		len(r.Policies) != 1 || r.Policies[0].Summary != (tlsrpt.Summary{Success: 7, Failure: 2}) || !r.Range.Start.Equal(yesterday) {
		t.Errorf("%+v", r)
	}
}

// What is not taken is tried again by the hour, for a day.
func TestCourierTriesAgain(t *testing.T) {
	t.Parallel()
	clk, p := clock.NewFake(yesterday.Add(24*time.Hour)), &post{fail: errors.New("down")}
	c := newCourier(t, wants, clk, p)
	rounds(t, c, clk, spread+settleTime+3*time.Hour)
	if n := c.Failed.Load(); n < 3 || n > 8 {
		t.Errorf("%d attempts", n)
	}
	p.fail = nil
	rounds(t, c, clk, 2*time.Hour)
	if len(p.got) != 1 {
		t.Errorf("%v", p.got)
	}
	clk, p = clock.NewFake(yesterday.Add(24*time.Hour)), &post{fail: errors.New("down")}
	c = newCourier(t, wants, clk, p)
	rounds(t, c, clk, 36*time.Hour)
	if n := c.Failed.Load(); n < 20 || n > 25 || len(c.tried) > 0 {
		t.Errorf("%d attempts, %v", n, c.tried)
	}
}

// Who does not ask for reports gets none, and is not asked again.
func TestCourierUnwanted(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"", `_smtp._tls.d.example. TXT "v=TLSRPTv1; rua=nonsense"`} {
		clk, p := clock.NewFake(yesterday.Add(24*time.Hour)), &post{}
		c := newCourier(t, zone, clk, p)
		rounds(t, c, clk, spread+time.Hour)
		if done, err := c.sent(t.Context(), yesterday, "d.example"); len(p.got) > 0 || !done[""] || err != nil {
			t.Errorf("%v, %v, %v", p.got, done, err)
		}
	}
}

// Tend goes on from tick to tick, and ends.
func TestCourierTend(t *testing.T) {
	t.Parallel()
	clk, p := clock.NewFake(yesterday.Add(24*time.Hour)), &post{}
	c := newCourier(t, wants, clk, p)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		c.Tend(ctx)
		close(ended)
	}()
	resting := func() {
		for clk.Pending() != 1 {
			runtime.Gosched()
		}
	}
	resting()
	clk.Advance(spread + time.Hour)
	for c.Sent.Load() != 1 {
		runtime.Gosched()
	}
	cancel()
	<-ended
}

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

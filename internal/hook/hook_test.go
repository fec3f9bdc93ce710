package hook

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/store"
)

const sinkName = "alerts"

var (
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secret = []byte(strings.Repeat("0123456789", 3))
)

// receiver is a program that is told of events, over HTTPS.
type receiver struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex
	// answer answers instead of the receiver, if it is set, and says whether
	// the receiver believes that it took the event.
	answer func(w http.ResponseWriter, r *http.Request) bool
	forged int
	ids    []string
	took   []string // the data of what was taken
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP checks a post as docs/hooks.md tells receivers to.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	id, at := req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp")
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	var p struct {
		Type      string
		Timestamp time.Time
		Data      struct{ N int }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) != req.Header.Get("webhook-signature") || err != nil ||
		json.Unmarshal(body, &p) != nil || p.Type != "alert.test" || !p.Timestamp.Equal(start) || req.Method != "POST" || req.Header.Get("Content-Type") != "application/json" {
		r.forged++
		http.Error(w, "forged", http.StatusUnauthorized)
		return
	}
	if r.answer != nil && !r.answer(w, req) {
		return
	}
	if !slices.Contains(r.ids, id) {
		r.ids, r.took = append(r.ids, id), append(r.took, fmt.Sprint(p.Data.N))
	}
}

func (r *receiver) told() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.forged > 0 {
		r.t.Errorf("%d were not as they should be", r.forged)
	}
	return strings.Join(r.took, " ")
}

func (r *receiver) set(answer func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// tower is Hooks over a store of their own.
type tower struct {
	*Hooks
	t     *testing.T
	clock *clock.Fake
	n     int
}

func newTower(t *testing.T) *tower {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := clock.NewFake(start)
	return &tower{New(Options{DB: db, Clock: c, Log: quiet, Random: rand.Reader, Sinks: []string{sinkName}}), t, c, 0}
}

// to makes a receiver the sink.
func (w *tower) to(r *receiver) *Sink {
	s := w.sink(r)
	w.Set(sinkName, s)
	return s
}

func (w *tower) sink(r *receiver) *Sink {
	s := NewSink(SinkOptions{
		URL: r.URL + "/in?x=1", Secret: secret, Dial: (&net.Dialer{}).DialContext,
		Roots: r.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, Now: w.clock.Now,
	})
	s.patience = 5 * time.Second
	return s
}

// happen puts events into the queue.
func (w *tower) happen(n int) {
	w.t.Helper()
	for range n {
		w.n++
		err := w.o.DB.Update(w.t.Context(), func(tx *store.Tx) error {
			return w.Add(tx, sinkName, "alert.test", start, map[string]int{"n": w.n})
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// round posts what is due and returns how long there is nothing to do.
func (w *tower) round() time.Duration {
	w.t.Helper()
	wait, err := w.lines[sinkName].round(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return wait
}

func (w *tower) waiting() (n int64) {
	w.t.Helper()
	err := w.o.DB.View(w.t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM hook`).Scan(&n)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// want fails unless these were told, in this order, and so many wait.
func (w *tower) want(r *receiver, told string, waiting int64) {
	w.t.Helper()
	if got := r.told(); got != told || w.waiting() != waiting {
		w.t.Errorf("told %q and %d wait; want %q and %d", got, w.waiting(), told, waiting)
	}
}

// What happens is told in its order, signed, once, and soon; what is undone is
// not told.
func TestTold(t *testing.T) {
	t.Parallel()
	w, r := newTower(t), newReceiver(t)
	w.to(r)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		w.Tend(ctx)
		close(ended)
	}()
	w.happen(120)
	oops := errors.New("oops")
	err := w.o.DB.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(w.Add(tx, sinkName, "alert.test", start, map[string]int{"n": -1}), oops)
	})
	if !errors.Is(err, oops) {
		t.Fatal(err)
	}
	w.Wake(sinkName)
	var want []string
	for i := range 120 {
		want = append(want, fmt.Sprint(i+1))
	}
	for w.waiting() > 0 {
	}
	cancel()
	<-ended
	w.want(r, strings.Join(want, " "), 0)
	if w.Posted.Load() != 120 || w.Failed.Load()+w.Lost.Load() != 0 {
		t.Errorf("%d, %d, %d", w.Posted.Load(), w.Failed.Load(), w.Lost.Load())
	}
}

// A receiver that is dead is left alone for longer and longer, and told
// everything once it is back, also by a server that was started anew.
func TestDead(t *testing.T) {
	t.Parallel()
	w, r := newTower(t), newReceiver(t)
	w.to(r)
	address := r.Listener.Addr().String()
	w.happen(1)
	w.round()
	r.Close()
	w.happen(3)
	for _, d := range append(delays, time.Hour) {
		if got := w.round(); got != d {
			t.Errorf("waits %v, not %v", got, d)
		}
		w.happen(1)
		if got := w.round(); got != d { // news do not hurry it
			t.Errorf("waits %v, not %v", got, d)
		}
		w.clock.Advance(d)
	}
	if n := w.Failed.Load(); n != int64(len(delays)+1) {
		t.Errorf("%d attempts", n)
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back := &receiver{t: t}
	back.Server = httptest.NewUnstartedServer(back)
	back.Listener.Close()
	back.Listener = ln
	back.StartTLS()
	t.Cleanup(back.Close)
	sink := w.sink(back)
	w.Hooks = New(w.o)
	w.Set(sinkName, sink)
	w.round()
	w.want(r, "1", 0)
	w.want(back, "2 3 4 5 6 7 8 9 10 11", 0)
}

// One that takes an event and dies before it says so, is told again, under
// the same id: whoever looks at ids has each once.
func TestKilled(t *testing.T) {
	t.Parallel()
	w, r := newTower(t), newReceiver(t)
	w.to(r)
	posts := 0
	r.set(func(w http.ResponseWriter, _ *http.Request) bool {
		if posts++; posts%3 != 0 {
			return true
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return false
		}
		conn.Close()
		return true
	})
	w.happen(10)
	for range 20 {
		w.clock.Advance(w.round())
	}
	w.want(r, "1 2 3 4 5 6 7 8 9 10", 0)
	if posts != 14 {
		t.Errorf("%d posts", posts)
	}
}

// What receivers may do to us, and what then becomes of the event and of the
// one behind it.
func TestBadReceivers(t *testing.T) {
	t.Parallel()
	elsewhere := newReceiver(t)
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, c := range map[string]struct {
		do   func(http.ResponseWriter, *http.Request)
		took bool // the event counts as told
		ill  bool // the one behind it waits too
	}{
		"no content":  {do: status(204), took: true},
		"refuses":     {do: status(400)},
		"gone":        {do: status(410)},
		"overwhelmed": {do: status(429), ill: true},
		"broken":      {do: status(503), ill: true},
		"silent":      {do: func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, ill: true},
		"redirects": {do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(307)
		}},
		"endless": {do: func(w http.ResponseWriter, _ *http.Request) { pour(w, 1<<20) }, took: true},
		"wordy":   {do: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, ill: true},
		"no HTTP": {do: func(w http.ResponseWriter, _ *http.Request) { hijack(t, w, "220 mx ESMTP\r\n") }, ill: true},
		"half":    {do: func(w http.ResponseWriter, _ *http.Request) { hijack(t, w, "HTTP/1.1 200 OK\r\nContent-Le") }, ill: true},
		"short answer": {do: func(w http.ResponseWriter, _ *http.Request) {
			hijack(t, w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
		}, took: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := newTower(t), newReceiver(t)
			w.to(r).patience = time.Second
			first := true
			r.set(func(w http.ResponseWriter, req *http.Request) bool {
				if !first {
					return true
				}
				first = false
				c.do(w, req)
				return c.took
			})
			w.happen(2)
			w.round()
			switch {
			case c.took:
				w.want(r, "1 2", 0)
			case c.ill:
				w.want(r, "", 2)
			default:
				w.want(r, "2", 1)
			}
			w.clock.Advance(time.Minute)
			w.round()
			if got := r.told(); len(strings.Fields(got)) != 2 || w.waiting() != 0 {
				t.Errorf("at last %q, and %d wait", got, w.waiting())
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.told() != "" || elsewhere.forged > 0 {
			t.Error("a redirect was followed")
		}
	})
}

func pour(w io.Writer, n int) {
	for range n / 1024 {
		if _, err := w.Write(make([]byte, 1024)); err != nil {
			return
		}
	}
}

func hijack(t *testing.T, w http.ResponseWriter, say string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	io.WriteString(conn, say)
	conn.Close()
}

// Somebody else behind the name is told nothing.
func TestImpostor(t *testing.T) {
	t.Parallel()
	w, r := newTower(t), newReceiver(t)
	s := w.sink(r)
	s.http.TLSClientConfig.RootCAs = nil
	w.Set(sinkName, s)
	w.happen(1)
	w.round()
	w.want(r, "", 1)
	w.to(r) // another setting is taken at once
	w.round()
	w.want(r, "1", 0)
	w.Set(sinkName, Broken(errors.New("no secret")))
	w.happen(1)
	w.round()
	w.want(r, "1", 1)
	w.to(r)
	w.round()
	w.want(r, "1 2", 0)
}

// What waits is bounded in number and time, and what is lost is counted.
func TestBounds(t *testing.T) {
	t.Parallel()
	w, r := newTower(t), newReceiver(t)
	w.happen(1) // nobody is to be told
	if w.waiting() != 0 {
		t.Error("events for nobody wait")
	}
	w.to(r)
	r.set(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return false })
	w.happen(1)
	err := w.o.DB.Update(t.Context(), func(tx *store.Tx) error {
		for i := range int64(maxWaiting - 1) {
			if _, err := tx.Exec(`INSERT INTO hook (id, sink, name, kind, body, made, attempts, due, fault) VALUES (?, ?, ?, 'x', ?, ?, 0, 0, '')`,
				100_000+i, sinkName, fmt.Sprint(i), []byte("{}"), start.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.happen(2)
	if w.waiting() != maxWaiting || w.Lost.Load() != 2 {
		t.Errorf("%d wait, %d lost", w.waiting(), w.Lost.Load())
	}
	w.clock.Advance(keepFor)
	w.round()
	if w.waiting() != maxWaiting {
		t.Error("it is given up without an attempt")
	}
	w.clock.Advance(time.Hour)
	w.round()
	if w.waiting() != 0 || w.Lost.Load() != maxWaiting+2 {
		t.Errorf("%d wait, %d lost", w.waiting(), w.Lost.Load())
	}
	w.happen(1)
	w.Set(sinkName, nil)
	w.clock.Advance(keepFor + time.Second)
	if wait := w.round(); w.waiting() != 0 || wait != idle {
		t.Errorf("%d wait for nobody, %v", w.waiting(), wait)
	}
	w.to(r)
	err = w.o.DB.Update(t.Context(), func(tx *store.Tx) error {
		return w.Add(tx, sinkName, "alert.test", start, strings.Repeat("x", maxBody))
	})
	if err == nil {
		t.Error("takes an event of any size")
	}
}

// The example of Standard Webhooks' own libraries, and what is no secret.
func TestSecret(t *testing.T) {
	t.Parallel()
	s, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(s, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if again, err := ParseSecret(" MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"); err != nil || string(again) != string(s) {
		t.Errorf("%q, %v", again, err)
	}
	for _, bad := range []string{"", "whsec_", "short", base64.StdEncoding.EncodeToString(make([]byte, 23)), base64.StdEncoding.EncodeToString(make([]byte, 65)), "correct horse battery staple!!"} {
		if b, err := ParseSecret(bad); err == nil || strings.Contains(err.Error(), bad) && bad != "" {
			t.Errorf("%q: %q, %v", bad, b, err)
		}
	}
}

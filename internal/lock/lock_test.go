package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/store"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// plain is a Page without looks.
func plain(w http.ResponseWriter, _ *http.Request, status int, title string, content template.HTML) {
	w.WriteHeader(status)
	io.WriteString(w, title+"\n"+string(content))
}

// people is a Freezer of one account.
type people struct {
	froze int
	err   error
}

func (p *people) Name(context.Context, int64) (string, error) { return "anna@example.org", p.err }

func (p *people) Freeze(context.Context, int64) error {
	p.froze++
	return p.err
}

func open(t *testing.T) (*Links, *people, *clock.Fake, http.Handler) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	p, c := &people{}, clock.NewFake(start)
	l := New(Options{DB: db, Clock: c, Random: rand.Reader, Freezer: p})
	return l, p, c, l.Handler(plain, quiet)
}

func made(t *testing.T, l *Links) string {
	t.Helper()
	token, err := l.New(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return Path + token
}

func fetch(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	body, _ := io.ReadAll(w.Body)
	for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if w.Header().Get(name) != want {
			t.Errorf("%s %s: %s is %q", method, path, name, w.Header().Get(name))
		}
	}
	return w.Code, string(body)
}

// Whatever fetches links changes nothing; the button does, once, and says the
// same each time.
func TestLink(t *testing.T) {
	t.Parallel()
	l, p, c, h := open(t)
	at := made(t, l)
	for _, method := range []string{"GET", "HEAD", "GET", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND"} {
		code, page := fetch(t, h, method, at)
		if fetched := method == "GET" || method == "HEAD"; fetched != (code == http.StatusOK) || !fetched && code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, code)
		}
		if method == "GET" && (!strings.Contains(page, "anna@example.org") || !strings.Contains(page, `<form method="post"><button`)) {
			t.Errorf("%s", page)
		}
	}
	if p.froze != 0 {
		t.Fatal("it is frozen without a push of the button")
	}
	code, first := fetch(t, h, "POST", at)
	c.Advance(time.Hour)
	again, second := fetch(t, h, "POST", at)
	_, shown := fetch(t, h, "GET", at)
	if code != 200 || again != 200 || first != second || shown != first || p.froze != 1 || !strings.Contains(first, "1 March 2026 at 12:00 UTC") {
		t.Errorf("%d, %d, froze %d times\n%s\n%s\n%s", code, again, p.froze, first, second, shown)
	}
}

// Who guesses learns nothing, whatever is wrong with the link.
func TestNoLink(t *testing.T) {
	t.Parallel()
	l, p, c, h := open(t)
	old, dropped := made(t, l), made(t, l)
	if err := l.Drop(t.Context(), strings.TrimPrefix(dropped, Path)); err != nil {
		t.Fatal(err)
	}
	c.Advance(Life)
	gone := made(t, l)
	_, want := fetch(t, h, "GET", Path+"x")
	for _, at := range []string{old, dropped, old + "A", old[:len(old)-1], Path + strings.Repeat("A", 43), Path + "%00", Path + "'%20OR%201=1"} {
		for _, method := range []string{"GET", "POST"} {
			if code, page := fetch(t, h, method, at); code != http.StatusNotFound || page != want || strings.Contains(page, "anna") {
				t.Errorf("%s %s: %d %s", method, at, code, page)
			}
		}
	}
	p.err = ErrGone
	if code, page := fetch(t, h, "POST", gone); code != http.StatusNotFound || page != want {
		t.Errorf("%d %s", code, page)
	}
	p.err = errors.New("disk")
	if code, page := fetch(t, h, "POST", gone); code != http.StatusServiceUnavailable || strings.Contains(page, "anna") {
		t.Errorf("%d %s", code, page)
	}
	if p.froze != 0 {
		t.Error("somebody is frozen")
	}
	p.err = nil
	if code, _ := fetch(t, h, "POST", gone); code != http.StatusOK || p.froze != 1 { // after a failure it works
		t.Errorf("%d", code)
	}
}

// The store holds no token, and forgets links that do not hold any more.
func TestKept(t *testing.T) {
	t.Parallel()
	l, _, c, _ := open(t)
	at := made(t, l)
	rows := func() (n int64) {
		err := l.o.DB.View(t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT COUNT(*) FROM lock_link WHERE token <> ?`, []byte(strings.TrimPrefix(at, Path))).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, wait := range []time.Duration{0, Life + time.Second} {
		c.Advance(wait)
		if err := l.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := rows(); (n == 1) != (wait == 0) {
			t.Errorf("after %v there are %d", wait, n)
		}
	}
	other := New(Options{DB: l.o.DB, Clock: c, Random: strings.NewReader("too little"), Freezer: &people{}})
	if token, err := other.New(t.Context(), 1); err == nil {
		t.Errorf("made %q of little chance", token)
	}
}

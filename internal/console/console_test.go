package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/console/api"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/session"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/passwords"
	"gatepost/internal/store"
	"gatepost/internal/store/storetest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// people is the directory, but for passwords that cost nothing to check. The
// whole of it has its cases in real_test.go.
type people struct {
	*account.Directory
	db    *store.DB
	seen  []activity.Client // who signed in, or tried
	busy  bool              // nobody is decided about
	owing map[string]bool   // who owes a second factor
}

const (
	anna     = "anna@example.org" // an administrator
	ben      = "ben@example.org"
	password = "correct horse battery"
	code     = "123456" // that is right of whoever has a second factor
)

func (p *people) SignIn(ctx context.Context, login, pw, typed string, c activity.Client) (account.Account, error) {
	p.seen = append(p.seen, c)
	if p.busy {
		return account.Account{}, envelope.Fail(errors.New("busy"), 454, "4.7.0", "temporary authentication failure; try again later")
	}
	no := envelope.Refuse(535, "5.7.8", "authentication credentials invalid")
	address, err := addr.Parse(login)
	if err != nil {
		return account.Account{}, no
	}
	a, err := p.Account(ctx, address)
	if err != nil || pw != password || a.Frozen || strings.HasPrefix(login, "anna") && typed != code {
		return account.Account{}, no
	}
	return a, nil
}

func (p *people) PasskeyStart(context.Context, string) (options []byte, state string, err error) {
	return []byte(`{"challenge":"AAAA"}`), "state", nil
}

func (p *people) PasskeySignIn(ctx context.Context, state string, response []byte, c activity.Client) (account.Account, error) {
	var shown struct{ Of string }
	if state != "state" || json.Unmarshal(response, &shown) != nil || shown.Of == "" {
		return account.Account{}, envelope.Refuse(535, "5.7.8", "authentication credentials invalid")
	}
	return p.Account(ctx, addr.MustParse(shown.Of))
}

func (p *people) Owes(a account.Account) bool { return p.owing[a.Address.String()] }

// house is a console with its people.
type house struct {
	*Console
	t         *testing.T
	people    *people // nil: the directory itself
	directory *account.Directory
	clock     *clock.Fake
	log       *bytes.Buffer
}

const host = "mx.example.org"

func newHouse(t *testing.T) *house {
	t.Helper()
	db := storetest.Open(t)
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		for id, who := range map[int64][2]string{1: {"anna", "admin"}, 2: {"ben", "user"}} {
			_, err := tx.Exec(`INSERT INTO account (id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
				VALUES (?, 'example.org', ?, ?, 0, 0, 0, 0, ?, 1)`, id, who[0], who[1], []byte{})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return open(t, db, func(d *account.Directory, h *house) Directory {
		h.people = &people{Directory: d, db: db, owing: map[string]bool{}}
		return h.people
	})
}

// open returns a console over a store.
func open(t *testing.T, db *store.DB, people func(*account.Directory, *house) Directory) *house {
	t.Helper()
	h := &house{t: t, clock: clock.NewFake(start), log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	k, err := keys.Open(filepath.Join(t.TempDir(), "keys"), keys.Options{Clock: h.clock, Random: rand.Reader, Log: log, SelfSigned: true})
	if err != nil {
		t.Fatal(err)
	}
	book := activity.New(activity.Options{DB: db, Clock: h.clock, Log: log})
	h.directory = account.New(db, k, account.Options{
		Hostname: host, Origins: []string{"https://" + host}, Clock: h.clock, Random: rand.Reader, Log: log, HashRuns: 1,
		Passwords: &passwords.Policy{MinLength: 12, Strength: 3, History: 5}, Activity: Watched{book},
	})
	t.Cleanup(h.directory.Close)
	h.Console = New(Options{
		Directory: people(h.directory, h), Activity: book, Store: db, Hostname: host, Clock: h.clock, Random: rand.Reader, Log: log,
	})
	return h
}

// visit is one browser at one console.
type visit struct {
	*house
	cookie string // value
}

// request returns a request as this browser makes it.
func (v *visit) request(method, path string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, path, body)
	r.Host, r.RemoteAddr = host, "192.0.2.1:1000"
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, CurveID: tls.X25519}
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if v.cookie != "" {
		r.AddCookie(&http.Cookie{Name: browser.Cookie, Value: v.cookie})
	}
	return r
}

// do sends a request and keeps the cookie that comes back.
func (v *visit) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.Name == browser.Cookie {
			v.cookie = c.Value
		}
	}
	return w
}

func (v *visit) get(path string) *httptest.ResponseRecorder {
	return v.do(v.request("GET", path, nil))
}

// form returns the request of a form.
func (v *visit) form(path string, fields ...string) *http.Request {
	f := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		f.Set(fields[i], fields[i+1])
	}
	r := v.request("POST", path, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func (v *visit) post(path string, fields ...string) *httptest.ResponseRecorder {
	return v.do(v.form(path, fields...))
}

// call calls the API.
func (v *visit) call(method, path, body string) *httptest.ResponseRecorder {
	r := v.request(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return v.do(r)
}

// enter returns a browser in which somebody has signed in.
func (h *house) enter(login string) *visit {
	h.t.Helper()
	v := &visit{house: h}
	if w := v.post("/sign-in", "login", login, "password", password, "code", code); w.Code != http.StatusSeeOther || v.cookie == "" {
		h.t.Fatalf("%s cannot sign in: %d %s", login, w.Code, w.Body)
	}
	return v
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := &visit{house: h}
	if w := v.get("/"); w.Header().Get("Location") != "/account" {
		t.Errorf("led to %q", w.Header().Get("Location"))
	}
	if w := v.get("/sessions"); w.Header().Get("Location") != "/sign-in?next=%2Fsessions" {
		t.Errorf("led to %q", w.Header().Get("Location"))
	}
	if w := v.get("/sign-in?next=%2Fsessions"); w.Code != 200 || !strings.Contains(w.Body.String(), `name="next" value="/sessions"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w := v.post("/sign-in", "login", anna, "password", password, "code", code, "next", "/sessions")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/sessions" {
		t.Errorf("%d, led to %q", w.Code, w.Header().Get("Location"))
	}
	set := w.Header().Get("Set-Cookie")
	for _, want := range []string{"__Host-gatepost=", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"} {
		if !strings.Contains(set, want) || strings.Contains(set, "Domain") {
			t.Errorf("%s lacks %s", set, want)
		}
	}
	seen := h.people.seen[0]
	if seen.Protocol != activity.Web || seen.Address.String() != "192.0.2.1" || !strings.Contains(seen.Name, "Firefox") || seen.Version != tls.VersionTLS13 || seen.Cipher == 0 || seen.Group != tls.X25519 {
		t.Errorf("activity is told of %+v", seen)
	}
	if w := v.get("/sessions"); !strings.Contains(w.Body.String(), "Firefox on Linux") || !strings.Contains(w.Body.String(), "this one") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := v.get("/sign-in?next=/password"); w.Header().Get("Location") != "/password" {
		t.Errorf("who is signed in is led to %q", w.Header().Get("Location"))
	}
	former := v.cookie
	w = v.post("/sign-out")
	if w.Header().Get("Location") != "/sign-in?done=signed-out" || v.cookie != "" {
		t.Errorf("led to %q with the cookie %q", w.Header().Get("Location"), v.cookie)
	}
	v.cookie = former
	if w := v.get("/sessions"); w.Code != http.StatusSeeOther {
		t.Errorf("signed out, and %d", w.Code)
	}
}

// What was typed is kept, but for what is secret.
func TestRefusalKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	v := &visit{house: newHouse(t)}
	w := v.post("/sign-in", "login", "Änna <x>", "password", "wrong secret", "code", "999999", "next", "/sessions")
	body := w.Body.String()
	if w.Code != http.StatusForbidden || !strings.Contains(body, `value="Änna &lt;x&gt;"`) || !strings.Contains(body, `value="/sessions"`) || !strings.Contains(body, wordsRefused) {
		t.Errorf("%d %s", w.Code, body)
	}
	if strings.Contains(body, "wrong secret") || strings.Contains(body, "999999") || v.cookie != "" {
		t.Error("the page shows secrets, or sets a cookie")
	}
	v.people.busy = true
	if w := v.post("/sign-in", "login", anna, "password", password); w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), wordsLater) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.enter(anna)
	if _, fresh, ok := h.Signed(v.request("GET", "/", nil)); !fresh || !ok {
		t.Error("not fresh after signing in")
	}
	h.clock.Advance(session.FreshLife)
	if a, fresh, ok := h.Signed(v.request("GET", "/", nil)); fresh || !ok || a.Address.String() != anna {
		t.Error("fresh for ever")
	}
	former := v.cookie
	if w := v.post("/confirm", "password", "wrong", "code", code, "next", "/sessions"); w.Code != http.StatusForbidden || v.cookie != former || !strings.Contains(w.Body.String(), `value="/sessions"`) {
		t.Errorf("%d", w.Code)
	}
	if w := v.post("/confirm", "password", password, "code", code, "next", "/sessions"); w.Header().Get("Location") != "/sessions" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, fresh, _ := h.Signed(v.request("GET", "/", nil)); !fresh || v.cookie == former {
		t.Error("not fresh, or under the former token")
	}
	second := v.cookie
	v.cookie = former
	if _, _, ok := h.Signed(v.request("GET", "/", nil)); ok {
		t.Error("the former token is good for something")
	}
	v.cookie = second
	h.clock.Advance(session.FreshLife)
	if w := v.call("POST", "/api/confirm/passkey", `{"state":"state","response":{"Of":"ben@example.org"}}`); w.Code != http.StatusForbidden {
		t.Errorf("with another's passkey: %d %s", w.Code, w.Body)
	}
	if w := v.call("POST", "/api/confirm/passkey", `{"state":"state","response":{"Of":"anna@example.org"}}`); w.Code != http.StatusNoContent || v.cookie == second {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two, other := h.enter(anna), h.enter(anna), h.enter(ben)
	var list []api.Session
	read := func(v *visit) []api.Session {
		t.Helper()
		list = nil
		if w := v.call("GET", "/api/sessions", ""); w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &list) != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return list
	}
	if got := read(one); len(got) != 2 || !got[1].Current || got[0].Current {
		t.Errorf("%+v", got)
	}
	id := list[0].ID
	// Another's cannot be ended.
	other.post("/sessions/" + itoa(id) + "/end")
	if w := other.call("DELETE", "/api/sessions/"+itoa(id), ""); w.Code != http.StatusNotFound || len(read(one)) != 2 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := one.post("/sessions/" + itoa(id) + "/end"); w.Header().Get("Location") != "/sessions?done=session-ended" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := two.get("/sessions"); w.Code != http.StatusSeeOther {
		t.Errorf("it lives on: %d", w.Code)
	}
	two = h.enter(anna)
	if w := two.call("POST", "/api/sessions/end-others", ""); w.Code != http.StatusNoContent || len(read(two)) != 1 || len(read(other)) != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := two.call("DELETE", "/api/sessions/x", ""); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func quoted(s string) string { b, _ := json.Marshal(s); return string(b) }

// Who owes a second factor does nothing else.
func TestOwes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.enter(ben)
	h.people.owing[ben] = true
	if w := v.get("/sessions"); w.Header().Get("Location") != "/factors" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := v.call("GET", "/api/sessions", ""); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "second factor") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, _, ok := h.Signed(v.request("GET", "/", nil)); ok {
		t.Error("others take him for signed in")
	}
	// A page of others that wants somebody signed in is not gone back to for ever.
	if w := v.get("/sign-in?next=%2Foauth%2Fauthorize"); w.Header().Get("Location") != "/factors" {
		t.Errorf("led to %q", w.Header().Get("Location"))
	}
	if w := v.post("/sign-out"); w.Code != http.StatusSeeOther || v.cookie != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What is changed on a page is told as changed there: by which browser, and
// from where.
func TestChangesSayWhoAsked(t *testing.T) {
	t.Parallel()
	h := newReal(t)
	v := h.enter(ben)
	v.post("/devices", "name", "phone")
	v.call("POST", "/api/devices", `{"name":"tablet"}`)
	v.call("DELETE", "/api/devices/1", "")
	const chosen = "pelican turbine marzipan"
	v.post("/password", "password", chosen, "repeated", chosen)
	v.post("/lock")
	a, err := h.directory.Account(t.Context(), addr.MustParse(ben))
	if err != nil {
		t.Fatal(err)
	}
	events, err := h.o.Activity.Last(t.Context(), a.ID, ben, 100)
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	for _, e := range events {
		if e.Kind == activity.SignIn || e.Kind == activity.AccountAdded {
			continue
		}
		changes++
		if e.Client.Protocol != activity.Web || !e.Client.Address.IsValid() {
			t.Errorf("%s", e.Sentence())
		}
	}
	if changes < 4 {
		t.Errorf("%d changes", changes)
	}
}

// Others' pages stand in our layout, under our headers.
func TestHandle(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Handle("/oauth/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.Render(w, r, http.StatusTeapot, "Tea", "<p>tea</p>")
	}))
	w := h.enter(anna).get("/oauth/tea")
	if w.Code != http.StatusTeapot || !strings.Contains(w.Body.String(), "<p>tea</p>") || !strings.Contains(w.Body.String(), anna) || w.Header().Get("Content-Security-Policy") != browser.Policy {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	h.Handle("/lock/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.Titled(w, r, http.StatusOK, "A & B", "<p>tea</p>")
	}))
	if body := (&visit{house: h}).get("/lock/x").Body.String(); !strings.Contains(body, "<h1>A &amp; B</h1>") || !strings.Contains(body, "<p>tea</p>") {
		t.Error(body)
	}
	if got := h.SignInURL("/oauth/tea?a=b"); got != "/sign-in?next=%2Foauth%2Ftea%3Fa%3Db" {
		t.Error(got)
	}
}

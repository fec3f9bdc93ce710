package oauthd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/grant"
	"gatepost/internal/oauth"
	"gatepost/internal/store"
)

// console is one that takes the word of the cookie "user", and of a cookie
// "fresh" with it.
type console struct{}

func (console) Signed(r *http.Request) (a account.Account, fresh, ok bool) {
	c, err := r.Cookie("user")
	if err != nil {
		return a, false, false
	}
	_, err = r.Cookie("fresh")
	a.Address = addr.MustParse(c.Value)
	a.ID = map[string]int64{"henry@example.org": 1, "anna@example.org": 2}[c.Value]
	return a, err == nil, true
}

func (console) SignInURL(next string) string {
	return "/sign-in?" + url.Values{"next": {next}}.Encode()
}
func (console) ConfirmURL(next string) string {
	return "/confirm?" + url.Values{"next": {next}}.Encode()
}

func (console) SameOrigin(r *http.Request) error {
	if r.Header.Get("Origin") != issuer {
		return errors.New("elsewhere")
	}
	return nil
}

func (console) Render(w http.ResponseWriter, _ *http.Request, status int, _ string, content template.HTML) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, content)
}

const issuer = "https://mx.example.org"

// door is a Server over a store with two accounts, behind a mux like the
// console's.
type door struct {
	t      testing.TB
	mux    *http.ServeMux
	grants *grant.Book
	clock  *clock.Fake
}

func newDoor(t testing.TB) *door {
	t.Helper()
	db, err := store.Open(context.Background(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		for id, name := range map[int64]string{1: "henry", 2: "anna"} {
			if _, err := tx.Exec(`INSERT INTO account (id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
				VALUES (?, 'example.org', ?, 'user', 0, 0, 0, 0, ?, 4096)`, id, name, []byte("salt")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, mux: http.NewServeMux(), clock: clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))}
	log := slog.New(slog.DiscardHandler)
	d.grants = grant.New(grant.Options{
		Store: db, Clock: d.clock, Random: rand.Reader, Log: log,
		Note: func(*store.Tx, *activity.Event) error { return nil }, Ended: func(addr.Address, int64) {},
	})
	s := New(Options{
		Console: console{}, Grants: d.grants, Issuer: issuer, Clock: d.clock, Log: log,
		Locate: func(ip netip.Addr) (string, string) {
			if ip == netip.MustParseAddr("198.51.100.7") {
				return "NL", "AS64496 Example"
			}
			return "", ""
		},
	})
	for pattern, h := range s.Routes() {
		d.mux.Handle(pattern, h)
	}
	return d
}

// do asks for something; of a form that is not nil it is a POST.
func (d *door) do(target string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	d.t.Helper()
	r := httptest.NewRequest("GET", target, nil)
	if form != nil {
		r = httptest.NewRequest("POST", target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", issuer)
	}
	r.RemoteAddr = "192.0.2.1:1234"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
	d.mux.ServeHTTP(w, r)
	return w
}

// as is who a browser belongs to.
func as(user string) func(*http.Request) {
	return func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "user", Value: user})
		r.AddCookie(&http.Cookie{Name: "fresh", Value: "1"})
	}
}

func stale(r *http.Request) { r.AddCookie(&http.Cookie{Name: "user", Value: henry}) }

const (
	henry    = "henry@example.org"
	redirect = "http://127.0.0.1:53682/"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// asking is a good request, with changes as "name=value"; without a value the
// parameter is not there.
func asking(change ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	v := url.Values{
		"response_type": {"code"}, "client_id": {"thunderbird"}, "redirect_uri": {redirect}, "state": {"s&t"}, "scope": {"mail.send"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for _, c := range change {
		name, value, _ := strings.Cut(c, "=")
		v.Set(name, value)
		if value == "" {
			v.Del(name)
		}
	}
	return oauth.AuthorizePath + "?" + v.Encode()
}

func allow(user string) url.Values { return url.Values{"account": {user}, "answer": {"allow"}} }

// code consents and returns the code.
func (d *door) code(user string) string {
	d.t.Helper()
	w := d.do(asking(), allow(user), as(user))
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		d.t.Fatalf("%d %s %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	return to.Query().Get("code")
}

func redeeming(code string) url.Values {
	return url.Values{
		"grant_type": {oauth.CodeGrant}, "client_id": {"thunderbird"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}
}

// tokens posts to the token endpoint and returns what it says.
func (d *door) tokens(form url.Values) (t oauth.Tokens, failure string) {
	d.t.Helper()
	w := d.do(oauth.TokenPath, form)
	var v struct {
		oauth.Tokens
		oauth.Failure
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Header().Get("Cache-Control") != "no-store" ||
		w.Header().Get("Content-Type") != "application/json" || (w.Code == 200) != (v.Failure.Code == "") {
		d.t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	return v.Tokens, v.Failure.Code
}

func TestCodeFlow(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	w := d.do(asking(), nil)
	if to := w.Header().Get("Location"); w.Code != 303 || !strings.HasPrefix(to, "/sign-in?next=%2Foauth%2Fauthorize") {
		t.Errorf("not signed in: %d %s", w.Code, to)
	}
	w = d.do(asking(), nil, stale)
	if to := w.Header().Get("Location"); w.Code != 303 || !strings.HasPrefix(to, "/confirm?next=%2Foauth%2Fauthorize") {
		t.Errorf("signed in a while ago: %d %s", w.Code, to)
	}
	w = d.do(asking(), nil, as(henry))
	for _, s := range []string{"calls itself <strong>Thunderbird</strong>", "send mail in the name of henry@example.org", "on this very device", `name="account" value="henry@example.org"`} {
		if w.Code != 200 || !strings.Contains(w.Body.String(), s) {
			t.Errorf("%q is not on the page: %d %s", s, w.Code, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), "read all mail") {
		t.Error("the page speaks of what is not asked for")
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://127.0.0.1:53682;") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("CSP %s", csp)
	}
	// The form leads to the same request.
	action := regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(w.Body.String())[1]
	action = strings.ReplaceAll(action, "&amp;", "&")
	w = d.do(action, allow(henry), as(henry))
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != 303 || to.Host != "127.0.0.1:53682" || to.Query().Get("state") != "s&t" || to.Query().Get("iss") != issuer || to.Query().Get("error") != "" {
		t.Fatalf("%d %s", w.Code, to)
	}
	tokens, failure := d.tokens(redeeming(to.Query().Get("code")))
	if failure != "" || tokens.Scope != "mail.send" {
		t.Fatalf("%+v %s", tokens, failure)
	}
	got, ok, err := d.grants.Token(t.Context(), tokens.Access)
	if err != nil || !ok || got.Owner.Address.String() != henry {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	next, failure := d.tokens(url.Values{"grant_type": {oauth.RefreshGrant}, "client_id": {"thunderbird"}, "refresh_token": {tokens.Refresh}})
	if failure != "" || next.Refresh == tokens.Refresh {
		t.Errorf("%+v %s", next, failure)
	}
	if w := d.do(oauth.RevokePath, url.Values{"token": {next.Refresh}, "client_id": {"thunderbird"}}); w.Code != 200 {
		t.Errorf("revoked: %d %s", w.Code, w.Body)
	}
	if _, ok, _ := d.grants.Token(t.Context(), next.Access); ok {
		t.Error("good after it was revoked")
	}
}

// Nobody consents by a link, by another site's form, for somebody else, or a
// while after they showed who they are.
func TestConsentIsMeant(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"by a link":              d.do(asking()+"&answer=allow&account="+henry, nil, as(henry)),
		"another site's form":    d.do(asking(), allow(henry), as(henry), func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }),
		"nobody's form":          d.do(asking(), allow(henry), as(henry), func(r *http.Request) { r.Header.Del("Origin") }),
		"nobody":                 d.do(asking(), allow(henry)),
		"a while ago":            d.do(asking(), allow(henry), stale),
		"somebody else by now":   d.do(asking(), allow("anna@example.org"), as(henry)),
		"no account in the form": d.do(asking(), url.Values{"answer": {"allow"}}, as(henry)),
		"no":                     d.do(asking(), url.Values{"account": {henry}, "answer": {"deny"}}, as(henry)),
		"nothing":                d.do(asking(), url.Values{"account": {henry}}, as(henry)),
		"twice":                  d.do(asking(), url.Values{"account": {henry}, "answer": {"deny", "allow"}}, as(henry)),
		"a large form":           d.do(asking(), url.Values{"account": {henry}, "answer": {"allow"}, "x": {strings.Repeat("x", oauth.MaxForm)}}, as(henry)),
		"another method":         d.do(asking(), allow(henry), as(henry), func(r *http.Request) { r.Method = "PUT" }),
	} {
		if to := w.Header().Get("Location"); strings.Contains(to, "code=") {
			t.Errorf("%s: %d %s", name, w.Code, to)
		}
	}
	w := d.do(asking(), url.Values{"account": {henry}, "answer": {"deny"}}, as(henry))
	if to, _ := url.Parse(w.Header().Get("Location")); to.Query().Get("error") != oauth.AccessDenied || to.Query().Get("iss") != issuer || to.Query().Get("state") != "s&t" {
		t.Errorf("no: %s", to)
	}
}

// A browser is sent to a registered address or to nowhere.
func TestRedirectTricks(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for _, evil := range []string{
		"https://evil.example/", "http://127.0.0.1.evil.example/", "http://127.0.0.1:80@evil.example/", "http://user@127.0.0.1:1/", "http://127.0.0.1:1/#x",
		"http://127.0.0.1:1/..//evil.example", "https://127.0.0.1:1/", "http://127.0.0.2:1/", "http://localhost.evil.example", "//evil.example", "/\\evil.example",
		"javascript:alert(1)", "http://127.0.0.1:1/%2e%2e/x", "http://127.0.0.1:1/?x=y", "HTTP://127.0.0.1:1/", "urn:ietf:wg:oauth:2.0:oob", "",
	} {
		for _, errors := range []string{"scope=mail.send", "response_type=token", "scope=none"} {
			w := d.do(asking("redirect_uri="+evil, errors), nil, as(henry))
			if to := w.Header().Get("Location"); w.Code != 400 || to != "" || strings.Contains(w.Body.String(), `href="http`) {
				t.Errorf("%s: %d %s", evil, w.Code, to)
			}
			if w := d.do(asking("redirect_uri="+evil, errors), allow(henry), as(henry)); w.Header().Get("Location") != "" {
				t.Errorf("%s: posted: %s", evil, w.Header().Get("Location"))
			}
		}
	}
	for name, target := range map[string]string{
		"two redirects": asking() + "&redirect_uri=https://evil.example/", "two clients": asking() + "&client_id=mail-program", "no client": asking("client_id="),
		"unknown client": asking("client_id=<script>alert(1)</script>"), "odd": asking() + "&x=%zz", "huge": asking("state=" + strings.Repeat("x", oauth.MaxForm)),
	} {
		w := d.do(target, nil, as(henry))
		if w.Code != 400 || w.Header().Get("Location") != "" || strings.Contains(w.Body.String(), "<script") {
			t.Errorf("%s: %d %s %s", name, w.Code, w.Header().Get("Location"), w.Body)
		}
	}
	// An error reaches the program, and only once somebody has signed in.
	for change, want := range map[string]string{
		"response_type=token": oauth.UnsupportedResponse, "code_challenge=": oauth.InvalidRequest, "code_challenge_method=plain": oauth.InvalidRequest,
		"scope=all": oauth.InvalidScope, "request_uri=https://evil.example/": oauth.InvalidRequest,
	} {
		if to := d.do(asking(change), nil).Header().Get("Location"); !strings.HasPrefix(to, "/sign-in?") {
			t.Errorf("%s, nobody: %s", change, to)
		}
		to, _ := url.Parse(d.do(asking(change), nil, as(henry)).Header().Get("Location"))
		if to.Host != "127.0.0.1:53682" || to.Query().Get("error") != want || to.Query().Get("iss") != issuer || to.Query().Get("code") != "" {
			t.Errorf("%s: %s", change, to)
		}
	}
	// Without a state there is none in the answer.
	w := d.do(asking("state="), allow(henry), as(henry))
	if to, _ := url.Parse(w.Header().Get("Location")); to.Query().Has("state") || to.Query().Get("code") == "" {
		t.Errorf("without state: %s", to)
	}
}

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	with := func(name, value string) url.Values {
		v := redeeming(d.code(henry))
		v.Set(name, value)
		return v
	}
	for name, tt := range map[string]struct {
		form url.Values
		want string
	}{
		"another program":   {with("client_id", "mail-program"), oauth.InvalidGrant},
		"unknown program":   {with("client_id", "evil"), oauth.InvalidGrant},
		"no program":        {with("client_id", ""), oauth.InvalidRequest},
		"no verifier":       {with("code_verifier", ""), oauth.InvalidRequest},
		"another verifier":  {with("code_verifier", strings.Repeat("x", 43)), oauth.InvalidGrant},
		"another redirect":  {with("redirect_uri", "http://127.0.0.1:1/"), oauth.InvalidGrant},
		"no redirect":       {with("redirect_uri", ""), oauth.InvalidRequest},
		"no code":           {with("code", "x"), oauth.InvalidGrant},
		"password":          {url.Values{"grant_type": {"password"}, "client_id": {"thunderbird"}, "username": {henry}, "password": {"x"}}, oauth.UnsupportedGrant},
		"nothing":           {url.Values{}, oauth.InvalidRequest},
		"a parameter twice": {url.Values{"grant_type": {oauth.CodeGrant, oauth.RefreshGrant}}, oauth.InvalidRequest},
		"huge":              {url.Values{"grant_type": {strings.Repeat("x", 1<<20)}}, oauth.InvalidRequest},
		"a device's of no":  {url.Values{"grant_type": {oauth.DeviceGrant}, "client_id": {"thunderbird"}, "device_code": {"x"}}, oauth.InvalidGrant},
		"refresh of nobody": {url.Values{"grant_type": {oauth.RefreshGrant}, "client_id": {"thunderbird"}, "refresh_token": {"x"}}, oauth.InvalidGrant},
	} {
		if tokens, failure := d.tokens(tt.form); failure != tt.want || tokens.Access != "" {
			t.Errorf("%s: %s", name, failure)
		}
	}
	good := redeeming(d.code(henry))
	for name, w := range map[string]*httptest.ResponseRecorder{
		"in the address": d.do(oauth.TokenPath+"?"+good.Encode(), url.Values{}),
		"both":           d.do(oauth.TokenPath+"?x=y", good),
		"as JSON":        d.do(oauth.TokenPath, good, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }),
		"of no kind":     d.do(oauth.TokenPath, good, func(r *http.Request) { r.Header.Del("Content-Type") }),
		"by GET":         d.do(oauth.TokenPath, nil),
		"revoke by GET":  d.do(oauth.RevokePath, nil),
		"device by GET":  d.do(oauth.DevicePath, nil),
	} {
		if w.Code != 400 && w.Code != 405 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if _, failure := d.tokens(good); failure != "" {
		t.Errorf("after all that: %s", failure)
	}
	if _, failure := d.tokens(good); failure != oauth.InvalidGrant {
		t.Errorf("replayed: %s", failure)
	}
	for _, form := range []url.Values{{"token": {"x"}}, {"client_id": {"thunderbird"}}} {
		if w := d.do(oauth.RevokePath, form); w.Code != 400 {
			t.Errorf("%v: %d", form, w.Code)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	var m struct{ Issuer string }
	w := d.do(oauth.MetadataPath, nil)
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.Issuer != issuer || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s, %v", w.Body, err)
	}
}

// device begins a wait from an address.
func (d *door) device(from string, form url.Values) oauth.DeviceAnswer {
	d.t.Helper()
	var a oauth.DeviceAnswer
	w := d.do(oauth.DevicePath, form, func(r *http.Request) {
		r.RemoteAddr = from + ":1234"
		r.Header.Set("User-Agent", "<b>curl</b>")
		r.Header.Del("Origin")
	})
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
		d.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return a
}

func TestDeviceFlow(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	a := d.device("198.51.100.7", url.Values{"client_id": {"mail-program"}})
	if a.Page != issuer+"/device" {
		t.Errorf("%+v", a)
	}
	poll := url.Values{"grant_type": {oauth.DeviceGrant}, "client_id": {"mail-program"}, "device_code": {a.DeviceCode}}
	if _, failure := d.tokens(poll); failure != oauth.Pending {
		t.Errorf("waiting: %s", failure)
	}
	if _, failure := d.tokens(poll); failure != oauth.SlowDown {
		t.Errorf("too soon: %s", failure)
	}
	if to := d.do(oauth.PagePath, nil).Header().Get("Location"); to != "/sign-in?next=%2Fdevice" {
		t.Errorf("nobody: %s", to)
	}
	if to := d.do(oauth.PagePath, nil, stale).Header().Get("Location"); to != "/confirm?next=%2Fdevice" {
		t.Errorf("a while ago: %s", to)
	}
	if w := d.do(oauth.PagePath+"?user_code="+a.UserCode, nil, as(henry)); w.Code != 200 || strings.Contains(w.Body.String(), a.UserCode) {
		t.Errorf("a code in the address: %s", w.Body)
	}
	d.clock.Advance(2 * time.Minute)
	w := d.do(oauth.PagePath, url.Values{"code": {strings.ToLower(a.UserCode)}}, as(henry))
	for _, s := range []string{"198.51.100.7 (NL, AS64496 Example)", "You are at 192.0.2.1", "&lt;b&gt;curl&lt;/b&gt;", "2 minutes ago", "not in the network that you are in", "read all mail of henry@example.org"} {
		if w.Code != 200 || !strings.Contains(w.Body.String(), s) {
			t.Errorf("%q is not on the page: %s", s, w.Body)
		}
	}
	decide := url.Values{"code": {a.UserCode}, "account": {henry}, "answer": {"allow"}}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"another site's form": d.do(oauth.PagePath, decide, as(henry), func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }),
		"a while ago":         d.do(oauth.PagePath, decide, stale),
		"somebody else":       d.do(oauth.PagePath, decide, as("anna@example.org")),
		"no account":          d.do(oauth.PagePath, url.Values{"code": {a.UserCode}, "answer": {"allow"}}, as(henry)),
		"another method":      d.do(oauth.PagePath, decide, as(henry), func(r *http.Request) { r.Method = "DELETE" }),
	} {
		if strings.Contains(w.Body.String(), "Allowed") {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	if _, failure := d.tokens(poll); failure != oauth.Pending {
		t.Errorf("after all that: %s", failure)
	}
	if w := d.do(oauth.PagePath, decide, as(henry)); w.Code != 200 || !strings.Contains(w.Body.String(), "Allowed") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	d.clock.Advance(time.Minute)
	tokens, failure := d.tokens(poll)
	if failure != "" || tokens.Scope != "mail.send mail.read" {
		t.Errorf("%+v %s", tokens, failure)
	}
	if w := d.do(oauth.PagePath, url.Values{"code": {a.UserCode}}, as(henry)); w.Code != 404 {
		t.Errorf("the code again: %d", w.Code)
	}
}

func TestDeviceDenied(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	a := d.device("192.0.2.77", url.Values{"client_id": {"mail-program"}, "scope": {"mail.send"}})
	w := d.do(oauth.PagePath, url.Values{"code": {a.UserCode}}, as(henry))
	if strings.Contains(w.Body.String(), "not in the network") || strings.Contains(w.Body.String(), "read all mail") {
		t.Errorf("%s", w.Body)
	}
	if w := d.do(oauth.PagePath, url.Values{"code": {a.UserCode}, "account": {henry}, "answer": {"deny"}}, as(henry)); !strings.Contains(w.Body.String(), "Not allowed") {
		t.Errorf("%s", w.Body)
	}
	poll := url.Values{"grant_type": {oauth.DeviceGrant}, "client_id": {"mail-program"}, "device_code": {a.DeviceCode}}
	if _, failure := d.tokens(poll); failure != oauth.AccessDenied {
		t.Errorf("%s", failure)
	}
	for want, form := range map[string]url.Values{
		oauth.InvalidClient: {"client_id": {"evil"}}, oauth.InvalidRequest: {}, oauth.InvalidScope: {"client_id": {"mail-program"}, "scope": {"x"}},
	} {
		if w := d.do(oauth.DevicePath, form); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", want, w.Code, w.Body)
		}
	}
	for range 20 {
		d.do(oauth.PagePath, url.Values{"code": {"BCDF-GHJK"}}, as(henry))
	}
	if w := d.do(oauth.PagePath, url.Values{"code": {"BCDF-GHJK"}}, as(henry)); w.Code != 429 {
		t.Errorf("after many: %d", w.Code)
	}
}

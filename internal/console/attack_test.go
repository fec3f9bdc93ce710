package console

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/console/next"
)

// Session fixation: a token that somebody planted is never one that its
// victim is signed in with, whether it is made up or was a session of his own.
func TestFixation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	evil := h.enter(ben)
	for _, planted := range []string{evil.cookie, strings.Repeat("A", 43), "x"} {
		victim := &visit{house: h, cookie: planted}
		victim.post("/sign-in", "login", anna, "password", password, "code", code)
		if victim.cookie == planted {
			t.Errorf("signed in under the planted token %q", planted)
		}
		thief := &visit{house: h, cookie: planted}
		if a, _, ok := h.Signed(thief.request("GET", "/", nil)); ok && a.Address.String() == anna {
			t.Errorf("%q opens anna's", planted)
		}
		if a, _, ok := h.Signed(victim.request("GET", "/", nil)); !ok || a.Address.String() != anna {
			t.Errorf("%q: the victim is not signed in", planted)
		}
	}
}

// changes are all that change something: the forms and the calls.
func changes(h *house) (list []string) {
	for _, pattern := range h.patterns {
		if method, path, _ := strings.Cut(pattern, " "); method != "GET" && path != "" {
			list = append(list, method+" "+strings.NewReplacer("{id}", "1", "{address}", ben).Replace(path))
		}
	}
	return list
}

// CSRF: what another site has a browser send changes nothing, though the
// cookie came along; nor does what comes from a browser that does not say.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.enter(anna)
	kept := v.cookie
	for _, headers := range []map[string]string{
		{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
		{"Sec-Fetch-Site": "same-site", "Origin": "https://www.example.org"}, // a neighbour
		{"Sec-Fetch-Site": "cross-site"},
		{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, // a browser from before 2023
		{"Sec-Fetch-Site": "", "Origin": "null"},                 // a frame in a sandbox
		{"Sec-Fetch-Site": "", "Origin": "https://mx.example.org.evil.example"},
		{"Sec-Fetch-Site": "", "Origin": "https://mx.example.org:444"},
		{"Sec-Fetch-Site": ""}, // one from before 2020
	} {
		for _, change := range changes(h) {
			method, path, _ := strings.Cut(change, " ")
			r := v.form(path, "login", ben, "password", password, "name", "x")
			r.Method = method
			if strings.HasPrefix(path, "/api/") {
				r.Header.Set("Content-Type", "text/plain") // which a form can send
			}
			for name, value := range headers {
				r.Header.Del(name)
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			if w := v.do(r); w.Code != http.StatusForbidden || v.cookie != kept || strings.Contains(w.Body.String(), `"account"`) {
				t.Errorf("%s with %v: %d", change, headers, w.Code)
			}
		}
	}
	if len(changes(h)) < 10 {
		t.Errorf("only %q", changes(h))
	}
	// With either header alone our own pages get through.
	for _, name := range []string{"Sec-Fetch-Site", "Origin"} {
		r := v.form("/sessions/end-others")
		r.Header.Del("Sec-Fetch-Site")
		r.Header.Set(name, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://" + host}[name])
		if w := v.do(r); w.Code != http.StatusSeeOther {
			t.Errorf("with %s alone: %d", name, w.Code)
		}
	}
}

// A GET changes nothing, whatever address it has.
func TestGetChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.enter(anna)
	for _, change := range changes(h) {
		_, path, _ := strings.Cut(change, " ")
		before := v.cookie
		w := v.get(path)
		if v.cookie != before || w.Code == http.StatusNoContent {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
	if _, _, ok := h.Signed(v.request("GET", "/", nil)); !ok {
		t.Error("a GET signed out")
	}
}

// pages are all that can be looked at.
func pages(h *house) (list []string) {
	for _, pattern := range h.patterns {
		if path, ok := strings.CutPrefix(pattern, "GET "); ok {
			list = append(list, strings.NewReplacer("{id}", "1", "{$}", "").Replace(path))
		}
	}
	return append(list, "/no-such-page", "/api/no-such-call", "/static/x")
}

// Clickjacking, sniffing, leaking, keeping: every answer forbids it, whoever
// asks.
func TestHeaders(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, v := range []*visit{{house: h}, h.enter(anna)} {
		for _, path := range pages(h) {
			w := v.get(path)
			for name, want := range map[string]string{
				"Content-Security-Policy": "frame-ancestors 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
				"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
				"Strict-Transport-Security": "max-age=",
			} {
				if got := w.Header().Get(name); !strings.Contains(got, want) {
					t.Errorf("%s: %s is %q", path, name, got)
				}
			}
			if csp := w.Header().Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || !strings.Contains(csp, "default-src 'none'") {
				t.Errorf("%s: %s", path, csp)
			}
			body := w.Body.String()
			if strings.Contains(body, " style=") || strings.Contains(body, " onclick=") || strings.Count(body, "<script") != strings.Count(body, "<script src=\"/static/") {
				t.Errorf("%s has something inline:\n%s", path, body)
			}
		}
	}
	w := (&visit{house: h}).get(h.Console.pages.Style)
	if w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// Open redirect: no address leads away from us.
func TestNext(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, asked := range []string{
		"", "https://evil.example", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, `/\/evil.example`, "/\t/evil.example",
		"/%0a/evil.example\n", "javascript:alert(1)", "data:text/html,x", "evil.example", "/.//evil.example", "/..//evil.example", "/x/..//evil.example",
		"http:evil.example", "/\u2028/evil.example", "/x\r\nSet-Cookie: a=b", "/" + strings.Repeat("a", 2048), "/?x=\\", "/<script>", "?x", "%2f%2fevil.example",
	} {
		v := &visit{house: h}
		w := v.post("/sign-in", "login", anna, "password", password, "code", code, "next", asked)
		if to := w.Header().Get("Location"); to != next.Home {
			t.Errorf("%q leads to %q", asked, to)
		}
		if to := v.get("/sign-in?next=" + url.QueryEscape(asked)).Header().Get("Location"); to != next.Home {
			t.Errorf("%q leads to %q", asked, to)
		}
	}
}

// A user's session is refused where an administrator's is needed; nobody's is
// refused everywhere but at the door.
func TestWhoMayCall(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	open := []string{"POST /api/sign-in", "POST /api/sign-in/passkey/start", "POST /api/sign-in/passkey", "POST /api/sign-out", "POST /sign-in", "POST /sign-out"}
	nobody, user := &visit{house: h}, h.enter(ben)
	for _, change := range append(changes(h), "GET /api/sessions") {
		method, path, _ := strings.Cut(change, " ")
		if slices.Contains(open, change) {
			continue
		}
		api := strings.HasPrefix(path, "/api/")
		w := nobody.call(method, path, "{}")
		if !api {
			w = nobody.post(path)
		}
		if api && w.Code != http.StatusUnauthorized || !api && !strings.HasPrefix(w.Header().Get("Location"), "/sign-in") {
			t.Errorf("%s by nobody: %d", change, w.Code)
		}
		if strings.Contains(path, "/admin/") {
			if w := user.call(method, path, "{}"); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "administrators") {
				t.Errorf("%s by a user: %d %s", change, w.Code, w.Body)
			}
		}
	}
}

// Metacharacters in what strangers are called, in every place that shows it.
func TestMetacharacters(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, evil := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{.Pages}}`, `' onfocus='x`, "a\r\nSet-Cookie: x=y", "</title><x>", "\x00\x1b[2J\u202e", "%s%n", "javascript:x",
	} {
		v := &visit{house: h}
		agent := v.form("/sign-in", "login", anna, "password", password, "code", code)
		agent.Header["User-Agent"] = []string{evil}
		v.do(agent)
		answers := []string{
			v.get("/sessions").Body.String(),
			v.get("/" + url.PathEscape(evil)).Body.String(),
			v.get("/sessions?done=" + url.QueryEscape(evil)).Body.String(),
			v.post("/confirm", "password", evil, "code", evil, "next", evil).Body.String(),
		}
		v.cookie = ""
		w := v.post("/sign-in", "login", evil, "password", evil, "code", evil, "next", evil)
		answers = append(answers, w.Body.String(), v.get("/sign-in?next="+url.QueryEscape(evil)+"&done="+url.QueryEscape(evil)).Body.String())
		if w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%q set %q", evil, w.Header())
		}
		answers = append(answers, v.call("POST", "/api/sign-in", `{"login":`+quoted(evil)+`,"password":"x","code":""}`).Body.String())
		for i, body := range answers {
			if strings.Contains(body, evil) && template.HTMLEscapeString(evil) != evil {
				t.Errorf("answer %d shows %q as it is:\n%s", i, evil, body)
			}
		}
	}
}

// What is too large is not read.
func TestOversize(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.enter(anna)
	large := strings.Repeat("x", 2*maxBody)
	for _, path := range []string{"/sign-in", "/confirm", "/sessions/end-others"} {
		if w := v.post(path, "login", large, "password", large, "next", large); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/api/sign-in", "/api/sign-in/passkey", "/api/confirm"} {
		if w := v.call("POST", path, `{"password":"`+large+`"}`); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for body, want := range map[string]int{`{`: 400, `[]`: 400, `{"dance":1}`: 400, `{}{}`: 400, strings.Repeat("[", 20_000): 400, ``: 400} {
		if w := v.call("POST", "/api/sign-in", body); w.Code != want {
			t.Errorf("%.20q: %d %s", body, w.Code, w.Body)
		}
	}
	r := v.form("/api/sign-in", "login", anna)
	if w := v.do(r); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("a form to the API: %d", w.Code)
	}
}

// Enumeration: whoever is not there gets the same answer as whoever is, at
// every door.
func TestEnumeration(t *testing.T) {
	t.Parallel()
	v := &visit{house: newHouse(t)}
	ask := func(login string) (list []string) {
		form := v.post("/sign-in", "login", login, "password", "wrong", "code", "1")
		call := v.call("POST", "/api/sign-in", `{"login":`+quoted(login)+`,"password":"wrong","code":"1"}`)
		begun := v.call("POST", "/api/sign-in/passkey/start", `{"login":`+quoted(login)+`}`)
		shown := v.call("POST", "/api/sign-in/passkey", `{"state":"state","response":{"of":""}}`)
		for _, w := range []interface {
			Result() *http.Response
		}{form, call, begun, shown} {
			r := w.Result()
			list = append(list, r.Status, r.Header.Get("Set-Cookie"), r.Header.Get("Location"))
		}
		hide := strings.NewReplacer(template.HTMLEscapeString(login), "WHO", login, "WHO")
		return append(list, hide.Replace(form.Body.String()), call.Body.String(), shown.Body.String())
	}
	known, plain := ask(anna), ask(ben)
	for _, login := range []string{"nobody@example.org", "nobody@other.example", "@", "x y z"} {
		if got := ask(login); !slices.Equal(got, known) || !slices.Equal(got, plain) {
			t.Errorf("%q is told apart:\n%q\n%q\n%q", login, got, known, plain)
		}
	}
}

// Nothing secret is in the log.
func TestLogIsSilent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.enter(anna)
	token := v.cookie
	v.post("/sign-in", "login", anna, "password", "secret-password", "code", "998877")
	v.call("POST", "/api/confirm", `{"password":"secret-password","code":"998877"}`)
	v.get("/sign-in?next=/x%3Ftoken=secret-token")
	h.people.db.Close()
	v.get("/sessions")
	v.call("GET", "/api/sessions", "")
	if h.log.Len() == 0 {
		t.Error("a store that is closed is not logged")
	}
	for _, secret := range []string{token, "secret-password", "998877", "secret-token"} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, h.log)
		}
	}
}

package console

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"gatepost/internal/account"
	"gatepost/internal/account/factor/factortest"
	"gatepost/internal/addr"
	"gatepost/internal/console/api"
	"gatepost/internal/store/storetest"
)

// newReal returns a console over the directory as it is, with an
// administrator and a user.
func newReal(t *testing.T) *house {
	t.Helper()
	h := open(t, storetest.Open(t), func(d *account.Directory, _ *house) Directory { return d })
	ctx := context.Background()
	if err := h.directory.AddDomain(ctx, "example.org"); err != nil {
		t.Fatal(err)
	}
	for who, role := range map[string]account.Role{anna: account.Admin, ben: account.User} {
		if _, err := h.directory.AddAccount(ctx, addr.MustParse(who), password, role); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// field returns the value of a hidden field of a form.
func field(t *testing.T, body, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no field %s in\n%s", name, body)
	}
	return html.UnescapeString(m[1])
}

// sees reports that a page holds all of the texts.
func sees(t *testing.T, body string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%q is not in\n%s", text, body)
		}
	}
}

// The life of an account: an app is added, the password alone opens nothing
// any more, a device gets a password, another password is chosen, and each
// change ends the sessions of before.
func TestLifeOfAnAccount(t *testing.T) {
	t.Parallel()
	h := newReal(t)
	one, two := h.enter(ben), h.enter(ben)
	sees(t, one.get("/account").Body.String(), "Your password alone opens your mail", "2 browsers are signed in", ben+" signed in from 192.0.2.1")

	page := one.post("/factors/app").Body.String()
	sees(t, page, `<svg class="qr"`, "otpauth://totp/mx.example.org:ben@example.org")
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(regexp.MustCompile(`secret=([A-Z2-7]+)`).FindStringSubmatch(page)[1])
	if err != nil {
		t.Fatal(err)
	}
	now := func() string { return factortest.Code(secret, h.clock.Now()) }
	state, uri := field(t, page, "state"), field(t, page, "uri")
	w := one.post("/factors/app/confirm", "state", state, "uri", uri, "name", `My "app"`, "code", "000000")
	if w.Code != http.StatusUnprocessableEntity {
		t.Errorf("%d", w.Code)
	}
	sees(t, w.Body.String(), `value="My &#34;app&#34;"`, `<svg class="qr"`, "not the code which the app shows now", `class="secret"`)
	former := one.cookie
	w = one.post("/factors/app/confirm", "state", state, "uri", uri, "name", `My "app"`, "code", now())
	sees(t, w.Body.String(), "the only time that anybody sees them", "-")
	recovery := regexp.MustCompile(`<li>([0-9a-z-]{19})</li>`).FindStringSubmatch(w.Body.String())
	if recovery == nil || one.cookie == former {
		t.Fatalf("no recovery codes, or the token is the former one:\n%s", w.Body)
	}
	if w := two.get("/account"); w.Code != http.StatusSeeOther {
		t.Errorf("another session outlived a new factor: %d", w.Code)
	}
	sees(t, one.get("/factors").Body.String(), "My &#34;app&#34;", "10 left")

	thief := &visit{house: h}
	if w := thief.post("/sign-in", "login", ben, "password", password, "code", ""); w.Code != http.StatusForbidden {
		t.Errorf("the password alone: %d", w.Code)
	}
	h.clock.Advance(60e9)
	if w := thief.post("/sign-in", "login", ben, "password", password, "code", now()); w.Code != http.StatusSeeOther {
		t.Errorf("with the code: %d", w.Code)
	}
	if w := thief.post("/confirm", "password", password, "code", now()); w.Code != http.StatusForbidden {
		t.Errorf("the code a second time: %d", w.Code)
	}

	w = one.post("/devices", "name", "Phöne <1>", "scope", "send", "days", "30", "networks", "not a network")
	if w.Code != http.StatusUnprocessableEntity {
		t.Errorf("%d", w.Code)
	}
	sees(t, w.Body.String(), `value="Phöne &lt;1&gt;"`, `value="send" selected`, `value="30" selected`, `value="not a network"`, "is not a network")
	w = one.post("/devices", "name", "Phöne <1>", "scope", "send", "days", "30", "networks", "192.0.2.0/24, 2001:db8::/32")
	sees(t, w.Body.String(), "Phöne &lt;1&gt;", `class="secret"`, `<svg class="qr"`)
	sees(t, one.get("/devices").Body.String(), "Phöne &lt;1&gt;", "never used", "sends only", "from 192.0.2.0/24, 2001:db8::/32", "ends <time")
	var devices []api.Device
	if err := json.Unmarshal(one.call("GET", "/api/devices", "").Body.Bytes(), &devices); err != nil || len(devices) != 1 || devices[0].Password != "" {
		t.Fatalf("%+v, %v", devices, err)
	}
	// Changes wait for who rested: what was typed comes back, and no secret.
	h.clock.Advance(10 * 60e9)
	if w := one.post("/devices", "name", "Tablet"); w.Header().Get("Location") != "/confirm?next=%2Fdevices%3Fname%3DTablet" {
		t.Errorf("%d, led to %q", w.Code, w.Header().Get("Location"))
	}
	if w := one.post("/password", "password", "x", "repeated", "x"); w.Header().Get("Location") != "/confirm?next=%2Fpassword" {
		t.Errorf("led to %q", w.Header().Get("Location"))
	}
	if w := one.post("/confirm", "password", password, "code", recovery[1], "next", "/devices?name=Tablet"); w.Code != http.StatusSeeOther {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	sees(t, one.get("/devices?name=Tablet").Body.String(), `value="Tablet"`)
	if w := one.post("/devices/" + itoa(devices[0].ID) + "/remove"); w.Header().Get("Location") != "/devices?done=device-removed" {
		t.Errorf("%d %s", w.Code, w.Body)
	}

	w = one.post("/password", "password", "short", "repeated", "short")
	sees(t, w.Body.String(), "the password is refused: it has 5 characters"[1:], "It has at least 12 characters")
	if w := one.post("/password", "password", "a", "repeated", "b"); !strings.Contains(w.Body.String(), "not the same") {
		t.Errorf("%s", w.Body)
	}
	const chosen = "pelican turbine marzipan"
	if w := one.post("/password", "password", chosen, "repeated", chosen); w.Header().Get("Location") != "/password?done=password-set" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	sees(t, one.get("/password?done=password-set").Body.String(), "All other sessions were ended")
	if w := thief.get("/account"); w.Code != http.StatusSeeOther {
		t.Errorf("the thief's session outlived a new password: %d", w.Code)
	}

	anna := h.enter(anna)
	if w := anna.call("POST", "/api/admin/accounts/"+ben+"/freeze", ""); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := one.get("/account"); w.Code != http.StatusSeeOther {
		t.Errorf("a session outlived freezing: %d", w.Code)
	}
	if w := one.post("/sign-in", "login", ben, "password", chosen, "code", now()); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), wordsRefused) {
		t.Errorf("%d", w.Code)
	}
	var accounts []api.Account
	if err := json.Unmarshal(anna.call("GET", "/api/admin/accounts", "").Body.Bytes(), &accounts); err != nil || len(accounts) != 2 || !accounts[1].Frozen || accounts[1].Factors != 1 {
		t.Errorf("%+v, %v", accounts, err)
	}
	if strings.Contains(h.log.String(), chosen) || strings.Contains(h.log.String(), recovery[1]) {
		t.Error("secrets are in the log")
	}
}

// Passkeys, through the API as the script of our pages uses it.
func TestPasskey(t *testing.T) {
	t.Parallel()
	h := newReal(t)
	v := h.enter(anna)
	device := factortest.NewDevice(t, "https://"+host)
	var b begun
	ask := func(v *visit, path, body string) *begun {
		t.Helper()
		b = begun{}
		if w := v.call("POST", path, body); w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &b) != nil {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return &b
	}
	ask(v, "/api/factors/passkey/start", "")
	w := v.post("/factors/passkey", "state", b.State, "name", "Key", "response", string(device.Make(b.Options)))
	sees(t, w.Body.String(), "Recovery codes", "the only time")
	if w := v.post("/factors/passkey", "state", b.State, "name", "Again", "response", "{}"); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), `value="Again"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	fresh := &visit{house: h}
	ask(fresh, "/api/sign-in/passkey/start", "{}")
	answer := string(device.Sign(b.Options))
	body := `{"state":` + quoted(b.State) + `,"response":` + answer + `}`
	if w := fresh.call("POST", "/api/sign-in/passkey", body); w.Code != 200 || fresh.get("/account").Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := (&visit{house: h}).call("POST", "/api/sign-in/passkey", body); w.Code != http.StatusForbidden {
		t.Errorf("an answer a second time: %d %s", w.Code, w.Body)
	}
	h.clock.Advance(6 * 60e9)
	ask(fresh, "/api/confirm/passkey/start", "")
	body = `{"state":` + quoted(b.State) + `,"response":` + string(device.Sign(b.Options)) + `}`
	if w := fresh.call("POST", "/api/confirm/passkey", body); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var list struct {
		Factors []api.Factor
	}
	if err := json.Unmarshal(fresh.call("GET", "/api/factors", "").Body.Bytes(), &list); err != nil || len(list.Factors) != 1 || list.Factors[0].Kind != "passkey" || list.Factors[0].Used == nil {
		t.Fatalf("%+v, %v", list, err)
	}
	// Another's is not there for him.
	if w := h.enter(ben).call("DELETE", "/api/factors/"+itoa(list.Factors[0].ID), ""); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := fresh.call("DELETE", "/api/factors/"+itoa(list.Factors[0].ID), ""); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Whoever owes a factor is led to add one, by pages and by the API, and is
// let go once there is one. Locking ends everything.
func TestOwesReally(t *testing.T) {
	t.Parallel()
	h := newReal(t)
	h.directory.SetFactorRoles([]account.Role{account.User})
	v := h.enter(ben)
	if w := v.get("/account"); w.Header().Get("Location") != "/factors" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	page := v.get("/factors").Body.String()
	sees(t, page, "Your account must have a second factor")
	if strings.Contains(page, `href="/devices"`) {
		t.Error("it leads elsewhere")
	}
	for _, call := range []string{"GET /api/devices", "POST /api/password", "GET /api/activity", "POST /api/devices"} {
		method, path, _ := strings.Cut(call, " ")
		if w := v.call(method, path, "{}"); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "second factor") {
			t.Errorf("%s: %d %s", call, w.Code, w.Body)
		}
	}
	var setup struct{ Secret, State string }
	if w := v.call("POST", "/api/factors/app/start", ""); json.Unmarshal(w.Body.Bytes(), &setup) != nil || setup.Secret == "" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	secret, _ := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(setup.Secret)
	var made api.Codes
	w := v.call("POST", "/api/factors/app", `{"state":`+quoted(setup.State)+`,"name":"App","code":"`+factortest.Code(secret, h.clock.Now())+`"}`)
	if json.Unmarshal(w.Body.Bytes(), &made) != nil || len(made.List) != 10 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := v.call("POST", "/api/factors/codes", ""); json.Unmarshal(w.Body.Bytes(), &made) != nil || len(made.List) != 10 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := v.call("POST", "/api/devices", `{"name":"Phone"}`); w.Code != 200 || !strings.Contains(w.Body.String(), `"password"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := v.call("POST", "/api/password", `{"password":"password1234"}`); w.Code != http.StatusUnprocessableEntity || strings.Contains(w.Body.String(), "password1234") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := v.call("POST", "/api/devices", `{"name":"Phone","scope":"everything"}`); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "scope") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// What was changed is told with the browser that did it.
	sees(t, v.get("/activity").Body.String(), "signed in from", "from 192.0.2.1 as &#34;Mozilla/5.0")
	var a struct {
		api.Account
		Fresh bool
	}
	if w := v.call("GET", "/api/account", ""); json.Unmarshal(w.Body.Bytes(), &a) != nil || a.Address != ben || a.Factors != 1 || a.Owes || !a.Fresh {
		t.Errorf("%s", w.Body)
	}
	if w := v.post("/lock"); w.Header().Get("Location") != "/sign-in?done=locked" || v.cookie != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	sees(t, v.get("/sign-in?done=locked").Body.String(), "The account is locked")
}

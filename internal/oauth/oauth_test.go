package oauth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func TestScope(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "mail.send mail.read", "mail.send": "mail.send", "mail.read": "mail.read", "mail.read mail.send": "mail.send mail.read",
		"offline_access mail.send": "mail.send", MailScope: "mail.send mail.read", "openid offline_access " + MailScope: "mail.send mail.read",
	} {
		got, bad := ParseScope(in)
		if bad != nil || got.String() != want {
			t.Errorf("%q: %q, %v", in, got, bad)
		}
	}
	for _, in := range []string{"https://mail.google.com/", "MAIL.SEND", strings.Repeat("mail.send ", maxScopes+1)} {
		if got, bad := ParseScope(in); bad == nil || bad.Code != InvalidScope || got != (Scope{}) {
			t.Errorf("%q: %v, %v", in, got, bad)
		}
	}
	both, send := Scope{true, true}, Scope{Send: true}
	if !send.Within(both) || both.Within(send) || !(Scope{}).Within(Scope{}) {
		t.Error("what is within what")
	}
	if (Scope{}).String() != "" {
		t.Error("nothing has a name")
	}
}

// Tricks with redirects: whatever is not the registered one, octet for octet,
// gets no code. Only the port of the client's own machine is free.
func TestMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		registered, asked string
		want              bool
	}{
		{"https://app.example/done", "https://app.example/done", true},
		{"https://app.example/done?x=1", "https://app.example/done?x=1", true},
		{"com.example.app:/done", "com.example.app:/done", true},
		{"http://127.0.0.1/done", "http://127.0.0.1/done", true},
		{"http://127.0.0.1/done", "http://127.0.0.1:53682/done", true},
		{"http://[::1]/done", "http://[::1]:1/done", true},
		{"http://localhost", "http://localhost:65535", true},
		{"http://localhost", "http://localhost:8080/", true},
		{"http://localhost/", "http://localhost", true},

		// Another host, scheme, path, port.
		{"https://app.example/done", "https://evil.example/done", false},
		{"https://app.example/done", "http://app.example/done", false},
		{"https://app.example/done", "https://app.example/done/", false},
		{"https://app.example/done", "https://app.example/Done", false},
		{"https://app.example/done", "https://APP.example/done", false},
		{"https://app.example/done", "https://app.example:443/done", false},
		{"https://app.example/done", "https://app.example/done/../evil", false},
		{"https://app.example/done", "https://app.example/x/../done", false},
		{"https://app.example/done", "https://app.example/%64one", false},
		{"https://app.example/done", "https://app.example/done?next=https://evil.example", false},
		{"https://app.example/done", "https://app.example/done#", false},
		{"https://app.example/done", "https://app.example/done#x", false},
		{"https://app.example/done", "https://user@app.example/done", false},
		{"https://app.example/done", "https://app.example@evil.example/done", false},
		{"https://app.example/done", "https://app.example.evil.example/done", false},
		{"https://app.example/done", "https://evil.example\\@app.example/done", false},
		{"https://app.example/done", "//app.example/done", false},
		{"https://app.example/done", " https://app.example/done", false},
		{"https://app.example/done", "https://app.example/done\x00", false},
		{"https://app.example/done", "https://app.example/done\r\nx: y", false},
		{"https://app.example/done", "", false},
		{"com.example.app:/done", "com.example.app://done", false},
		{"com.example.app:/done", "com.example.app:/done?x", false},

		// The client's own machine, and what looks like it.
		{"http://127.0.0.1/done", "https://127.0.0.1/done", false},
		{"http://127.0.0.1/done", "http://localhost/done", false},
		{"http://127.0.0.1/done", "http://[::1]/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1/other", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:80/done/../x", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:80@evil.example/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1@evil.example/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1.evil.example/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:8080.evil.example/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:0/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:080/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:65536/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:123456/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:80/done#x", false},
		{"http://127.0.0.1/done", "http://127.0.0.1:80/done?x", false},
		{"http://127.0.0.1/done", "http://127.1/done", false},
		{"http://127.0.0.1/done", "http://2130706433/done", false},
		{"http://127.0.0.1/done", "http://127.0.0.2/done", false},
		{"http://localhost", "http://localhost.evil.example", false},
		{"http://localhost", "http://localhost:80//", false},
		{"http://localhost", "http://localhost//", false},
		{"http://localhost", "http://localhost:80/x", false},
		{"https://localhost", "https://localhost:8443", false},
		{"http://localhost", "http://localhost:80/" + strings.Repeat("x", MaxRedirect), false},
	} {
		if got := Matches(tt.registered, tt.asked); got != tt.want {
			t.Errorf("%s, asked for %q: %v", tt.registered, tt.asked, got)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"https://app.example/done", "https://app.example", "https://app.example/done?x=1", "com.example.app:/done", "https://localhost",
		"http://127.0.0.1", "http://[::1]/done", "http://localhost/",
	} {
		if err := CheckRedirect(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if !Matches(s, s) {
			t.Errorf("%q does not match itself", s)
		}
	}
	for _, s := range []string{
		"", "app.example/done", "http://app.example/done", "http://127.0.0.1:80/done", "http://127.0.0.1.evil.example", "http://localhost?x",
		"https://*.example/done", "https://app.example/done#x", "https://app.example/#", "https://user:pw@app.example", "https://", "https:///x",
		"javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "mailto:a@b.c", "app:/done", "com.example.app://host/done",
		"https://app.example/a b", "https://app.example/\n", "https://b\u00fccher.example/", "https://app.example\\x", "urn:ietf:wg:oauth:2.0:oob",
		"https://app.example/" + strings.Repeat("x", MaxRedirect),
	} {
		if err := CheckRedirect(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestParseParams(t *testing.T) {
	t.Parallel()
	p, bad := ParseParams("a=1&b=%C3%A9&c=")
	if bad != nil || p["a"] != "1" || p["b"] != "\u00e9" || len(p) != 2 {
		t.Errorf("%v, %v", p, bad)
	}
	many := strings.Builder{}
	for i := range maxParams + 1 {
		many.WriteString("a" + strings.Repeat("x", i) + "=1&")
	}
	for _, in := range []string{
		"a=1&a=2", "a=1&a=1", "a=1&a=", "a=%zz", "a=1;b=2", "a=%00", "a=%0d%0ab", "a=%ff", "%0a=1", "a=" + strings.Repeat("x", maxParam+1),
		strings.Repeat("x", MaxForm+1), many.String(),
	} {
		if p, bad := ParseParams(in); bad == nil || bad.Code != InvalidRequest {
			t.Errorf("%.40q: %v, %v", in, p, bad)
		}
	}
}

var (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func good() url.Values {
	return url.Values{
		"response_type": {"code"}, "client_id": {"thunderbird"}, "redirect_uri": {"https://localhost"}, "state": {"xyz"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "scope": {"mail.send"},
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	p, bad := ParseParams(good().Encode())
	if bad != nil {
		t.Fatal(bad)
	}
	a, bad := p.Authorization()
	if bad != nil || a.State != "xyz" || a.Challenge != challenge || a.Scope != (Scope{Send: true}) {
		t.Errorf("%+v, %v", a, bad)
	}
	for name, tt := range map[string]struct {
		key, value, code string
	}{
		"implicit":            {"response_type", "token", UnsupportedResponse},
		"hybrid":              {"response_type", "code token", UnsupportedResponse},
		"nothing":             {"response_type", "", InvalidRequest},
		"fragment":            {"response_mode", "fragment", InvalidRequest},
		"form":                {"response_mode", "form_post", InvalidRequest},
		"request object":      {"request", "x", InvalidRequest},
		"request to fetch":    {"request_uri", "http://127.0.0.1/", InvalidRequest},
		"no PKCE":             {"code_challenge", "", InvalidRequest},
		"plain":               {"code_challenge_method", "plain", InvalidRequest},
		"plain by saying nil": {"code_challenge_method", "", InvalidRequest},
		"short challenge":     {"code_challenge", challenge[1:], InvalidRequest},
		"odd challenge":       {"code_challenge", challenge[1:] + "=", InvalidRequest},
		"scope":               {"scope", "all", InvalidScope},
		"long state":          {"state", strings.Repeat("x", maxState+1), InvalidRequest},
		"odd state":           {"state", "\u00e9", InvalidRequest},
	} {
		v := good()
		v.Set(tt.key, tt.value)
		p, bad := ParseParams(v.Encode())
		if bad != nil {
			t.Fatal(bad)
		}
		if a, bad := p.Authorization(); bad == nil || bad.Code != tt.code {
			t.Errorf("%s: %+v, %v", name, a, bad)
		}
	}
	// Without a state the verifier holds the two ends together.
	v := good()
	v.Del("state")
	p, _ = ParseParams(v.Encode())
	if a, bad := p.Authorization(); bad != nil || a.State != "" {
		t.Errorf("without state: %+v, %v", a, bad)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	if !Verify(verifier, challenge) {
		t.Error("RFC 7636, appendix B")
	}
	sum := sha256.Sum256([]byte("short"))
	for _, tt := range [][2]string{
		{"", challenge}, {challenge, challenge}, {verifier[1:], challenge}, {verifier + "x", challenge}, {verifier, ""},
		{"short", base64.RawURLEncoding.EncodeToString(sum[:])},
	} {
		if Verify(tt[0], tt[1]) {
			t.Errorf("%q", tt)
		}
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	const issuer = "https://mx.example.org"
	for want, a := range map[string]Answer{
		"https://localhost?code=c&iss=https%3A%2F%2Fmx.example.org&state=a%26b": {Redirect: "https://localhost", State: "a&b", Code: "c"},
		"https://a.example/?x=1&code=c&iss=https%3A%2F%2Fmx.example.org":        {Redirect: "https://a.example/?x=1", Code: "c"},
		"com.example:/d?error=access_denied&error_description=no&iss=https%3A%2F%2Fmx.example.org&state=s": {
			Redirect: "com.example:/d", State: "s", Error: &Error{AccessDenied, "no"}, Code: "never"},
	} {
		a.Issuer = issuer
		if got := a.URL(); got != want {
			t.Errorf("%s", got)
		}
	}
	for in, want := range map[string]string{"http://127.0.0.1:80/x": "http://127.0.0.1:80", "com.example.app:/x": "com.example.app:", "https://a.example/?x": "https://a.example", "%": ""} {
		if got := Origin(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestTokenRequest(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"grant_type=authorization_code&client_id=c&code=x&redirect_uri=r&code_verifier=v":            "",
		"grant_type=refresh_token&client_id=c&refresh_token=x&scope=mail.send":                       "",
		"grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=c&device_code=x":          "",
		"grant_type=refresh_token&client_id=c&refresh_token=x&client_secret=ignored&resource=either": "",
		"": InvalidRequest, "grant_type=password&username=u&password=p": UnsupportedGrant, "grant_type=client_credentials": UnsupportedGrant,
		"grant_type=refresh_token&refresh_token=x": InvalidRequest, "grant_type=refresh_token&client_id=c": InvalidRequest,
		"grant_type=authorization_code&client_id=c&code=x&redirect_uri=r": InvalidRequest, "grant_type=authorization_code&client_id=c&code=x&code_verifier=v": InvalidRequest,
		"grant_type=refresh_token&client_id=c&refresh_token=x&scope=odd":                        InvalidScope,
		"grant_type=refresh_token&client_id=c&refresh_token=" + strings.Repeat("x", maxToken+1): InvalidRequest,
	} {
		p, bad := ParseParams(in)
		if bad != nil {
			t.Fatal(bad)
		}
		r, bad := p.TokenRequest()
		if (bad == nil) != (want == "") || bad != nil && bad.Code != want {
			t.Errorf("%s: %+v, %v", in, r, bad)
		}
	}
	p, _ := ParseParams("token=t&client_id=c&token_type_hint=x")
	if token, client, bad := p.Revocation(); token != "t" || client != "c" || bad != nil {
		t.Errorf("%q, %q, %v", token, client, bad)
	}
	for _, in := range []string{"token=t", "client_id=c"} {
		p, _ := ParseParams(in)
		if _, _, bad := p.Revocation(); bad == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

func TestUserCode(t *testing.T) {
	t.Parallel()
	seen := map[UserCode]bool{}
	for range 1000 {
		c, err := NewUserCode(rand.Reader)
		if err != nil || seen[c] {
			t.Fatalf("%s, %v", c, err)
		}
		seen[c] = true
		s := c.String()
		if len(s) != 9 || s[4] != '-' || strings.ContainsAny(s, "AEIOUY0123456789") {
			t.Errorf("%q", s)
		}
		for _, typed := range []string{s, strings.ToLower(s), string(c), " " + s[:2] + " " + s[2:] + " "} {
			if got, ok := ParseUserCode(typed); !ok || got != c {
				t.Errorf("%q: %q, %v", typed, got, ok)
			}
		}
	}
	for _, s := range []string{"", "BCDF-GHJ", "BCDF-GHJKL", "BCDF-GHJA", "BCDF-GHJ1", "\u017f\u017f\u017f\u017f\u017f\u017f\u017f\u017f", strings.Repeat("-", maxLetters) + "BCDFGHJK"} {
		if c, ok := ParseUserCode(s); ok {
			t.Errorf("%q was taken as %q", s, c)
		}
	}
	if _, err := NewUserCode(bytes.NewReader([]byte{255, 255, 1})); err == nil {
		t.Error("a code of too little randomness")
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	var m map[string]any
	if err := json.Unmarshal(Metadata("https://mx.example.org:8443"), &m); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"issuer": "https://mx.example.org:8443", "token_endpoint": "https://mx.example.org:8443/oauth/token",
		"authorization_endpoint": "https://mx.example.org:8443/oauth/authorize",
	} {
		if m[key] != want {
			t.Errorf("%s: %v", key, m[key])
		}
	}
	if m["authorization_response_iss_parameter_supported"] != true {
		t.Error("RFC 9207, section 3")
	}
}

// FuzzForm: whatever is sent to the token endpoint becomes a request whose
// parts are bounded, or an error in ASCII.
func FuzzForm(f *testing.F) {
	f.Add("grant_type=authorization_code&client_id=c&code=x&redirect_uri=http://127.0.0.1:1/&code_verifier=v")
	f.Add("grant_type=refresh_token&client_id=c&refresh_token=x&scope=mail.send")
	f.Add("grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=c&device_code=x&a=%ff")
	f.Add("a=1&a=2;b")
	f.Add(good().Encode())
	f.Fuzz(func(t *testing.T, raw string) {
		p, bad := ParseParams(raw)
		if bad == nil {
			var r TokenRequest
			if r, bad = p.TokenRequest(); bad == nil && (r.Client == "" || r.Secret == "" || len(r.Secret) > maxToken || !text(r.Secret+r.Client+r.Redirect)) {
				t.Errorf("%q became %+v", raw, r)
			}
			if a, wrong := p.Authorization(); wrong == nil && (len(a.Challenge) != 43 || len(a.State) > maxState || !only(a.State, printable)) {
				t.Errorf("%q became %+v", raw, a)
			}
		}
		if bad != nil && (bad.Code == "" || !only(bad.Text, printable)) {
			t.Errorf("%q: %v", raw, bad)
		}
	})
}

// FuzzRedirect: what matches a redirect to the client's own machine leads
// there, as the standard library reads it.
func FuzzRedirect(f *testing.F) {
	for _, s := range []string{"http://127.0.0.1:80/done", "http://127.0.0.1/done#", "http://127.0.0.1:80@evil/done", "http://127.0.0.1:99999/done", "https://localhost", "http://[::1]:1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		for registered, host := range map[string]string{"http://127.0.0.1/done": "127.0.0.1", "http://[::1]": "::1", "http://localhost": "localhost"} {
			if !Matches(registered, asked) {
				continue
			}
			u, err := url.Parse(asked)
			if err != nil || u.Scheme != "http" || u.Hostname() != host || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
				t.Errorf("%q matches %q", asked, registered)
			}
		}
		if CheckRedirect(asked) == nil && !Matches(asked, asked) {
			t.Errorf("%q may be registered and does not match", asked)
		}
		ParseUserCode(asked)
	})
}

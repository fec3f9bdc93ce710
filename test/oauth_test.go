package test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// visitor is somebody's browser, or a program that speaks HTTP: it finds the
// server by its name and takes its self-signed certificate.
type visitor struct {
	t    *testing.T
	at   string
	http *http.Client
}

func (s *server) visit() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", s.ip+":443")
		},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &visitor{s.t, "https://" + s.host, &http.Client{
		Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// page is what came back.
type page struct {
	status int
	to     *url.URL // of a redirect
	body   string
}

// ask gets a page, or posts a form that is not nil, as from a page of ours.
func (v *visitor) ask(path string, form url.Values) page {
	v.t.Helper()
	method, body := "GET", ""
	if form != nil {
		method, body = "POST", form.Encode()
	}
	r, err := http.NewRequest(method, v.at+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", v.at)
	}
	w, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	to, _ := url.Parse(w.Header.Get("Location"))
	return page{w.StatusCode, to, string(b)}
}

// signIn signs the browser in.
func (v *visitor) signIn(account string) {
	v.t.Helper()
	if p := v.ask("/sign-in", url.Values{"login": {account}, "password": {password}, "code": {""}}); p.status != http.StatusSeeOther {
		v.t.Fatalf("%d %s", p.status, p.body)
	}
}

// tokens are what a program got, or why not.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
	Error   string `json:"error"`
}

func (v *visitor) token(form url.Values) (t tokens) {
	v.t.Helper()
	p := v.ask("/oauth/token", form)
	if err := json.Unmarshal([]byte(p.body), &t); err != nil || (p.status == http.StatusOK) != (t.Error == "") {
		v.t.Fatalf("%d %s", p.status, p.body)
	}
	return t
}

const (
	grantVerifier = "a-verifier-that-is-long-enough-for-everybody-here"
	grantRedirect = "http://127.0.0.1:49152/"
)

// allow has a program ask with a browser that is signed in, allows it and
// returns what the program got.
func (v *visitor) allow(account, scope string) tokens {
	v.t.Helper()
	sum := sha256.Sum256([]byte(grantVerifier))
	ask := "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {"thunderbird"}, "redirect_uri": {grantRedirect}, "scope": {scope}, "state": {"a state"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
	if p := v.ask(ask, nil); p.status != http.StatusOK || !strings.Contains(p.body, "calls itself <strong>Thunderbird</strong>") {
		v.t.Fatalf("%d %v %s", p.status, p.to, p.body)
	}
	p := v.ask(ask, url.Values{"account": {account}, "answer": {"allow"}})
	q := p.to.Query()
	if p.status != http.StatusSeeOther || !strings.HasPrefix(p.to.String(), grantRedirect+"?") || q.Get("state") != "a state" || q.Get("iss") != v.at {
		v.t.Fatalf("%d %s %s", p.status, p.to, p.body)
	}
	return v.token(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"thunderbird"}, "code": {q.Get("code")}, "redirect_uri": {grantRedirect}, "code_verifier": {grantVerifier},
	})
}

func (v *visitor) refresh(token string) tokens {
	v.t.Helper()
	return v.token(url.Values{"grant_type": {"refresh_token"}, "client_id": {"thunderbird"}, "refresh_token": {token}})
}

// bearer is what a client says that shows a token.
func bearer(account, token string) string {
	return base64.StdEncoding.EncodeToString([]byte("n,a=" + account + ",\x01auth=Bearer " + token + "\x01\x01"))
}

// oauthServer starts a server that gives out tokens.
func oauthServer(t *testing.T, domain string) *server {
	t.Helper()
	s := install(t, domain, "[oauth]\nenabled = true\n")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), "https = []", fmt.Sprintf("https = [%q]", s.ip+":443"), 1)
	if err := os.WriteFile(s.config, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve()
	return s
}

// curlBearer sends a message with a token, which curl reads from a file.
func (s *server) curlBearer(mechanism, token, subject string) (string, error) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "curlrc")
	if err := os.WriteFile(file, []byte(fmt.Sprintf("oauth2-bearer = %q\nuser = %q\n", token, s.address()+":")), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return try("Subject: "+subject+"\r\nFrom: "+s.address()+"\r\n\r\nhello\r\n",
		"curl", "--silent", "--show-error", "--insecure", "-K", file, "--login-options", "AUTH="+mechanism, "--url", "smtps://"+s.ip+":465",
		"--mail-from", s.address(), "--mail-rcpt", s.address(), "--upload-file", "-")
}

// A program without a browser shows a code, which its owner types into a page;
// then it sends with a token, by any client that can, until the token is taken
// away, which ends its session at once.
func TestOAuthDevice(t *testing.T) {
	t.Parallel()
	need(t, "curl", "msmtp", "python3")
	s := oauthServer(t, "oauth.test")
	program, browser := s.visit(), s.visit()
	var m struct {
		Device string `json:"device_authorization_endpoint"`
	}
	if err := json.Unmarshal([]byte(program.ask("/.well-known/oauth-authorization-server", nil).body), &m); err != nil || m.Device != program.at+"/oauth/device" {
		t.Fatalf("%+v, %v", m, err)
	}
	var d struct {
		DeviceCode string `json:"device_code"`
		UserCode   string `json:"user_code"`
		Page       string `json:"verification_uri"`
	}
	p := program.ask("/oauth/device", url.Values{"client_id": {"mail-program"}, "scope": {"mail.send"}})
	if err := json.Unmarshal([]byte(p.body), &d); err != nil || d.Page != program.at+"/device" {
		t.Fatalf("%d %s", p.status, p.body)
	}
	browser.signIn(s.address())
	if p := browser.ask("/device", nil); p.status != 200 || !strings.Contains(p.body, "Type no code that somebody sent") {
		t.Errorf("%d %s", p.status, p.body)
	}
	if p := browser.ask("/device", url.Values{"code": {d.UserCode}}); p.status != 200 || !strings.Contains(p.body, "send mail in the name of "+s.address()) {
		t.Errorf("%d %s", p.status, p.body)
	}
	if p := browser.ask("/device", url.Values{"code": {d.UserCode}, "account": {s.address()}, "answer": {"allow"}}); p.status != 200 || !strings.Contains(p.body, "Allowed") {
		t.Errorf("%d %s", p.status, p.body)
	}
	got := program.token(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"mail-program"}, "device_code": {d.DeviceCode}})
	if got.Error != "" || got.Scope != "mail.send" {
		t.Fatalf("%+v", got)
	}

	for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
		if out, err := s.curlBearer(mechanism, got.Access, "curl "+mechanism); err != nil {
			t.Errorf("curl, %s: %v, %s", mechanism, err, out)
		}
		s.arrives(s.address(), "curl "+mechanism)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(got.Access+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"oauthbearer", "xoauth2"} {
		s.msmtp(t, "auth "+mechanism+"\nuser "+s.address()+"\npasswordeval \"cat "+file+"\"", "msmtp "+mechanism)
	}
	run(t, got.Access, "python3", "-c", `
import smtplib, ssl, sys
ip, user = sys.argv[1:]
token = sys.stdin.read()
c = smtplib.SMTP_SSL(ip, 465, context=ssl._create_unverified_context())
c.ehlo()
c.auth("XOAUTH2", lambda challenge=None: f"user={user}\x01auth=Bearer {token}\x01\x01" if challenge is None else "")
c.sendmail(user, [user], f"Subject: python\r\nFrom: {user}\r\n\r\nhello\r\n")
c.quit()
`, s.ip, s.address())
	s.arrives(s.address(), "python")

	var list []struct {
		ID             int64
		Program, Scope string
	}
	s.json(&list, "account", "grant", "list", s.address())
	if len(list) != 1 || list[0].Program != "a mail program" || list[0].Scope != "mail.send" {
		t.Fatalf("%+v", list)
	}
	await(t, func() string {
		if out := s.gatepost("activity", s.address()); !strings.Contains(out, "with its token a mail program (OAUTHBEARER)") || strings.Contains(out, got.Access) {
			return out
		}
		return ""
	})
	idle := s.with(t, careless, "OAUTHBEARER "+bearer(s.address(), got.Access), "235")
	other := s.signIn(t, s.address())
	s.gatepost("account", "grant", "revoke", s.address(), strconv.FormatInt(list[0].ID, 10))
	idle.ended(time.Now())
	other.say("NOOP", "250")
	refused := s.with(t, careless, "OAUTHBEARER "+bearer(s.address(), got.Access), "334 ")
	refused.say("AQ==", "535 5.7.8 authentication credentials invalid")
	if out, err := s.curlBearer("OAUTHBEARER", got.Access, "after"); err == nil {
		t.Errorf("curl after it was taken away: %s", out)
	}
	if mail := s.alerted(s.address(), "A program was allowed to use your mail"); !strings.Contains(mail, "a mail program") {
		t.Error(mail)
	}
}

// With a browser: only a registered redirect gets anything, and a refresh token
// that is used a second time ends everything.
func TestOAuthCode(t *testing.T) {
	t.Parallel()
	s := oauthServer(t, "oauthcode.test")
	browser := s.visit()
	sum := sha256.Sum256([]byte(grantVerifier))
	v := url.Values{
		"response_type": {"code"}, "client_id": {"thunderbird"}, "redirect_uri": {grantRedirect}, "scope": {"mail.send"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	p := browser.ask("/oauth/authorize?"+v.Encode(), nil)
	if p.status != http.StatusSeeOther || p.to.Path != "/sign-in" {
		t.Fatalf("nobody: %d %s", p.status, p.to)
	}
	// After signing in the browser is back where it was.
	next := p.to.Query().Get("next")
	p = browser.ask("/sign-in", url.Values{"login": {s.address()}, "password": {password}, "code": {""}, "next": {next}})
	if p.status != http.StatusSeeOther || p.to.String() != next || !strings.HasPrefix(next, "/oauth/authorize?") {
		t.Fatalf("%d %s, not %s", p.status, p.to, next)
	}
	p = browser.ask(next, nil)
	if form := regexp.MustCompile(`action="(/oauth/authorize[^"]*)"`).FindString(p.body); p.status != 200 || form == "" {
		t.Errorf("%d %s", p.status, p.body)
	}
	for _, evil := range []string{"https://evil.example/", "http://127.0.0.1:1@evil.example/", "http://127.0.0.1.evil.example/"} {
		v.Set("redirect_uri", evil)
		if p := browser.ask("/oauth/authorize?"+v.Encode(), url.Values{"account": {s.address()}, "answer": {"allow"}}); p.status != http.StatusBadRequest || p.to.String() != "" {
			t.Errorf("%s: %d %s", evil, p.status, p.to)
		}
	}

	reader := browser.allow(s.address(), "mail.read")
	s.with(t, careless, "OAUTHBEARER "+bearer(s.address(), reader.Access), "334 ").say("AQ==", "535")
	first := browser.allow(s.address(), "mail.send")
	s.account("henry@oauthcode.test")
	s.with(t, careless, "OAUTHBEARER "+bearer("henry@oauthcode.test", first.Access), "334 ").say("AQ==", "535")
	idle := s.with(t, careless, "OAUTHBEARER "+bearer(s.address(), first.Access), "235")
	second := browser.refresh(first.Refresh)
	if second.Error != "" {
		t.Fatalf("%+v", second)
	}
	idle.say("NOOP", "250")
	if stolen := browser.refresh(first.Refresh); stolen.Error != "invalid_grant" {
		t.Errorf("%+v", stolen)
	}
	idle.ended(time.Now())
	s.with(t, careless, "OAUTHBEARER "+bearer(s.address(), second.Access), "334 ").say("AQ==", "535")
	if got := browser.refresh(second.Refresh); got.Error != "invalid_grant" {
		t.Errorf("%+v", got)
	}
	s.alerted(s.address(), "A program lost its access to your mail: its key was copied")

	// Programs that an operator makes known, and takes away.
	out := s.gatepost("oauth", "client", "add", "Our app", "--id", "app", "--redirect", "https://app.example/done")
	if !strings.Contains(out, "Its client id is app") {
		t.Error(out)
	}
	v.Set("client_id", "app")
	v.Set("redirect_uri", "https://app.example/done")
	if p := browser.ask("/oauth/authorize?"+v.Encode(), nil); p.status != 200 || !strings.Contains(p.body, "The answer goes to <strong>app.example</strong>") {
		t.Errorf("%d %s", p.status, p.body)
	}
	s.gatepost("oauth", "client", "remove", "app")
	if p := browser.ask("/oauth/authorize?"+v.Encode(), nil); p.status != http.StatusBadRequest {
		t.Errorf("%d %s", p.status, p.body)
	}
	log := s.log.String()
	for _, secret := range []string{first.Access, first.Refresh, second.Refresh, grantVerifier} {
		if strings.Contains(log, secret) {
			t.Errorf("a secret is in the log:\n%s", log)
		}
	}
}

package test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hooked is a program that alerts are posted to, and that may be down.
type hooked struct {
	t      *testing.T
	key    []byte
	server *httptest.Server
	addr   string

	mu     sync.Mutex
	seen   []string // by id, in their order
	alerts map[string][]string
	forged int
}

func newHooked(t *testing.T) *hooked {
	h := &hooked{t: t, key: []byte("0123456789abcdef0123456789abcdef"), alerts: map[string][]string{}}
	h.up()
	t.Cleanup(func() { h.server.Close() })
	return h
}

// up starts it, at the address that it had if it had one.
func (h *hooked) up() {
	h.t.Helper()
	h.server = httptest.NewUnstartedServer(h)
	if h.addr != "" {
		ln, err := net.Listen("tcp", h.addr)
		if err != nil {
			h.t.Fatal(err)
		}
		h.server.Listener.Close()
		h.server.Listener = ln
	}
	h.server.StartTLS()
	h.addr = h.server.Listener.Addr().String()
}

// config returns the lines of [tls] and [alerts] that lead to it.
func (h *hooked) config(dir string) string {
	h.t.Helper()
	roots, secret := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "hook.secret")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.server.Certificate().Raw})
	for path, content := range map[string][]byte{roots: cert, secret: []byte("whsec_" + base64.StdEncoding.EncodeToString(h.key) + "\n")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	return fmt.Sprintf("roots = %q\n[alerts]\nwebhook = \"https://%s/alerts\"\nwebhook_secret_file = %q\n", roots, h.addr, secret)
}

func (h *hooked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, h.key)
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	var p struct {
		Type string
		Data struct{ Account, Alert, Title, Text string }
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if json.Unmarshal(body, &p) != nil || r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) ||
		p.Data.Title == "" || p.Type != "alert."+p.Data.Alert || strings.Contains(string(body), "/lock/") {
		h.forged++
		return
	}
	if id := r.Header.Get("webhook-id"); !slices.Contains(h.seen, id) {
		h.seen = append(h.seen, id)
		h.alerts[p.Data.Account] = append(h.alerts[p.Data.Account], p.Data.Alert)
	}
}

// told returns the kinds of alerts of an account.
func (h *hooked) told(account string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.forged > 0 {
		h.t.Errorf("%d posts are not as they should be", h.forged)
	}
	return strings.Join(h.alerts[account], " ")
}

// secure opens the door of https beside the others.
func (s *server) secure() {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err == nil {
		err = os.WriteFile(s.config, []byte(strings.Replace(string(text), "https = []", fmt.Sprintf("https = [\"%s:443\"]", s.ip), 1)), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// web asks for a page of the server's own name.
func (s *server) web(method, url string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("User-Agent", "Mozilla/5.0 (test)")
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		Dial:              func(string, string) (net.Conn, error) { return net.Dial("tcp", s.ip+":443") },
	}}
	answer, err := c.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// frozen reports whether an account is.
func (s *server) frozen(account string) bool {
	s.t.Helper()
	var a struct{ Frozen bool }
	s.json(&a, "account", "show", account)
	return a.Frozen
}

// Somebody signs in as anna from another network. She is told, in her mailbox
// and by webhook; what fetches the link in the alert changes nothing; the
// button freezes her account, by which what was sent stays here, over a kill
// too, and what is sent to her still arrives; and released, it leaves.
func TestLockFromAlert(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	var open atomic.Bool
	peer := newPeer(t, func(command string) string {
		if strings.HasPrefix(command, "RCPT") && !open.Load() {
			return "451 4.7.1 not now"
		}
		return ""
	})
	hook := newHooked(t)
	s := install(t, "lock.test", "")
	s.configure(hook.config(s.dir) + "[remote]\nprivate = [\"127.0.0.0/8\"]\n" + peer.route("sink.test"))
	s.secure()
	s.serve()
	anna := s.address()
	swaks := func(from string, args ...string) error {
		_, err := try("", "swaks", append([]string{"--server", s.ip, "--local-interface", from, "--ehlo", "laptop.test", "--hide-all"}, args...)...)
		return err
	}
	sign := []string{"--port", "465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", anna, "--auth-password", password}
	if err := swaks("127.0.0.1", append(sign, "--from", anna, "--to", "bob@sink.test", "--header", "Subject: by whom")...); err != nil {
		t.Fatal(err, s.log)
	}
	began := time.Now()
	if err := swaks("127.77.0.1", append(sign, "--quit-after", "AUTH")...); err != nil {
		t.Fatal(err, s.log)
	}
	const moved, locked = "A sign-in to your mail from a new network", "Your mail account was locked"
	got := s.alerted(anna, moved)
	at := strings.Index(got, "https://"+s.host+"/lock/")
	if at < 0 {
		t.Fatalf("there is no link in\n%s", got)
	}
	link, _, _ := strings.Cut(got[at:], "\r\n")
	awaitFor(t, time.Minute, func() string {
		if hook.told(anna) == "new-network" {
			return ""
		}
		return hook.told(anna) + "\n" + s.log.String()
	})
	t.Logf("told by mail and webhook %s after it happened", time.Since(began).Round(time.Second/10))

	for _, method := range []string{"GET", "HEAD", "GET"} {
		if code, page := s.web(method, link); code != 200 || method == "GET" && !strings.Contains(page, anna) {
			t.Errorf("%s: %d %s", method, code, page)
		}
	}
	for _, other := range []string{link + "x", "https://" + s.host + "/lock/", "https://" + s.host + "/lock/" + strings.Repeat("A", 43)} {
		for _, method := range []string{"GET", "POST"} {
			if code, page := s.web(method, other); code != 404 || strings.Contains(page, anna) {
				t.Errorf("%s %s: %d %s", method, other, code, page)
			}
		}
	}
	if s.frozen(anna) {
		t.Fatal("who fetched the link froze the account")
	}

	session := s.with(t, careless, "PLAIN "+plain(anna, password), "235")
	hook.server.Close() // what now happens it hears of later
	for range 2 {
		if code, page := s.web("POST", link); code != 200 || !strings.Contains(page, "was locked through this link") {
			t.Errorf("%d %s", code, page)
		}
	}
	session.ended(time.Now())
	if !s.frozen(anna) || swaks("127.0.0.1", append(sign, "--quit-after", "AUTH")...) == nil {
		t.Error("it is not frozen")
	}
	s.alerted(anna, locked)
	held := func() {
		t.Helper()
		s.gatepost("queue", "retry", "all")
		list := s.queue("--held")
		if len(list) != 1 || !list[0].Held || !strings.Contains(list[0].Recipients[0].Reason, "its account is frozen") {
			t.Errorf("held: %+v", list)
		}
	}
	held()
	open.Store(true)
	s.kill()
	hook.up()
	s.serve()
	held()
	if err := swaks("127.0.0.1", "--port", "25", "--from", "bob@sink.test", "--to", anna, "--header", "Subject: still arrives"); err != nil {
		t.Error(err)
	}
	s.arrives(anna, "still arrives")
	if n := len(peer.deliveries()); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if out := s.gatepost("account", "release", anna); !strings.Contains(out, "Released "+anna+". 1 message that it sent may leave now.") {
		t.Error(out)
	}
	if got := peer.gets(t, 1); !strings.Contains(got[0].data, "Subject: by whom") {
		t.Errorf("%+v", got)
	}
	if code, _ := s.web("POST", link); code != 200 || s.frozen(anna) {
		t.Errorf("%d; a link that was used locks again, after the release", code)
	}
	awaitFor(t, time.Minute, func() string {
		all := strings.Fields(hook.told(anna))
		slices.Sort(all)
		if slices.Equal(all, []string{"frozen", "new-device", "new-network", "released"}) { // the device is the session's
			return ""
		}
		return hook.told(anna) + "\n" + s.log.String()
	})

	for _, e := range s.activity(anna) {
		switch {
		case e.Kind == "frozen" && (e.Protocol != "web" || e.Address != "127.0.0.1" || e.Client != "Mozilla/5.0 (test)" || !strings.Contains(e.Sentence, "through the link in an alert")),
			e.Kind == "released" && (e.Operator == "" || !strings.Contains(e.Sentence, "by an operator of this server (user ")):
			t.Errorf("%+v", e)
		}
	}
	for _, secret := range []string{strings.TrimPrefix(link, "https://"+s.host+"/lock/"), base64.StdEncoding.EncodeToString(hook.key)} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("the log holds a secret")
		}
	}
	if list := s.deep(); len(list) > 0 {
		t.Errorf("a deep check finds %q", list)
	}
}

package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// event is what gatepost activity tells of one.
type event struct {
	Count                                                                    int64
	Kind, Outcome, Account, Address, Protocol, Client, Mechanism, Credential string
	TLS                                                                      string `json:"tls"`
	KeyExchange                                                              string `json:"key_exchange"`
	Detail, Sentence, Operator                                               string
}

// activity asks for events.
func (s *server) activity(args ...string) (list []event) {
	s.t.Helper()
	s.json(&list, append([]string{"activity"}, args...)...)
	return list
}

// brief writes events so that they can be compared.
func brief(list []event) (texts []string) {
	for _, e := range list {
		texts = append(texts, strings.Join([]string{e.Kind, e.Outcome, e.Account, e.Detail}, "|"))
	}
	return texts
}

// What real clients do, what somebody guesses and what an operator changes
// can be reviewed: at once, without the server, and after a restore.
func TestActivity(t *testing.T) {
	t.Parallel()
	need(t, "curl", "swaks")
	s := start(t, "activity.test", "")
	anna, ben := s.address(), "ben@activity.test"
	curl(t, s, "465", "by curl")
	s.account(ben)
	guess := func(who, word string) {
		if out, err := try("", "swaks", "--server", s.ip, "--port", "587", "--tls", "--auth", "LOGIN", "--quit-after", "AUTH", "--ehlo", "guess.test",
			"--auth-user", who, "--auth-password", word); err == nil {
			t.Errorf("signed in as %s:\n%s", who, out)
		}
	}
	guess(anna, "wr0ng-secret")
	guess(anna, "an0ther-secret")
	guess("typ0-secret", password)
	guess("nobody@activity.test", password)
	run(t, "correct horse battery 2\n", binary, "account", "password", ben, "--password-stdin", "--config", s.config)
	s.gatepost("alias", "add", "info@activity.test", ben, "elsewhere@example.net")
	s.gatepost("account", "freeze", ben)
	s.gatepost("mailbox", "export", anna, filepath.Join(t.TempDir(), "anna.mbox"))

	want := []string{
		"account-added|done|" + anna + "|admin",
		"sign-in|done|" + anna + "|",
		"account-added|done|" + ben + "|user",
		"sign-in|refused|" + anna + "|wrong password",
		"sign-in|refused||there is no such account",
		"password|done|" + ben + "|",
		"alias-set|done||info@activity.test to " + ben + ", elsewhere@example.net",
		"forwarding|done|" + ben + "|info@activity.test to elsewhere@example.net",
		"frozen|done|" + ben + "|",
		"export|done|" + anna + "|",
	}
	list := s.activity()
	got := brief(list)
	slices.Sort(got) // what happened within a second has no order
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range list {
		switch {
		case e.Kind != "sign-in" && (e.Protocol != "command" || !strings.HasPrefix(e.Operator, "user ") || e.Address != "" || e.Count != 1):
			t.Errorf("%+v", e)
		case e.Kind == "sign-in" && e.Outcome == "done" &&
			(e.Address != "127.0.0.1" || e.Protocol != "smtp" || e.Client == "" || e.TLS != "TLS 1.3" || e.KeyExchange == "" || e.Credential != "password" || e.Mechanism == ""):
			t.Errorf("%+v", e)
		case e.Outcome == "refused" && (e.Count != 2 || e.Account == "" && (e.Address != "127.0.0.0/24" || e.Client != "")):
			t.Errorf("%+v", e)
		}
	}
	text := s.gatepost("activity")
	for _, e := range list {
		if !strings.Contains(text, " UTC  "+e.Sentence+"\n") {
			t.Errorf("%q is not in\n%s", e.Sentence, text)
		}
	}
	for _, secret := range []string{"secret", password} {
		if strings.Contains(text, secret) || strings.Contains(s.log.String(), secret) {
			t.Errorf("%q can be read", secret)
		}
	}
	if got := brief(s.activity(ben, "--kind", "forwarding")); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if got := s.activity(anna, "--failed", "--since", "1h"); len(got) != 1 || got[0].Count != 2 {
		t.Errorf("%+v", got)
	}

	// What was told of is kept, also of what is done without a server.
	dir := t.TempDir()
	var made struct{ File string }
	s.json(&made, "backup", dir)
	s.kill()
	s.gatepost("account", "release", ben)
	want = append(want, "backup|done||")
	n := s.restored(t, made.File)
	got = brief(n.activity("--since", "all"))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("restored: %q", got)
	}
	if list := n.deep(); len(list) > 0 {
		t.Errorf("a deep check finds %q", list)
	}
	if got := brief(s.activity("--kind", "released")); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// Wrong questions are answered as such.
func TestActivityUsage(t *testing.T) {
	t.Parallel()
	s := install(t, "askactivity.test", "")
	for want, args := range map[string][]string{
		`there is no kind "dance"`:         {"--kind", "dance"},
		`"yesterday" is neither`:           {"--since", "yesterday"},
		`"not an address" is not an addre`: {"not an address"},
		"There is nothing.":                {"nobody@askactivity.test"},
	} {
		out, err := try("", binary, append([]string{"activity", "--config", s.config}, args...)...)
		if (err == nil) != (want == "There is nothing.") || !strings.Contains(out, want) {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}

// alerted waits, a minute at most, for an alert in a mailbox and returns it.
func (s *server) alerted(account, subject string) string {
	s.t.Helper()
	var found int64
	awaitFor(s.t, time.Minute, func() string {
		for _, m := range s.inbox(account) {
			if m.Subject == subject {
				found = m.ID
				return ""
			}
		}
		return fmt.Sprintf("no alert %q to %s\n%s", subject, account, s.log)
	})
	return s.content(account, found)
}

// Within a minute the owner is told of a sign-in that is not usual, and of
// what is changed: in the mailbox, and at another server. What is usual is
// told to nobody.
func TestAlerts(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	var mu sync.Mutex
	elsewhere := map[string]bool{}
	peer := newPeer(t, nil)
	peer.sink = func(d delivery) {
		mu.Lock()
		defer mu.Unlock()
		for line := range strings.Lines(d.data) {
			if subject, ok := strings.CutPrefix(line, "Subject: "); ok {
				elsewhere[strings.TrimSpace(subject)] = true
			}
		}
	}
	s := start(t, "alerts.test", peer.route("sink.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	anna := s.address()
	s.gatepost("account", "set", anna, "--recovery", "anna@sink.test")
	if out := s.gatepost("account", "show", anna); !strings.Contains(out, "anna@sink.test") {
		t.Errorf("account show does not know:\n%s", out)
	}
	signIn := func(ehlo string) {
		run(t, "", "swaks", "--server", s.ip, "--port", "465", "--tls-on-connect", "--auth", "PLAIN", "--quit-after", "AUTH", "--ehlo", ehlo,
			"--auth-user", anna, "--auth-password", password)
	}
	signIn("laptop.fritz.box")
	signIn("laptop.lan")
	signIn("burglar.test")
	run(t, password+" 2\n", binary, "account", "password", anna, "--password-stdin", "--config", s.config)
	s.gatepost("alias", "add", "info@alerts.test", anna, "burglar@example.net")

	const device, changed, forwarded, recovery = "A sign-in to your mail with a new device or program",
		"The password of your mail was changed", "Your mail now also goes elsewhere", "Where alerts about your mail go was changed"
	got := s.alerted(anna, device)
	for _, want := range []string{"From: Gatepost <postmaster@alerts.test>", "To: <" + anna + ">", `"burglar.test"`, "127.0.0.1", "Was it you?", "gatepost account freeze " + anna} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "anna@sink.test") {
		t.Errorf("it tells whoever reads the mailbox where else it went:\n%s", got)
	}
	for _, subject := range []string{changed, forwarded, recovery} {
		s.alerted(anna, subject)
	}
	await(t, func() string {
		mu.Lock()
		defer mu.Unlock()
		for _, subject := range []string{device, changed, forwarded, recovery} {
			if !elsewhere[subject] {
				return fmt.Sprintf("%q is not there, of %v\n%s", subject, elsewhere, s.log)
			}
		}
		return ""
	})
	if list := s.inbox(anna); len(list) != 4 {
		t.Errorf("%d messages: %+v", len(list), list)
	}
	if list := s.deep(); len(list) > 0 {
		t.Errorf("a deep check finds %q", list)
	}
	if out, err := try("", binary, "account", "set", anna, "--recovery", anna, "--config", s.config); err == nil {
		t.Errorf("its own recovery address:\n%s", out)
	}
}

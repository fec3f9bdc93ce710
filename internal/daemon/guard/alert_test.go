package guard

import (
	"context"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/hook"
	"gatepost/internal/lock"
	"gatepost/internal/store"
)

const lockURL = "https://mx.example.org/lock/"

// linked is a post whose alerts have links and a webhook that is down.
func linked(t *testing.T) (p *post, froze *[]string) {
	t.Helper()
	p, froze = newPost(t), &[]string{}
	p.Set(Settings{Kept: 1 << 50, LockURL: lockURL})
	p.Hooks.Set(AlertHook, hook.Broken(errors.New("down")))
	who := func(id int64) (addr.Address, error) {
		if id != 1 {
			return addr.Address{}, account.ErrUnknown
		}
		return addr.MustParse(anna), nil
	}
	p.AddressOf = func(_ context.Context, id int64) (addr.Address, error) { return who(id) }
	p.Lock = func(ctx context.Context, id int64, why string) (addr.Address, error) {
		a, err := who(id)
		if err == nil {
			*froze = append(*froze, why)
			err = p.note(ctx, &activity.Event{Kind: activity.Frozen, Owner: id, Account: anna, Detail: why})
		}
		return a, err
	}
	return p, froze
}

// rows returns one column of a table.
func (p *post) rows(query string) (list []string) {
	p.t.Helper()
	err := p.o.Store.View(p.t.Context(), func(tx *store.Tx) error {
		return tx.Texts(query, func(a, _ string) { list = append(list, a) })
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// An alert has a link and is queued for the webhook, once each; the link
// freezes, which is told with whose browser it was, to the operator too, and
// without a link.
func TestLinkAndHook(t *testing.T) {
	t.Parallel()
	p, froze := linked(t)
	p.full = true
	p.change(activity.Recovery, "anna@example.net")
	if err := p.tell(t.Context()); err == nil {
		t.Error("it is told although nothing takes it")
	}
	count := func() (links, events int) {
		return len(p.rows(`SELECT 'x', 'x' FROM lock_link`)), len(p.rows(`SELECT 'x', 'x' FROM hook`))
	}
	if links, events := count(); links+events != 0 {
		t.Errorf("%d links, %d events of what was not told", links, events)
	}
	p.full = false
	for range 2 {
		if err := p.tell(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if links, events := count(); links != 1 || events != 1 || len(p.text) != 1 {
		t.Fatalf("%d links, %d events, %d mails", links, events, len(p.text))
	}
	_, after, found := strings.Cut(p.text[0], lockURL)
	token, _, _ := strings.Cut(after, "\r\n")
	if !found || strings.Count(p.text[0], "://") != 1 || !strings.Contains(p.text[0], "The one link in this message") {
		t.Fatalf("%s", p.text[0])
	}
	page := p.LockPage(func(w http.ResponseWriter, _ *http.Request, status int, _ string, content template.HTML) {
		w.WriteHeader(status)
		io.WriteString(w, string(content))
	})
	for _, method := range []string{"GET", "HEAD", "POST", "POST"} {
		r := httptest.NewRequest(method, lock.Path+token, nil)
		r.Header.Set("User-Agent", "Browser")
		w := httptest.NewRecorder()
		if page.ServeHTTP(w, r); w.Code != 200 || len(*froze) != strings.Count(method, "POST") {
			t.Errorf("%s: %d, %q", method, w.Code, *froze)
		}
	}
	if err := p.tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := p.submitted()
	if len(got) != 2 || got[1] != " to anna@example.org postmaster@example.org" {
		t.Errorf("%q", got)
	}
	for _, want := range []string{"was frozen, through the link in an alert, from 192.0.2.1", `as "Browser"`, "gatepost account release anna@example.org", "no link in this message"} {
		if !strings.Contains(strings.Join(strings.Fields(p.text[1]), " "), want) {
			t.Errorf("%q is not in\n%s", want, p.text[1])
		}
	}
	for _, body := range p.rows(`SELECT body, kind FROM hook ORDER BY id`) {
		if strings.Contains(body, token) || !strings.Contains(body, `"account":"anna@example.org"`) {
			t.Errorf("%s", body)
		}
	}
	if kinds := strings.Join(p.rows(`SELECT kind, kind FROM hook ORDER BY id`), " "); kinds != "alert.recovery alert.frozen" {
		t.Error(kinds)
	}
}

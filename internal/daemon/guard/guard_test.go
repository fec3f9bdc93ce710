package guard

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/control"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

const anna = "anna@example.org"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// post is a Guard and what it submits.
type post struct {
	*Guard
	t     *testing.T
	clock *clock.Fake

	mu   sync.Mutex
	sent []envelope.Envelope
	text []string
	full bool // the queue takes nothing
}

func newPost(t *testing.T) *post {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	p := &post{t: t, clock: clock.NewFake(start)}
	p.Guard = New(Options{Store: db, Clock: p.clock, Log: quiet, Random: rand.Reader, Hostname: "mx.example.org"})
	p.Set(Settings{Kept: 180 * 24 * time.Hour})
	p.Account = func(_ context.Context, a addr.Address) (account.Account, error) {
		if a.String() == anna {
			return account.Account{ID: 1, Address: a}, nil
		}
		return account.Account{}, errors.New("there is no such account")
	}
	p.Submit = func(_ context.Context, e *envelope.Envelope, write func(io.Writer) error) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.full {
			return errors.New("full")
		}
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		p.sent, p.text = append(p.sent, *e), append(p.text, b.String())
		return nil
	}
	return p
}

// change notes a change of anna's.
func (p *post) change(kind activity.Kind, detail string) {
	p.t.Helper()
	if err := p.note(p.t.Context(), &activity.Event{Kind: kind, Owner: 1, Account: anna, Detail: detail}); err != nil {
		p.t.Fatal(err)
	}
}

// submitted returns to whom alerts went.
func (p *post) submitted() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.sent {
		var to []string
		for _, r := range e.Recipients {
			to = append(to, r.To.String())
		}
		list = append(list, e.From.String()+" to "+strings.Join(to, " "))
	}
	return list
}

// Alerts are sent once, a failure later, and within a minute.
func TestTend(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		p.Tend(ctx)
		close(ended)
	}()
	resting := func() { // until each chore waits for its next time
		for p.clock.Pending() != 4 { // with the webhook
		}
	}
	resting()
	p.full = true
	p.change(activity.Recovery, "anna@example.net")
	p.clock.Advance(alertEvery)
	resting()
	if got := p.submitted(); got != nil {
		t.Errorf("%q", got)
	}
	p.mu.Lock()
	p.full = false
	p.mu.Unlock()
	for range 3 {
		p.clock.Advance(alertEvery)
		resting()
	}
	if got := p.submitted(); !slices.Equal(got, []string{" to anna@example.org anna@example.net"}) {
		t.Errorf("%q", got)
	}
	if strings.Contains(p.text[0], "To: <anna@example.net>") || p.Alerts.Load() != 1 || alertEvery+time.Second > time.Minute/2 {
		t.Errorf("%s", p.text[0])
	}
	cancel()
	<-ended
}

// ask carries out a verb and returns the items.
func (p *post) ask(verb string, args any, next control.Handler) (items []string, err error) {
	p.t.Helper()
	return p.askAs(p.t.Context(), verb, args, next)
}

// askAs is ask by somebody.
func (p *post) askAs(ctx context.Context, verb string, args any, next control.Handler) (items []string, err error) {
	p.t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		p.t.Fatal(err)
	}
	err = p.Handle(next)(ctx, verb, raw, func(item any, _ io.Reader) error {
		b, err := json.Marshal(item)
		items = append(items, string(b))
		return err
	})
	return items, err
}

// What copies mail out is noted before it does; the rest is handed on.
func TestHandle(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	var asked []string
	next := func(_ context.Context, verb string, _ json.RawMessage, _ control.Emit) error {
		asked = append(asked, verb)
		return errors.New(verb + " was asked")
	}
	for _, verb := range []string{"mailbox.export", "backup", "queue.list"} {
		if _, err := p.ask(verb, control.Name{Name: anna}, next); err == nil || err.Error() != verb+" was asked" {
			t.Errorf("%s: %v", verb, err)
		}
	}
	p.ask("mailbox.export", control.Name{Name: "nobody@example.org"}, next)
	p.ask("mailbox.export", control.Name{Name: "no address"}, next)
	if len(asked) != 5 {
		t.Errorf("%q", asked)
	}
	got, err := p.ask("activity", Asked{}, next)
	if err != nil || len(got) != 2 || !strings.Contains(got[0], `"kind":"export"`) || !strings.Contains(got[1], `"kind":"backup"`) || len(asked) != 5 {
		t.Errorf("%q, %v", got, err)
	}
	p.askAs(control.By(t.Context(), 4711<<10), "backup", control.None{}, next)
	if got, err := p.ask("activity", Asked{}, next); err != nil || len(got) != 3 || !strings.Contains(got[2], `"operator":"uid 4824064"`) || strings.Contains(got[1], "operator") {
		t.Errorf("%q, %v", got, err)
	}
	for _, a := range []Asked{{Account: "Anna@Example.org"}, {Kind: "export"}, {Account: anna, Kind: "export", Since: start}} {
		if got, err := p.ask("activity", a, next); err != nil || len(got) != 1 {
			t.Errorf("%+v: %q, %v", a, got, err)
		}
	}
	for want, args := range map[string]any{
		`there is no kind "dance"`: Asked{Kind: "dance"}, `"x" is not an address`: Asked{Account: "x"}, "does not understand": map[string]int{"dance": 1},
	} {
		if _, err := p.ask("activity", args, next); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", args, err)
		}
	}
}

// That nobody knows where clients are keeps nobody out.
func TestPlaces(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.Set(Settings{Kept: time.Hour, Places: []string{filepath.Join(t.TempDir(), "none")}})
	p.Book.Tried(&activity.Event{Client: activity.Client{Protocol: activity.SMTP, Address: netip.MustParseAddr("192.0.2.1")}, Outcome: activity.Refused, Detail: "x"})
	if got, err := p.ask("activity", Asked{Failed: true}, nil); err != nil || len(got) != 1 || !strings.Contains(got[0], "192.0.2.0/24") {
		t.Errorf("%q, %v", got, err)
	}
	p.clock.Advance(2 * time.Hour)
	if err := p.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.ask("activity", Asked{}, nil); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// The mail says what happened and what to do, in lines of a decent length,
// and nothing that a stranger wrote can do harm in it.
func TestLetter(t *testing.T) {
	t.Parallel()
	evil := "\x1b[2J\u202e\r\nSubject: forged\r\n\r\n" + strings.Repeat("x", 150)
	for kind := range subjects {
		e := activity.Event{
			Kind: activity.SignIn, Outcome: activity.Done, Owner: 1, Account: anna, Times: 1, Last: start,
			Client: activity.Client{Protocol: activity.SMTP, Address: netip.MustParseAddr("192.0.2.1"), Name: evil},
		}
		a := activity.Alert{Kind: kind, Event: e, Detail: "the country (before: DE), the network", Last: true}
		l := &letter{&a, addr.MustParse("postmaster@example.org"), addr.MustParse(anna), "<x@mx.example.org>", start, ""}
		var b bytes.Buffer
		if err := l.write(&b); err != nil {
			t.Fatal(err)
		}
		header, body, _ := strings.Cut(b.String(), "\r\n\r\n")
		for _, want := range []string{"From: Gatepost <postmaster@example.org>", "To: <anna@example.org>", "Subject: " + subject(kind), "Auto-Submitted: auto-generated"} {
			if !strings.Contains(header, want) {
				t.Errorf("%s: %q is not in\n%s", kind, want, header)
			}
		}
		remedy := "account freeze anna@example.org"
		if kind == activity.AccountFrozen {
			remedy = "account release anna@example.org"
		}
		for _, want := range []string{"Sunday, 1 March 2026, at 12:00 UTC", `\x1b[2J\u202e\r\nSubject:`, remedy, "many such messages today", "Gatepost never asks"} {
			if !strings.Contains(strings.Join(strings.Fields(body), " "), want) {
				t.Errorf("%s: %q is not in\n%s", kind, want, body)
			}
		}
		if strings.ContainsAny(b.String(), "\x1b\u202e") || strings.Contains(strings.ReplaceAll(b.String(), "\r\n", ""), "\n") {
			t.Errorf("%s:\n%q", kind, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if n := len(strings.TrimSuffix(line, "\r\n")); n > maxColumn && strings.Count(strings.TrimSpace(line), " ") > 0 {
				t.Errorf("%s: %d octets: %s", kind, n, line)
			}
		}
		if len(l.meaning()) == 0 {
			t.Errorf("%s has no meaning", kind)
		}
	}
}

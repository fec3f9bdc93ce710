package grant

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatepost/internal/oauth"
)

func TestClients(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	c, err := b.AddClient(t.Context(), Client{Name: "Our webmail", Redirects: []string{"https://webmail.example/done", "com.example.app:/done"}})
	if err != nil || len(c.ID) != 16 {
		t.Fatalf("%+v, %v", c, err)
	}
	got, err := b.Client(t.Context(), c.ID)
	if err != nil || got.Name != c.Name || len(got.Redirects) != 2 || got.Created != c.Created || got.BuiltIn {
		t.Errorf("%+v, %v", got, err)
	}
	if !got.Redirect("https://webmail.example/done") || got.Redirect("https://webmail.example/") {
		t.Error("redirects")
	}
	if _, err := b.AddClient(t.Context(), Client{ID: "k9", Name: "K-9"}); err != nil { // for devices alone
		t.Error(err)
	}
	for name, c := range map[string]Client{
		"there already": {ID: "k9", Name: "x"}, "comes along": {ID: "thunderbird", Name: "x"}, "no name": {}, "name": {Name: "a\u202eb"},
		"long name": {Name: strings.Repeat("x", maxName+1)}, "id": {ID: "a b", Name: "x"}, "long id": {ID: strings.Repeat("x", maxID+1), Name: "x"},
		"redirect": {Name: "x", Redirects: []string{"javascript:alert(1)"}}, "redirects": {Name: "x", Redirects: make([]string, maxRedirects+1)},
	} {
		if _, err := b.AddClient(t.Context(), c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if list, err := b.Clients(t.Context()); err != nil || len(list) != len(builtIn)+2 {
		t.Errorf("%+v, %v", list, err)
	}
	for i := range maxClients - 2 {
		if _, err := b.AddClient(t.Context(), Client{ID: fmt.Sprint(i), Name: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.AddClient(t.Context(), Client{Name: "x"}); err == nil {
		t.Error("one more than may be")
	}
}

// With a program go its grants.
func TestRemoveClient(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	c, err := b.AddClient(t.Context(), Client{ID: "app", Name: "App", Redirects: []string{"https://app.example/done"}})
	if err != nil {
		t.Fatal(err)
	}
	code, err := b.NewCode(henry, c, "https://app.example/done", oauth.Authorization{Challenge: challenge(), Scope: both}, browser)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := b.Redeem(t.Context(), oauth.TokenRequest{Client: "app", Secret: code, Redirect: "https://app.example/done", Verifier: verifier}, browser)
	if err != nil {
		t.Fatal(err)
	}
	other := b.tokens(henry)
	if err := b.RemoveClient(t.Context(), "app", browser); err != nil {
		t.Fatal(err)
	}
	if b.good(tokens.Access) || !b.good(other.Access) || len(b.ended) != 1 {
		t.Errorf("ended %v", b.ended)
	}
	if _, err := b.Client(t.Context(), "app"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	for _, id := range []string{"app", "thunderbird"} {
		if err := b.RemoveClient(t.Context(), id, browser); err == nil {
			t.Errorf("%s was removed", id)
		}
	}
}

// Those that come along can only lead to the machine of whoever consents.
func TestBuiltIn(t *testing.T) {
	t.Parallel()
	for _, c := range builtIn {
		for _, r := range c.Redirects {
			if err := oauth.CheckRedirect(r); err != nil {
				t.Errorf("%s: %v", r, err)
			}
			host := strings.TrimPrefix(strings.TrimPrefix(r, "https://"), "http://")
			if host, _, _ = strings.Cut(host, "/"); host != "127.0.0.1" && host != "[::1]" && host != "localhost" {
				t.Errorf("%s leads to %s", c.ID, r)
			}
		}
	}
}

// A code that somebody allowed to a program which is removed meanwhile gets
// nothing.
func TestRemovedClientGetsNothing(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	c, err := b.AddClient(t.Context(), Client{ID: "webmail", Name: "Webmail", Redirects: []string{"https://webmail.example.org/done"}})
	if err != nil {
		t.Fatal(err)
	}
	code, err := b.NewCode(henry, c, c.Redirects[0], oauth.Authorization{Challenge: challenge(), Scope: both}, browser)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.RemoveClient(t.Context(), c.ID, browser); err != nil {
		t.Fatal(err)
	}
	r := oauth.TokenRequest{Grant: oauth.CodeGrant, Client: c.ID, Secret: code, Redirect: c.Redirects[0], Verifier: verifier}
	if _, err := b.Redeem(t.Context(), r, browser); !is(err, oauth.InvalidGrant) || b.count("oauth_grant") != 0 {
		t.Errorf("%v, %d grants", err, b.count("oauth_grant"))
	}
}

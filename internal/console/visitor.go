package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"gatepost/internal/account"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/session"
)

// visitor is whoever asks, signed in.
type visitor struct {
	session *session.Session
	account account.Account
	fresh   bool // password and factor were shown a moment ago
}

type visitorKey struct{}

// visitor returns who is signed in with the browser, session.ErrNone if
// nobody is.
func (c *Console) visitor(r *http.Request) (*visitor, error) {
	if v, ok := r.Context().Value(visitorKey{}).(*visitor); ok {
		return v, nil
	}
	cookie, err := r.Cookie(browser.Cookie)
	if err != nil {
		return nil, session.ErrNone
	}
	s, err := c.sessions.Find(r.Context(), cookie.Value)
	if err != nil {
		return nil, err
	}
	a, err := c.o.Directory.Account(r.Context(), s.Name)
	switch {
	case err != nil:
		return nil, err
	case a.ID != s.Account || a.Frozen:
		return nil, session.ErrNone
	}
	return &visitor{session: s, account: a, fresh: s.Fresh(c.o.Clock.Now())}, nil
}

// signed lets through whoever is signed in, and sends others to sign in, and
// whoever owes a second factor to add one.
func (c *Console) signed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := c.visitor(r)
		switch {
		case errors.Is(err, session.ErrNone):
			http.Redirect(w, r, c.SignInURL(back(r)), http.StatusSeeOther)
		case err != nil:
			c.failed(w, r, err)
		case c.o.Directory.Owes(v.account) && !toEnrol[section(r.URL.Path)]:
			http.Redirect(w, r, "/factors", http.StatusSeeOther)
		default:
			h(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, v)))
		}
	}
}

// toEnrol are the pages that somebody needs who owes a second factor.
var toEnrol = map[string]bool{"factors": true, "confirm": true}

// back returns the page to come back to after signing in: the one that was
// asked for, or the one with the form that was sent.
func back(r *http.Request) string {
	if r.Method == http.MethodGet {
		return r.URL.RequestURI()
	}
	return "/" + section(r.URL.Path)
}

// who returns who asks, in what stands behind signed.
func who(r *http.Request) *visitor { return r.Context().Value(visitorKey{}).(*visitor) }

// fresh lets through whoever showed a moment ago who he is, and sends others
// to show it. What they typed comes back with them, but for secrets: keep
// names the fields.
func (c *Console) fresh(h http.HandlerFunc, keep ...string) http.HandlerFunc {
	return c.signed(func(w http.ResponseWriter, r *http.Request) {
		if who(r).fresh {
			h(w, r)
			return
		}
		next, typed := "/"+section(r.URL.Path), url.Values{}
		for _, name := range keep {
			if s := r.PostFormValue(name); s != "" && len(s) <= maxKept {
				typed.Set(name, s)
			}
		}
		if len(typed) > 0 {
			next += "?" + typed.Encode()
		}
		http.Redirect(w, r, c.ConfirmURL(next), http.StatusSeeOther)
	})
}

// maxKept bounds what is kept of a field, in octets.
const maxKept = 300

// enter gives a browser a session.
func (c *Console) enter(w http.ResponseWriter, r *http.Request, account int64) error {
	before := ""
	if cookie, err := r.Cookie(browser.Cookie); err == nil {
		before = cookie.Value
	}
	token, err := c.sessions.Begin(r.Context(), account, browser.Client(r), before)
	if err == nil {
		browser.Give(w, token, session.Life)
	}
	return err
}

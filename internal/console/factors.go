package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"gatepost/internal/account"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/page"
)

// factorsView is the page of second factors.
type factorsView struct {
	Done, Problem string
	Fresh, Owes   bool
	ConfirmURL    string
	Factors       account.Factors
	Name          string // typed for a passkey
}

func (c *Console) factorsPage(w http.ResponseWriter, r *http.Request) {
	c.factors(w, r, http.StatusOK, "")
}

func (c *Console) factors(w http.ResponseWriter, r *http.Request, status int, problem string) {
	v := who(r)
	all, err := c.o.Directory.Factors(r.Context(), v.account.Address)
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.show(w, r, status, "Second factors", "factors", factorsView{
		Done: page.Done(r.FormValue("done")), Problem: problem, Fresh: v.fresh, Owes: c.o.Directory.Owes(v.account), ConfirmURL: c.ConfirmURL("/factors"),
		Factors: all, Name: r.FormValue("name"),
	})
}

// appView is the page that sets up an app.
type appView struct {
	Problem, Name string
	Secret        string // to be typed
	URI           string // to be shown
	State         string
}

func (c *Console) startApp(w http.ResponseWriter, r *http.Request) {
	s, err := c.o.Directory.TOTPStart(r.Context(), who(r).account.Address)
	if err != nil {
		c.declined(w, r, err, func(words string) { c.factors(w, r, http.StatusUnprocessableEntity, words) })
		return
	}
	c.show(w, r, http.StatusOK, "Add an app", "app", appView{Secret: s.Secret, URI: s.URI, State: s.State, Name: "App"})
}

func (c *Console) confirmApp(w http.ResponseWriter, r *http.Request) {
	name, state := r.PostFormValue("name"), r.PostFormValue("state")
	codes, err := c.o.Directory.TOTPConfirm(c.by(r), who(r).account.Address, state, name, r.PostFormValue("code"), browser.Client(r))
	if err != nil {
		c.declined(w, r, err, func(words string) {
			v := appView{Problem: words, Name: name, URI: appURI(r.PostFormValue("uri")), State: state}
			if u, err := url.Parse(v.URI); err == nil {
				v.Secret = u.Query().Get("secret")
			}
			c.show(w, r, http.StatusUnprocessableEntity, "Add an app", "app", v)
		})
		return
	}
	c.added(w, r, codes)
}

// appURI returns the URI of an app that came back with its form, so that the
// code can be drawn again.
func appURI(s string) string {
	if len(s) <= maxURI && strings.HasPrefix(s, "otpauth://totp/") {
		return s
	}
	return ""
}

// maxURI bounds what is drawn as a QR code, in octets.
const maxURI = 1000

func (c *Console) addPasskey(w http.ResponseWriter, r *http.Request) {
	codes, err := c.o.Directory.PasskeyConfirm(c.by(r), who(r).account.Address, r.PostFormValue("state"), r.PostFormValue("name"), []byte(r.PostFormValue("response")), browser.Client(r))
	if err != nil {
		c.declined(w, r, err, func(words string) { c.factors(w, r, http.StatusUnprocessableEntity, words) })
		return
	}
	c.added(w, r, codes)
}

// added goes on after a factor was added: with recovery codes if it was the
// first.
func (c *Console) added(w http.ResponseWriter, r *http.Request, codes []string) {
	r, err := c.again(w, r)
	switch {
	case err != nil:
		c.failed(w, r, err)
	case len(codes) > 0:
		c.show(w, r, http.StatusOK, "Recovery codes", "codes", codes)
	default:
		http.Redirect(w, r, "/factors?done=factor-added", http.StatusSeeOther)
	}
}

// again gives the browser a session anew whose own doing ended all of the
// account, and returns the request as who it is now.
func (c *Console) again(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	v := *who(r)
	a, err := c.o.Directory.Account(r.Context(), v.account.Address)
	if err != nil {
		return r, err
	}
	v.account = a
	return r.WithContext(context.WithValue(r.Context(), visitorKey{}, &v)), c.enter(w, r, a.ID)
}

func (c *Console) newCodes(w http.ResponseWriter, r *http.Request) {
	codes, err := c.o.Directory.RecoveryCodes(c.by(r), who(r).account.Address, browser.Client(r))
	if err != nil {
		c.declined(w, r, err, func(words string) { c.factors(w, r, http.StatusUnprocessableEntity, words) })
		return
	}
	c.show(w, r, http.StatusOK, "Recovery codes", "codes", codes)
}

func (c *Console) removeFactor(w http.ResponseWriter, r *http.Request) {
	err := c.o.Directory.RemoveFactor(c.by(r), who(r).account.Address, number(r), browser.Client(r))
	if err != nil {
		c.declined(w, r, err, func(words string) { c.factors(w, r, http.StatusUnprocessableEntity, words) })
		return
	}
	if r, err := c.again(w, r); err != nil {
		c.failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/factors?done=factor-removed", http.StatusSeeOther)
}

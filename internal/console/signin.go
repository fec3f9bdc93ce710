package console

import (
	"errors"
	"net/http"

	"gatepost/internal/console/browser"
	"gatepost/internal/console/next"
	"gatepost/internal/console/page"
	"gatepost/internal/console/session"
	"gatepost/internal/envelope"
)

// Words for whoever is not let in. They are the same whatever was wrong.
const (
	wordsRefused = "That did not match. Check the address, the password and the code, and try again."
	wordsLater   = "There were too many attempts just now. Wait a little, and try again."
)

// refusal returns status and words for a sign-in that failed. A password that
// was right and has run out is the one thing that is told apart: whoever has
// it hears that at every door.
func (c *Console) refusal(r *http.Request, err error) (status int, words string) {
	var e *envelope.Error
	switch {
	case !errors.As(err, &e):
		c.o.Log.Error("a sign-in could not be decided", "path", r.Pattern, "error", err)
		return http.StatusServiceUnavailable, "Something failed on our side. Try again later."
	case e.Code/100 == 4:
		return http.StatusTooManyRequests, wordsLater
	case e.Text != refused:
		return http.StatusForbidden, page.Sentence(errors.New(e.Text))
	}
	return http.StatusForbidden, wordsRefused
}

// refused is what account says of a sign-in that failed.
const refused = "authentication credentials invalid"

// entry is the page that signs people in.
type entry struct {
	Login, Next, Problem, Done string
}

func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) {
	to := next.Own(r.FormValue("next"))
	if v, err := c.visitor(r); err == nil {
		if c.o.Directory.Owes(v.account) { // to others' pages nobody is signed in who does: they would lead back here
			to = "/factors"
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	c.show(w, r, http.StatusOK, "Sign in", "sign-in", entry{Next: to, Done: page.Done(r.FormValue("done"))})
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	login, to := r.PostFormValue("login"), next.Own(r.PostFormValue("next"))
	a, err := c.o.Directory.SignIn(r.Context(), login, r.PostFormValue("password"), r.PostFormValue("code"), browser.Client(r))
	if err != nil {
		status, words := c.refusal(r, err)
		c.show(w, r, status, "Sign in", "sign-in", entry{Login: login, Next: to, Problem: words})
		return
	}
	if err := c.enter(w, r, a.ID); err != nil {
		c.failed(w, r, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if err := c.leave(w, r); err != nil {
		c.failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/sign-in?done=signed-out", http.StatusSeeOther)
}

// leave ends the session of a browser, if it has one.
func (c *Console) leave(w http.ResponseWriter, r *http.Request) error {
	browser.Take(w)
	v, err := c.visitor(r)
	if err == nil {
		err = c.sessions.End(r.Context(), v.account.ID, v.session.ID)
	}
	if errors.Is(err, session.ErrNone) {
		return nil
	}
	return err
}

// question is the page that asks who it is once more.
type question struct {
	Account, Next, Problem string
}

func (c *Console) confirmPage(w http.ResponseWriter, r *http.Request) {
	c.show(w, r, http.StatusOK, "Is it you?", "confirm", question{Account: who(r).account.Address.Unicode(), Next: next.Own(r.FormValue("next"))})
}

func (c *Console) confirm(w http.ResponseWriter, r *http.Request) {
	v, to := who(r), next.Own(r.PostFormValue("next"))
	a, err := c.o.Directory.SignIn(r.Context(), v.account.Address.Unicode(), r.PostFormValue("password"), r.PostFormValue("code"), browser.Client(r))
	if err == nil {
		err = c.stepUp(w, r, a.ID)
	}
	if err != nil {
		status, words := c.refusal(r, err)
		c.show(w, r, status, "Is it you?", "confirm", question{Account: v.account.Address.Unicode(), Next: to, Problem: words})
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// stepUp makes the session of a visitor fresh, under another token. What was
// shown must be the same account's: another's passkey may lie in the same
// drawer.
func (c *Console) stepUp(w http.ResponseWriter, r *http.Request, shown int64) error {
	v := who(r)
	if shown != v.account.ID {
		return envelope.Refuse(535, "5.7.8", refused)
	}
	token, err := c.sessions.Confirm(r.Context(), v.session)
	if err == nil {
		browser.Give(w, token, session.Life)
	}
	return err
}

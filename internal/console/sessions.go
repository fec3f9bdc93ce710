package console

import (
	"errors"
	"net/http"
	"strconv"

	"gatepost/internal/console/browser"
	"gatepost/internal/console/page"
	"gatepost/internal/console/session"
)

// seen is a session as it is listed.
type seen struct {
	*session.Session
	Browser string
	Current bool
}

// browsers returns the sessions of whoever asks.
func (c *Console) browsers(r *http.Request) ([]seen, error) {
	v := who(r)
	all, err := c.sessions.List(r.Context(), v.account.ID)
	list := make([]seen, len(all))
	for i, s := range all {
		list[i] = seen{s, browser.Name(s.Client), s.ID == v.session.ID}
	}
	return list, err
}

func (c *Console) sessionsPage(w http.ResponseWriter, r *http.Request) {
	list, err := c.browsers(r)
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, "Sessions", "sessions", struct {
		Done     string
		Sessions []seen
	}{page.Done(r.FormValue("done")), list})
}

func (c *Console) endSession(w http.ResponseWriter, r *http.Request) {
	err := c.sessions.End(r.Context(), who(r).account.ID, number(r))
	if err != nil && !errors.Is(err, session.ErrNone) { // it may have ended meanwhile
		c.failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/sessions?done=session-ended", http.StatusSeeOther)
}

func (c *Console) endOthers(w http.ResponseWriter, r *http.Request) {
	v := who(r)
	if err := c.sessions.EndOthers(r.Context(), v.account.ID, v.session.ID); err != nil {
		c.failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/sessions?done=others-ended", http.StatusSeeOther)
}

// number returns the id in a path, 0 if it is none, which nothing has.
func number(r *http.Request) int64 {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

package console

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"gatepost/internal/console/session"
)

// browser is a session as it is listed.
type browser struct {
	*session.Session
	Browser string
	Current bool
}

// browsers returns the sessions of whoever asks.
func (c *Console) browsers(r *http.Request) ([]browser, error) {
	v := who(r)
	all, err := c.sessions.List(r.Context(), v.account.ID)
	list := make([]browser, len(all))
	for i, s := range all {
		list[i] = browser{s, browserName(s.Client), s.ID == v.session.ID}
	}
	return list, err
}

// browserName makes of what a browser calls itself what people call it. It is
// a stranger's word either way.
func browserName(agent string) string {
	name, system := "", ""
	for _, n := range [][2]string{{"Firefox/", "Firefox"}, {"Edg/", "Edge"}, {"OPR/", "Opera"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"}} {
		if strings.Contains(agent, n[0]) {
			name = n[1]
			break
		}
	}
	for _, n := range [][2]string{{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS", "macOS"}, {"Linux", "Linux"}} {
		if strings.Contains(agent, n[0]) {
			system = n[1]
			break
		}
	}
	switch {
	case name != "" && system != "":
		return name + " on " + system
	case name+system != "":
		return name + system
	case agent != "":
		return agent
	}
	return "Unknown browser"
}

func (c *Console) sessionsPage(w http.ResponseWriter, r *http.Request) {
	list, err := c.browsers(r)
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, "Sessions", "sessions", struct {
		Done     string
		Sessions []browser
	}{done(r), list})
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

// done returns what a page says that was done just now. An address only names
// it: nobody can have a page of ours say what he likes.
func done(r *http.Request) string { return dones[r.URL.Query().Get("done")] }

var dones = map[string]string{
	"signed-out":    "You are signed out.",
	"session-ended": "The session was ended.",
	"others-ended":  "All other sessions were ended.",
}

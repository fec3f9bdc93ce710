package console

import (
	"errors"
	"net/http"
	"time"

	"gatepost/internal/console/api"
	"gatepost/internal/console/session"
)

// sessionView is a session in JSON.
type sessionView struct {
	ID      int64     `json:"id"`
	Browser string    `json:"browser"`
	Client  string    `json:"client"`
	Address string    `json:"address,omitempty"`
	Made    time.Time `json:"made"`
	Used    time.Time `json:"used"`
	Current bool      `json:"current"`
}

func (c *Console) apiSessions(_ http.ResponseWriter, r *http.Request) (any, error) {
	all, err := c.browsers(r)
	list := make([]sessionView, len(all))
	for i, b := range all {
		list[i] = sessionView{b.ID, b.Browser, b.Client, b.From, b.Made, b.Used, b.Current}
	}
	return list, err
}

func (c *Console) apiEndSession(_ http.ResponseWriter, r *http.Request) (any, error) {
	err := c.sessions.End(r.Context(), who(r).account.ID, number(r))
	if errors.Is(err, session.ErrNone) {
		err = api.Refuse(http.StatusNotFound, "there is no such session")
	}
	return nil, err
}

func (c *Console) apiEndOthers(_ http.ResponseWriter, r *http.Request) (any, error) {
	v := who(r)
	return nil, c.sessions.EndOthers(r.Context(), v.account.ID, v.session.ID)
}

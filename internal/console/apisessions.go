package console

import (
	"errors"
	"net/http"

	"gatepost/internal/console/api"
	"gatepost/internal/console/session"
)

func (c *Console) apiSessions(_ http.ResponseWriter, r *http.Request) (any, error) {
	all, err := c.browsers(r)
	list := make([]api.Session, len(all))
	for i, b := range all {
		list[i] = api.Session{ID: b.ID, Browser: b.Browser, Client: b.Client, Address: b.From, Made: b.Made, Used: b.Used, Current: b.Current}
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

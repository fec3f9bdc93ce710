package console

import (
	"net/http"

	"gatepost/internal/console/api"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/next"
	"gatepost/internal/console/page"
)

// SameOrigin returns why a request that changes something is not to be
// believed; see browser.SameOrigin.
func (c *Console) SameOrigin(r *http.Request) error { return browser.SameOrigin(r) }

// posted lets through what comes from a page of ours, with a form that can be
// read.
func (c *Console) posted(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := c.SameOrigin(r); err != nil {
			c.message(w, r, http.StatusForbidden, "This was not taken", page.Sentence(err), next.Home, "To the overview")
			return
		}
		if err := r.ParseForm(); err != nil {
			w.Header().Set("Connection", "close") // the rest stays unread
			c.message(w, r, api.Status(err, http.StatusBadRequest), "This was not taken", "The form is too large, or not a form.", next.Home, "To the overview")
			return
		}
		h(w, r)
	}
}

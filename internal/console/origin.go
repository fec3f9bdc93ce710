package console

import (
	"errors"
	"net/http"

	"gatepost/internal/console/next"
)

var errElsewhere = errors.New("this did not come from a page of this server")

// errSilent is of a browser that does not say where a form comes from; those
// since 2020 do.
var errSilent = errors.New("this browser does not say which page a form comes from, so it cannot be told from a forged one; use a newer browser. A program has to send the header Origin")

var crossOrigin = http.NewCrossOriginProtection()

// SameOrigin returns why a request that changes something is not to be
// believed: a browser sends it for a page of another site (CSRF), or does not
// say for which. Every browser that is safe to use says it, so there is no
// token to be stolen, guessed or forgotten in a form.
func (c *Console) SameOrigin(r *http.Request) error {
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return errSilent
	}
	if err := crossOrigin.Check(r); err != nil {
		return errElsewhere
	}
	return nil
}

// posted lets through what comes from a page of ours, with a form that can be
// read.
func (c *Console) posted(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := c.SameOrigin(r); err != nil {
			c.message(w, r, http.StatusForbidden, "This was not taken", sentence(err), next.Home, "To the overview")
			return
		}
		if err := r.ParseForm(); err != nil {
			w.Header().Set("Connection", "close") // the rest stays unread
			c.message(w, r, status(err, http.StatusBadRequest), "This was not taken", "The form is too large, or not a form.", next.Home, "To the overview")
			return
		}
		h(w, r)
	}
}

// status returns that of a body that could not be read.
func status(err error, otherwise int) int {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge
	}
	return otherwise
}

package browser

import (
	"errors"
	"net/http"
)

// ErrElsewhere is of what another site had a browser send.
var ErrElsewhere = errors.New("this did not come from a page of this server")

// ErrSilent is of a browser that does not say where a form comes from; those
// since 2020 do.
var ErrSilent = errors.New("this browser does not say which page a form comes from, so it cannot be told from a forged one; use a newer browser. A program has to send the header Origin")

var crossOrigin = http.NewCrossOriginProtection()

// SameOrigin returns why a request that changes something is not to be
// believed: a browser sends it for a page of another site (CSRF), or does not
// say for which. Every browser that is safe to use says it, so there is no
// token to be stolen, guessed or forgotten in a form.
func SameOrigin(r *http.Request) error {
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return ErrSilent
	}
	if err := crossOrigin.Check(r); err != nil {
		return ErrElsewhere
	}
	return nil
}

package browser

import (
	"net/http"
	"time"
)

// Cookie has the prefix with which a browser takes a cookie only over
// https, from this host, for all of its paths: RFC 6265bis, section 4.1.3.2.
// Neither a neighbour under the same domain nor a page in the clear can plant
// one.
const Cookie = "__Host-gatepost"

// Give gives a browser the token of its session. Strict would sign out
// whoever comes by a link in a mail, or from a program that asks for access;
// Lax sends it with links and never with another site's forms.
func Give(w http.ResponseWriter, token string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: Cookie, Value: token, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(life.Seconds()),
	})
}

// Take takes it away.
func Take(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: Cookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
}

// Package browser is what the console says to every browser, and what it
// believes of one: headers, the cookie, where a request comes from. It belongs
// to console.
package browser

import (
	"net"
	"net/http"
	"net/netip"

	"gatepost/internal/activity"
)

// Policy lets a page load only what is ours, send its forms only to us, and
// stand in nobody's frame.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Protect sets the headers of every answer.
func Protect(h http.Header) {
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Frame-Options", "DENY") // clickjacking, in browsers that do not know frame-ancestors
	h.Set("X-Content-Type-Options", "nosniff")
	// Not "no-referrer": with that, browsers say "Origin: null" of our own
	// forms, and those that say nothing else could not post them.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	// A browser heeds this only where the certificate is one that it trusts:
	// RFC 6797, section 8.1.
	h.Set("Strict-Transport-Security", "max-age=2592000")
	// What one person saw is not shown to the next by "back", or by a cache.
	h.Set("Cache-Control", "no-store")
}

// Client returns what activity tells of a browser.
func Client(r *http.Request) activity.Client {
	c := activity.Client{Protocol: activity.Web, Name: r.UserAgent()}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil {
			c.Address = ip.Unmap()
		}
	}
	if t := r.TLS; t != nil {
		c.Version, c.Cipher, c.Group = t.Version, t.CipherSuite, t.CurveID
	}
	return c
}

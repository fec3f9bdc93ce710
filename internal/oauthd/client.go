package oauthd

import (
	"net"
	"net/http"
	"net/netip"

	"gatepost/internal/activity"
)

// client returns what activity tells of whoever sends a request.
func client(r *http.Request) activity.Client {
	c := activity.Client{Protocol: activity.Web, Name: r.UserAgent()}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil {
			c.Address = ip.Unmap().WithZone("")
		}
	}
	if t := r.TLS; t != nil {
		c.Version, c.Cipher, c.Group = t.Version, t.CipherSuite, t.CurveID
	}
	return c
}

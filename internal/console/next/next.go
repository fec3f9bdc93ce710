// Package next reads where a page is to lead on to: what stands in the address
// of the page to sign in, which anybody can make. It belongs to console.
package next

import (
	"net/url"
	"strings"
)

// Home is where people land.
const Home = "/account"

// maxNext bounds an address to come back to, in octets.
const maxNext = 2048

// Own returns the address to go on to, if it is a path of ours, else
// Home. Browsers read "//host", "/\host" and what has a tab or line end in it
// as another host (open redirect), so there is nothing in it but what a path
// and a query of ours are made of.
func Own(next string) string {
	path, query, _ := strings.Cut(next, "?")
	switch {
	case len(next) > maxNext || !strings.HasPrefix(path, "/"):
	case strings.Contains(path, "//") || strings.Contains(path, "/."):
	case strings.Trim(path, letters+"/") != "" || strings.Trim(query, letters+"/?=&+:,") != "":
	default:
		if u, err := url.Parse(next); err == nil && u.Host == "" && u.Scheme == "" && u.User == nil {
			return next
		}
	}
	return Home
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%@!*"

package console

import (
	"net/url"
	"strings"
)

// home is where people land.
const home = "/account"

// maxNext bounds an address to come back to, in octets.
const maxNext = 2048

// ownPath returns the address to go on to, if it is a path of ours, else
// home. Browsers read "//host", "/\host" and what has a tab or line end in it
// as another host (open redirect), so there is nothing in it but what a path
// and a query of ours are made of.
func ownPath(next string) string {
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
	return home
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%@!*"

// with returns a path that is told where to go on to.
func with(path, next string) string {
	if next = ownPath(next); next == home {
		return path
	}
	return path + "?" + url.Values{"next": {next}}.Encode()
}

// section returns which link of the menu a path belongs to.
func section(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first
}

// sentence returns an error as a sentence.
func sentence(err error) string {
	s := err.Error()
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}

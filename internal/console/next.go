package console

import (
	"net/url"
	"strings"

	"gatepost/internal/console/next"
)

// with returns a path that is told where to go on to.
func with(path, to string) string {
	if to = next.Own(to); to == next.Home {
		return path
	}
	return path + "?" + url.Values{"next": {to}}.Encode()
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

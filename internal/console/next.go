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

package smtp

import (
	"errors"
	"strings"
	"unicode/utf8"

	"gatepost/internal/addr"
)

// pathErrors are the replies to a path that cannot be taken, which differ
// between senders and recipients only in their enhanced codes (RFC 3463,
// section 3.2).
type pathErrors struct {
	missing, syntax, noDomain, domain, tooLong, utf8 *Reply
}

// cutPath splits the path in angle brackets at the start of s from what
// follows it. A bracket inside a quoted local part does not end it.
func cutPath(s string) (path, rest string, ok bool) {
	if s == "" || s[0] != '<' {
		return "", s, false
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return s[1:i], s[i+1:], true
		}
	}
	return "", s, false
}

// parseMailbox reads the mailbox of a path, after its source route.
func (e *pathErrors) parseMailbox(path string) (addr.Address, *Reply) {
	mailbox, ok := dropRoute(path)
	if !ok {
		return addr.Address{}, e.syntax
	}
	a, err := addr.Parse(mailbox)
	switch {
	case err == nil:
		return a, nil
	case errors.Is(err, addr.ErrTooLong):
		return a, e.tooLong
	case errors.Is(err, addr.ErrNoDomain):
		return a, e.noDomain
	case errors.Is(err, addr.ErrDomain), errors.Is(err, addr.ErrDomainTooLong), errors.Is(err, addr.ErrIDNA):
		return a, e.domain
	}
	return a, e.syntax
}

// dropRoute removes a source route, "@one,@two:", which is to be read and
// ignored (RFC 5321, section 4.1.1.3 and appendix C): whether we relay is
// decided by the mailbox alone.
func dropRoute(path string) (mailbox string, ok bool) {
	for strings.HasPrefix(path, "@") {
		end := strings.IndexAny(path, ",:")
		if strings.HasPrefix(path, "@[") { // a literal of IPv6 has colons of its own
			end = strings.IndexByte(path, ']') + 1
		}
		if end <= 0 || end == len(path) {
			return "", false
		}
		if _, err := addr.ParseDomain(path[1:end]); err != nil {
			return "", false
		}
		switch {
		case path[end] == ':':
			return path[end+1:], true
		case path[end] != ',' || !strings.HasPrefix(path[end+1:], "@"):
			return "", false
		}
		path = path[end+1:]
	}
	return path, true
}

// cutKeyword removes the FROM: or TO: that begins the arguments of MAIL or
// RCPT, and one space after it, which many clients send.
func cutKeyword(args, keyword string) (string, bool) {
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(keyword)], keyword) {
		return "", false
	}
	return strings.TrimPrefix(args[len(keyword):], " "), true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Package title knows what folders and keywords of a mailbox may be called, and
// which folders it begins with. It belongs to mailbox.
package title

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Inbox is the folder that mail is delivered to: RFC 9051, section 5.1.
const Inbox = "INBOX"

// Bounds of a folder's name.
const (
	MaxName  = 255 // octets
	MaxDepth = 16  // levels, separated by '/'
)

// Bounds of keywords.
const (
	MaxKeywords = 100 // of a message
	maxKeyword  = 64  // octets
)

// Standard are the folders that every mailbox begins with and the roles of
// RFC 6154, section 2 that clients find them by.
var Standard = []struct{ Name, Role string }{
	{Inbox, "inbox"},
	{"Sent", "sent"},
	{"Drafts", "drafts"},
	{"Junk", "junk"},
	{"Trash", "trash"},
	{"Archive", "archive"},
}

// IsRole reports whether a folder can have a role; "" is none.
func IsRole(role string) bool {
	for _, f := range Standard {
		if f.Role == role {
			return true
		}
	}
	return role == ""
}

// Clean returns a name in the form that it is kept in, and whether a folder
// can have it.
func Clean(name string) (clean string, ok bool) {
	if !utf8.ValidString(name) || len(name) > MaxName {
		return "", false
	}
	levels := strings.Split(norm.NFC.String(name), "/")
	// RFC 9051, section 5.1: INBOX is written in any case, also as the
	// first level of others.
	if strings.EqualFold(levels[0], Inbox) {
		levels[0] = Inbox
	}
	if len(levels) > MaxDepth || strings.HasPrefix(levels[0], "#") {
		return "", false // '#' begins a namespace
	}
	for _, level := range levels {
		if level == "" || level == "." || level == ".." || strings.ContainsFunc(level, misleading) {
			return "", false
		}
	}
	return strings.Join(levels, "/"), true
}

// misleading tells the characters that are wildcards in LIST or would make one
// name look like another.
func misleading(r rune) bool {
	return r == '*' || r == '%' || unicode.IsControl(r) ||
		unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// Keywords reports whether these can be the keywords of a message: RFC 9051,
// section 9, flag-keyword.
func Keywords(list []string) bool {
	if len(list) > MaxKeywords {
		return false
	}
	for _, k := range list {
		bad := strings.ContainsFunc(k, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
		})
		if k == "" || len(k) > maxKeyword || bad {
			return false
		}
	}
	return true
}

package dmarc

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatepost/internal/addr"
	"gatepost/internal/message"
)

// Author is who a message shows as its author.
type Author struct {
	Domain    addr.Domain
	Addresses []addr.Address // at least one, all of that domain
	// Shown are the domains of other addresses that names and comments of
	// the field show, as in "ceo@bank.example" <x@evil.example>. Readers
	// that show names alone show these.
	Shown []addr.Domain
}

// AuthorProblem is what can be wrong with From.
type AuthorProblem uint8

// The problems.
const (
	NoFrom         AuthorProblem = iota + 1 // there is no From field
	SeveralFrom                             // there are several: readers show the first or the last
	BrokenHeader                            // a line is no field: readers see different headers
	MalformedFrom                           // From is not a list of addresses: readers see different ones
	NoAddress                               // From has no address in it: an empty group
	SeveralDomains                          // From has addresses of several domains
	LiteralAddress                          // From has an address without a domain name
)

var authorProblems = [...]string{
	NoFrom:         "there is no From field",
	SeveralFrom:    "there are several From fields",
	BrokenHeader:   "a line of the header is no field",
	MalformedFrom:  "From is not a valid list of addresses",
	NoAddress:      "From has no address in it",
	SeveralDomains: "From has addresses of several domains",
	LiteralAddress: "From has an address without a domain name",
}

// AuthorError says why a message has no author whose domain could be
// verified. What such a message shows must not be marked as verified, and
// RFC 9989, section 11.5 lets one refuse it.
type AuthorError struct {
	Problem AuthorProblem
	Cause   error // of MalformedFrom
}

func (e *AuthorError) Error() string {
	s := authorProblems[e.Problem]
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *AuthorError) Unwrap() error { return e.Cause }

// FindAuthor reads the author out of a header section: RFC 9989, section
// 5.3.1. The error is an *AuthorError. What is accepted is read alike by all
// readers, so that the domain that was verified is the one that is shown.
func FindAuthor(header []byte) (Author, error) {
	var from message.Field
	for f := range message.Fields(header) {
		switch {
		case f.Name() == "" || hasBareCR(f.Raw):
			return Author{}, &AuthorError{Problem: BrokenHeader}
		case !f.Is("From"):
		case from.Raw != nil:
			return Author{}, &AuthorError{Problem: SeveralFrom}
		default:
			from = f
		}
	}
	if from.Raw == nil {
		return Author{}, &AuthorError{Problem: NoFrom}
	}
	// A bare CR, NUL and the like within the field; "From :" too.
	if err := message.Check(from.Raw); err != nil {
		return Author{}, &AuthorError{MalformedFrom, err}
	}
	value := from.Value()
	list, err := message.Addresses(value)
	switch {
	case err != nil:
		return Author{}, &AuthorError{MalformedFrom, err}
	case len(list) == 0:
		return Author{}, &AuthorError{Problem: NoAddress}
	}
	a := Author{Domain: list[0].Domain, Addresses: list}
	for _, one := range list {
		if one.Domain != a.Domain {
			return Author{}, &AuthorError{Problem: SeveralDomains}
		}
	}
	if _, literal := a.Domain.IP(); literal {
		return Author{}, &AuthorError{Problem: LiteralAddress}
	}
	text := plain(message.Decode(value))
	a.Shown = shown(text, a.Domain)
	if message.Overrides(value) { // some readers turn it around
		a.Shown = append(a.Shown, shown(turned(text), a.Domain)...)
	}
	return a, nil
}

// hasBareCR reports whether a field holds a CR that ends no line: some
// readers end it there, and see another field behind it.
func hasBareCR(raw []byte) bool {
	return bytes.Count(raw, []byte("\r")) != bytes.Count(raw, []byte("\r\n"))
}

// plain returns a text as it looks: without characters that have no width,
// and with one kind of full stop for those that stand in domains (UTS 46).
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r):
			return -1
		case r == '\u3002' || r == '\uff0e' || r == '\uff61':
			return '.'
		}
		return r
	}, s)
}

// turned returns a text from its end to its beginning.
func turned(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

// shown returns the domains other than the author's of all that looks like an
// address in a field as people see it.
func shown(text string, author addr.Domain) []addr.Domain {
	var list []addr.Domain
	for len(list) < maxShown {
		_, rest, ok := cutAt(text)
		if !ok {
			break
		}
		text = rest
		n := strings.IndexFunc(rest, func(r rune) bool {
			return r != '.' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
		})
		if n < 0 {
			n = len(rest)
		}
		d, err := addr.ParseDomain(strings.Trim(rest[:n], ".-"))
		if err == nil && d != author && strings.Contains(string(d), ".") {
			list = append(list, d)
		}
	}
	return list
}

// cutAt cuts at the first sign that people take for an at sign: it, its wide
// and its small form.
func cutAt(s string) (before, after string, ok bool) {
	i := strings.IndexAny(s, "@\uff20\ufe6b")
	if i < 0 {
		return s, "", false
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	return s[:i], s[i+n:], true
}

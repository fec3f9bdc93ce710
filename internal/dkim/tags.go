package dkim

import (
	"encoding/base64"
	"strings"
)

// Tags is a tag-list: RFC 6376, section 3.2.
type Tags struct{ list []tag }

type tag struct{ name, value string }

// ParseTags reads a tag-list: the value of a signature field, unfolded, or a
// key record. White space around values is gone. A name that comes twice, or
// anything that is no tag, makes the whole list void.
func ParseTags(s string) (Tags, error) {
	t := Tags{list: make([]tag, 0, min(strings.Count(s, ";"), maxTags)+1)}
	for rest, more := s, true; more; {
		var spec string
		spec, rest, more = strings.Cut(rest, ";")
		if !more && trim(spec) == "" && len(t.list) > 0 {
			break // the last semicolon ends the list
		}
		name, value, ok := strings.Cut(spec, "=")
		name, value = trim(name), trim(value)
		if !ok || !tagName(name) || !tagValue(value) {
			return Tags{}, permf("not a list of tags")
		}
		if _, twice := t.Get(name); twice {
			return Tags{}, permf("tag %s= comes twice", name)
		}
		if t.list = append(t.list, tag{name, value}); len(t.list) > maxTags {
			return Tags{}, permf("more than %d tags", maxTags)
		}
	}
	return t, nil
}

// Get returns the value of a tag; names have a case.
func (t Tags) Get(name string) (value string, ok bool) {
	for i := range t.list {
		if t.list[i].name == name {
			return t.list[i].value, true
		}
	}
	return "", false
}

// Require returns the value of a tag that must be there and not be empty.
func (t Tags) Require(name string) (string, error) {
	v, ok := t.Get(name)
	if !ok || v == "" {
		return "", permf("tag %s= is missing", name)
	}
	return v, nil
}

// first returns the name of the first tag.
func (t Tags) first() string {
	if len(t.list) == 0 {
		return ""
	}
	return t.list[0].name
}

func trim(s string) string { return strings.Trim(s, " \t\r\n") }

func tagName(s string) bool {
	if s == "" || !isAlpha(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isAlpha(c) && !isDigit(c) && c != '_' {
			return false
		}
	}
	return true
}

// tagValue takes what is printable, white space within, and UTF-8 (RFC 8616,
// section 3).
func tagValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f {
			return false
		}
	}
	return true
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

var strict = base64.StdEncoding.Strict()

// decode reads base64 with white space anywhere: RFC 6376, section 2.10.
func decode(s string) ([]byte, bool) {
	if !strings.ContainsAny(s, " \t\r\n") {
		b, err := strict.DecodeString(s)
		return b, err == nil
	}
	raw := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			raw = append(raw, c)
		}
	}
	b := make([]byte, strict.DecodedLen(len(raw)))
	n, err := strict.Decode(b, raw)
	return b[:n], err == nil
}

// items splits a list at its colons, white space around items being nothing.
func items(s string) []string {
	list := strings.Split(s, ":")
	for i := range list {
		list[i] = trim(list[i])
	}
	return list
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

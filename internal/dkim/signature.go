package dkim

import (
	"strconv"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/dkim/canon"
	"gatepost/internal/message"
)

var forms = map[string]canon.Form{"simple": canon.Simple, "relaxed": canon.Relaxed}

// Signature is what a signature field says: RFC 6376, section 3.5.
type Signature struct {
	Algorithm   Algorithm
	Domain      addr.Domain // d=
	Selector    string      // s=
	Identity    string      // i=; "@" and the domain if it is not given
	HeaderCanon canon.Form
	BodyCanon   canon.Form
	Headers     []string // h=: the names of the signed fields
	BodyHash    []byte   // bh=
	Value       []byte   // b=
	Length      int64    // l=; -1 if it is not given
	Time        time.Time
	Expires     time.Time // zero: never
}

// ParseSignature reads a DKIM-Signature field.
func ParseSignature(f message.Field) (*Signature, error) {
	if len(f.Raw) > maxField {
		return nil, permf("a signature of more than %d octets", maxField)
	}
	tags, err := ParseTags(f.Value())
	if err != nil {
		return nil, err
	}
	if v, ok := tags.Get("v"); !ok || v != "1" {
		return nil, permf("not version 1")
	}
	s, err := FromTags(tags)
	if err != nil {
		return nil, err
	}
	if err := s.identity(tags); err != nil {
		return nil, err
	}
	if s.Signs("") {
		return nil, permf("h= is no list of fields")
	}
	if !s.Signs("From") { // section 5.4
		return nil, permf("From is not signed")
	}
	return s, nil
}

// FromTags reads what DKIM-Signature and ARC-Message-Signature have in
// common: RFC 6376, section 3.5; RFC 8617, section 4.1.2. That is all but v=
// and i=.
func FromTags(tags Tags) (*Signature, error) {
	s := &Signature{Length: -1}
	for _, read := range readers {
		if err := read(s, tags); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// readers read the tags in this order.
var readers = [...]func(*Signature, Tags) error{
	(*Signature).Signer, (*Signature).canon, (*Signature).headers, (*Signature).bodyHash, (*Signature).length,
	(*Signature).Times, (*Signature).query,
}

// Signer reads who signed and how: a=, b=, d= and s=.
func (s *Signature) Signer(tags Tags) error {
	a, err := tags.Require("a")
	if err != nil {
		return err
	}
	for i, name := range algorithmNames {
		if s.Algorithm = Algorithm(i); a == name {
			break
		}
		if i == len(algorithmNames)-1 {
			return permf("unknown algorithm")
		}
	}
	d, err := tags.Require("d")
	if err != nil {
		return err
	}
	if s.Domain, err = addr.ParseDomain(d); err != nil || strings.HasPrefix(d, "[") {
		return permf("d= is no domain")
	}
	if s.Selector, err = tags.Require("s"); err != nil {
		return err
	}
	if !validSelector(s.Selector) {
		return permf("s= is no selector")
	}
	b, err := tags.Require("b")
	if err != nil {
		return err
	}
	var ok bool
	if s.Value, ok = decode(b); !ok {
		return permf("b= is not base64")
	}
	return nil
}

// validSelector takes labels of letters, digits and hyphens, and underscores,
// which RFC 6376, section 3.1 has not but many have.
func validSelector(s string) bool {
	if len(s) > 200 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > addr.MaxLabel {
			return false
		}
		for _, c := range []byte(label) {
			if !isAlpha(c) && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func (s *Signature) canon(tags Tags) error {
	c, ok := tags.Get("c")
	if !ok {
		return nil // simple/simple
	}
	header, body, both := strings.Cut(c, "/")
	if s.HeaderCanon, ok = forms[header]; !ok {
		return permf("unknown canonicalization")
	}
	if both {
		if s.BodyCanon, ok = forms[body]; !ok {
			return permf("unknown canonicalization")
		}
	}
	return nil
}

// headers reads h=. It, or a name in it, may be empty here: the ARC test
// suite wants that.
func (s *Signature) headers(tags Tags) error {
	h, ok := tags.Get("h")
	if !ok {
		return permf("tag h= is missing")
	}
	if h == "" {
		return nil
	}
	s.Headers = items(h)
	if len(s.Headers) > MaxHeaders {
		return permf("more than %d signed fields", MaxHeaders)
	}
	for _, name := range s.Headers {
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return permf("h= is no list of fields")
		}
	}
	return nil
}

// Signs reports whether a field is among the signed ones.
func (s *Signature) Signs(name string) bool {
	for _, h := range s.Headers {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return false
}

func (s *Signature) bodyHash(tags Tags) error {
	bh, err := tags.Require("bh")
	if err != nil {
		return err
	}
	var ok bool
	if s.BodyHash, ok = decode(bh); !ok {
		return permf("bh= is not base64")
	}
	return nil
}

func (s *Signature) length(tags Tags) error {
	l, ok := tags.Get("l")
	if !ok {
		return nil
	}
	if s.Length, ok = number(l); !ok {
		return permf("l= is no number")
	}
	return nil
}

// Times reads t= and x=.
func (s *Signature) Times(tags Tags) error {
	for _, at := range []struct {
		name string
		to   *time.Time
	}{{"t", &s.Time}, {"x", &s.Expires}} {
		v, ok := tags.Get(at.name)
		if !ok {
			continue
		}
		n, ok := number(v)
		if !ok {
			return permf("%s= is no time", at.name)
		}
		*at.to = time.Unix(n, 0).UTC()
	}
	if !s.Time.IsZero() && !s.Expires.IsZero() && !s.Expires.After(s.Time) {
		return permf("x= is not later than t=")
	}
	return nil
}

// number reads decimal digits; a number larger than we can count is as good
// as the largest one (RFC 6376, section 3.5 has up to 76 digits).
func number(s string) (int64, bool) {
	if s == "" || len(s) > 76 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 62)
	if err != nil {
		n = 1<<61 - 1
	}
	return n, true
}

// query wants the one way to find a key that there is: section 3.5, q=.
func (s *Signature) query(tags Tags) error {
	q, ok := tags.Get("q")
	if !ok {
		return nil
	}
	for _, m := range items(q) {
		if m == "dns/txt" {
			return nil
		}
	}
	return permf("the key is not in the DNS")
}

// identity reads i=, which must be the domain or below it.
func (s *Signature) identity(tags Tags) error {
	i, ok := tags.Get("i")
	if !ok {
		s.Identity = "@" + string(s.Domain)
		return nil
	}
	d, ok := identityDomain(i)
	if !ok || !within(d, s.Domain) {
		return permf("i= is not within d=")
	}
	s.Identity = i
	return nil
}

// identityDomain returns what follows the at sign of an identity.
func identityDomain(i string) (addr.Domain, bool) {
	at := strings.LastIndexByte(i, '@')
	if at < 0 {
		return "", false
	}
	d, err := addr.ParseDomain(i[at+1:])
	return d, err == nil
}

// within reports whether a domain is another or below it.
func within(d, parent addr.Domain) bool {
	return d == parent || strings.HasSuffix(string(d), "."+string(parent))
}

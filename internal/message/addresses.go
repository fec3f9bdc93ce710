package message

import (
	"errors"
	"strings"
	"unicode/utf8"

	"gatepost/internal/addr"
)

// MaxAddresses bounds the mailboxes of one field.
const MaxAddresses = 10_000

// maxComments bounds how deep comments may be nested.
const maxComments = 50

// Errors of Addresses and Senders, beside those of package addr.
var (
	ErrAddressList      = errors.New("not a valid list of addresses")
	ErrTooManyAddresses = errors.New("too many addresses")
	ErrEncodedAddress   = errors.New("address looks like an encoded word")
	ErrSenders          = errors.New("a message needs exactly one From field, with an address in it")
)

// Senders returns the mailboxes of the From field (RFC 5322, section 3.6.2),
// for who checks that they belong to the one who sends. The section must
// pass Check and have exactly one From field, and that must be plain: of two
// fields, or of one that parsers read differently, one reader would show the
// address that was checked and another a foreign one (display spoofing). At
// least one address is returned when err is nil; each must be checked.
func Senders(header []byte) ([]addr.Address, error) {
	if err := Check(header); err != nil {
		return nil, err
	}
	from, ok := Find(header, "From")
	if !ok || Count(header, "From") > 1 {
		return nil, ErrSenders
	}
	list, err := Addresses(from.Value())
	if err == nil && len(list) == 0 { // an empty group, RFC 6854
		err = ErrSenders
	}
	return list, err
}

// Addresses returns the mailboxes of a From, Sender, Reply-To, To or Cc
// field: address-list of RFC 5322, section 3.4 with UTF-8 (RFC 6532, section
// 3.2). Groups are flattened, names and comments dropped. It is strict: of
// the obsolete syntax only dots in display names are taken, which everybody
// writes. Addresses that hold an encoded word are refused, since some readers
// decode it and show another address (RFC 2047, section 5 forbids it).
func Addresses(value string) ([]addr.Address, error) {
	if !utf8.ValidString(value) {
		return nil, addr.ErrUTF8
	}
	p := parser{rest: value}
	if err := p.list(false); err != nil {
		return nil, err
	}
	return p.found, nil
}

// parser reads an address list from left to right. Each method leaves rest
// behind what it has read.
type parser struct {
	rest  string
	found []addr.Address
}

// list reads addresses with commas between them, to the end or, within a
// group, to its semicolon.
func (p *parser) list(group bool) error {
	for {
		if err := p.address(group); err != nil {
			return err
		}
		if len(p.found) > MaxAddresses {
			return ErrTooManyAddresses
		}
		if err := p.space(); err != nil {
			return err
		}
		switch {
		case p.eat(','):
		case group && p.eat(';'):
			return nil
		case !group && p.rest == "":
			return nil
		default:
			return ErrAddressList
		}
	}
}

// address reads a mailbox or a group. Both begin with words: these turn out
// to be a local part ("@" follows), a display name ("<") or the name of a
// group (":").
func (p *parser) address(group bool) error {
	if err := p.space(); err != nil {
		return err
	}
	if p.eat('<') { // a mailbox without a display name
		return p.angle()
	}
	first, words, err := p.phrase()
	if err != nil {
		return err
	}
	switch {
	case words == 1 && p.eat('@'):
		return p.domain(first)
	case words > 0 && p.eat('<'):
		return p.angle()
	case words > 0 && !group && p.eat(':'): // a group holds no groups
		return p.group()
	}
	return ErrAddressList
}

// group reads what follows a group's colon; it may be empty.
func (p *parser) group() error {
	if err := p.space(); err != nil {
		return err
	}
	if p.eat(';') {
		return nil
	}
	return p.list(true)
}

// angle reads what follows "<". A source route (RFC 5322, section 4.4) is
// not taken: it begins with "@".
func (p *parser) angle() error {
	if err := p.space(); err != nil {
		return err
	}
	local, _, err := p.word()
	if err != nil {
		return err
	}
	if err := p.space(); err != nil {
		return err
	}
	if !p.eat('@') {
		return ErrAddressList
	}
	if err := p.domain(local); err != nil {
		return err
	}
	if !p.eat('>') {
		return ErrAddressList
	}
	return nil
}

// domain reads what follows "@" and keeps the address that local, still
// quoted if it was, makes with it.
func (p *parser) domain(local string) error {
	if err := p.space(); err != nil {
		return err
	}
	n := 0
	if strings.HasPrefix(p.rest, "[") {
		n = strings.IndexByte(p.rest, ']') + 1
	} else {
		n = atomLength(p.rest)
	}
	a, err := addr.Parse(local + "@" + p.rest[:n])
	if err != nil {
		return err
	}
	if strings.Contains(a.Local, "=?") {
		return ErrEncodedAddress
	}
	p.rest = p.rest[n:]
	p.found = append(p.found, a)
	return p.space()
}

// phrase reads the words of a display name or a local part. It returns the
// first as written and how many there are; a name may hold dots anywhere
// ("J. Doe"), which then count as words.
func (p *parser) phrase() (first string, words int, err error) {
	for {
		w, ok, err := p.word()
		switch {
		case err != nil:
			return "", 0, err
		case ok && words == 0:
			first = w
			words++
		case ok, words > 0 && p.eat('.'):
			words++
		default:
			return first, words, nil
		}
		if err := p.space(); err != nil {
			return "", 0, err
		}
	}
}

// word reads one dot-atom or quoted string, with its quotes; ok is false
// when neither comes.
func (p *parser) word() (w string, ok bool, err error) {
	n := 0
	if strings.HasPrefix(p.rest, `"`) {
		if n = quotedLength(p.rest); n == 0 {
			return "", false, ErrAddressList
		}
	} else {
		n = atomLength(p.rest)
	}
	w, p.rest = p.rest[:n], p.rest[n:]
	return w, n > 0, nil
}

// space skips white space and comments (CFWS, RFC 5322, section 3.2.2).
func (p *parser) space() error {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t")
		if !strings.HasPrefix(p.rest, "(") {
			return nil
		}
		n := commentLength(p.rest)
		if n == 0 {
			return ErrAddressList
		}
		p.rest = p.rest[n:]
	}
}

func (p *parser) eat(c byte) bool {
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// atomLength returns the length of the dot-atom at the start of s (RFC 5322,
// section 3.2.3, RFC 6532).
func atomLength(s string) int {
	n := 0
	for n < len(s) && (isAtext(s[n]) || s[n] == '.' && n > 0 && n+1 < len(s) && isAtext(s[n+1])) {
		n++
	}
	return n
}

func isAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// quotedLength returns the length of the quoted string at the start of s, 0
// when it does not end or holds a control character.
func quotedLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i++; i == len(s) || control(s[i]) {
				return 0
			}
		case control(c):
			return 0
		}
	}
	return 0
}

// commentLength is quotedLength for comments, which nest.
func commentLength(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			if depth++; depth > maxComments {
				return 0
			}
		case c == ')':
			if depth--; depth == 0 {
				return i + 1
			}
		case c == '\\':
			if i++; i == len(s) || control(s[i]) {
				return 0
			}
		case control(c):
			return 0
		}
	}
	return 0
}

func control(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

package spf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// version begins every record: RFC 7208, section 4.5.
const version = "v=spf1"

// isRecord reports whether a text is an SPF record, sound or not.
func isRecord(txt string) bool {
	n := len(version)
	return len(txt) >= n && strings.EqualFold(txt[:n], version) && (len(txt) == n || txt[n] == ' ')
}

// record is what a domain publishes.
type record struct {
	directives []directive
	redirect   string // domain-spec; empty if there is none
	exp        string // domain-spec; empty if there is none
}

// kind is the kind of a mechanism.
type kind uint8

const (
	all kind = iota
	include
	address // "a"
	mx
	ptr
	ip4
	ip6
	exists
)

var kinds = map[string]kind{
	"all": all, "include": include, "a": address, "mx": mx, "ptr": ptr, "ip4": ip4, "ip6": ip6, "exists": exists,
}

// directive is a mechanism and what to make of a match.
type directive struct {
	text    string // as written
	result  Status // of a match
	kind    kind
	domain  string       // domain-spec; empty means the current domain
	network netip.Prefix // of ip4 and ip6
	bits4   int          // of a and mx
	bits6   int
}

// asks reports whether a directive counts as a look-up: section 4.6.4.
func (d *directive) asks() bool { return d.kind != all && d.kind != ip4 && d.kind != ip6 }

// parse reads a whole record. A fault anywhere in it makes all of it void
// (section 4.6), so that nothing is decided by half a record.
func parse(txt string) (*record, error) {
	if len(txt) > maxRecord {
		return nil, fmt.Errorf("a record of %d octets", len(txt))
	}
	r := &record{}
	seen := map[string]bool{}
	for _, term := range strings.Split(txt[len(version):], " ") { // section 4.6.1: spaces alone divide
		if term == "" {
			continue
		}
		name, value, isModifier := modifier(term)
		if !isModifier {
			d, err := parseDirective(term)
			if err != nil {
				return nil, err
			}
			r.directives = append(r.directives, d)
			continue
		}
		if err := r.modify(name, value, seen); err != nil {
			return nil, fmt.Errorf("%w in %q", err, term)
		}
	}
	return r, nil
}

// modifier splits name "=" macro-string: section 4.6.1.
func modifier(term string) (name, value string, ok bool) {
	i := strings.IndexAny(term, "=:/%")
	if i < 1 || term[i] != '=' || !isAlpha(term[0]) {
		return "", "", false
	}
	for _, c := range []byte(term[:i]) {
		if !isAlnum(c) && c != '-' && c != '_' && c != '.' {
			return "", "", false
		}
	}
	return strings.ToLower(term[:i]), term[i+1:], true
}

// modify takes a modifier in.
func (r *record) modify(name, value string, seen map[string]bool) error {
	switch name {
	case "redirect", "exp":
		if seen[name] { // section 6: not more than once
			return fmt.Errorf("a second %s", name)
		}
		seen[name] = true
		if err := checkDomainSpec(value); err != nil {
			return err
		}
		if name == "redirect" {
			r.redirect = value
		} else {
			r.exp = value
		}
		return nil
	}
	return checkMacros(value) // section 6: unknown ones are ignored, if they are well-formed
}

var qualifiers = map[byte]Status{'+': Pass, '-': Fail, '~': SoftFail, '?': Neutral}

// parseDirective reads [qualifier] mechanism: section 4.6.2.
func parseDirective(term string) (directive, error) {
	d := directive{text: term, result: Pass, bits4: 32, bits6: 128}
	rest := term
	if q, ok := qualifiers[term[0]]; ok {
		d.result, rest = q, rest[1:]
	}
	n := strings.IndexAny(rest, ":/")
	if n < 0 {
		n = len(rest)
	}
	var ok bool
	if d.kind, ok = kinds[strings.ToLower(rest[:n])]; !ok {
		return d, fmt.Errorf("unknown mechanism in %q", term)
	}
	if err := d.arguments(rest[n:]); err != nil {
		return d, fmt.Errorf("%w in %q", err, term)
	}
	return d, nil
}

// arguments reads what follows the name of a mechanism: section 5.
func (d *directive) arguments(s string) error {
	switch d.kind {
	case all:
		if s != "" {
			return errArgument
		}
	case ip4, ip6:
		return d.parseNetwork(s)
	case include, exists:
		spec, ok := strings.CutPrefix(s, ":")
		if !ok {
			return errArgument
		}
		d.domain = spec
		return checkDomainSpec(spec)
	case ptr:
		return d.parseDomain(s)
	case address, mx:
		s, err := d.parseBits(s)
		if err != nil {
			return err
		}
		return d.parseDomain(s)
	}
	return nil
}

var errArgument = fmt.Errorf("malformed argument")

// parseDomain reads [":" domain-spec].
func (d *directive) parseDomain(s string) error {
	if s == "" {
		return nil
	}
	spec, ok := strings.CutPrefix(s, ":")
	if !ok {
		return errArgument
	}
	d.domain = spec
	return checkDomainSpec(spec)
}

// parseBits takes the dual-cidr-length off the end: section 5.6. A slash may
// stand in the domain too; only one with digits behind it to the end is a
// length.
func (d *directive) parseBits(s string) (rest string, err error) {
	ok := true
	if head, digits, found := trailing(s, "//"); found {
		s = head
		d.bits6, ok = cidr(digits, 128)
	}
	if head, digits, found := trailing(s, "/"); found && ok {
		s = head
		d.bits4, ok = cidr(digits, 32)
	}
	if !ok {
		return "", errArgument
	}
	return s, nil
}

// trailing splits s before a separator that only digits follow.
func trailing(s, sep string) (head, digits string, ok bool) {
	head = strings.TrimRight(s, "0123456789")
	digits = s[len(head):]
	head, ok = strings.CutSuffix(head, sep)
	return head, digits, ok && digits != ""
}

// cidr reads a prefix length without leading zeros.
func cidr(s string, most int) (int, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, _ := strconv.Atoi(s)
	return n, n <= most
}

// parseNetwork reads the network of ip4 or ip6: section 5.6.
func (d *directive) parseNetwork(s string) error {
	s, ok := strings.CutPrefix(s, ":")
	host, length, hasLength := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(host)
	if !ok || err != nil || ip.Zone() != "" || ip.Is4() != (d.kind == ip4) {
		return errArgument
	}
	bits := ip.BitLen()
	if hasLength {
		if bits, ok = cidr(length, bits); !ok {
			return errArgument
		}
	}
	d.network = netip.PrefixFrom(ip, bits).Masked()
	return nil
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool { return isAlpha(c) || isDigit(c) }

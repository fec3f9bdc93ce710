package addr

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Domain is the part of an address after the at sign, in the one form that
// is compared and looked up: A-labels in lower case without a final dot, or
// an address literal such as "[192.0.2.1]" or "[IPv6:2001:db8::1]".
type Domain string

// Bounds of a domain, in octets of its A-label form.
const (
	MaxDomain = 255 // RFC 5321, section 4.5.3.1.2
	MaxLabel  = 63  // RFC 1035, section 2.3.4
)

// Errors of ParseDomain.
var (
	ErrDomain        = errors.New("not a valid domain name")
	ErrDomainTooLong = errors.New("domain name too long")
	ErrIDNA          = errors.New("not a valid internationalized domain name")
)

// lookup is the profile that browsers and registries use: it maps case and
// width, refuses what IDNA 2008 does not allow and does not fold ß to ss.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false),
	idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// ParseDomain reads a domain name or address literal as RFC 5321, section
// 4.1.2 and RFC 6531, section 3.3 spell them.
func ParseDomain(s string) (Domain, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	ascii := s
	if !plainASCII(s) {
		var err error
		if !utf8.ValidString(s) {
			return "", ErrIDNA
		}
		if ascii, err = lookup.ToASCII(s); err != nil {
			return "", ErrIDNA
		}
	}
	if len(ascii) > MaxDomain {
		return "", ErrDomainTooLong
	}
	ascii = strings.ToLower(ascii)
	for rest, more := ascii, true; more; {
		var label string
		if label, rest, more = strings.Cut(rest, "."); !validLabel(label) {
			return "", ErrDomain
		}
	}
	return Domain(ascii), nil
}

// plainASCII reports whether s needs no IDNA processing.
func plainASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
		// An A-label may be fake: its Punycode is decoded and checked too.
		if s[i] == '-' && i >= 3 && s[i-1] == '-' && strings.EqualFold(s[i-3:i-1], "xn") {
			return false
		}
	}
	return true
}

func validLabel(l string) bool {
	if l == "" || len(l) > MaxLabel || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := 0; i < len(l); i++ {
		if c := l[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// parseLiteral reads an address literal, RFC 5321, section 4.1.3. General
// literals have no registered tag and are refused.
func parseLiteral(s string) (Domain, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", ErrDomain
	}
	v6 := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if v6 {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || ip.Is4() == v6 {
		return "", ErrDomain
	}
	return Literal(ip), nil
}

// Literal returns the domain that stands for a bare address.
func Literal(ip netip.Addr) Domain {
	if ip.Unmap().Is4() {
		return Domain("[" + ip.Unmap().String() + "]")
	}
	return Domain("[IPv6:" + ip.WithZone("").String() + "]")
}

// IP returns the address of a literal; ok is false for a name.
func (d Domain) IP() (ip netip.Addr, ok bool) {
	inner, ok := strings.CutPrefix(string(d), "[")
	if !ok {
		return netip.Addr{}, false
	}
	inner = strings.TrimPrefix(strings.TrimSuffix(inner, "]"), "IPv6:")
	ip, err := netip.ParseAddr(inner)
	return ip, err == nil
}

// Unicode returns the domain as people read it, with U-labels.
func (d Domain) Unicode() string {
	if !strings.Contains(string(d), "xn--") {
		return string(d)
	}
	u, err := lookup.ToUnicode(string(d))
	if err != nil {
		return string(d)
	}
	return u
}

func (d Domain) String() string { return string(d) }

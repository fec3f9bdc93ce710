package smtp

import (
	"net/netip"
	"strings"

	"gatepost/internal/addr"
)

var (
	errNoName  = &Reply{501, "5.5.4", "say who you are: a domain name or an address literal"}
	errBadName = &Reply{501, "5.5.2", "that is neither a domain name nor an address literal"}
)

// ParseHelo reads the argument of HELO or EHLO: a domain or an address
// literal (RFC 5321, section 4.1.1.1). It proves nothing, so that what
// clients really send is tolerated where it is harmless in a header: names
// with an underscore or a final dot, literals of IPv6 without their tag.
func ParseHelo(args string) (string, *Reply) {
	if args == "" {
		return "", errNoName
	}
	if inner, ok := strings.CutPrefix(args, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
			inner = inner[5:]
		}
		ip, err := netip.ParseAddr(inner)
		if !closed || err != nil || ip.Zone() != "" {
			return "", errBadName
		}
		return string(addr.Literal(ip)), nil
	}
	if !isHostName(args) {
		return "", errBadName
	}
	return args, nil
}

func isHostName(s string) bool {
	if len(s) > addr.MaxDomain || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

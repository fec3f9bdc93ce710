package smtp

import "strings"

// Extensions are the ones that a server offered in answer to EHLO, as far as
// they add parameters. A parameter of one that was not offered is unknown.
type Extensions uint8

// The extensions with parameters.
const (
	ExtSize       Extensions = 1 << iota // SIZE: RFC 1870
	Ext8BitMIME                          // BODY=7BIT or 8BITMIME: RFC 6152
	ExtUTF8                              // SMTPUTF8: RFC 6531
	ExtDSN                               // RET, ENVID, NOTIFY, ORCPT: RFC 3461
	ExtAuth                              // AUTH=: RFC 4954, section 5
	ExtRequireTLS                        // REQUIRETLS: RFC 8689
)

var (
	errParam     = &Reply{501, "5.5.4", "malformed parameter"}
	errTwice     = &Reply{501, "5.5.4", "parameter given twice"}
	errUnknown   = &Reply{555, "5.5.4", "unknown parameter"}
	errAfterPath = &Reply{501, "5.5.4", "one space, please, between the address and each parameter"}
)

// param is one keyword of MAIL or RCPT with its value.
type param struct {
	keyword  string // in upper case
	value    string
	hasValue bool
}

// cutParam reads the parameter that s begins with, after its space: RFC
// 5321, section 4.1.2, esmtp-param. Characters beyond ASCII are left to the
// reader of the value.
func cutParam(s string) (p param, rest string, bad *Reply) {
	s, ok := strings.CutPrefix(s, " ")
	if !ok {
		return p, "", errAfterPath
	}
	word := s
	if i := strings.IndexByte(s, ' '); i >= 0 {
		word, rest = s[:i], s[i:]
	}
	p.keyword, p.value, p.hasValue = strings.Cut(word, "=")
	if !isKeyword(p.keyword) || p.hasValue && (p.value == "" || strings.Contains(p.value, "=")) {
		return p, "", errParam
	}
	p.keyword = strings.ToUpper(p.keyword)
	return p, rest, nil
}

func isKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// paramSet remembers which parameters a command has had.
type paramSet uint8

// add reports whether the parameter with this bit is new.
func (s *paramSet) add(bit paramSet) bool {
	was := *s&bit != 0
	*s |= bit
	return !was
}

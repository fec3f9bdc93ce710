package gate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"gatepost/internal/addr"
	"gatepost/internal/smtp"
)

// originalRecipient returns an address as the ORCPT parameter holds it: of
// type rfc822 in xtext (RFC 3461, section 4.2) or of type utf-8 (RFC 6533,
// section 3). It is empty for an address that is too long to be one.
func originalRecipient(a addr.Address) string {
	s := "rfc822;" + smtp.EncodeXtext(a.String())
	if !a.IsASCII() {
		s = "utf-8;" + utf8Xtext(a.String())
	}
	if len(s) > smtp.MaxORcpt {
		return ""
	}
	return s
}

// utf8Xtext encodes a string as utf-8-addr-xtext, which is plain ASCII and
// therefore passes hops that do not offer SMTPUTF8.
func utf8Xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r >= utf8.RuneSelf || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

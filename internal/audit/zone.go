package audit

import (
	"fmt"
	"io"
	"strings"

	"gatepost/internal/addr"
)

// maxString is the length of one string of a TXT record, in octets: RFC 1035,
// section 3.3.
const maxString = 255

// Quote returns a text as the value of a TXT record in a zone file: in
// strings that are short enough, which readers join without anything between
// them (RFC 7208, section 3.3; RFC 6376, section 3.6.2.2), with everything
// escaped that a zone file reads otherwise (RFC 1035, section 5.1).
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if i > 0 && i%maxString == 0 {
			b.WriteString(`" "`)
		}
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// WriteZone writes the records of a domain as a file to be included in its
// zone ($INCLUDE), which has the domain's SOA and NS already. What belongs to
// another zone is there as a comment, since a name server refuses it.
func WriteZone(w io.Writer, domain addr.Domain, list []Record) error {
	if _, err := fmt.Fprintf(w, "; Mail of %s. Include this file in its zone.\n$ORIGIN %s.\n$TTL %d\n", domain, domain, TTL); err != nil {
		return err
	}
	for _, r := range list {
		name, inside := relative(r.Name, string(domain))
		line := fmt.Sprintf("%-24s IN %-5s %s", name, r.Type, wrap(r.Value))
		if !inside {
			line = "; (this belongs to another zone) " + r.Line()
		}
		if r.Hold != "" {
			line = "; (not to be published: " + r.Hold + ") " + r.Line()
		}
		if _, err := fmt.Fprintf(w, "\n; %s\n%s\n", r.Why, line); err != nil {
			return err
		}
	}
	return nil
}

// relative returns a name as it is written below an origin.
func relative(name, origin string) (string, bool) {
	if name == origin {
		return "@", true
	}
	short, ok := strings.CutSuffix(name, "."+origin)
	return short, ok
}

// wrap puts each string of a long text on a line of its own.
func wrap(value string) string {
	if !strings.Contains(value, `" "`) {
		return value
	}
	return "(\n\t" + strings.ReplaceAll(value, `" "`, "\"\n\t\"") + " )"
}

package spf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gatepost/internal/resolve"
)

// expand returns the name that a domain-spec stands for: section 7.3. What
// is too long loses labels on the left.
func (c *check) expand(spec, domain string) string {
	name := strings.TrimSuffix(c.macros(spec, domain), ".")
	for len(name) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		name = rest
	}
	return name
}

// macros replaces the macros in s, which has been checked.
func (c *check) macros(s, domain string) string {
	var b strings.Builder
	_ = scan(s, true, func(l string) { b.WriteString(l) }, func(m macro) {
		b.WriteString(m.transform(c.value(m.letter, domain)))
	})
	return b.String()
}

// value returns what a macro stands for: section 7.2.
func (c *check) value(letter byte, domain string) string {
	switch letter {
	case 's':
		return c.sender()
	case 'l':
		return c.Local
	case 'o':
		return c.domain
	case 'd':
		return domain
	case 'i':
		return dotted(c.IP)
	case 'p':
		return c.clientName(domain)
	case 'v':
		if c.IP.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return c.Helo
	case 'c':
		return c.IP.String()
	case 'r':
		if c.Receiver == "" {
			return "unknown"
		}
		return c.Receiver
	}
	return strconv.FormatInt(c.Now.Unix(), 10) // 't'
}

// clientName returns the one validated name that %{p} stands for: the domain
// itself, else one below it, else any (section 7.3).
func (c *check) clientName(domain string) string {
	names := c.clientNames()
	for _, n := range names {
		if strings.EqualFold(n, domain) {
			return n
		}
	}
	for _, n := range names {
		if within(n, domain) {
			return n
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return "unknown"
}

// dotted writes an address as %{i} does: section 7.3.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	var b strings.Builder
	for i, c := range ip.As16() {
		if i > 0 {
			b.WriteByte('.')
		}
		fmt.Fprintf(&b, "%x.%x", c>>4, c&15)
	}
	return b.String()
}

// explain returns what the owner of a record has to say to a Fail: section
// 6.2. Whatever goes wrong leaves it empty.
func (c *check) explain(rec *record, domain string) string {
	if rec == nil || rec.exp == "" {
		return ""
	}
	texts, err := resolve.TXT(c.ctx, c.r, c.expand(rec.exp, domain))
	if err != nil || len(texts) != 1 {
		return ""
	}
	if scan(texts[0], true, func(string) {}, func(macro) {}) != nil {
		return ""
	}
	text := c.macros(texts[0], domain)
	if len(text) > maxExplanation {
		return ""
	}
	for _, b := range []byte(text) { // a macro may bring in anything
		if b < ' ' || b > '~' {
			return ""
		}
	}
	return text
}

// Package mtasts speaks MTA-STS (RFC 8461): how a domain promises, over
// HTTPS, that its mail hosts prove their names over TLS, and which hosts
// those are.
//
// # Place in the path
//
// A standard: pure, with no disk. transport asks a Cache what a domain has
// promised before a message leaves for it; web hands out our own promises
// (Policy.String), and the records that go with them (Record.String) are
// printed with a domain's DNS.
//
// # A policy's way
//
//	_mta-sts.DOMAIN TXT   says that there is a policy, and which (LookupRecord)
//	https://mta-sts.DOMAIN/.well-known/mta-sts.txt   is it (Fetcher)
//	Cache                 keeps it as long as its owner allows, and longer
//	                      than an attacker can suppress the two above
//
// # What it trusts
//
// The TXT record is anybody's word: it can only make us look. A policy counts
// when the certificate for mta-sts.DOMAIN is verified, is never taken from a
// redirect, and, once cached, is given up for nothing but its age or a newer
// one. So an attacker must be on the way the first time, and stay there for
// max_age.
//
// # Limits
//
// A policy has 64 KiB, maxLines lines and maxMX patterns; a fetch takes a
// minute and is not repeated for five; the cache holds maxKnown domains in
// memory, and what its Shelf holds expires by itself.
package mtasts

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/internal/addr"
)

// Bounds of a policy.
const (
	MaxSize  = 64 << 10 // octets: RFC 8461, section 3.3
	maxLines = 1024
	maxMX    = 256
	// MaxAge is the longest life of a policy: RFC 8461, section 3.2.
	MaxAge = 31_557_600 * time.Second
)

// Mode says what a failure means to the sender: RFC 8461, section 5.
type Mode uint8

// The modes. None is also that of a domain without a policy.
const (
	None    Mode = iota // nothing is promised
	Testing             // deliver anyway, and report
	Enforce             // do not deliver
)

var modeNames = [...]string{"none", "testing", "enforce"}

func (m Mode) String() string { return modeNames[m] }

// ParseMode reads a mode as a policy names it.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return None, invalid("mode is %q", s)
}

// Policy is what a domain promises: RFC 8461, section 3.2. The zero value
// promises nothing.
type Policy struct {
	Mode   Mode
	MX     []Pattern // empty only with None
	MaxAge time.Duration
}

// ErrPolicy says that a text is not a policy.
var ErrPolicy = errors.New("not a valid MTA-STS policy")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrPolicy, fmt.Sprintf(format, args...))
}

// ParsePolicy reads the text of a policy. Lines end in LF or CR LF; empty
// ones, which many have at their end, are passed over.
func ParsePolicy(text string) (Policy, error) {
	if len(text) > MaxSize {
		return Policy{}, invalid("more than %d octets", MaxSize)
	}
	seen := map[string]string{}
	var p Policy
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" {
			continue
		}
		if n++; n > maxLines {
			return Policy{}, invalid("more than %d lines", maxLines)
		}
		key, value, err := field(line)
		if err != nil {
			return Policy{}, err
		}
		if key == "mx" {
			err = p.addMX(value)
		} else if _, again := seen[key]; !again {
			seen[key] = value // RFC 8461, section 3.2: of several the first counts
		}
		if err != nil {
			return Policy{}, err
		}
	}
	if err := p.read(seen); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// field splits a line: RFC 8461, section 3.2. What we do not know must still
// look like a field.
func field(line string) (key, value string, err error) {
	key, value, ok := strings.Cut(line, ":")
	value = strings.TrimLeft(value, " \t")
	if !ok || !isName(key) || value == "" {
		return "", "", invalid("a line that is no field")
	}
	for i := 0; i < len(value); i++ {
		if value[i] < ' ' || value[i] == 0x7f {
			return "", "", invalid("a control character")
		}
	}
	return key, value, nil
}

// isName reports whether s is the name of a field, of the policy or the
// record: RFC 8461, sections 3.1 and 3.2.
func isName(s string) bool {
	if s == "" || len(s) > 32 || !isAlnum(s[0]) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("_-.", s[i]) < 0 {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *Policy) addMX(value string) error {
	m, err := ParsePattern(value)
	if err != nil {
		return err
	}
	if len(p.MX) == maxMX {
		return invalid("more than %d lines of mx", maxMX)
	}
	p.MX = append(p.MX, m)
	return nil
}

// read takes the fields that stand once; all of them are required, and mx
// where it has a meaning.
func (p *Policy) read(fields map[string]string) error {
	if fields["version"] != "STSv1" {
		return invalid("version is %q, not STSv1", fields["version"])
	}
	var err error
	if p.Mode, err = ParseMode(fields["mode"]); err != nil {
		return err
	}
	if p.Mode != None && len(p.MX) == 0 {
		return invalid("no mx")
	}
	p.MaxAge, err = parseAge(fields["max_age"])
	return err
}

// parseAge reads a max_age, in seconds; what exceeds the longest is the
// longest.
func parseAge(s string) (time.Duration, error) {
	if s == "" || len(s) > 10 {
		return 0, invalid("max_age is %q", s)
	}
	var n int64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, invalid("max_age is %q", s)
		}
		n = n*10 + int64(s[i]-'0')
	}
	return time.Duration(min(n, int64(MaxAge/time.Second))) * time.Second, nil
}

// Lines returns the policy line by line, as a report of RFC 8460 quotes it.
func (p Policy) Lines() []string {
	lines := []string{"version: STSv1", "mode: " + p.Mode.String()}
	for _, m := range p.MX {
		lines = append(lines, "mx: "+string(m))
	}
	return append(lines, fmt.Sprintf("max_age: %d", p.MaxAge/time.Second))
}

// String returns the policy as it is served: RFC 8461, section 3.2.
func (p Policy) String() string { return strings.Join(p.Lines(), "\r\n") + "\r\n" }

// Matches reports whether a mail host is among those that the policy names:
// RFC 8461, section 4.1.
func (p Policy) Matches(host string) bool {
	for _, m := range p.MX {
		if m.Matches(host) {
			return true
		}
	}
	return false
}

// Pattern names a mail host, or with "*." in front all whose name has one
// label more. It is in lower case, without a final dot.
type Pattern string

// ParsePattern reads the value of an mx field: a domain name in A-labels.
func ParsePattern(s string) (Pattern, error) {
	name, wild := strings.CutPrefix(s, "*.")
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			return "", invalid("an mx that is not in A-labels")
		}
	}
	d, err := addr.ParseDomain(name)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", invalid("an mx that is no host name")
	}
	if wild {
		return Pattern("*." + string(d)), nil
	}
	return Pattern(d), nil
}

// Matches reports whether a host, by whatever case and with or without a
// final dot, is one that the pattern names.
func (m Pattern) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if parent, wild := strings.CutPrefix(string(m), "*."); wild {
		label, rest, _ := strings.Cut(host, ".")
		return label != "" && rest == parent
	}
	return host != "" && host == string(m)
}

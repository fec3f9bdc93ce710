package spf

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

var (
	errMacro      = errors.New("malformed macro")
	errDomainSpec = errors.New("malformed domain")
)

// macro is one %{...}: RFC 7208, section 7.1.
type macro struct {
	letter     byte // in lower case
	escape     bool // it was in upper case: the value is to be URL-escaped
	keep       int  // right-hand parts to keep; 0: all
	reverse    bool
	delimiters string
}

// delimiters may divide the value of a macro: section 7.1.
const delimiters = ".-+,/_="

// scan walks over a macro-string and hands out what it consists of, in
// order. spaces says that a space may stand in it, as in an explanation.
func scan(s string, spaces bool, literal func(string), expand func(macro)) error {
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			i = len(s)
		}
		for _, c := range []byte(s[:i]) {
			if c < ' ' || c == ' ' && !spaces || c > '~' {
				return errMacro
			}
		}
		literal(s[:i])
		if s = s[i:]; s == "" {
			break
		}
		n, err := scanMacro(s, literal, expand)
		if err != nil {
			return err
		}
		s = s[n:]
	}
	return nil
}

// scanMacro reads what begins with the percent sign at the start of s and
// returns its length.
func scanMacro(s string, literal func(string), expand func(macro)) (int, error) {
	if len(s) < 2 {
		return 0, errMacro
	}
	switch s[1] {
	case '%':
		literal("%")
		return 2, nil
	case '_':
		literal(" ")
		return 2, nil
	case '-':
		literal("%20")
		return 2, nil
	case '{':
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return 0, errMacro
		}
		m, err := parseMacro(s[2:end])
		if err != nil {
			return 0, err
		}
		expand(m)
		return end + 1, nil
	}
	return 0, errMacro
}

// parseMacro reads macro-letter transformers *delimiter.
func parseMacro(s string) (macro, error) {
	if s == "" || !isAlpha(s[0]) || strings.IndexByte("slodiphcrtv", s[0]|0x20) < 0 {
		return macro{}, errMacro
	}
	m := macro{letter: s[0] | 0x20, escape: s[0] < 'a'}
	s = s[1:]
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	if n > 0 {
		var err error
		// Section 7.1: not zero, and at least 128 are understood. A name has
		// no more labels than that.
		if m.keep, err = strconv.Atoi(s[:min(n, 9)]); err != nil || m.keep == 0 {
			return macro{}, errMacro
		}
	}
	s = s[n:]
	if s != "" && s[0]|0x20 == 'r' {
		m.reverse, s = true, s[1:]
	}
	if strings.Trim(s, delimiters) != "" {
		return macro{}, errMacro
	}
	if m.delimiters = s; s == "" {
		m.delimiters = "."
	}
	return m, nil
}

// forExplanation reports whether a macro makes sense in an explanation only:
// section 7.2.
func (m macro) forExplanation() bool { return strings.IndexByte("crt", m.letter) >= 0 }

// transform applies what the macro says to its value: section 7.3.
func (m macro) transform(value string) string {
	parts := split(value, m.delimiters)
	if m.reverse {
		slices.Reverse(parts)
	}
	if m.keep > 0 && m.keep < len(parts) {
		parts = parts[len(parts)-m.keep:]
	}
	value = strings.Join(parts, ".")
	if m.escape {
		value = escape(value)
	}
	return value
}

// split divides at each of the delimiters.
func split(s, at string) []string {
	var parts []string
	for {
		i := strings.IndexAny(s, at)
		if i < 0 {
			return append(parts, s)
		}
		parts = append(parts, s[:i])
		s = s[i+1:]
	}
}

// escape is the URL escaping of section 7.3: all but unreserved characters.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if isAlnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
	}
	return b.String()
}

// checkMacros reports whether s is a macro-string that may stand in a record.
func checkMacros(s string) error {
	bad := false
	err := scan(s, false, func(string) {}, func(m macro) { bad = bad || m.forExplanation() })
	if err == nil && bad {
		err = errMacro
	}
	return err
}

// checkDomainSpec reports whether s is a domain-spec: a macro-string that
// ends in a macro or in a dot and a label that is not a number (section 7.1).
func checkDomainSpec(s string) error {
	if err := checkMacros(s); err != nil {
		return err
	}
	if endsInMacro(s) {
		return nil
	}
	s = strings.TrimSuffix(s, ".")
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 || !topLabel(s[dot+1:]) {
		return errDomainSpec
	}
	return nil
}

// endsInMacro reports whether the last thing in a macro-string is a macro.
func endsInMacro(s string) bool {
	ends := false
	_ = scan(s, false, func(l string) { ends = ends && l == "" }, func(macro) { ends = true })
	return ends || strings.HasSuffix(s, "%%") || strings.HasSuffix(s, "%_") || strings.HasSuffix(s, "%-")
}

// topLabel is toplabel of section 7.1: letters, digits and inner hyphens,
// with one that is no digit.
func topLabel(l string) bool {
	if l == "" || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	number := true
	for _, c := range []byte(l) {
		if !isAlnum(c) && c != '-' {
			return false
		}
		number = number && isDigit(c)
	}
	return !number
}

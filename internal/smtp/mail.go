package smtp

import (
	"math"
	"strconv"
	"strings"

	"gatepost/internal/addr"
)

// Bounds of the parameters' values, in octets.
const (
	MaxEnvID      = 100 // RFC 3461, section 4.4
	maxSizeDigits = 20  // RFC 1870, section 3
	maxAuthParam  = 500 // RFC 4954, section 3
)

// Mail is a MAIL command: RFC 5321, section 4.1.1.2.
type Mail struct {
	From  addr.Address // zero is the null reverse-path
	Size  int64        // SIZE: octets of the content; 0 if it was not given
	UTF8  bool         // SMTPUTF8
	Ret   Ret
	EnvID string // as xtext
	// RequireTLS is REQUIRETLS: the message must not go on unprotected.
	RequireTLS bool
}

// Ret is the RET parameter of RFC 3461, section 4.3.
type Ret uint8

// Values of Ret. RetNone means that it was not given.
const (
	RetNone Ret = iota
	RetFull
	RetHdrs
)

var mailErrors = &pathErrors{
	missing:  &Reply{500, "5.5.2", "the form is MAIL FROM:<address>"},
	syntax:   &Reply{501, "5.1.7", "malformed sender address"},
	noDomain: &Reply{501, "5.1.7", "sender address without a domain"},
	domain:   &Reply{501, "5.1.8", "malformed domain in the sender address"},
	tooLong:  &Reply{501, "5.1.7", "sender address too long"},
	utf8:     &Reply{550, "5.6.7", "an address beyond ASCII needs SMTPUTF8"},
}

var (
	errBody   = &Reply{501, "5.5.4", "BODY is 7BIT or 8BITMIME"}
	errBinary = &Reply{504, "5.5.4", "BINARYMIME is not offered"}
)

// Bits of MAIL's parameters.
const (
	paramSize paramSet = 1 << iota
	paramBody
	paramUTF8
	paramRet
	paramEnvID
	paramAuth
	paramRequireTLS
)

// ParseMail reads the arguments of MAIL. Unlike in RCPT the angle brackets
// may not be missing: a null reverse-path and a forgotten one would look the
// same.
func ParseMail(args string, offered Extensions) (Mail, *Reply) {
	var m Mail
	rest, ok := cutKeyword(args, "FROM:")
	if !ok || rest == "" {
		return m, mailErrors.missing
	}
	path, rest, ok := cutPath(rest)
	if !ok {
		return m, mailErrors.syntax
	}
	var bad *Reply
	if path != "" {
		if m.From, bad = mailErrors.parseMailbox(path); bad != nil {
			return m, bad
		}
	}
	if bad = m.parseParams(rest, offered); bad != nil {
		return m, bad
	}
	if !m.UTF8 && !isASCII(path) { // RFC 6531, section 3.5
		return m, mailErrors.utf8
	}
	return m, nil
}

func (m *Mail) parseParams(rest string, offered Extensions) *Reply {
	var seen paramSet
	for rest != "" {
		p, next, bad := cutParam(rest)
		if bad == nil {
			bad = m.parseParam(p, &seen, offered)
		}
		if bad != nil {
			return bad
		}
		rest = next
	}
	return nil
}

func (m *Mail) parseParam(p param, seen *paramSet, offered Extensions) *Reply {
	var bit paramSet
	ok := p.hasValue
	switch {
	case p.keyword == "SIZE" && offered&ExtSize != 0:
		bit = paramSize
		ok = ok && m.parseSize(p.value)
	case p.keyword == "BODY" && offered&Ext8BitMIME != 0:
		bit = paramBody
		if bad := checkBody(p.value); bad != nil {
			return bad
		}
	case p.keyword == "SMTPUTF8" && offered&ExtUTF8 != 0:
		bit, ok, m.UTF8 = paramUTF8, !p.hasValue, true
	case p.keyword == "RET" && offered&ExtDSN != 0:
		bit = paramRet
		ok = ok && m.parseRet(p.value)
	case p.keyword == "ENVID" && offered&ExtDSN != 0:
		bit, m.EnvID = paramEnvID, p.value
		ok = ok && len(p.value) <= MaxEnvID && isPrintableXtext(p.value)
	case p.keyword == "AUTH" && offered&ExtAuth != 0:
		// Nobody is trusted to vouch for another sender (RFC 4954, section
		// 5: it may be ignored), but it has to be what it claims to be.
		bit = paramAuth
		ok = ok && len(p.value) <= maxAuthParam && isPrintableXtext(p.value)
	case p.keyword == "REQUIRETLS" && offered&ExtRequireTLS != 0: // RFC 8689, section 2
		bit, ok, m.RequireTLS = paramRequireTLS, !p.hasValue, true
	default:
		return errUnknown
	}
	switch {
	case !seen.add(bit):
		return errTwice
	case !ok:
		return errParam
	}
	return nil
}

// parseSize reads SIZE. A number too large to hold is as much too large as
// the largest that can be.
func (m *Mail) parseSize(s string) bool {
	if len(s) > maxSizeDigits {
		return false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil && !allDigits(s) {
		return false
	}
	m.Size = int64(min(n, math.MaxInt64))
	return true
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// checkBody reads BODY only to refuse what is not offered: what the next hop
// needs is decided by the octets that come, not by what they are said to be.
func checkBody(s string) *Reply {
	switch {
	case strings.EqualFold(s, "7BIT"), strings.EqualFold(s, "8BITMIME"):
		return nil
	case strings.EqualFold(s, "BINARYMIME"):
		return errBinary
	}
	return errBody
}

func (m *Mail) parseRet(s string) bool {
	switch {
	case strings.EqualFold(s, "FULL"):
		m.Ret = RetFull
	case strings.EqualFold(s, "HDRS"):
		m.Ret = RetHdrs
	}
	return m.Ret != RetNone
}

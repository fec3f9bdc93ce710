package smtp

import (
	"strings"

	"gatepost/internal/addr"
)

// MaxORcpt bounds the value of ORCPT: RFC 3461, section 4.2.
const MaxORcpt = 500

// Rcpt is a RCPT command: RFC 5321, section 4.1.1.3.
type Rcpt struct {
	// To is the forward-path. Its domain is empty for <postmaster>, the one
	// address that needs none; its local part is "postmaster" then.
	To     addr.Address
	Notify Notify
	ORcpt  string // address type, ";" and xtext or utf-8-addr-xtext, as given
}

// Notify is the NOTIFY parameter of RFC 3461, section 4.1; zero if it was
// not given.
type Notify uint8

// Bits of Notify. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

var rcptErrors = &pathErrors{
	missing:  &Reply{500, "5.5.2", "the form is RCPT TO:<address>"},
	syntax:   &Reply{501, "5.1.3", "malformed recipient address"},
	noDomain: &Reply{501, "5.1.3", "recipient address without a domain"},
	domain:   &Reply{501, "5.1.2", "malformed domain in the recipient address"},
	tooLong:  &Reply{501, "5.1.3", "recipient address too long"},
	utf8:     &Reply{550, "5.6.7", "an address beyond ASCII needs SMTPUTF8"},
}

// Bits of RCPT's parameters.
const (
	paramNotify paramSet = 1 << iota
	paramORcpt
)

// ParseRcpt reads the arguments of RCPT. utf8 says whether MAIL had
// SMTPUTF8. A plain mailbox without angle brackets is tolerated, since there
// is only one thing that it can mean.
func ParseRcpt(args string, offered Extensions, utf8 bool) (Rcpt, *Reply) {
	var r Rcpt
	rest, ok := cutKeyword(args, "TO:")
	if !ok || rest == "" {
		return r, rcptErrors.missing
	}
	path, rest, ok := cutPath(rest)
	if !ok {
		if path, rest, ok = cutBare(rest); !ok {
			return r, rcptErrors.syntax
		}
	}
	// RFC 5321, section 4.1.1.3: "<Postmaster>" without a domain, in any case.
	if strings.EqualFold(path, "postmaster") {
		r.To = addr.Address{Local: "postmaster"}
	} else {
		var bad *Reply
		if r.To, bad = rcptErrors.parseMailbox(path); bad != nil {
			return r, bad
		}
	}
	if bad := r.parseParams(rest, offered, utf8); bad != nil {
		return r, bad
	}
	if !utf8 && !isASCII(path) { // RFC 6531, section 3.5
		return r, rcptErrors.utf8
	}
	return r, nil
}

// cutBare splits a mailbox without angle brackets from what follows it. One
// with quotes, a route or brackets of any kind is refused: where it ends
// would be a guess.
func cutBare(s string) (mailbox, rest string, ok bool) {
	mailbox = s
	if i := strings.IndexByte(s, ' '); i >= 0 {
		mailbox, rest = s[:i], s[i:]
	}
	return mailbox, rest, !strings.ContainsAny(mailbox, `<>"\:,`) && strings.Contains(mailbox, "@")
}

func (r *Rcpt) parseParams(rest string, offered Extensions, utf8 bool) *Reply {
	var seen paramSet
	for rest != "" {
		p, next, bad := cutParam(rest)
		if bad == nil {
			bad = r.parseParam(p, &seen, offered, utf8)
		}
		if bad != nil {
			return bad
		}
		rest = next
	}
	return nil
}

func (r *Rcpt) parseParam(p param, seen *paramSet, offered Extensions, utf8 bool) *Reply {
	var bit paramSet
	ok := p.hasValue
	switch {
	case p.keyword == "NOTIFY" && offered&ExtDSN != 0:
		bit = paramNotify
		ok = ok && r.parseNotify(p.value)
	case p.keyword == "ORCPT" && offered&ExtDSN != 0:
		bit, r.ORcpt = paramORcpt, p.value
		ok = ok && len(p.value) <= MaxORcpt && isORcpt(p.value, utf8)
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

func (r *Rcpt) parseNotify(s string) bool {
	if strings.EqualFold(s, "NEVER") {
		r.Notify = NotifyNever
		return true
	}
	for word, more := s, true; more; {
		word, s, more = strings.Cut(s, ",")
		switch {
		case strings.EqualFold(word, "SUCCESS"):
			r.Notify |= NotifySuccess
		case strings.EqualFold(word, "FAILURE"):
			r.Notify |= NotifyFailure
		case strings.EqualFold(word, "DELAY"):
			r.Notify |= NotifyDelay
		default:
			return false
		}
	}
	return true
}

// isORcpt checks an original recipient: RFC 3461, section 4.2, and for the
// type utf-8 RFC 6533, section 3.
func isORcpt(s string, utf8 bool) bool {
	kind, value, ok := strings.Cut(s, ";")
	if !ok || kind == "" || value == "" {
		return false
	}
	for i := 0; i < len(kind); i++ { // an atom
		if c := kind[i]; c <= ' ' || c > '~' || strings.IndexByte(`()<>@,;:\".[]`, c) >= 0 {
			return false
		}
	}
	if strings.EqualFold(kind, "utf-8") {
		return isUTF8Xtext(value, utf8)
	}
	return isPrintableXtext(value)
}

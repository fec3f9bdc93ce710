package gate

import (
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

// markPrefix begins the names of the fields that only we may set.
const markPrefix = "X-Gatepost-"

// edit returns the header section to keep. Whatever it does not take out
// keeps every octet; what it adds goes in front.
func (g *Gate) edit(p *envelope.Peer, e *envelope.Envelope, header []byte) ([]byte, error) {
	switch p.Origin() {
	case envelope.User:
		header = remove(header, func(f message.Field) bool { return g.isForged(f) || isPrivate(f) })
		return g.complete(header, author(p, e))
	case envelope.Relay:
		// Printers and scripts hand over messages that lack something: RFC
		// 5321, section 6.4 lets the first server add it.
		return g.complete(remove(header, g.isForged), "")
	}
	return remove(header, g.isForged), nil
}

// isPrivate reports whether a field must not leave with a submission: Bcc
// would tell some of its readers of the others (RFC 5322, section 3.6.3), and
// Return-Path is the last server's to set (RFC 5321, section 4.4).
func isPrivate(f message.Field) bool {
	return f.Is("Bcc") || f.Is("Resent-Bcc") || f.Is("Return-Path")
}

// author returns the From that a submission without one gets.
func author(p *envelope.Peer, e *envelope.Envelope) string {
	if e.From.IsNull() {
		return p.Account
	}
	return e.From.String()
}

// complete puts what every message must have in front of the section where
// it is missing: RFC 6409, sections 8.2 and 8.3. An author of "" adds no From.
func (g *Gate) complete(header []byte, author string) ([]byte, error) {
	var added []byte
	add := func(name, value string) {
		added = append(added, name+": "+value+"\r\n"...)
	}
	if author != "" && !message.Has(header, "From") {
		add("From", author)
	}
	if !message.Has(header, "Date") {
		add("Date", message.Date(g.o.Clock.Now()))
	}
	if !message.Has(header, "Message-ID") {
		id, err := message.NewMessageID(g.o.Random, g.o.Hostname)
		if err != nil {
			return nil, err
		}
		add("Message-ID", id)
	}
	if added == nil {
		return header, nil
	}
	return append(added, header...), nil
}

// remove returns the section without the fields that bad names: header
// itself when there are none, else a copy.
func remove(header []byte, bad func(message.Field) bool) []byte {
	var kept []byte
	pos, from := 0, 0 // header[from:pos] is to be kept and not copied yet
	for f := range message.Fields(header) {
		end := pos + len(f.Raw)
		if bad(f) {
			kept = append(kept, header[from:pos]...)
			from = end
		}
		pos = end
	}
	if from == 0 {
		return header
	}
	return append(kept, header[from:]...)
}

// isForged reports whether a field pretends to be a statement of ours: a mark
// that we set, or the results of an authentication that we did. Readers and
// filters believe them (RFC 8601, section 5). Verification of incoming mail
// reads the section before they go.
func (g *Gate) isForged(f message.Field) bool {
	name := f.Name()
	if len(name) >= len(markPrefix) && strings.EqualFold(name[:len(markPrefix)], markPrefix) {
		return true
	}
	return f.Is("Authentication-Results") && g.isOurs(f.Value())
}

// isOurs reports whether an Authentication-Results field speaks in our name.
// One whose name cannot be read might be ours to a reader less strict.
func (g *Gate) isOurs(value string) bool {
	id, ok := authservID(value)
	if !ok {
		return true
	}
	d, err := addr.ParseDomain(strings.TrimSuffix(id, "."))
	return err == nil && d == g.o.Hostname
}

// authservID returns the name at the beginning of an Authentication-Results
// field: [CFWS] value ..., where a value is a token or quoted string (RFC
// 8601, section 2.2; RFC 2045, section 5.1). ok is false when there is none.
func authservID(s string) (id string, ok bool) {
	s = skipCFWS(s)
	if text, ok := strings.CutPrefix(s, `"`); ok {
		return quoted(text)
	}
	n := strings.IndexAny(s, " \t;(\"")
	if n < 0 {
		n = len(s)
	}
	return s[:n], n > 0
}

// skipCFWS returns s after white space and comments, which nest; a comment
// that does not end leaves nothing.
func skipCFWS(s string) string {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth == 0 && c != ' ' && c != '\t':
			return s[i:]
		}
	}
	return ""
}

// quoted returns the quoted string whose content s begins with.
func quoted(s string) (text string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), true
		case '\\':
			if i++; i == len(s) {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}

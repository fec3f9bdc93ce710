package dsn

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"gatepost/internal/addr"
	"gatepost/internal/message"
	"gatepost/internal/smtp"
)

// status makes the second part, the one for machines: RFC 3464, section 2.
// All of it is US-ASCII, addresses beyond that too, in the 7-bit form of RFC
// 6533, section 3.
func (r *Report) status() part {
	var b bytes.Buffer
	field(&b, "Reporting-MTA", "dns; "+string(r.Hostname))
	if id, ok := smtp.DecodeXtext(r.EnvID); ok && id != "" && printable(id) {
		field(&b, "Original-Envelope-Id", id)
	}
	if !r.Arrival.IsZero() {
		field(&b, "Arrival-Date", message.Date(r.Arrival))
	}
	for i := range r.Recipients {
		b.WriteString("\r\n")
		r.Recipients[i].status(&b)
	}
	return part{description: "Delivery report", mediaType: "message/delivery-status", content: b.Bytes()}
}

// status writes the fields of one recipient: RFC 3464, section 2.3.
func (r *Recipient) status(b *bytes.Buffer) {
	if original := originalRecipient(r.ORcpt); original != "" {
		field(b, "Original-Recipient", original)
	}
	field(b, "Final-Recipient", finalRecipient(r.To))
	field(b, "Action", r.Action.String())
	field(b, "Status", r.code())
	if r.Host != "" {
		field(b, "Remote-MTA", "dns; "+r.Host)
	}
	if r.Reply != nil {
		kind := "smtp"
		if r.Host == "" { // nobody said this over SMTP
			kind = "x-gatepost"
		}
		field(b, "Diagnostic-Code", kind+"; "+r.Reply.Error())
	}
	if !r.LastAttempt.IsZero() {
		field(b, "Last-Attempt-Date", message.Date(r.LastAttempt))
	}
	if !r.RetryUntil.IsZero() {
		field(b, "Will-Retry-Until", message.Date(r.RetryUntil))
	}
}

// field writes one field on one line, whatever value is: printable US-ASCII,
// cut to maxText.
func field(b *bytes.Buffer, name, value string) {
	value = strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return -1
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, value)
	fmt.Fprintf(b, "%s: %s\r\n", name, cut(strings.TrimSpace(value), maxText))
}

// code returns the status: the one set, the reply's if it has one of the
// action's class, or the general one.
func (r *Recipient) code() string {
	general, class := "2.0.0", "2"
	switch r.Action {
	case Failed:
		general, class = "5.0.0", "5"
	case Delayed:
		general, class = "4.0.0", "4"
	}
	switch {
	case r.Status != "":
		return r.Status
	case r.Reply != nil && strings.HasPrefix(r.Reply.Enhanced, class+"."):
		return r.Reply.Enhanced
	}
	return general
}

// originalRecipient returns the value of Original-Recipient, empty if ORCPT
// was not given or may not be shown (RFC 3461, section 6.3). An address of
// the type utf-8 stays in its 7-bit form.
func originalRecipient(orcpt string) string {
	kind, value, ok := strings.Cut(orcpt, ";")
	if !ok || kind == "" || !visible(kind) {
		return ""
	}
	if strings.EqualFold(kind, "utf-8") {
		return kind + "; " + embed(value)
	}
	if value, ok = smtp.DecodeXtext(value); !ok || !printable(value) {
		return ""
	}
	return kind + "; " + value
}

// finalRecipient returns an address with its type.
func finalRecipient(a addr.Address) string {
	if a.IsASCII() {
		return "rfc822; " + a.String()
	}
	s := strings.NewReplacer(`\`, `\x{5C}`, "+", `\x{2B}`, "=", `\x{3D}`).Replace(a.String())
	return "utf-8; " + embed(s)
}

// embed writes characters beyond US-ASCII, spaces and controls as \x{HEX}.
func embed(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > ' ' && r < 0x7f {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		}
	}
	return b.String()
}

// printable reports whether s is US-ASCII without controls.
func printable(s string) bool {
	return s != "" && visible(strings.ReplaceAll(s, " ", ""))
}

// cut shortens s to n octets, at a whole character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("...")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

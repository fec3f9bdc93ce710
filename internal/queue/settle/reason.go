package settle

import (
	"fmt"
	"time"
	"unicode/utf8"

	"gatepost/internal/dsn"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

// maxReply is how much of another server's words goes into a reason, in
// octets.
const maxReply = 160

// Reason says in one printable line why an attempt did not succeed: who said
// what, and what that means.
func Reason(o envelope.Outcome) string {
	if o.Err == nil {
		return "no answer"
	}
	if o.Host == "" || o.Ours {
		return cut(message.Printable(o.Err.Text), maxReply)
	}
	said := cut(message.Printable(o.Err.Reply.Error()), maxReply)
	meaning, _ := dsn.Explain(&o.Err.Reply)
	return cut(message.Printable(o.Host), maxReply) + " answered " + said + ". " + meaning
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

// Period says how long d is, in whole days, hours or minutes.
func Period(d time.Duration) string {
	n, unit := d/time.Second, "second"
	switch {
	case d >= 48*time.Hour:
		n, unit = d/(24*time.Hour), "day"
	case d >= 2*time.Hour:
		n, unit = d/time.Hour, "hour"
	case d >= 2*time.Minute:
		n, unit = d/time.Minute, "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

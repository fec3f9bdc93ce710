package remote

import (
	"errors"

	"gatepost/internal/envelope"
	"gatepost/internal/resolve"
	"gatepost/internal/smtp"
)

// failure is why no recipient of an attempt gets any further. It is the
// outcome of all who have none of their own.
type failure struct {
	envelope.Outcome
	final bool // it is the message's, and no route can mend it
}

// Error returns the reply with its cause.
func (f *failure) Error() string { return f.Err.Error() }

// never says that trying again is of no use.
func never(host string, cause error, code int, enhanced, text string) *failure {
	return &failure{Outcome: envelope.Outcome{Status: envelope.Failed, Host: host, Ours: true, Err: envelope.Fail(cause, code, enhanced, text)}}
}

// later says that the destination, whatever the message, may do better next
// time.
func later(host string, cause error, code int, enhanced, text string) *failure {
	return &failure{Outcome: envelope.Outcome{Status: envelope.Deferred, Host: host, Ours: true, Destination: true,
		Err: envelope.Fail(cause, code, enhanced, text)}}
}

// unmet says that a host does not meet the terms for it.
func unmet(host string, e *envelope.Error) *failure {
	o := envelope.Outcome{Status: envelope.Deferred, Host: host, Ours: true, Destination: true, Err: e}
	if !e.Temporary() {
		o.Status, o.Destination = envelope.Failed, false
	}
	return &failure{Outcome: o, final: !e.Temporary()}
}

// postpone turns a failure for good into one of the destination's that may
// be over next time.
func (f *failure) postpone() {
	f.Status, f.Destination = envelope.Deferred, true
	f.Err.Code -= 100
	if f.Err.Enhanced != "" {
		f.Err.Enhanced = "4" + f.Err.Enhanced[1:]
	}
}

// loop says that mail for a destination would come back to us: RFC 5321,
// section 5.1.
func loop(destination string) *failure {
	return never("", nil, 554, "5.4.6", "mail for "+destination+" is directed to this server, which does not know the domain")
}

// dnsLater says that a name could not be looked up.
func dnsLater(name string, cause error) *failure {
	text := "the address of " + name + " cannot be looked up at the moment"
	if errors.Is(cause, resolve.ErrBogus) {
		text = "what the DNS says of " + name + " is not what its owner signed (DNSSEC)"
	}
	return later("", cause, 451, "4.4.3", text)
}

// ourFault says that neither host nor message is to blame.
func ourFault(cause error, enhanced, text string) *failure {
	f := later("", cause, 451, enhanced, text)
	f.Destination = false
	return f
}

// interrupted says that we stopped of our own accord.
func interrupted(cause error) *failure { return ourFault(cause, "4.3.2", "delivery was interrupted") }

// unreadable says that the message could not be had.
func unreadable(cause error) *failure {
	return ourFault(cause, "4.3.0", "the message cannot be read at the moment")
}

// answered is a host's refusal before there was a message: permanent or not.
func answered(host string, r *smtp.Reply) *failure {
	f := later(host, nil, r.Code, r.Enhanced, clip(r.Text))
	f.Ours = false
	if !r.Temporary() {
		f.Status, f.Destination = envelope.Failed, false
	}
	return f
}

// worst returns the failure that a destination with several hosts is left
// with: as long as one may do better later, it is not lost.
func worst(was, is error) error {
	var a, b *failure
	if errors.As(was, &a) && errors.As(is, &b) && a.Status == envelope.Deferred && b.Status == envelope.Failed {
		return was
	}
	return is
}

// maxText bounds what of a reply is kept, in octets.
const maxText = 512

// clip shortens a text of another server.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && s[end]&0xc0 == 0x80 { // not within a character
		end--
	}
	return s[:end] + "…"
}

// Package envelope holds what the stages of a message's path hand to one
// another: the envelope with its recipients, the body, the outcome of an
// attempt, and the one error that crosses stages.
//
// It knows no stage. The spool keeps envelopes and is the only one that
// changes a recipient's state (through Change, so that the change is also
// written down); everyone else reads.
package envelope

import (
	"time"

	"gatepost/internal/addr"
)

// Envelope is what travels beside a message: RFC 5321, section 2.3.1.
type Envelope struct {
	ID       ID
	Received time.Time    // when we took responsibility
	From     addr.Address // reverse-path; zero is the null reverse-path
	Origin   Origin
	Account  string // address of the account that sent it; empty unless Origin is User
	Client   string // who handed it over, for operators: "192.0.2.1" or a name of our own

	Ret   Ret    // RFC 3461, section 4.3
	EnvID string // RFC 3461, section 4.4, still as xtext
	UTF8  bool   // sent with SMTPUTF8: RFC 6531, section 3.4
	Form  Form
	// RequireTLS says that the message must only go where it is protected, on
	// its whole way: RFC 8689.
	RequireTLS bool
	// TLSOptional says that its sender would rather have the message arrive
	// than protected: what the recipients' domains ask for is not asked of
	// them (RFC 8689, section 4.2.2). It is not set beside RequireTLS.
	TLSOptional bool
	// Unfit says that the message stays here: it is not passed on through an
	// alias, since it fails DMARC or is junk.
	Unfit bool

	// Header holds the fields that we put in front of what was received:
	// Received and its like, each ending in CR LF. It is never edited
	// afterwards.
	Header []byte
	// Size is the number of octets of Header and body together.
	Size int64

	Recipients []Recipient

	Held    bool // kept back by an operator, a restore or the account guard
	Delayed bool // a notice of delay has been sent
}

// Origin tells how a message came to us, and with it how far its
// reverse-path can be believed.
type Origin uint8

// The origins. Only a message from Remote has an unproven reverse-path. They
// are kept in the spool: new ones go to the end.
const (
	Remote Origin = iota // another server, on the MX
	User                 // a signed-in user
	Relay                // a client listed in [relay] networks
	Self                 // Gatepost: bounces, notices, reports
	Proven               // another server, which may send for the reverse-path: SPF passed
)

var originNames = [...]string{"remote", "user", "relay", "self", "remote"}

func (o Origin) String() string { return originNames[o] }

// Ret says what a failed message's bounce returns of it.
type Ret uint8

// Values of RET; RetNone leaves it to us.
const (
	RetNone Ret = iota
	RetFull
	RetHdrs
)

// Form is what the content asks of the next hop. It describes what is
// there, not what was declared.
type Form uint8

// Properties of a form.
const (
	EightBit   Form = 1 << iota // the body has octets above 127
	HeaderUTF8                  // the header has octets above 127
	LeadingDot                  // some line begins with a dot: it must be stuffed
	LongLine                    // some line exceeds the 998 octets of RFC 5322
)

// ByCourier is Client of the reports that we owe other domains.
const ByCourier = "report to another domain"

// IsErrand reports whether the message is a report that we owe another domain:
// nobody is told of its failure, and the next one takes its place.
func (e *Envelope) IsErrand() bool { return e.Origin == Self && e.Client == ByCourier }

// Bounceable reports whether a failure may be told to the reverse-path: it
// must be there and be the sender's own, else the bounce would hit whoever
// was forged (backscatter).
func (e *Envelope) Bounceable() bool { return !e.From.IsNull() && e.Origin != Remote }

// Leaving returns the envelope as another server gets it: with another
// reverse-path and other fields in front of a body of some octets. What the
// spool may be changing now is neither read nor copied, but for Recipients,
// which both share.
func (e *Envelope) Leaving(from addr.Address, header []byte, body int64) *Envelope {
	return &Envelope{
		ID: e.ID, Received: e.Received, From: from, Origin: e.Origin, Account: e.Account, Client: e.Client,
		Ret: e.Ret, EnvID: e.EnvID, UTF8: e.UTF8, Form: e.Form, RequireTLS: e.RequireTLS, TLSOptional: e.TLSOptional, Unfit: e.Unfit,
		Header: header, Size: int64(len(header)) + body, Recipients: e.Recipients,
	}
}

// NeedsUTF8 reports whether the next hop must offer SMTPUTF8 for the
// message to reach r unharmed.
func (e *Envelope) NeedsUTF8(r *Recipient) bool {
	return !e.From.IsASCII() || !r.To.IsASCII() || e.UTF8 && e.Form&HeaderUTF8 != 0
}

// Done reports whether no recipient needs anything any more.
func (e *Envelope) Done() bool {
	for i := range e.Recipients {
		if !e.Recipients[i].Status.Final() {
			return false
		}
	}
	return true
}

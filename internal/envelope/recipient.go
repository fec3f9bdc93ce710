package envelope

import (
	"time"

	"gatepost/internal/addr"
)

// Recipient is one forward-path of an envelope, after aliases.
type Recipient struct {
	To     addr.Address
	ORcpt  string // RFC 3461, section 4.2: "rfc822;" and xtext as given, or the address before an alias changed it
	Notify Notify
	// Via is the address of ours that the message was sent to, where that is
	// an alias for somebody elsewhere or a return address; zero else.
	Via addr.Address

	// What has become of it. Only the spool writes these, from a Change.
	Status   Status
	Attempts uint16
	Next     time.Time // when to try again; zero: as soon as possible
	Reason   string    // why the last attempt did not succeed, one printable line
}

// Notify is the NOTIFY parameter of RFC 3461, section 4.1. Zero means that
// none was given.
type Notify uint8

// Bits of Notify; NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Wants reports whether the sender asked to hear of event, or, where no
// NOTIFY was given, is told anyway: failure and delay (RFC 3461, section
// 4.1).
func (n Notify) Wants(event Notify) bool {
	if n == 0 {
		return event&(NotifyFailure|NotifyDelay) != 0
	}
	return n&event != 0
}

// Status is where a recipient stands.
type Status uint8

// The statuses. A recipient starts Pending and ends in one that is Final;
// Kept is the wait of a failure that may not be bounced, for an operator to
// see, and ends in Dropped.
const (
	Pending   Status = iota // not tried yet
	Deferred                // tried; Next says when again
	Kept                    // failed, and nobody may be told but postmaster
	Delivered               // in the mailbox, or with the next hop
	Relayed                 // with a next hop that does not speak RFC 3461
	Failed                  // failed, and the sender was told if they wished
	Dropped                 // removed by an operator, or Kept for long enough
)

var statusNames = [...]string{"pending", "deferred", "kept", "delivered", "relayed", "failed", "dropped"}

func (s Status) String() string { return statusNames[s] }

// Final reports whether nothing will change any more.
func (s Status) Final() bool { return s >= Delivered }

// Waiting reports whether a delivery is still to be attempted.
func (s Status) Waiting() bool { return s <= Deferred }

// Change is a new state of one recipient, or of a whole envelope, to be
// written down by the spool.
type Change struct {
	ID        ID
	Recipient int // index in Recipients; -1 for the envelope's own marks

	Status   Status
	Attempts uint16
	Next     time.Time
	Reason   string

	Held    bool // when Recipient is -1
	Delayed bool
}

// Outcome is what one attempt came to for one recipient.
type Outcome struct {
	Status Status // Delivered, Relayed, Deferred or Failed
	// Err is the reply that decided; nil when it was accepted with nothing
	// to say. Its text is another server's: not to be trusted.
	Err *Error
	// Host is the server that gave it, or that was tried last, "" if there
	// was none.
	Host string
	// Ours marks an Err that Host has not said: what we found out about it.
	Ours bool
	// Destination marks a deferral that says something about the whole
	// destination (no connection, 421) and not of this recipient or
	// message: others to it need not be tried before its time.
	Destination bool
	// Proof is how the host was reached that answered; nil when none did.
	Proof *Proof
}

// Attempt is one try to deliver a message to some of its recipients.
type Attempt struct {
	Envelope   *Envelope
	Body       *Body
	Recipients []int // indexes in Envelope.Recipients, all of one destination
	// Destination is the domain they are in, or "route:" and the name of a
	// configured route, which many domains may share.
	Destination string
	// Afresh says that the message was held until an operator released it:
	// what was signed before that is signed anew.
	Afresh bool
}

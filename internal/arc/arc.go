// Package arc verifies and continues Authenticated Received Chains: what
// servers that passed a message on found when it came to them, each sealed by
// the one who says so.
//
// # Place in the path
//
// gate makes a Verifier with the header of a message, as it does for dkim; a
// chain that passes and leads back to a forwarder whom the operator trusts
// may excuse a failure of DMARC (Result.Trusted). Whoever forwards a message
// makes a Sealer and puts its fields in front of the header; a Forwarder does
// so for a whole message (gatepost message seal).
//
// # Standards
//
// RFC 8617; RFC 6376 and 8301 for the signatures; RFC 8601 for what is said.
//
// # What it trusts, and its limits
//
// Nobody: that a chain passes means only that each of its sealers wrote what
// it says. A spammer can seal too. MaxSets (section 4.2.1) bounds a chain,
// maxField a field; each set costs two signatures and two look-ups, all of
// which are made at once. Bodies are hashed as they come.
package arc

import (
	"strconv"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/authres"
)

// Bounds of a chain.
const (
	MaxSets  = 50       // RFC 8617, section 4.2.1
	maxField = 16 << 10 // octets of one of its fields
)

// Status is what a chain is worth: RFC 8617, section 4.4.
type Status uint8

// The statuses.
const (
	None Status = iota // there is no chain
	Pass               // every seal is good, and so is the last signature
	Fail               // it cannot be relied upon
)

var statusNames = [...]string{"none", "pass", "fail"}

func (s Status) String() string { return statusNames[s] }

// Set is what one server added: RFC 8617, section 4.2.
type Set struct {
	Instance int
	Sealer   addr.Domain // d= of its ARC-Seal
	Selector string      // s= of its ARC-Seal
	Signer   addr.Domain // d= of its ARC-Message-Signature
	Time     time.Time   // t= of its ARC-Seal; zero if it does not say
	// Results are what it found when the message came to it; empty if they
	// cannot be read.
	Results authres.Results
}

// Result is what a message's chain is worth.
type Result struct {
	Status Status
	// Sets are those of a Pass, the first one first; nil else.
	Sets []Set
	// OldestPass is the lowest instance from which on every message
	// signature is still good, of a Pass: the message is as that server
	// left it (RFC 8617, section 5.2, step 5).
	OldestPass int
	// Instances is the highest instance that the header has, whatever the
	// Status; a new set gets the next one.
	Instances int
	Reason    string // one sentence for people
	Err       error  // the resolver's, if that is why it fails
}

// Auth returns the result for an Authentication-Results field: RFC 8617,
// section 10.1 and 10.2.
func (r Result) Auth() authres.Result {
	a := authres.Result{Method: "arc", Value: r.Status.String()}
	switch r.Status {
	case Pass:
		a.Props = []authres.Prop{{Type: "header", Name: "oldest-pass", Value: strconv.Itoa(r.OldestPass)}}
	case Fail:
		a.Reason = r.Reason
	}
	return a
}

// Trusted returns the earliest set whose word counts, given whom to trust:
// its sealer is trusted, and since then nobody changed the message who is
// not. What it found is then as good as what we would have found in its
// place.
func (r Result) Trusted(trust func(addr.Domain) bool) (Set, bool) {
	var best Set
	found := false
	above := true // all who sealed later are trusted
	for i := len(r.Sets) - 1; i >= 0; i-- {
		s := r.Sets[i]
		if s.Instance < r.OldestPass && !above {
			break
		}
		trusted := trust(s.Sealer)
		if trusted {
			best, found = s, true
		}
		above = above && trusted
	}
	return best, found
}

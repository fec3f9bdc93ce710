// Package dkim verifies and makes DKIM signatures.
//
// # Place in the path
//
// gate makes a Verifier when the header of a message has arrived, writes the
// body to it as it streams past, and asks for the results when it has ended;
// dmarc takes them. Mail of our own and of our users passes a Signer in the
// same way, and its fields go in front of the header. arc builds its own
// signatures from the same parts: Tags, Signature, Header, Body, Lookup,
// Builder.
//
// # Standards
//
// RFC 6376; RFC 8301 (rsa-sha1 and short keys fail); RFC 8463 (Ed25519); RFC
// 8616 (internationalized names); RFC 8601 for how results are told.
//
// # What it trusts, and its limits
//
// The resolver and the time that it is given. The message is hostile. No more
// than MaxSignatures are verified, those of the author's domain first, so
// that others on the way cannot push them out; maxField, maxTags and
// MaxHeaders bound one signature, maxRecords and maxRecord what its key may
// be among, MinRSA and MaxRSA the key. Bodies are hashed as they come: once
// for each canonicalization in use, whatever the number of signatures, and
// never kept.
//
// A signature with l= says nothing of what follows the octets that it
// counts, one of a Subject says nothing of a second Subject, and a key with
// t=y wants to be as if it were not there. All may verify, but
// Result.Authenticates is false, so that none satisfies DMARC.
package dkim

import (
	"encoding/base64"
	"fmt"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/authres"
)

// Bounds of what is verified.
const (
	MaxSignatures = 5        // verified in one message
	MaxHeaders    = 200      // names in h=
	maxField      = 16 << 10 // octets of a signature field
	maxTags       = 40       // of one list
	maxRecords    = 4        // keys that one selector publishes
	maxRecord     = 8 << 10  // octets of a key record
	MinRSA        = 1024     // bits: RFC 8301, section 3.2
	MaxRSA        = 4096     // bits: larger ones only cost us time
	// maxSkew is how far into the future the clock of a signer may be off.
	maxSkew = time.Hour
)

// Status is what the verification of a signature came to: RFC 8601, section
// 2.7.1.
type Status uint8

// The statuses.
const (
	Pass      Status = iota // it is good
	Fail                    // it is not, or not good enough for anybody (RFC 8301)
	TempError               // the key could not be looked up; try again
	PermError               // it or its key cannot be used
)

var statusNames = [...]string{"pass", "fail", "temperror", "permerror"}

func (s Status) String() string { return statusNames[s] }

// Algorithm is how a signature was made.
type Algorithm uint8

// The algorithms of RFC 6376, section 3.3 and RFC 8463, section 3.
const (
	RSASHA256 Algorithm = iota
	Ed25519SHA256
	RSASHA1 // never verified: RFC 8301, section 3.1
)

var algorithmNames = [...]string{"rsa-sha256", "ed25519-sha256", "rsa-sha1"}

func (a Algorithm) String() string { return algorithmNames[a] }

// Result is what one signature is worth.
type Result struct {
	Status   Status
	Domain   addr.Domain // who signed (d=); empty if it cannot be read
	Selector string      // s=
	// Signature is the signature as read; nil if it cannot be.
	Signature *Signature
	KeyBits   int   // of the key that was used; 0 if none was
	Testing   bool  // the key says t=y: RFC 6376, section 3.6.1
	Unsigned  int64 // octets of the canonical body behind what l= counts
	// Doubled names a field that a message has once, but this one more often
	// than it is signed; empty if there is none. A reader may show the one
	// that somebody added: RFC 6376, section 8.15.
	Doubled string
	Reason  string // one sentence for people
	Err     error  // of TempError: the resolver's
}

// Authenticates reports whether the signature vouches for the message in the
// name of Domain: it passed, covers the whole body whatever may be added
// behind it (no l=) and every field of those that are shown, and is no test.
func (r Result) Authenticates() bool {
	return r.Status == Pass && r.Signature.Length < 0 && r.Doubled == "" && !r.Testing
}

// Auth returns the result for an Authentication-Results field: RFC 8601,
// section 2.7.1. A signature that passed and yet vouches for nothing is
// "policy" there, since readers of the field see one word.
func (r Result) Auth() authres.Result {
	a := authres.Result{Method: "dkim", Value: r.Status.String(), Reason: r.Reason}
	if r.Status == Pass {
		a.Reason = ""
		if !r.Authenticates() {
			a.Value, a.Reason = "policy", r.Reason
		}
	}
	prop := func(name, value string) {
		if value != "" {
			a.Props = append(a.Props, authres.Prop{Type: "header", Name: name, Value: value})
		}
	}
	prop("d", string(r.Domain))
	if s := r.Signature; s != nil {
		prop("i", s.Identity)
		prop("s", s.Selector)
		prop("a", s.Algorithm.String())
		// Enough to tell signatures apart: RFC 6008, section 4.
		prop("b", base64.StdEncoding.EncodeToString(s.Value[:min(6, len(s.Value))]))
	}
	return a
}

// problem is why a signature is not good, as a sentence.
type problem struct {
	status Status
	text   string
	cause  error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.cause }

func failf(format string, args ...any) error {
	return &problem{status: Fail, text: fmt.Sprintf(format, args...)}
}

func permf(format string, args ...any) error {
	return &problem{status: PermError, text: fmt.Sprintf(format, args...)}
}

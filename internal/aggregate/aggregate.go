// Package aggregate reads and writes DMARC aggregate reports: what a server
// saw in a day of mail in the name of a domain.
//
// # Place in the path
//
// Reports that come to us are read out of the message that brings them
// (ReadMessage); those that we owe others are written as a message of our own
// (WriteMessage). dmarc tells to whom (Destinations).
//
// # Standards
//
// RFC 9990; the form of RFC 7489, appendix C, which most still send, is read
// too.
//
// # What it trusts, and its limits
//
// Nothing: anybody may send a report, with any content. MaxPacked and MaxXML
// bound it before and after it is unpacked, so that a bomb ends where they
// do; document types, and so entities, are refused; MaxRows, maxResults,
// maxText, maxDepth and maxFiles bound what is kept and how deep it is looked
// for. Texts are free of control characters.
package aggregate

import (
	"errors"
	"net/netip"
	"time"
)

// Bounds of a report.
const (
	MaxPacked  = 10 << 20 // octets as it arrives
	MaxXML     = 16 << 20 // octets of XML
	MaxRows    = 50_000
	maxResults = 100  // of one kind in one row: RFC 9990, section 3.1.3
	maxText    = 1024 // octets of one text
	maxDepth   = 20   // elements within elements
	maxFiles   = 50   // of an archive
)

// Errors of reading.
var (
	ErrTooLarge = errors.New("a report that is too large")
	ErrNoReport = errors.New("there is no aggregate report in it")
	ErrDoctype  = errors.New("a report with a document type, which could hold entities")
	ErrSyntax   = errors.New("not a valid aggregate report")
)

// Report is one aggregate report. Of one that was read only the domain, the
// rows and what is in them can be relied upon to be there.
type Report struct {
	Organization string // who reports
	Email        string
	Contact      string // how else to reach them; may be empty
	ID           string
	Begin, End   time.Time
	Errors       []string
	Generator    string
	Policy       Published
	Rows         []Row
}

// Published is the policy that the reporter found: RFC 9990, section 3.1.1.
// Texts are as in the record; empty ones were not reported.
type Published struct {
	Domain       string // where it was found
	Policy       string // p
	Subdomains   string // sp
	NonExistent  string // np
	DKIM, SPF    string // "r" or "s"
	FailureCases string // fo
	Testing      bool   // t=y
	Discovery    string // "treewalk" or "psl"
}

// Row is a number of messages that were alike.
type Row struct {
	IP          netip.Addr
	Count       int64
	Disposition string // what was done: "none", "pass", "quarantine" or "reject"
	DKIM, SPF   bool   // passed and aligned
	Overrides   []Override

	From         string // the domain in From
	EnvelopeFrom string
	EnvelopeTo   string

	Signatures []Signature
	Senders    []Sender
}

// Passed reports whether the messages passed DMARC.
func (r Row) Passed() bool { return r.DKIM || r.SPF }

// Override is why something else was done than the policy asks for.
type Override struct{ Type, Comment string }

// Signature is what DKIM made of one.
type Signature struct{ Domain, Selector, Result, Note string }

// Sender is what SPF made of a domain.
type Sender struct{ Domain, Scope, Result, Note string }

// Package spf tells whether a server may send mail for a domain, as the
// domain's owner says in the DNS.
//
// # Place in the path
//
// gate asks at MAIL with the client's address, its greeting and the
// reverse-path. dmarc takes the Result; queue believes a reverse-path enough
// to bounce to it only if it passed.
//
// # Standards
//
// RFC 7208, whole: macros and explanations too. RFC 8601 for how the result
// is told (Result.Auth).
//
// # What it trusts, and its limits
//
// The client's address, and the resolver as far as it goes. Records and the
// words of the client are hostile. A record names other records, so that one
// message could be made to ask for many names: maxLookups, maxVoid, maxMX and
// maxPTR (RFC 7208, section 4.6.4) bound the questions to some 120, and the
// caller's context bounds the time; section 4.6.4 wants at least 20 seconds.
// maxRecord bounds a record, maxExplanation what its owner tells people.
package spf

import (
	"context"
	"net/netip"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/authres"
	"gatepost/internal/resolve"
)

// Bounds of one check.
const (
	maxLookups     = 10       // terms that ask the DNS: RFC 7208, section 4.6.4
	maxVoid        = 2        // terms that ask and find nothing: section 4.6.4
	maxMX          = 10       // hosts of one mx: section 4.6.4
	maxPTR         = 10       // names of the client's address: section 4.6.4
	maxRecord      = 16 << 10 // octets
	maxExplanation = 500      // octets; it goes into a reply line
)

// Status is what a check came to: RFC 7208, section 2.6.
type Status uint8

// The statuses.
const (
	None      Status = iota // nothing is published, or there is no domain to check
	Neutral                 // the owner does not say
	Pass                    // the client may send for the domain
	Fail                    // it may not
	SoftFail                // it probably may not
	TempError               // the DNS could not say; try again
	PermError               // what is published cannot be understood
)

var statusNames = [...]string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}

// String returns the name that RFC 8601, section 2.7.2 gives the status.
func (s Status) String() string { return statusNames[s] }

// Identity is what was checked.
type Identity uint8

// The identities: RFC 7208, sections 2.3 and 2.4.
const (
	MailFrom Identity = iota
	Helo
)

// Query is one question: may the client at IP send in this name? ForMailFrom
// and ForHelo make it.
type Query struct {
	Identity Identity
	IP       netip.Addr
	Helo     string // as the client greeted
	Local    string // of the sender; empty means postmaster: section 4.3
	Domain   string // of the sender; need not be a valid name

	// Receiver and Now are for explanations alone: our name and the time.
	Receiver string
	Now      time.Time
}

// ForMailFrom asks about a reverse-path. For the null reverse-path that is
// postmaster at the name in the greeting (RFC 7208, section 2.4).
func ForMailFrom(ip netip.Addr, helo string, from addr.Address) Query {
	q := Query{IP: ip, Helo: helo, Local: from.Local, Domain: string(from.Domain)}
	if from.IsNull() {
		q.Domain = helo
	}
	return q
}

// ForHelo asks about the name in a greeting: RFC 7208, section 2.3.
func ForHelo(ip netip.Addr, helo string) Query {
	return Query{Identity: Helo, IP: ip, Helo: helo, Domain: helo}
}

// Result is the answer.
type Result struct {
	Status   Status
	Identity Identity
	Sender   string // local part and domain that were checked
	Domain   string // that was checked, in lower case
	// Mechanism is the term that decided, as it stands in the record, as
	// "ip4:192.0.2.0/24" or "-all"; "default" if none did. Empty when it did
	// not come to that.
	Mechanism string
	// Explanation is what the owner of the domain says to a Fail (exp=):
	// printable US-ASCII, not to be trusted. Section 6.2 wants it marked as
	// theirs.
	Explanation string
	Reason      string // one sentence for people
	// Err is why the Status is TempError or PermError; of the first it is
	// the resolver's error, so that one can tell whose fault it was.
	Err error
}

// Auth returns the result for an Authentication-Results field: RFC 8601,
// section 2.7.2.
func (r Result) Auth() authres.Result {
	p := authres.Prop{Type: "smtp", Name: "mailfrom", Value: r.Sender}
	if r.Identity == Helo {
		p.Name, p.Value = "helo", r.Domain
	}
	return authres.Result{Method: "spf", Value: r.Status.String(), Reason: r.Reason, Props: []authres.Prop{p}}
}

// Check asks the DNS and returns its answer: check_host() of RFC 7208,
// section 4.
func Check(ctx context.Context, r resolve.Resolver, q Query) Result {
	c := newCheck(ctx, r, q)
	res := Result{Identity: q.Identity, Sender: c.sender(), Domain: c.domain}
	if !validDomain(c.domain) { // section 4.3
		res.Reason = "there is no domain name to check"
		return res
	}
	out := c.host(c.domain)
	res.Status, res.Err = out.status, out.err
	res.Mechanism = out.matched
	if res.Status == Fail {
		res.Explanation = c.explain(out.record, out.domain)
	}
	res.Reason = c.reason(out)
	return res
}

// reason puts an outcome into a sentence.
func (c *check) reason(out outcome) string {
	ip := c.IP.String()
	switch out.status {
	case None:
		return c.domain + " publishes no SPF record"
	case Neutral:
		return c.domain + " does not say whether " + ip + " may send for it (" + out.matched + ")"
	case Pass:
		return ip + " may send for " + c.domain + " (" + out.matched + ")"
	case Fail:
		return ip + " may not send for " + c.domain + " (" + out.matched + ")"
	case SoftFail:
		return ip + " should not send for " + c.domain + " (" + out.matched + ")"
	case TempError:
		return "SPF of " + c.domain + " could not be looked up: " + out.err.Error()
	}
	return "SPF of " + c.domain + " is broken: " + out.err.Error()
}

// Package dmarc tells whether a message is by the domain that its From field
// shows, and what the owner of that domain wants done if it is not.
//
// # Place in the path
//
// gate asks Author at the end of a header, and Check once spf and dkim have
// their results; what follows from the Result is gate's to decide. Record is
// what reports and the checks of our own domains read.
//
// # Standards
//
// RFC 9989: records, the DNS tree walk instead of a list of public suffixes,
// alignment. RFC 8601 for how the result is told.
//
// # What it trusts, and its limits
//
// The results of spf and dkim, and the resolver. Headers and records are
// hostile. A walk asks at most maxWalk names (section 4.10), and there is one
// for the author and one for each identifier that could align, each name
// being asked once. maxRecord, maxURIs and maxShown bound what is read of a
// record and a field.
package dmarc

import (
	"context"
	"fmt"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/resolve"
	"gatepost/internal/spf"
)

// Bounds of a check.
const (
	maxWalk   = 8        // names on the way up: section 4.10
	maxRecord = 16 << 10 // octets of a record
	maxURIs   = 20       // addresses in one rua= or ruf=
	maxShown  = 10       // foreign domains in one From
)

// Status is what a check came to: RFC 9989, section 5.3.5; RFC 8601.
type Status uint8

// The statuses.
const (
	None      Status = iota // no policy applies
	Pass                    // the author's domain stands behind the message
	Fail                    // it does not
	TempError               // the DNS could not say
	PermError               // what is published cannot be understood
)

var statusNames = [...]string{"none", "pass", "fail", "temperror", "permerror"}

func (s Status) String() string { return statusNames[s] }

// Result is what a message is worth in the name of its author's domain.
type Result struct {
	Status Status
	From   addr.Domain // the author's domain
	// Record is the one that applies, and Domain where it was found; nil and
	// empty if there is none.
	Record *Record
	Domain addr.Domain
	// Organization is the author's organizational domain, where it had to be
	// known.
	Organization addr.Domain
	// Published is what the record asks for mail that fails, whichever of
	// p=, sp= and np= applies. Policy is that with t= heeded: a policy that
	// is only tested counts one step less (section 4.7). Neither says what
	// is to be done: that is for the receiver to decide (section 7.4 warns
	// of rejecting for p=reject alone).
	Published Policy
	Policy    Policy
	// SPF and DKIM tell which identifiers passed and are aligned.
	SPF  bool
	DKIM bool
	// Signed tells that some signature of the author's organization is
	// there, good or not.
	Signed bool
	Reason string // one sentence for people
	Err    error  // of TempError
}

// Auth returns the result for an Authentication-Results field: RFC 9989,
// section 9.1.
func (r Result) Auth() authres.Result {
	a := authres.Result{Method: "dmarc", Value: r.Status.String(), Reason: r.Reason}
	if r.Status == Pass {
		a.Reason = ""
	}
	a.Props = append(a.Props, authres.Prop{Type: "header", Name: "from", Value: string(r.From)})
	if r.Record != nil {
		a.Props = append(a.Props, authres.Prop{Type: "policy", Name: "dmarc", Value: r.Policy.String()})
	}
	return a
}

// Check tells whether a message from an author's domain passes, given what
// SPF made of its reverse-path and DKIM of its signatures.
func Check(ctx context.Context, r resolve.Resolver, from addr.Domain, s spf.Result, signatures []dkim.Result) Result {
	c := &check{walker: walker{ctx: ctx, r: r, found: map[addr.Domain]found{}}, res: Result{From: from}}
	switch err := c.discover(); {
	case err != nil:
		return c.failed(err)
	case c.res.Record == nil:
		c.res.Reason = string(from) + " publishes no DMARC policy"
		return c.res
	case !c.res.Record.Applies(): // section 4.10.1
		c.res.Reason = "the DMARC policy of " + string(from) + " is not valid"
		return c.res
	}
	failed := c.align(s, signatures)
	passed := c.res.SPF || c.res.DKIM
	if err := c.choose(); failed == nil {
		failed = err
	}
	if failed != nil && !passed {
		return c.failed(failed)
	}
	c.judge(s, signatures)
	return c.res
}

// check is one evaluation.
type check struct {
	walker
	res Result
}

// failed is the result if the DNS did not answer. Nothing can be said then,
// not even that the message fails: section 5.3.6.
func (c *check) failed(err error) Result {
	c.res.Status, c.res.Err = TempError, err
	c.res.Policy, c.res.Published = PolicyNone, PolicyNone
	c.res.Reason = "DMARC of " + string(c.res.From) + " could not be looked up: " + err.Error()
	return c.res
}

// align looks for identifiers that passed and are aligned with the author's
// domain: section 4.10.2.
func (c *check) align(s spf.Result, signatures []dkim.Result) error {
	var failed error
	if s.Status == spf.Pass && s.Identity == spf.MailFrom { // section 4.4.2: not HELO's
		if d, err := addr.ParseDomain(s.Domain); err == nil {
			c.res.SPF, failed = c.aligned(d, c.res.Record.SPF)
		}
	}
	for _, sig := range signatures {
		if sig.Domain == "" {
			continue
		}
		// That somebody signed for the organization matters even where it
		// wants the very domain; errors of the DNS matter only where the
		// signature does, so that a bad one cannot stop the check.
		related, err := c.aligned(sig.Domain, Relaxed)
		c.res.Signed = c.res.Signed || related
		if !sig.Authenticates() {
			continue
		}
		ok := related && (c.res.Record.DKIM == Relaxed || sig.Domain == c.res.From)
		c.res.DKIM = c.res.DKIM || ok
		if err != nil {
			failed = err
		}
	}
	return failed
}

// aligned reports whether an identifier belongs to the author's domain:
// section 4.4.
func (c *check) aligned(d addr.Domain, a Alignment) (bool, error) {
	if d == c.res.From || a == Strict {
		return d == c.res.From, nil
	}
	mine, err := c.organization(c.res.From)
	if err != nil {
		return false, err
	}
	c.res.Organization = mine
	return c.sameOrganization(c.res.From, d)
}

// within reports whether a domain is another or below it.
func within(d, parent addr.Domain) bool {
	return d == parent || strings.HasSuffix(string(d), "."+string(parent))
}

// judge says what came out: section 5.3.5.
func (c *check) judge(s spf.Result, signatures []dkim.Result) {
	from := string(c.res.From)
	switch {
	case c.res.SPF && c.res.DKIM:
		c.res.Status, c.res.Reason = Pass, from+" stands behind it: its signature and its server"
	case c.res.DKIM:
		c.res.Status, c.res.Reason = Pass, from+" stands behind it: it is signed"
	case c.res.SPF:
		c.res.Status, c.res.Reason = Pass, from+" stands behind it: it comes from its server"
	case c.undecided(s, signatures):
		// What might have passed must not fail: section 5.3.6.
		c.res.Status = TempError
		c.res.Reason = "SPF or DKIM of " + from + " could not be looked up"
	default:
		c.res.Status = Fail
		c.res.Reason = fmt.Sprintf("nothing shows that it is by %s, which asks to %s such mail", from, c.res.Policy.verb())
	}
}

// undecided reports whether an identifier that could be aligned has no result
// because the DNS did not answer, and takes its error.
func (c *check) undecided(s spf.Result, signatures []dkim.Result) bool {
	could := func(d addr.Domain, a Alignment, err error) bool {
		ok, failed := c.aligned(d, a)
		if ok || failed != nil {
			c.res.Err = err
		}
		return ok || failed != nil
	}
	if s.Status == spf.TempError && s.Identity == spf.MailFrom {
		if d, err := addr.ParseDomain(s.Domain); err == nil && could(d, c.res.Record.SPF, s.Err) {
			return true
		}
	}
	for _, sig := range signatures {
		if sig.Status == dkim.TempError && could(sig.Domain, c.res.Record.DKIM, sig.Err) {
			return true
		}
	}
	return false
}

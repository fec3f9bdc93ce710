package dmarc

import (
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"

	"gatepost/internal/addr"
)

// Policy is what is asked for mail that fails: RFC 9989, section 4.7, p=.
type Policy uint8

// The policies.
const (
	PolicyNone Policy = iota
	Quarantine
	Reject
)

var policyNames = [...]string{"none", "quarantine", "reject"}

func (p Policy) String() string { return policyNames[p] }

// verb says what a policy asks for.
func (p Policy) verb() string { return [...]string{"do nothing with", "quarantine", "reject"}[p] }

// Alignment is how closely an identifier must match the author's domain.
type Alignment uint8

// The alignments: section 4.4.
const (
	Relaxed Alignment = iota // the same organization
	Strict                   // the same name
)

// PSD says what a domain is in the tree: section 4.7, psd=.
type PSD uint8

// The kinds of domains.
const (
	Unknown      PSD = iota // psd=u: the walk decides
	PublicSuffix            // psd=y: others register below it
	NoSuffix                // psd=n: an organization of its own
)

// Record is a policy record: RFC 9989, section 4.7.
type Record struct {
	Policy       Policy // p=
	Subdomains   Policy // sp=, or what it defaults to
	NonExistent  Policy // np=, or what it defaults to
	DKIM         Alignment
	SPF          Alignment
	PSD          PSD
	Testing      bool     // t=y
	Aggregate    []string // rua=: URIs, of which only mailto: is used, each with its size if it has one
	Failure      []string // ruf=
	FailureCases string   // fo=, as written; "0" if it is not given
	// Invalid says that p= is missing or a policy is not valid. All policies
	// are none then.
	Invalid bool
}

// Applies reports whether messages are to be judged by the record: one with
// an invalid policy is heeded only if it wants reports (section 4.10.1).
func (r *Record) Applies() bool { return !r.Invalid || len(r.Aggregate) > 0 }

// Errors of ParseRecord.
var (
	ErrNoRecord = errors.New("not a DMARC record")
	ErrTooLong  = errors.New("the record is too long")
)

// version begins every record; unlike names of tags it has a case.
const version = "DMARC1"

// tagged returns what follows the version in a record; ok is false if the
// text is none.
func tagged(txt string) (rest string, ok bool) {
	first, rest, _ := strings.Cut(txt, ";")
	name, value, ok := strings.Cut(first, "=")
	return rest, ok && lower(trim(name)) == "v" && trim(value) == version
}

func trim(s string) string { return strings.Trim(s, " \t") }

// ParseRecord reads a policy record: RFC 9989, sections 4.7 and 4.8. What is
// not understood beyond the version is passed over, or stands for its
// default. ErrNoRecord says that the text is something else.
func ParseRecord(txt string) (*Record, error) {
	rest, ok := tagged(txt)
	if !ok {
		return nil, ErrNoRecord
	}
	if len(txt) > maxRecord {
		return nil, ErrTooLong
	}
	tags := parseTags(rest)
	r := &Record{FailureCases: "0"}
	r.DKIM, r.SPF = alignment(tags["adkim"]), alignment(tags["aspf"])
	switch lower(tags["psd"]) {
	case "y":
		r.PSD = PublicSuffix
	case "n":
		r.PSD = NoSuffix
	}
	r.Testing = lower(tags["t"]) == "y"
	r.Aggregate, r.Failure = uris(tags["rua"]), uris(tags["ruf"])
	if fo := tags["fo"]; fo != "" {
		r.FailureCases = fo
	}
	r.policies(tags)
	return r, nil
}

// policies reads p=, sp= and np=. A record whose policy is missing or not
// valid asks for nothing: section 4.10.1.
func (r *Record) policies(tags map[string]string) {
	read := func(name string, to *Policy, otherwise Policy) {
		*to = otherwise
		v, given := tags[name]
		if !given {
			return
		}
		for p, known := range policyNames {
			if lower(v) == known {
				*to = Policy(p)
				return
			}
		}
		r.Invalid = true
	}
	_, given := tags["p"]
	r.Invalid = !given
	read("p", &r.Policy, PolicyNone)
	read("sp", &r.Subdomains, r.Policy)
	read("np", &r.NonExistent, r.Subdomains)
	if r.Invalid {
		r.Policy, r.Subdomains, r.NonExistent = PolicyNone, PolicyNone, PolicyNone
	}
}

// parseTags reads the tags behind the version. Of a tag that comes twice the
// first one counts.
func parseTags(s string) map[string]string {
	tags := map[string]string{}
	for spec := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(spec, "=")
		name, value = lower(trim(name)), trim(value)
		if _, twice := tags[name]; !ok || twice || name == "" || !printable(value) {
			continue
		}
		tags[name] = value
	}
	return tags
}

// lower is for US-ASCII.
func lower(s string) string { return strings.ToLower(s) }

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func alignment(s string) Alignment {
	if lower(s) == "s" {
		return Strict
	}
	return Relaxed
}

// uris reads a list of report addresses: section 4.6. What stands behind an
// exclamation mark and is no size is passed over.
func uris(s string) []string {
	var list []string
	for u := range strings.SplitSeq(s, ",") {
		u, size, _ := strings.Cut(trim(u), "!")
		if parsed, err := url.Parse(u); err != nil || parsed.Scheme == "" || len(list) == maxURIs {
			continue
		}
		if _, ok := parseSize(size); ok {
			u += "!" + size
		}
		list = append(list, u)
	}
	return list
}

// parseSize reads the largest report that an address takes: RFC 7489, section
// 6.2, which RFC 9990, section 3.4 has us heed.
func parseSize(s string) (octets int64, ok bool) {
	digits := strings.TrimRight(s, "kKmMgGtT")
	unit := lower(s[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || len(unit) > 1 {
		return 0, false
	}
	shift := 0
	if unit != "" {
		shift = 10 * (1 + strings.Index("kmgt", unit))
	}
	if n > math.MaxInt64>>shift {
		return math.MaxInt64, true
	}
	return int64(n) << shift, true
}

// Limit returns the largest report that a URI takes, in octets as sent; 0 is
// any.
func Limit(uri string) int64 {
	_, size, _ := strings.Cut(uri, "!")
	n, _ := parseSize(size)
	return n
}

// Mailto returns the address in a mailto: URI; ok is false for any other.
func Mailto(uri string) (a addr.Address, ok bool) {
	const scheme = "mailto:"
	if len(uri) < len(scheme) || !strings.EqualFold(uri[:len(scheme)], scheme) {
		return a, false
	}
	text, _, _ := strings.Cut(uri[len(scheme):], "!")
	text, _, _ = strings.Cut(text, "?")
	text, err := url.PathUnescape(text)
	if err != nil {
		return a, false
	}
	a, err = addr.Parse(text)
	return a, err == nil
}

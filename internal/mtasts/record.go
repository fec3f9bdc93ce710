package mtasts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/internal/resolve"
)

// Record is the TXT record at _mta-sts under a domain: that it has a policy,
// and by ID which one (RFC 8461, section 3.1).
type Record struct{ ID string }

// Errors of LookupRecord, beside those of resolve.
var (
	// ErrNoRecord: the domain has no record, and so no policy.
	ErrNoRecord = errors.New("no MTA-STS record")
	// ErrRecord: it has one that cannot be read, or several, which is none
	// (RFC 8461, section 3.1).
	ErrRecord = errors.New("not a valid MTA-STS record")
)

const recordVersion = "v=STSv1"

// maxRecord bounds a record, in octets; its grammar has no bound.
const maxRecord = 4096

// RecordName returns where the record of a domain is.
func RecordName(domain string) string { return "_mta-sts." + domain }

// LookupRecord asks for the record of a domain.
func LookupRecord(ctx context.Context, r resolve.Resolver, domain string) (Record, error) {
	texts, err := resolve.TXT(ctx, r, RecordName(domain))
	if errors.Is(err, resolve.ErrNotFound) {
		return Record{}, ErrNoRecord
	}
	if err != nil {
		return Record{}, err
	}
	found := ""
	for _, t := range texts {
		if !strings.HasPrefix(t, recordVersion+";") {
			continue // some other record, of which there may be any number
		}
		if found != "" {
			return Record{}, fmt.Errorf("%w: there are several", ErrRecord)
		}
		found = t
	}
	if found == "" {
		return Record{}, ErrNoRecord
	}
	return ParseRecord(found)
}

// ParseRecord reads the text of a record.
func ParseRecord(s string) (Record, error) {
	fields := strings.Split(s, ";")
	if len(s) > maxRecord || trim(fields[0]) != recordVersion || strings.HasPrefix(fields[0], " ") {
		return Record{}, ErrRecord
	}
	fields = fields[1:]
	if n := len(fields); n > 0 && trim(fields[n-1]) == "" {
		fields = fields[:n-1] // a delimiter may end the record
	}
	var r Record
	for _, f := range fields {
		name, value, ok := strings.Cut(trim(f), "=")
		switch {
		case !ok || !isName(name) || !isValue(value):
			return Record{}, ErrRecord
		case name != "id":
		case r.ID != "" || !isID(value):
			return Record{}, ErrRecord
		default:
			r.ID = value
		}
	}
	if r.ID == "" {
		return Record{}, ErrRecord
	}
	return r, nil
}

func trim(s string) string { return strings.Trim(s, " \t") }

// isValue reports whether s is printable and has no delimiter in it.
func isValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '=' || s[i] == ';' {
			return false
		}
	}
	return s != ""
}

func isID(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// String returns the record as it is published.
func (r Record) String() string { return recordVersion + "; id=" + r.ID }

// Record returns the record that announces the policy. Its ID is made of
// what the policy says, so that it changes when the policy does and only
// then, and nobody has to remember to change it.
func (p Policy) Record() Record {
	sum := sha256.Sum256([]byte(p.String()))
	return Record{hex.EncodeToString(sum[:10])}
}

// The lives of policies of our own. One that is only tested is short, so that
// it is heard when it changes; one that is meant lives for weeks, as RFC
// 8461, section 3.2, recommends, so that no attacker sits it out.
const (
	testingAge = 24 * time.Hour
	enforceAge = 30 * 24 * time.Hour
)

// Ours returns the policy that a domain of ours publishes, whose mail goes to
// hosts. Its Record announces it.
func Ours(mode Mode, hosts ...Pattern) Policy {
	switch mode {
	case Testing:
		return Policy{Mode: Testing, MX: hosts, MaxAge: testingAge}
	case Enforce:
		return Policy{Mode: Enforce, MX: hosts, MaxAge: enforceAge}
	}
	return Policy{Mode: None, MaxAge: removalAge}
}

// Gone returns when nobody can have a policy of a domain any more that
// publishes mode None since then: its record and its host may go too.
func Gone(since time.Time) time.Time { return Ours(Enforce).Remove(since).Until }

// Removal is how a policy goes away without stranding mail: RFC 8461,
// section 8.3.
type Removal struct {
	// Policy is published in place of the old one, with its record.
	Policy Policy
	// Until is when nobody can have the old policy any more: then the record
	// and the policy's host may go too.
	Until time.Time
}

// removalAge is the life of a policy that promises nothing: a day, so that a
// domain that changes its mind is heard.
const removalAge = 24 * time.Hour

// Remove plans how a policy that was published until now goes away.
func (p Policy) Remove(now time.Time) Removal {
	return Removal{Policy: Policy{Mode: None, MaxAge: removalAge}, Until: now.Add(max(p.MaxAge, removalAge))}
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// Record is one DNS record that a domain needs.
type Record struct {
	Name  string `json:"name"`  // fully qualified, without final dot
	Type  string `json:"type"`  // as in a zone file
	Value string `json:"value"` // as in a zone file
	Why   string `json:"why"`   // a sentence
}

// Line returns the record as a line of a zone file.
func (r Record) Line() string { return fmt.Sprintf("%s. 3600 IN %s %s", r.Name, r.Type, r.Value) }

// Site is what the records of a domain depend on.
type Site struct {
	Hostname    addr.Domain
	Addrs       []netip.Addr // public addresses of this machine; may be empty
	Submission  int          // port of the door, 0 when it is closed
	Submissions int
}

// Records returns what domain needs so that others find this server and
// believe its mail.
func (s Site) Records(domain addr.Domain) []Record {
	host := string(s.Hostname)
	list := []Record{{string(domain), "MX", "10 " + host + ".",
		"Other servers bring mail for " + domain.Unicode() + " to this one."}}
	for _, ip := range s.Addrs {
		list = append(list, Record{host, addressType(ip), ip.String(), "This is where " + host + " is."})
	}
	list = append(list,
		Record{string(domain), "TXT", `"v=spf1 mx -all"`,
			"Only this server sends mail of " + domain.Unicode() + " (SPF)."},
		Record{host, "TXT", `"v=spf1 a -all"`,
			"Bounces, which have no sender, come from this server alone (SPF)."})
	for _, door := range []struct {
		name, how string
		port      int
	}{{"_submissions", "TLS", s.Submissions}, {"_submission", "STARTTLS", s.Submission}} {
		if door.port != 0 {
			list = append(list, Record{door.name + "._tcp." + string(domain), "SRV",
				fmt.Sprintf("0 1 %d %s.", door.port, host), "Mail clients find the door for sending by themselves (" + door.how + ")."})
		}
	}
	if domain == s.Hostname {
		// The SPF record of the domain covers the host.
		list = slices.DeleteFunc(list, func(r Record) bool { return r.Value == `"v=spf1 a -all"` })
	}
	return list
}

func addressType(ip netip.Addr) string {
	if ip.Is4() {
		return "A"
	}
	return "AAAA"
}

// Compare asks the DNS for each record and says which are missing or differ.
func Compare(ctx context.Context, r resolve.Resolver, list []Record) []Finding {
	var out []Finding
	for _, rec := range list {
		out = append(out, compare(ctx, r, rec))
	}
	return out
}

func compare(ctx context.Context, r resolve.Resolver, want Record) Finding {
	check := "dns." + strings.ToLower(want.Type)
	what := fmt.Sprintf("the %s record of %s", want.Type, want.Name)
	fix := "Publish: " + want.Line()
	answer, err := r.Lookup(ctx, want.Name, dns.StringToType[want.Type])
	switch {
	case errors.Is(err, resolve.ErrNotFound):
		return missing(want, check, what, fix)
	case err != nil:
		return warning(check, "Nobody could say what "+what+" is: "+err.Error()+".", "Try again later; if it stays so, look at the name servers of the domain.")
	}
	found := values(answer.RRs, want)
	switch {
	case slices.Contains(found, normal(want.Value)) && (len(found) == 1 || want.Type != "TXT"):
		return ok(check, capital(what)+" is right.")
	case len(found) == 0:
		return missing(want, check, what, fix)
	case want.Type == "TXT" && len(found) > 1:
		// RFC 7208, section 4.5: two of them are a permanent error.
		return failure(check, fmt.Sprintf("%s has %d SPF records, which makes all of them void.", want.Name, len(found)), "Keep only one: "+want.Line())
	case want.Type == "TXT" || want.Type == "SRV":
		return warning(check, fmt.Sprintf("%s is %s.", capital(what), strings.Join(found, ", ")), "Unless you know better, publish: "+want.Line())
	}
	return failure(check, fmt.Sprintf("%s is %s, not %s. %s", capital(what), strings.Join(found, ", "), want.Value, want.Why), fix)
}

// missing is the finding about a record that is not there. Without SRV
// people type a name; without the others mail is lost or distrusted.
func missing(want Record, check, what, fix string) Finding {
	level := Failure
	if want.Type == "SRV" {
		level = Warning
	}
	return Finding{check, level, capital(what) + " is missing. " + want.Why, fix}
}

// values returns the data of the records that compete with want: of TXT only
// the SPF ones.
func values(rrs []dns.RR, want Record) []string {
	var list []string
	for _, rr := range rrs {
		data := normal(strings.TrimPrefix(rr.String(), rr.Header().String()))
		if want.Type == "TXT" {
			if data = normal(`"` + strings.Join(rr.(*dns.TXT).Txt, "") + `"`); !strings.HasPrefix(data, `"v=spf1`) {
				continue
			}
		}
		list = append(list, data)
	}
	return list
}

func normal(value string) string { return strings.ToLower(strings.Join(strings.Fields(value), " ")) }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

package dmarc

import (
	"context"
	"errors"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// Destination is where a report may go.
type Destination struct {
	To    addr.Address
	Limit int64 // octets of a report as sent, at most; 0 is any
}

// Destinations returns the addresses that may get the reports that a record
// at a domain asks for, each once and no more than most: of the mailto:
// addresses in list (rua= or ruf=), those of the domain's own organization and
// those whose domain agrees in the DNS to get reports on it, which may name
// another address of its own instead (RFC 9990, section 4). Without that, a
// record could have us flood a stranger. refused are those that did not
// agree. failure says that it is ruf= that is asked for. An error is the
// DNS's for those of which neither can be said now.
func Destinations(ctx context.Context, r resolve.Resolver, domain addr.Domain, list []string, failure bool, most int) (out []Destination, refused []addr.Address, err error) {
	w := &walker{ctx: ctx, r: r, found: map[addr.Domain]found{}}
	seen := map[addr.Address]bool{}
	for _, uri := range list {
		a, ok := Mailto(uri)
		if !ok || len(out)+len(refused) == most {
			continue
		}
		verified, failed := w.verify(domain, Destination{a, Limit(uri)}, failure)
		if failed != nil {
			err = failed
			continue
		}
		if len(verified) == 0 && !seen[a] {
			seen[a] = true
			refused = append(refused, a)
		}
		for _, d := range verified {
			if !seen[d.To] && len(out)+len(refused) < most {
				seen[d.To] = true
				out = append(out, d)
			}
		}
	}
	return out, refused, err
}

// verify returns where reports for an address may go: to it, to what its
// domain names instead, or nowhere.
func (w *walker) verify(domain addr.Domain, d Destination, failure bool) ([]Destination, error) {
	host := d.To.Domain
	if _, literal := host.IP(); literal {
		return nil, nil
	}
	same, err := w.sameOrganization(domain, host)
	if err != nil || same {
		return []Destination{d}, err
	}
	name := string(domain) + "._report._dmarc." + string(host)
	if len(name) > maxName { // section 4, step 4
		return nil, nil
	}
	texts, err := resolve.TXT(w.ctx, w.r, name)
	switch {
	case errors.Is(err, resolve.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	agrees := false
	for _, txt := range texts {
		rec, err := ParseRecord(txt)
		if err != nil {
			continue
		}
		agrees = true
		uris := rec.Aggregate
		if failure {
			uris = rec.Failure
		}
		if len(uris) > 0 {
			return redirected(uris, host), nil
		}
	}
	if !agrees {
		return nil, nil
	}
	return []Destination{d}, nil
}

// maxName is the longest name in the DNS, in octets as written: RFC 1035,
// section 2.3.4.
const maxName = 253

// redirected returns the addresses that a report consumer names instead. If
// one is not of the same host there is none: step 9.
func redirected(uris []string, host addr.Domain) []Destination {
	var out []Destination
	for _, uri := range uris {
		a, ok := Mailto(uri)
		if !ok {
			continue
		}
		if a.Domain != host {
			return nil
		}
		out = append(out, Destination{a, Limit(uri)})
	}
	return out
}

// Lookup returns the record at a domain itself, nil if it has no valid one.
func Lookup(ctx context.Context, r resolve.Resolver, domain addr.Domain) (*Record, error) {
	w := &walker{ctx: ctx, r: r, found: map[addr.Domain]found{}}
	return w.record(domain)
}

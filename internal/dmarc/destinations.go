package dmarc

import (
	"context"
	"errors"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// Destinations returns the addresses that may get the reports that a record
// at a domain asks for: of the mailto: addresses in list (rua= or ruf=),
// those of the domain's own organization and those whose domain agrees in the
// DNS to get reports on it, which may name another address of its own
// instead (RFC 9990, section 4). Without that, a record could have us flood
// a stranger. failure says that it is ruf= that is asked for. An error is the
// DNS's, of which a later attempt may come to another result.
func Destinations(ctx context.Context, r resolve.Resolver, domain addr.Domain, list []string, failure bool) ([]addr.Address, error) {
	w := &walker{ctx: ctx, r: r, found: map[addr.Domain]found{}}
	var out []addr.Address
	for _, uri := range list {
		a, ok := Mailto(uri)
		if !ok {
			continue
		}
		verified, err := w.verify(domain, a, failure)
		if err != nil {
			return nil, err
		}
		out = append(out, verified...)
	}
	return out, nil
}

// verify returns where reports for an address may go: to it, to what its
// domain names instead, or nowhere.
func (w *walker) verify(domain addr.Domain, a addr.Address, failure bool) ([]addr.Address, error) {
	if _, literal := a.Domain.IP(); literal {
		return nil, nil
	}
	same, err := w.sameOrganization(domain, a.Domain)
	if err != nil || same {
		return []addr.Address{a}, err
	}
	texts, err := resolve.TXT(w.ctx, w.r, string(domain)+"._report._dmarc."+string(a.Domain))
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
			return redirected(uris, a.Domain), nil
		}
	}
	if !agrees {
		return nil, nil
	}
	return []addr.Address{a}, nil
}

// redirected returns the addresses that a report consumer names instead. If
// one is not of the same host there is none: step 9.
func redirected(uris []string, host addr.Domain) []addr.Address {
	var out []addr.Address
	for _, uri := range uris {
		a, ok := Mailto(uri)
		if !ok {
			continue
		}
		if a.Domain != host {
			return nil
		}
		out = append(out, a)
	}
	return out
}

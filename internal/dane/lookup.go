package dane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

// Set is what a host has published. TLS with it is required: RFC 7672,
// section 2.2.
type Set struct {
	// Base is the TLSA base domain: where the records were found, and the
	// name to ask the host for in TLS (RFC 7672, section 8.1).
	Base string
	// Names are those that a certificate below a trust anchor may bear, Base
	// first: RFC 7672, section 3.2.2.
	Names []string
	// Records are the usable ones. When there are none, TLS is required all
	// the same, with whoever answers.
	Records []Record
	// Published are all of them, for a report.
	Published []Record
}

// Target is a host about to be connected to.
type Target struct {
	// Domain is the next hop: the domain that the mail is for.
	Domain string
	// Host is the mail host of Domain, as its MX names it. The caller has
	// made sure that DNSSEC vouches for that: else anybody could name a host
	// of their own with records of their own (RFC 7672, section 2.2.1).
	Host string
	Port uint16
	IPv6 bool // its IPv6 addresses may be used, so they are asked for
}

// Lookup returns what a host has published, nil where DANE does not apply:
// its zone is not signed, or it is proven to have no records. An error means
// that nobody can say, and that the host must not be used (RFC 7672, section
// 2.1.2): to make a look-up fail is all that an attacker would need.
func Lookup(ctx context.Context, r resolve.Resolver, t Target) (*Set, error) {
	bases, err := bases(ctx, r, t)
	if err != nil {
		return nil, err
	}
	for _, base := range bases {
		records, err := ask(ctx, r, base, t.Port)
		if err != nil {
			return nil, err
		}
		if records == nil {
			continue
		}
		s := &Set{Base: base, Names: []string{base}, Records: usable(records), Published: records}
		for _, name := range append(slices.Clone(bases), t.Domain) {
			if name = strings.ToLower(name); !slices.Contains(s.Names, name) {
				s.Names = append(s.Names, name)
			}
		}
		return s, nil
	}
	return nil, nil
}

// bases returns the names under which TLSA records of a host may be, in
// order: RFC 7672, section 2.2.3. There is none where the zones that lead to
// its address are not signed; then no TLSA is asked for either, since the
// servers of such zones sometimes fail at types they do not know.
func bases(ctx context.Context, r resolve.Resolver, t Target) ([]string, error) {
	host := strings.ToLower(t.Host)
	qtypes := []uint16{dns.TypeA}
	if t.IPv6 {
		qtypes = append(qtypes, dns.TypeAAAA)
	}
	var failed error
	found := false
	for _, qtype := range qtypes {
		a, err := r.Lookup(ctx, host, qtype)
		var denied *resolve.Error
		switch {
		case err == nil && a.Secure && a.Name == host:
			return []string{host}, nil
		case err == nil && a.Secure:
			return []string{a.Name, host}, nil // its aliases are signed, all of them
		case err == nil:
			found = true
		case errors.As(err, &denied) && errors.Is(err, resolve.ErrNotFound):
			// The other type will say, or nobody connects anyway.
		default:
			failed = err
		}
	}
	if failed != nil {
		return nil, failed
	}
	if !found {
		return nil, nil
	}
	return aliasBase(ctx, r, host)
}

// aliasBase looks at a host whose address is not signed: it may still be a
// signed alias, into a zone that is not, and have its records at its own
// name.
func aliasBase(ctx context.Context, r resolve.Resolver, host string) ([]string, error) {
	a, err := r.Lookup(ctx, host, dns.TypeCNAME)
	switch {
	case err == nil && a.Secure:
		return []string{host}, nil
	case err == nil, errors.Is(err, resolve.ErrNotFound):
		return nil, nil
	}
	return nil, err
}

// ask asks for the records at a base domain. It returns none when they are
// denied, or DNSSEC does not vouch for them: RFC 7672, section 2.2.
func ask(ctx context.Context, r resolve.Resolver, base string, port uint16) ([]Record, error) {
	a, err := r.Lookup(ctx, Name(base, port), dns.TypeTLSA)
	switch {
	case errors.Is(err, resolve.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case !a.Secure:
		return nil, nil
	}
	return read(a.RRs), nil
}

// read takes the records out of an answer.
func read(rrs []dns.RR) (records []Record) {
	for _, rr := range rrs {
		if tlsa, ok := rr.(*dns.TLSA); ok && len(records) < maxRecords {
			records = append(records, fromDNS(tlsa))
		}
	}
	return records
}

// Name returns where the records of a port of a host are: RFC 6698, section
// 3.
func Name(host string, port uint16) string { return fmt.Sprintf("_%d._tcp.%s", port, host) }

package dmarc

import (
	"context"
	"errors"
	"strings"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// walker climbs the tree of the DNS: RFC 9989, section 4.10. It asks for
// every name once.
type walker struct {
	ctx   context.Context
	r     resolve.Resolver
	found map[addr.Domain]found
}

// found is what one name has.
type found struct {
	record *Record // nil: none that is valid
	err    error   // the DNS did not answer
}

// record returns the valid record of a name, nil if it has none. Several are
// as good as none: section 4.10, steps 2 and 6.
func (w *walker) record(d addr.Domain) (*Record, error) {
	f, known := w.found[d]
	if !known {
		f.record, f.err = w.ask(d)
		w.found[d] = f
	}
	return f.record, f.err
}

func (w *walker) ask(d addr.Domain) (*Record, error) {
	texts, err := resolve.TXT(w.ctx, w.r, "_dmarc."+string(d))
	if errors.Is(err, resolve.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var one *Record
	for _, txt := range texts {
		rec, err := ParseRecord(txt)
		if errors.Is(err, ErrNoRecord) {
			continue
		}
		if err != nil || one != nil {
			return nil, nil
		}
		one = rec
	}
	return one, nil
}

// step is a name on the way up that has a record.
type step struct {
	domain addr.Domain
	record *Record
}

// walk returns the names from a domain upwards that have records, the lowest
// first: section 4.10. It ends early where a record says what its domain is.
func (w *walker) walk(d addr.Domain) ([]step, error) {
	var steps []step
	for at, asked := d, 0; at != "" && asked < maxWalk; asked++ {
		rec, err := w.record(at)
		if err != nil {
			return nil, err
		}
		if rec != nil {
			steps = append(steps, step{at, rec})
			if rec.PSD != Unknown {
				break
			}
		}
		at = above(at)
	}
	return steps, nil
}

// above returns the name that is asked after another: its parent, or of a
// name with more than eight labels the one with seven (section 4.10, step 4).
func above(d addr.Domain) addr.Domain {
	labels := strings.Split(string(d), ".")
	drop := 1
	if len(labels) >= maxWalk {
		drop = len(labels) - (maxWalk - 1)
	}
	return addr.Domain(strings.Join(labels[drop:], "."))
}

// organization returns the organizational domain of a domain: section
// 4.10.2.
func (w *walker) organization(d addr.Domain) (addr.Domain, error) {
	steps, err := w.walk(d)
	if err != nil || len(steps) == 0 {
		return d, err
	}
	for _, s := range steps {
		switch {
		case s.record.PSD == NoSuffix:
			return s.domain, nil
		case s.record.PSD == PublicSuffix && s.domain != d:
			return below(s.domain, d), nil
		}
	}
	return steps[len(steps)-1].domain, nil
}

// sameOrganization reports whether two domains have one organizational
// domain. That of the first is asked for first, and is the domain itself or
// above it: names of strangers need not be asked, who could only keep us
// waiting.
func (w *walker) sameOrganization(a, b addr.Domain) (bool, error) {
	mine, err := w.organization(a)
	if err != nil || a == b || !within(b, mine) {
		return a == b, err
	}
	theirs, err := w.organization(b)
	return err == nil && mine == theirs, err
}

// below returns the part of d that is one label longer than its parent.
func below(parent, d addr.Domain) addr.Domain {
	rest := strings.TrimSuffix(string(d), "."+string(parent))
	return d[strings.LastIndexByte(rest, '.')+1:]
}

// discover finds the record that applies to the author's domain: section
// 4.10.1. It is at the domain itself, at its organization, or at the public
// suffix above that.
func (c *check) discover() error {
	from := c.res.From
	rec, err := c.record(from)
	if err != nil || rec != nil {
		c.res.Domain, c.res.Record = from, rec
		return err
	}
	steps, err := c.walk(from)
	if err != nil || len(steps) == 0 {
		c.res.Domain = ""
		return err
	}
	top := steps[len(steps)-1]
	c.res.Domain, c.res.Record = top.domain, top.record
	// Only below a public suffix may the organization be another name than
	// that of the last record.
	org, err := c.organization(from)
	if rec, ok := c.found[org]; err == nil && ok && rec.record != nil {
		c.res.Domain, c.res.Record = org, rec.record
	}
	return err
}

// choose finds which of its policies a record has for the author's domain:
// section 4.10.1.
func (c *check) choose() error {
	rec := c.res.Record
	p := rec.Policy
	if c.res.Domain != c.res.From {
		p = rec.Subdomains
		if rec.NonExistent != p {
			exists, err := c.exists(c.res.From)
			if err != nil {
				return err
			}
			if !exists {
				p = rec.NonExistent
			}
		}
	}
	c.res.Published, c.res.Policy = p, p
	if rec.Testing && p > PolicyNone { // section 4.7, t=
		c.res.Policy = p - 1
	}
	return nil
}

// exists reports whether there is such a name: section 3.2.11.
func (c *check) exists(d addr.Domain) (bool, error) {
	_, err := c.r.Lookup(c.ctx, string(d), dns.TypeA)
	if err != nil && !errors.Is(err, resolve.ErrNotFound) {
		return false, err
	}
	return !resolve.NXDomain(err), nil
}

package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

// check is one evaluation with what it has used up.
type check struct {
	Query
	ctx     context.Context
	r       resolve.Resolver
	domain  string // that was asked about
	lookups int
	voids   int
	names   []string // of the client's address, that lead back to it
	named   bool     // names has been looked up
}

func newCheck(ctx context.Context, r resolve.Resolver, q Query) *check {
	q.IP = q.IP.Unmap().WithZone("")
	if q.Local == "" {
		q.Local = "postmaster"
	}
	return &check{Query: q, ctx: ctx, r: r, domain: strings.ToLower(strings.TrimSuffix(q.Domain, "."))}
}

func (c *check) sender() string { return c.Local + "@" + c.domain }

// validDomain reports whether a check of the name makes sense: it has at
// least two labels, all of a size that the DNS knows (RFC 7208, section
// 4.3).
func validDomain(name string) bool {
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.ContainsFunc(l, func(r rune) bool { return r <= ' ' || r > '~' || r == '[' || r == ']' || r == ':' }) {
			return false
		}
	}
	return len(labels) > 1 && len(name) <= 253
}

// outcome is what the record of one domain came to.
type outcome struct {
	status  Status
	matched string // the term; "default" if there was none
	err     error
	record  *record // whose exp counts
	domain  string  // that published it
}

func permError(format string, args ...any) outcome {
	return outcome{status: PermError, err: fmt.Errorf(format, args...)}
}

// broken returns the outcome that an error of the DNS or of our limits
// makes.
func broken(err error) outcome {
	if errors.Is(err, errLimit) {
		return outcome{status: PermError, err: err}
	}
	return outcome{status: TempError, err: err}
}

// errLimit is the kind of error that says that a record asks for too much.
var errLimit = errors.New("more look-ups than RFC 7208 allows")

// host evaluates the record of one domain.
func (c *check) host(domain string) outcome {
	txt, err := c.find(domain)
	switch {
	case errors.Is(err, errSeveral):
		return outcome{status: PermError, err: err}
	case err != nil:
		return broken(err)
	case txt == "":
		return outcome{status: None}
	}
	rec, err := parse(txt)
	if err != nil {
		return permError("%w (%s)", err, domain)
	}
	return c.evaluate(rec, domain)
}

var errSeveral = errors.New("more than one SPF record")

// find returns the record of a domain, empty if it has none: sections 4.4
// and 4.5.
func (c *check) find(domain string) (string, error) {
	texts, err := resolve.TXT(c.ctx, c.r, domain)
	if errors.Is(err, resolve.ErrNotFound) {
		return "", nil
	}
	found := ""
	for _, t := range texts {
		if !isRecord(t) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%w at %s", errSeveral, domain)
		}
		found = t
	}
	return found, err
}

// evaluate goes through the terms of a record: section 4.6.2.
func (c *check) evaluate(rec *record, domain string) outcome {
	out := outcome{record: rec, domain: domain}
	for i := range rec.directives {
		d := &rec.directives[i]
		ok, failed := c.match(d, domain)
		if failed != nil {
			return *failed
		}
		if ok {
			out.status, out.matched = d.result, d.text
			return out
		}
	}
	if rec.redirect == "" {
		out.status, out.matched = Neutral, "default" // section 4.7
		return out
	}
	return c.follow(rec, domain)
}

// follow goes on with the record that redirect names: section 6.1.
func (c *check) follow(rec *record, domain string) outcome {
	if err := c.spend(); err != nil {
		return broken(err)
	}
	target := c.expand(rec.redirect, domain)
	out := c.host(target)
	if out.status == None {
		return permError("redirect=%s leads to no record", target)
	}
	return out
}

// spend takes note of a term that asks the DNS.
func (c *check) spend() error {
	if c.lookups++; c.lookups > maxLookups {
		return fmt.Errorf("%w: over %d", errLimit, maxLookups)
	}
	return nil
}

// match reports whether a mechanism matches the client; failed ends the
// evaluation.
func (c *check) match(d *directive, domain string) (ok bool, failed *outcome) {
	target := domain
	if d.asks() {
		if err := c.spend(); err != nil {
			out := broken(err)
			return false, &out
		}
		if d.domain != "" {
			target = c.expand(d.domain, domain)
		}
	}
	if d.kind == include {
		return c.include(target)
	}
	ok, err := c.matchAddress(d, target)
	if errors.Is(err, resolve.ErrNotFound) {
		err = nil
		if c.voids++; c.voids > maxVoid {
			err = fmt.Errorf("%w: over %d find nothing", errLimit, maxVoid)
		}
	}
	if err != nil {
		out := broken(err)
		return false, &out
	}
	return ok, nil
}

// include asks for another domain's opinion: section 5.2.
func (c *check) include(target string) (bool, *outcome) {
	out := c.host(target)
	switch out.status {
	case TempError, PermError:
		return false, &out
	case None:
		out = permError("include:%s leads to no record", target)
		return false, &out
	}
	return out.status == Pass, nil
}

// matchAddress is match for the mechanisms that look at the client's
// address alone. An ErrNotFound says that the DNS has nothing.
func (c *check) matchAddress(d *directive, target string) (bool, error) {
	switch d.kind {
	case all:
		return true, nil
	case ip4, ip6:
		return d.network.Contains(c.IP), nil
	case address:
		return c.isAddressOf(target, d)
	case mx:
		return c.isExchangeOf(target, d)
	case ptr:
		return c.isNamed(target)
	}
	// Section 5.7: an A record, also for a client that speaks IPv6.
	_, err := c.r.Lookup(c.ctx, target, dns.TypeA)
	return err == nil, err
}

// isAddressOf is the mechanism "a": section 5.3.
func (c *check) isAddressOf(name string, d *directive) (bool, error) {
	addrs, err := c.addresses(name)
	if err != nil {
		return false, err
	}
	bits := d.bits4
	if !c.IP.Is4() {
		bits = d.bits6
	}
	for _, a := range addrs {
		if netip.PrefixFrom(a, bits).Masked().Contains(c.IP) {
			return true, nil
		}
	}
	return false, nil
}

// addresses returns the addresses of a name, of the client's family.
func (c *check) addresses(name string) ([]netip.Addr, error) {
	qtype := dns.TypeA
	if !c.IP.Is4() {
		qtype = dns.TypeAAAA
	}
	a, err := c.r.Lookup(c.ctx, name, qtype)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, rr := range a.RRs {
		var ip netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			ip, _ = netip.AddrFromSlice(rr.A)
			ip = ip.Unmap()
		case *dns.AAAA:
			ip, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if ip.IsValid() && ip.Is4() == c.IP.Is4() {
			addrs = append(addrs, ip)
		}
	}
	return addrs, nil
}

// isExchangeOf is the mechanism "mx": section 5.4. Unlike for delivery, a
// domain without MX records has no exchange.
func (c *check) isExchangeOf(name string, d *directive) (bool, error) {
	hosts, err := resolve.MX(c.ctx, c.r, name)
	if errors.Is(err, resolve.ErrNullMX) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(hosts) > maxMX {
		return false, fmt.Errorf("%w: over %d mail hosts", errLimit, maxMX)
	}
	var void error
	for _, h := range hosts {
		ok, err := c.isAddressOf(h.Host, d)
		switch {
		case errors.Is(err, resolve.ErrNotFound):
			void = err
		case err != nil || ok:
			return ok, err
		}
	}
	return false, void
}

// isNamed is the mechanism "ptr": section 5.5. It never makes an error.
func (c *check) isNamed(target string) (bool, error) {
	for _, name := range c.clientNames() {
		if within(name, target) {
			return true, nil
		}
	}
	return false, nil
}

// within reports whether a name is a domain or below it.
func within(name, domain string) bool {
	domain = strings.TrimSuffix(domain, ".")
	n := len(name) - len(domain)
	return n >= 0 && strings.EqualFold(name[n:], domain) && (n == 0 || name[n-1] == '.')
}

// clientNames returns the validated names of the client: those that its
// address is said to have and that have the address (section 5.5). They are
// looked up once.
func (c *check) clientNames() []string {
	if c.named {
		return c.names
	}
	c.named = true
	names, err := resolve.PTR(c.ctx, c.r, c.IP)
	if err != nil {
		return nil
	}
	for _, name := range names[:min(len(names), maxPTR)] {
		addrs, err := c.addresses(name)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if a == c.IP {
				c.names = append(c.names, name)
				break
			}
		}
	}
	return c.names
}

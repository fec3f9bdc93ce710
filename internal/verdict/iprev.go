package verdict

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"gatepost/internal/authres"
	"gatepost/internal/resolve"
)

// maxNames bounds the names of one address that are looked up again.
const maxNames = 5

// IPRev is whether an address has a name that has the address: RFC 8601,
// section 3.
type IPRev struct {
	IP     netip.Addr
	Status string // "pass", "fail", "temperror" or "permerror"; empty if it was not checked
	Name   string // of a pass
}

// reverse looks an address up, both ways.
func reverse(ctx context.Context, r resolve.Resolver, ip netip.Addr) IPRev {
	res := IPRev{IP: ip, Status: "fail"}
	names, err := resolve.PTR(ctx, r, ip)
	switch {
	case errors.Is(err, resolve.ErrNotFound):
		res.Status = "permerror"
		return res
	case err != nil:
		res.Status = "temperror"
		return res
	}
	for _, name := range names[:min(len(names), maxNames)] {
		list, err := resolve.Addrs(ctx, r, name, ip.Is6())
		if err != nil && !errors.Is(err, resolve.ErrNotFound) {
			res.Status = "temperror"
		}
		if slices.Contains(list, ip) {
			res.Status, res.Name = "pass", name
			return res
		}
	}
	return res
}

// Auth returns the result for an Authentication-Results field: RFC 8601,
// section 2.7.3.
func (r IPRev) Auth() authres.Result {
	a := authres.Result{Method: "iprev", Value: r.Status, Props: []authres.Prop{{Type: "policy", Name: "iprev", Value: r.IP.String()}}}
	if r.Name != "" {
		a.Reason = "it is " + r.Name
	}
	return a
}

// Package terms says what a credential of a device is good for: what may be
// done with it, until when, and from where. What is lost with a device is then
// worth as little as can be.
//
// It is pure. Whoever signs somebody in asks Allow; what operators write is
// read by ParseScope and ParseNetworks, and kept as Text.
//
// Limits: MaxNetworks.
package terms

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Scope is what may be done.
type Scope string

// The scopes.
const (
	Send Scope = "send"
	Read Scope = "read"
	Both Scope = "both"
)

// MaxNetworks bounds the networks of a credential.
const MaxNetworks = 20

// Terms are what a credential is good for.
type Terms struct {
	Scope    Scope
	Expires  time.Time      // the zero time: never
	Networks []netip.Prefix // from which alone it works; none: from anywhere
}

// Why a credential that is right does not open the door. They are for the
// log; its owner sees them, who shows the credential does not.
var (
	ErrScope   = errors.New("it is not for this")
	ErrExpired = errors.New("it has expired")
	ErrNetwork = errors.New("it is not for this network")
)

// Allow reports why a credential may not be used for a purpose, which is Send
// or Read, by a client at an address.
func (t *Terms) Allow(purpose Scope, from netip.Addr, now time.Time) error {
	from = from.Unmap().WithZone("")
	switch {
	case t.Scope != Both && t.Scope != purpose:
		return ErrScope
	case t.Expired(now):
		return ErrExpired
	case len(t.Networks) > 0 && !slices.ContainsFunc(t.Networks, func(p netip.Prefix) bool { return p.Contains(from) }):
		return ErrNetwork
	}
	return nil
}

// Expired reports whether they are over.
func (t *Terms) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// ParseScope reads a scope as an operator writes it.
func ParseScope(s string) (Scope, error) {
	if scope := Scope(s); scope == Send || scope == Read || scope == Both {
		return scope, nil
	}
	return "", fmt.Errorf("there is no scope %q; it is send, read or both", s)
}

// ParseNetworks reads networks as an operator writes them: prefixes, or
// addresses for one of their own. Two ways to write the same are one.
func ParseNetworks(list []string) (out []netip.Prefix, err error) {
	if len(list) > MaxNetworks {
		return nil, fmt.Errorf("%d networks are too many; %d are the most", len(list), MaxNetworks)
	}
	for _, s := range list {
		p, err := parseNetwork(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not a network; write it as 192.0.2.0/24 or 2001:db8::/32", s)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q is a network of IPv4 written as IPv6; write it as 192.0.2.0/24", s)
	case p != p.Masked(): // a slip of the pen, and which of the two was meant?
		return p, fmt.Errorf("%q is an address in the network %s; write the one or the other", s, p.Masked())
	}
	return p, nil
}

// Text returns networks as they are kept, and as Parse reads them.
func Text(networks []netip.Prefix) string { return strings.Join(Strings(networks), " ") }

// Strings returns networks as people read them; never nil.
func Strings(networks []netip.Prefix) []string {
	list := make([]string, 0, len(networks))
	for _, p := range networks {
		list = append(list, p.String())
	}
	return list
}

// Parse reads networks as they are kept.
func Parse(text string) ([]netip.Prefix, error) { return ParseNetworks(strings.Fields(text)) }

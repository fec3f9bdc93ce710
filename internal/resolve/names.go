package resolve

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
)

// ErrNullMX says that a domain takes no mail at all: RFC 7505.
var ErrNullMX = errors.New("the domain accepts no mail (null MX)")

// Exchange is one host that takes mail for a domain.
type Exchange struct {
	Host       string // in lower case, without a final dot
	Preference uint16 // lower ones first
}

// MX returns the hosts that take mail for domain, in the order of the
// answer. It returns ErrNullMX when the domain says that there are none, and
// an ErrNotFound when it says nothing: its own addresses then count (RFC
// 5321, section 5.1).
func MX(ctx context.Context, r Resolver, domain string) ([]Exchange, error) {
	a, err := r.Lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	hosts := make([]Exchange, 0, len(a.RRs))
	for _, rr := range a.RRs {
		mx, ok := rr.(*dns.MX)
		// RFC 7505, section 3: a null MX stands alone; one among others is a
		// mistake, and the root is nobody's mail host.
		if ok && mx.Mx != "." {
			hosts = append(hosts, Exchange{host(mx.Mx), mx.Preference})
		}
	}
	if len(hosts) == 0 {
		return nil, ErrNullMX
	}
	return hosts, nil
}

// Watcher is a Resolver that takes note of whether DNSSEC vouches for all
// that it was asked, denials too. It serves one purpose at a time.
type Watcher struct {
	Resolver
	unsigned atomic.Bool
}

// Lookup implements Resolver.
func (w *Watcher) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	a, err := w.Resolver.Lookup(ctx, name, qtype)
	secure := a.Secure
	var e *Error
	if errors.As(err, &e) {
		secure = e.Secure
	}
	if !secure {
		w.unsigned.Store(true)
	}
	return a, err
}

// Secure reports whether all answers so far were vouched for.
func (w *Watcher) Secure() bool { return !w.unsigned.Load() }

// Addrs returns the addresses of host: those of IPv6 first, if v6 asks for
// them. As long as there is one address, a family that has none or cannot be
// looked up is no error.
func Addrs(ctx context.Context, r Resolver, host string, v6 bool) ([]netip.Addr, error) {
	var addrs []netip.Addr
	var failed error
	if v6 {
		a, err := r.Lookup(ctx, host, dns.TypeAAAA)
		if err != nil {
			failed = err
		}
		for _, rr := range a.RRs {
			if aaaa, ok := rr.(*dns.AAAA); ok {
				addrs = appendIP(addrs, aaaa.AAAA)
			}
		}
	}
	a, err := r.Lookup(ctx, host, dns.TypeA)
	// A temporary error of either family outweighs what the other denies.
	if err != nil && (failed == nil || errors.Is(failed, ErrNotFound)) {
		failed = err
	}
	for _, rr := range a.RRs {
		if v4, ok := rr.(*dns.A); ok {
			addrs = appendIP(addrs, v4.A)
		}
	}
	if len(addrs) == 0 {
		return nil, failed
	}
	return addrs, nil
}

func appendIP(addrs []netip.Addr, ip []byte) []netip.Addr {
	if a, ok := netip.AddrFromSlice(ip); ok {
		return append(addrs, a.Unmap())
	}
	return addrs
}

// PTR returns the names that an address is said to have. Nothing vouches for
// them until one of them has the address.
func PTR(ctx context.Context, r Resolver, ip netip.Addr) ([]string, error) {
	name, err := dns.ReverseAddr(ip.Unmap().WithZone("").String())
	if err != nil {
		return nil, &Error{Name: ip.String(), Type: dns.TypePTR, Kind: ErrNotFound, Cause: err}
	}
	a, err := r.Lookup(ctx, name, dns.TypePTR)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(a.RRs))
	for _, rr := range a.RRs {
		if ptr, ok := rr.(*dns.PTR); ok {
			names = append(names, host(ptr.Ptr))
		}
	}
	return names, nil
}

// TXT returns the texts of a name, one a record: its strings joined without
// anything between them (RFC 7208, section 3.3), as octets.
func TXT(ctx context.Context, r Resolver, name string) ([]string, error) {
	a, err := r.Lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	texts := make([]string, 0, len(a.RRs))
	for _, rr := range a.RRs {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, unescape(strings.Join(txt.Txt, "")))
		}
	}
	return texts, nil
}

// host returns a name out of a record in the form that we compare.
func host(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unescape undoes the presentation format of RFC 1035, section 5.1, in which
// the library holds character strings: \" and \\ and \DDD.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+3 < len(s) && digits(s[i+1:i+4]) {
			c = (s[i+1]-'0')*100 + (s[i+2]-'0')*10 + (s[i+3] - '0')
			i += 3
		} else if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
		}
		b.WriteByte(c)
	}
	return b.String()
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

package resolve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/clock"
)

// maxAliases bounds a chain of CNAMEs, which could be a ring.
const maxAliases = 8

// Options of a Client. All but Servers and TrustAD are required.
type Options struct {
	// Servers are the recursive servers to ask, in order of preference; none
	// means those of ResolvConf.
	Servers []netip.AddrPort
	// ResolvConf is the file that names the system's servers, read again
	// when it has changed; used when Servers is empty.
	ResolvConf string
	// TrustAD lists servers that validate DNSSEC and to which the network is
	// safe. Those on loopback need not be listed.
	TrustAD []netip.AddrPort
	// Dial opens a connection to a server: network is "udp" or "tcp".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Random is the source of query ids.
	Random io.Reader
	Clock  clock.Clock
	// CacheBytes bounds the memory for answers kept, roughly.
	CacheBytes int64
}

// Counters of a Client.
type Counters struct {
	Lookups  atomic.Int64 // questions put to Lookup
	Hits     atomic.Int64 // of them, answered from memory
	Queries  atomic.Int64 // sent to servers, over UDP or TCP
	TCP      atomic.Int64 // of them, over TCP
	Failures atomic.Int64 // queries that a server did not answer usefully
	Forged   atomic.Int64 // datagrams that were not the answer to the question
}

// Client is a Resolver that asks recursive servers and remembers.
type Client struct {
	Counters Counters

	o       Options
	cache   *cache
	servers servers
	heard   atomic.Int64 // when a server last answered, in Unix nanoseconds
}

// New returns a client; nothing is asked or read before the first look-up.
func New(o Options) *Client {
	return &Client{o: o, cache: newCache(o.CacheBytes), servers: servers{fixed: o.Servers, path: o.ResolvConf}}
}

// Reload forgets all answers and reads ResolvConf again at the next look-up.
func (c *Client) Reload() {
	c.servers.forget()
	c.cache.clear()
}

// Lookup implements Resolver.
func (c *Client) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	c.Counters.Lookups.Add(1)
	q := question{qtype: qtype}
	var ok bool
	if q.name, ok = canonical(name); !ok {
		q.name = name
		return Answer{}, q.denied(true, false)
	}
	if isLocalhost(q.name) {
		return q.localhost()
	}
	for {
		r, f, leads := c.cache.get(q, c.o.Clock.Now())
		switch {
		case f == nil:
			c.Counters.Hits.Add(1)
			return r.answer, r.err
		case leads:
			r = c.resolve(ctx, q)
			c.cache.land(q, f, r, c.o.Clock.Now())
			return r.answer, r.err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				c.Counters.Hits.Add(1)
				return f.answer, f.err
			}
		case <-ctx.Done():
			return Answer{}, q.fail(ErrTemporary, context.Cause(ctx))
		}
	}
}

// isLocalhost and localhost keep the names of RFC 6761, section 6.3 on this
// machine, whatever a server says of them.
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

func (q question) localhost() (Answer, error) {
	header := dns.RR_Header{Name: q.name + ".", Rrtype: q.qtype, Class: dns.ClassINET}
	switch q.qtype {
	case dns.TypeA:
		return Answer{Name: q.name, RRs: []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}}, nil
	case dns.TypeAAAA:
		return Answer{Name: q.name, RRs: []dns.RR{&dns.AAAA{Hdr: header, AAAA: net.IPv6loopback}}}, nil
	}
	return Answer{}, q.denied(false, false)
}

// resolve asks for q, and for what its aliases lead to where the server did
// not follow them itself.
func (c *Client) resolve(ctx context.Context, q question) result {
	at, secure, ttl, size := q, true, maxTTL, 0
	for left := maxAliases; ; {
		reply, err := c.ask(ctx, at)
		if err != nil {
			return c.failed(ctx, q, err)
		}
		secure = secure && reply.secure
		size += reply.size
		end, found, links, lived := follow(reply.msg.Answer, at)
		ttl = min(ttl, lived)
		switch {
		case len(found) > 0:
			a := Answer{Name: end, RRs: found, Secure: secure, TTL: signedTTL(reply.msg.Answer, end, q.qtype)}
			return result{answer: a, ttl: max(ttl, minTTL), size: size}
		case reply.msg.Rcode == dns.RcodeNameError || links == 0 || hasSOA(reply.msg):
			err := q.denied(reply.msg.Rcode == dns.RcodeNameError, secure)
			return result{err: err, ttl: max(min(ttl, denialTTL(reply.msg)), minTTL)}
		}
		if left -= links; left < 0 {
			return c.failed(ctx, q, errors.New("too many aliases"))
		}
		at.name = end
	}
}

// failed returns what is to be told, and kept, of a question that nobody
// answered.
func (c *Client) failed(ctx context.Context, q question, cause error) result {
	kind := ErrTemporary
	if errors.Is(cause, ErrBogus) {
		kind, cause = ErrBogus, nil
	}
	if ctx.Err() != nil {
		return result{err: q.fail(kind, context.Cause(ctx)), abandoned: true}
	}
	return result{err: q.fail(kind, cause), ttl: failureTTL}
}

// follow walks the aliases in a section from a question to the records that
// answer it. It returns the name it arrived at, its records, the number of
// aliases passed, and the shortest life on the way.
func follow(section []dns.RR, at question) (end string, found []dns.RR, links int, ttl time.Duration) {
	end, ttl = at.name, maxTTL
	for ; links <= maxAliases; links++ {
		next := ""
		for _, rr := range section {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(strings.TrimSuffix(h.Name, "."), end) {
				continue
			}
			life := time.Duration(h.Ttl) * time.Second
			if h.Ttl > 1<<31-1 { // RFC 2181, section 8: as if it were zero
				life = 0
			}
			if h.Rrtype == at.qtype {
				found = append(found, rr)
				ttl = min(ttl, life)
			} else if cname, ok := rr.(*dns.CNAME); ok && next == "" {
				next = host(cname.Target)
				ttl = min(ttl, life)
			}
		}
		if len(found) > 0 || next == "" {
			break
		}
		end = next
	}
	return end, slices.Clip(found), links, ttl
}

// signedTTL returns the TTL that the signatures of records name, zero if they
// did not come along.
func signedTTL(section []dns.RR, name string, qtype uint16) time.Duration {
	for _, rr := range section {
		sig, ok := rr.(*dns.RRSIG)
		if ok && sig.TypeCovered == qtype && strings.EqualFold(strings.TrimSuffix(sig.Hdr.Name, "."), name) {
			return time.Duration(sig.OrigTtl) * time.Second
		}
	}
	return 0
}

// hasSOA reports whether a reply denies, rather than leaves an alias for us
// to follow: RFC 2308, section 2.2.
func hasSOA(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
}

// denialTTL returns how long a denial may be kept: RFC 2308, section 5.
func denialTTL(m *dns.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(maxDenial, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return minTTL
}

package resolve

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Fake is a Resolver for tests: a zone in memory that holds all there is.
type Fake struct {
	Secure  bool         // what answers and denials say, but for what is unsigned
	Queries atomic.Int64 // look-ups so far

	mu       sync.Mutex
	zone     map[question][]dns.RR
	fails    map[question]error
	unsigned []string // names below which nothing is secure
}

// NewFake returns a resolver that knows a zone: records in the form of a
// zone file, names with or without their final dot being complete. It panics
// when one cannot be read, since it is written in code.
func NewFake(zone string) *Fake {
	f := &Fake{zone: map[question][]dns.RR{}, fails: map[question]error{}}
	f.Add(zone)
	return f
}

// Add puts more records into the zone.
func (f *Fake) Add(zone string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		q := question{host(rr.Header().Name), rr.Header().Rrtype}
		f.zone[q] = append(f.zone[q], rr)
	}
	if err := p.Err(); err != nil {
		panic("resolve: " + err.Error())
	}
}

// Remove takes the records of a type away from a name.
func (f *Fake) Remove(name string, qtype uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.zone, question{host(name), qtype})
}

// Unsign makes what is said of a name, and of all below it, not secure.
func (f *Fake) Unsign(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unsigned = append(f.unsigned, host(name))
}

// secure reports whether what is said of a name is; f.mu is held.
func (f *Fake) secure(name string) bool {
	return f.Secure && !slices.ContainsFunc(f.unsigned, func(top string) bool {
		return name == top || strings.HasSuffix(name, "."+top)
	})
}

// Fail makes a look-up fail with kind: ErrTemporary, ErrBogus or ErrNotFound;
// nil mends it.
func (f *Fake) Fail(name string, qtype uint16, kind error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[question{host(name), qtype}] = kind
}

// Lookup implements Resolver.
func (f *Fake) Lookup(_ context.Context, name string, qtype uint16) (Answer, error) {
	f.Queries.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	q := question{host(name), qtype}
	if kind := f.fails[q]; kind != nil {
		return Answer{}, q.fail(kind, nil)
	}
	at, secure := q, true
	for range maxAliases {
		secure = secure && f.secure(at.name)
		if rrs := f.zone[at]; len(rrs) > 0 {
			a := Answer{Name: at.name, RRs: rrs, Secure: secure}
			if secure {
				a.TTL = time.Duration(rrs[0].Header().Ttl) * time.Second
			}
			return a, nil
		}
		alias := f.zone[question{at.name, dns.TypeCNAME}]
		if len(alias) == 0 {
			return Answer{}, q.denied(!f.exists(at.name), secure)
		}
		at.name = host(alias[0].(*dns.CNAME).Target)
	}
	return Answer{}, q.fail(ErrTemporary, nil)
}

// exists reports whether the name has records or is above one that has.
func (f *Fake) exists(name string) bool {
	for q := range f.zone {
		if q.name == name || strings.HasSuffix(q.name, "."+name) {
			return true
		}
	}
	return false
}

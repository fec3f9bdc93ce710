package dane

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

// unknownTTL is for how long others are taken to keep records of which nobody
// says it.
const unknownTTL = 24 * time.Hour

// Shown is what others find out about a port of a host of our own.
type Shown struct {
	Set    *Set          // nil: there are no records
	Signed bool          // DNSSEC vouches for that; else nobody heeds them
	TTL    time.Duration // for how long others keep the records
}

// Look asks what is published for a port of our own host, also where DNSSEC
// does not vouch for it to us: it may to others. An error says that nobody
// knows now.
func Look(ctx context.Context, r resolve.Resolver, host string, port uint16) (Shown, error) {
	a, err := r.Lookup(ctx, Name(host, port), dns.TypeTLSA)
	var denied *resolve.Error
	switch {
	case errors.Is(err, resolve.ErrNotFound):
		return Shown{Signed: errors.As(err, &denied) && denied.Secure}, nil
	case err != nil:
		return Shown{}, err
	}
	records := read(a.RRs)
	s := Shown{Set: &Set{Base: host, Names: []string{host}, Records: usable(records), Published: records}, Signed: a.Secure, TTL: a.TTL}
	if s.TTL == 0 {
		s.TTL = unknownTTL
	}
	return s, nil
}

// ForKey returns the record to publish for a server's own key, as RFC 7672,
// section 3.1 recommends it: 3 1 1. It stays the same when the certificate is
// renewed for the same key.
func ForKey(public crypto.PublicKey) (Record, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Record{}, err
	}
	sum := sha256.Sum256(spki)
	return Record{EE, SPKI, SHA256, sum[:]}, nil
}

// ForAuthority returns the record to publish for the authority that signs a
// server's certificates: 2 1 1. The server must send that authority's
// certificate along.
func ForAuthority(c *x509.Certificate) Record {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return Record{TA, SPKI, SHA256, sum[:]}
}

// Plan is how our own key is replaced without a moment in which somebody's
// cache names none that we use: RFC 7671, section 8.1. The next key exists
// before it is needed, and its record is published beside that of the
// current one all the time.
type Plan struct {
	Current Record
	Next    Record
	TTL     time.Duration // of the records in the DNS
	// Seen is since when the DNS has answered with the record of Next; zero
	// while it does not.
	Seen time.Time
}

// Records returns what is to be published.
func (p Plan) Records() []Record { return []Record{p.Current, p.Next} }

// Observe takes note of what the DNS answers.
func (p Plan) Observe(published []Record, now time.Time) Plan {
	switch there := slices.ContainsFunc(published, p.Next.Equal); {
	case !there:
		p.Seen = time.Time{}
	case p.Seen.IsZero():
		p.Seen = now
	}
	return p
}

// Ready returns when the next key may be used: when no cache can have the
// records as they were without it. One TTL is for those who asked just before
// the record was seen, another for servers of the zone that lag behind. ok is
// false while the record is not there.
func (p Plan) Ready() (at time.Time, ok bool) {
	return p.Seen.Add(2 * p.TTL), !p.Seen.IsZero()
}

// Advance returns the plan after the next key has come into use: it is
// current, and another is next.
func (p Plan) Advance(next Record) Plan {
	return Plan{Current: p.Next, Next: next, TTL: p.TTL}
}

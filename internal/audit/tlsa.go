package audit

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/dane"
	"gatepost/internal/resolve"
)

// TLSA is what the TLSA records of this server depend on.
type TLSA struct {
	Host  addr.Domain
	Ports []uint16 // of the doors with TLS; the others' records lead to the first's
	Keys  []HostKey
	Chain []*x509.Certificate // that the doors show, its own first
	Clock interface{ Now() time.Time }
	// Hold says why none is to be published; empty: they are.
	Hold string
}

// HostKey is one of the host's keys.
type HostKey struct {
	Record  dane.Record
	Retired bool   // nobody needs its record any more
	Used    bool   // the doors show it
	Why     string // a sentence; of one that is not retired
}

// Judge asks the DNS whether others would heed TLSA records of this host, and
// holds them back where not.
func (t *TLSA) Judge(ctx context.Context, r resolve.Resolver) {
	if len(t.Ports) == 0 {
		return
	}
	shown, err := dane.Look(ctx, r, string(t.Host), t.Ports[0])
	switch {
	case err != nil:
		t.Hold = fmt.Sprintf("whether the zone of %s is signed (DNSSEC), which they need, nobody could say: %v", t.Host, err)
	case !shown.Signed:
		t.Hold = fmt.Sprintf("they need DNSSEC, and as far as the resolver here tells, the zone of %s is not signed; nobody heeds them until it is", t.Host)
	}
}

// Records returns the TLSA records of this server: RFC 7672, section 3.1. The
// keys stand at the first port, and the other ports' names lead there (RFC
// 7671, section 7), so that a change of keys touches one set. Those that are
// held back are represented by the first.
func (t *TLSA) Records() (list []Record) {
	if len(t.Ports) == 0 {
		return nil
	}
	first := dane.Name(string(t.Host), t.Ports[0])
	for _, k := range t.Keys {
		if !k.Retired {
			r := entry(KindTLSA, first, "TLSA", k.Record.String(), k.Why)
			r.Hold, r.keys, r.port = t.Hold, t, t.Ports[0]
			list = append(list, r)
		}
	}
	for _, port := range t.Ports[1:] {
		r := entry(KindTLSA, dane.Name(string(t.Host), port), "CNAME", first+".", fmt.Sprintf("Servers that hand in mail on port %d find the same keys there (DANE).", port))
		r.keys, r.port = t, port
		list = append(list, r)
	}
	if t.Hold != "" && len(list) > 0 {
		return list[:1]
	}
	return list
}

// tlsa compares what is published for a port with the keys of this server.
func (q *question) tlsa() Finding {
	t := q.want.keys
	shown, err := dane.Look(q.ctx, q.r, string(t.Host), q.want.port)
	switch {
	case err != nil:
		return q.warning("Nobody could say what "+q.what()+" is: "+err.Error()+".",
			"Look at the name servers of the domain: while this lasts, servers that heed DNSSEC do not deliver.")
	case shown.Set == nil && !shown.Signed:
		return q.ok(fmt.Sprintf("No TLSA record of %s is published, and nobody would heed one: its zone is not signed (DNSSEC), as far as the resolver here tells.", t.Host))
	case shown.Set == nil:
		return q.missing()
	}
	for _, r := range shown.Set.Published {
		q.found = append(q.found, r.String())
	}
	if f := q.broken(shown); f != nil {
		return *f
	}
	if f := q.absent(); f != nil {
		return *f
	}
	return q.strangers()
}

// broken tells of records by which this server is not known.
func (q *question) broken(shown dane.Shown) *Finding {
	t := q.want.keys
	var f Finding
	_, err := shown.Set.Verify(t.Chain, t.Clock.Now())
	switch {
	case len(shown.Set.Records) == 0:
		q.gap = shown.Signed && q.want.Type == "TLSA"
		f = q.warning(q.is()+", of which none can match anything (RFC 7672, section 3.1): others cannot tell who this server is.", q.publish())
	case err == nil:
		return nil
	case !shown.Signed:
		f = q.warning(q.is()+", which match no key that this server uses. Only because DNSSEC does not vouch for them, as far as the resolver here tells, does mail still come.",
			"Remove them, and publish: "+t.Records()[0].Line())
	default:
		q.gap = q.want.Type == "TLSA" // the other ports follow
		f = q.failure(q.is()+": THEY MATCH NO KEY THAT THIS SERVER USES. Every server that heeds them (DANE) refuses to deliver here, and its mail comes back after some days.",
			"Publish at once: "+t.Records()[0].Line())
	}
	return &f
}

// absent tells that a record is not there, although the server is known by
// others.
func (q *question) absent() *Finding {
	t := q.want.keys
	name := dane.Name(string(t.Host), q.want.port)
	for _, k := range t.Keys {
		value := k.Record.String()
		if k.Retired || slices.Contains(q.found, value) || q.want.Type == "TLSA" && q.want.Value != value {
			continue
		}
		if k.Used {
			f := q.ok(fmt.Sprintf("%s, by which this server is known in another way than by its own key.", q.is()))
			return &f
		}
		f := q.warning(fmt.Sprintf("At %s a record is missing. %s", name, k.Why), fmt.Sprintf("Publish: %s. %d IN TLSA %s", name, TTL, value))
		q.gap = q.want.Type == "TLSA"
		return &f
	}
	return nil
}

// strangers tells of records that name no key of ours.
func (q *question) strangers() Finding {
	t := q.want.keys
	var unknown []string
	for _, value := range q.found {
		i := slices.IndexFunc(t.Keys, func(k HostKey) bool { return k.Record.String() == value })
		switch {
		case i >= 0 && t.Keys[i].Retired:
			q.old = append(q.old, value)
		case i < 0 && strings.HasPrefix(value, "3 1 1 "):
			unknown = append(unknown, value)
		}
	}
	name := dane.Name(string(t.Host), q.want.port)
	// The set is told of once: with the record of the key in use.
	switch {
	case q.want.Type == "CNAME" || q.want.Value != t.Records()[0].Value:
		q.old = nil
	case len(q.old) > 0:
		return q.warning(fmt.Sprintf("At %s stands a key that this server does not use any more.", name), "Remove: "+name+". TLSA "+strings.Join(q.old, ", "))
	case len(unknown) > 0:
		return q.warning(fmt.Sprintf("At %s stands a key that this server does not have.", name), "Unless another server has that name, too, remove: "+name+". TLSA "+strings.Join(unknown, ", "))
	}
	return q.ok(capital(q.what()) + " is right.")
}

// Package dnsupdate changes records in the DNS by dynamic update (RFC 2136)
// to a zone's primary name server, signed with a shared key (TSIG, RFC 8945).
//
// # Place in the path
//
// Ground, beside the path of a message. keys proves with it that a name is
// ours (ACME, DNS-01: Provider); the operator's commands publish the records
// of a domain (Client.Update).
//
// # What it trusts
//
// The key. An answer that is not signed with it says nothing: whoever is on
// the way could have written it. Its time counts too, within five minutes,
// so that a recorded exchange is worth nothing later.
//
// # Limits
//
// An update has at most maxChanges changes, travels over TCP in one message
// of at most 64 KiB, and has done with everything within exchangeTime.
package dnsupdate

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/clock"
	"gatepost/internal/resolve"
)

// Bounds of an update.
const (
	maxChanges   = 500
	exchangeTime = 30 * time.Second
	fudge        = 300 // seconds that clocks may differ: RFC 8945, section 10
	// leastSecret is the least length of a key, in octets: one that is
	// shorter can be guessed from one recorded update.
	leastSecret = 16
	mostSecret  = 512
	maxLabels   = 128 // of a name: RFC 1035, section 3.1, has room for 127
)

// algorithms are the ones that are still sound: RFC 8945, section 6.
var algorithms = map[string]string{
	"hmac-sha256": dns.HmacSHA256, "hmac-sha384": dns.HmacSHA384, "hmac-sha512": dns.HmacSHA512,
}

// CheckAlgorithm says what is wrong with the name of an algorithm.
func CheckAlgorithm(name string) error {
	if algorithms[name] == "" {
		return fmt.Errorf("%q is not one of hmac-sha256, hmac-sha384, hmac-sha512", name)
	}
	return nil
}

// ParseSecret reads a key as tsig-keygen writes it, in base64.
func ParseSecret(s string) ([]byte, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	switch {
	case err != nil:
		return nil, errors.New("the key is not written in base64") // and not repeated here
	case len(secret) < leastSecret || len(secret) > mostSecret:
		return nil, fmt.Errorf("the key has %d octets; it must have at least %d and at most %d", len(secret), leastSecret, mostSecret)
	}
	return secret, nil
}

// Options say who is asked, and as whom. All are required.
type Options struct {
	Server    string // host:port of the primary name server
	Key       string // name of the key
	Algorithm string // as CheckAlgorithm takes it
	Secret    []byte
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)
	Clock     clock.Clock
}

// Client sends updates. Its methods may be called from any goroutine.
type Client struct {
	o         Options
	key       string // fully qualified
	algorithm string
	secret    string // base64
}

// New returns a client; it connects to nobody yet.
func New(o Options) (*Client, error) {
	if err := CheckAlgorithm(o.Algorithm); err != nil {
		return nil, err
	}
	if _, ok := dns.IsDomainName(o.Key); !ok || o.Key == "" {
		return nil, fmt.Errorf("%q cannot be the name of a key", o.Key)
	}
	return &Client{
		o: o, key: dns.CanonicalName(o.Key), algorithm: algorithms[o.Algorithm],
		secret: base64.StdEncoding.EncodeToString(o.Secret),
	}, nil
}

// RRset names all records of a type at a name.
type RRset struct {
	Name string
	Type uint16
}

// Update is what is to change: all of it or nothing (RFC 2136, section 3.4).
// Its parts are done in this order, so that Clear and Add replace.
type Update struct {
	Clear  []RRset  // go, whatever they hold
	Remove []dns.RR // go, if they are there; their TTL does not matter
	Add    []dns.RR
}

// ErrRefused says that the server did not carry the update out.
var ErrRefused = errors.New("the name server refused the update")

// Update changes a zone. When it returns without an error, the primary server
// has the change; others follow.
func (c *Client) Update(ctx context.Context, zone string, u Update) error {
	m, err := c.message(zone, u)
	if err != nil {
		return err
	}
	if err := c.exchange(ctx, m); err != nil {
		return fmt.Errorf("cannot update %s at %s: %w", strings.TrimSuffix(zone, "."), c.o.Server, err)
	}
	return nil
}

func (c *Client) message(zone string, u Update) (*dns.Msg, error) {
	zone = dns.CanonicalName(zone)
	if n := len(u.Clear) + len(u.Remove) + len(u.Add); n == 0 || n > maxChanges {
		return nil, fmt.Errorf("an update has from 1 to %d changes, not %d", maxChanges, n)
	}
	m := new(dns.Msg).SetUpdate(zone)
	for _, s := range u.Clear {
		m.RemoveRRset([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.CanonicalName(s.Name), Rrtype: s.Type}}})
	}
	for _, rr := range u.Remove {
		m.Remove([]dns.RR{dns.Copy(rr)})
	}
	for _, rr := range u.Add {
		m.Insert([]dns.RR{dns.Copy(rr)})
	}
	for _, rr := range m.Ns {
		if !dns.IsSubDomain(zone, rr.Header().Name) {
			return nil, fmt.Errorf("%s is not in the zone %s", rr.Header().Name, zone)
		}
	}
	m.SetTsig(c.key, c.algorithm, fudge, c.o.Clock.Now().Unix())
	return m, nil
}

// exchange sends an update and reads what became of it. It goes over TCP: an
// update that is lost would have to be sent again by guess.
func (c *Client) exchange(ctx context.Context, m *dns.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	raw, err := c.o.Dial(ctx, "tcp", c.o.Server)
	if err != nil {
		return err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := &dns.Conn{Conn: raw, TsigSecret: map[string]string{c.key: c.secret}}
	if err := conn.WriteMsg(m); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	answer, err := conn.ReadMsg()
	if answer == nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return c.verdict(m, answer, err)
}

// verdict reads an answer, of which bad says whether its signature is wrong.
func (c *Client) verdict(m, answer *dns.Msg, bad error) error {
	t := answer.IsTsig()
	// RFC 8945, section 5.2: of a server that does not know the key, or whose
	// clock differs, the answer is not signed. It is only told on.
	if t != nil && t.Error != dns.RcodeSuccess {
		return fmt.Errorf("%w: %s%s", ErrRefused, dns.RcodeToString[int(t.Error)], hint(int(t.Error)))
	}
	switch {
	case bad != nil:
		return fmt.Errorf("the answer is not what the server signed: %w", bad)
	case answer.Id != m.Id || !answer.Response || answer.Opcode != dns.OpcodeUpdate:
		return errors.New("the answer is one to something else")
	case answer.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("%w: %s%s", ErrRefused, dns.RcodeToString[answer.Rcode], hint(answer.Rcode))
	case t == nil || dns.CanonicalName(t.Hdr.Name) != c.key || dns.CanonicalName(t.Algorithm) != c.algorithm:
		// Anybody on the way can say that all is well.
		return errors.New("the answer is not signed")
	}
	return nil
}

// hint says what to do about an answer, if that is known.
func hint(rcode int) string {
	switch rcode {
	case dns.RcodeBadKey:
		return ", so it does not know the key by this name"
	case dns.RcodeBadSig:
		return ", so it has another key by this name"
	case dns.RcodeBadTime:
		return ", so one of the clocks is wrong"
	case dns.RcodeNotAuth, dns.RcodeNotZone:
		return ", so it is not the primary server of the zone, or the key is not for it"
	case dns.RcodeRefused:
		return ", so it does not let this key change this"
	}
	return ""
}

// Zone returns the zone that a name is in, by asking for the SOA of the name
// and of what is above it.
func Zone(ctx context.Context, r resolve.Resolver, name string) (string, error) {
	name = dns.CanonicalName(name)
	for range maxLabels {
		answer, err := r.Lookup(ctx, name, dns.TypeSOA)
		if err != nil && !errors.Is(err, resolve.ErrNotFound) {
			return "", err
		}
		for _, rr := range answer.RRs {
			// An alias leads to somebody else's zone.
			if rr.Header().Rrtype == dns.TypeSOA && dns.CanonicalName(rr.Header().Name) == name {
				return name, nil
			}
		}
		next, end := dns.NextLabel(name, 0)
		if end {
			break
		}
		name = name[next:]
	}
	return "", fmt.Errorf("the DNS knows no zone for it")
}

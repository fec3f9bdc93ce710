// Package resolve asks the DNS on behalf of the path of a message: where a
// domain takes its mail, which addresses a host has, what a domain
// publishes.
//
// It is a stub resolver (RFC 1034, section 5.3.1): it asks recursive servers
// and does not walk the tree itself. Client speaks UDP with EDNS(0), falls
// back to TCP, asks several servers in turn, and keeps what it learnt for as
// long as its owner allows. Everybody else sees the Resolver interface and
// the typed functions MX, Addrs, PTR and TXT; tests use Fake.
//
// # What is trusted
//
// A server is believed as far as the network to it is: an answer counts when
// it comes from the address that was asked, to a random port, with our random
// id and our question (RFC 5452). Whether an answer was validated by DNSSEC
// (Answer.Secure) is believed only of servers on loopback or listed in
// TrustAD, since anybody on the way may set the bit. When such a server says
// that an answer could not be validated, no server of the other kind is
// asked: it would hand out the very data that was forged.
//
// # Limits
//
// A look-up takes at most two rounds over eight servers, with aliases at most
// eight such look-ups; an answer is at most 64 KiB; the cache holds
// Options.CacheBytes. Names are compared in lower case without a final dot
// and consist of printable ASCII; what the DNS would have to escape is
// answered as not existing.
//
// Standards: RFC 1035, 2181, 2308 (negative answers), 5452 (forgery), 6761
// (localhost), 6891 (EDNS), 7505 (null MX), 8914 (extended errors), 9520
// (failures are kept too).
package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Resolver answers one question. It may be called from any goroutine.
type Resolver interface {
	// Lookup returns the records of a type (dns.TypeMX and so on) that name
	// has, after following its aliases. There is at least one record unless
	// the error, always an *Error, says why not.
	Lookup(ctx context.Context, name string, qtype uint16) (Answer, error)
}

// Answer is what a name has of one type.
type Answer struct {
	// Name is what was asked, or what its aliases lead to: in lower case,
	// without a final dot.
	Name string
	// RRs are the records of the asked type, in the server's order. They are
	// shared with others who ask and must not be changed.
	RRs []dns.RR
	// Secure says that DNSSEC vouches for the records and for every alias on
	// the way to them.
	Secure bool
	// TTL is for how long the owner lets others keep the records, as it is
	// signed with them (RFC 4034, section 3.1.4); zero where nobody says.
	// What is left of it in a resolver's memory would say too little.
	TTL time.Duration
}

// Kinds of errors, for errors.Is. ErrBogus is a kind of ErrTemporary: mail
// waits until the owner of the zone has mended it.
var (
	// ErrNotFound: the DNS says that there is no such name or record.
	ErrNotFound = errors.New("no such name or record")
	// ErrTemporary: nobody could say.
	ErrTemporary = errors.New("no answer from the DNS")
	// ErrBogus: a validating server refused what it found.
	ErrBogus = errors.New("DNSSEC validation failed")
	// ErrUnreachable, beside ErrTemporary: it is our own server that does not
	// answer, and not that of the zone.
	ErrUnreachable = errors.New("our DNS resolver does not answer")
)

// Error says why a look-up has no answer.
type Error struct {
	Name string
	Type uint16
	Kind error // ErrNotFound, ErrTemporary or ErrBogus
	// NXDomain tells, of ErrNotFound, that not even the name exists; else it
	// has records of other types (RFC 2308, section 2.2).
	NXDomain bool
	// Secure tells, of ErrNotFound, that DNSSEC vouches for the denial.
	Secure bool
	Cause  error // what went wrong; may be nil
}

// Error returns the question and what became of it, in one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %v", e.Name, dns.TypeToString[e.Type], e.Kind)
	if e.NXDomain {
		s += " (NXDOMAIN)"
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns what went wrong.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is tell the kinds.
func (e *Error) Is(target error) bool {
	return target == e.Kind || target == ErrTemporary && e.Kind == ErrBogus
}

// NXDomain reports whether err says that the name itself does not exist.
func NXDomain(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.NXDomain
}

// question is a name in canonical form and a type: the key of the cache.
type question struct {
	name  string
	qtype uint16
}

// fail returns an error about q.
func (q question) fail(kind, cause error) *Error {
	return &Error{Name: q.name, Type: q.qtype, Kind: kind, Cause: cause}
}

// denied returns the error that says that q has no answer.
func (q question) denied(nxdomain, secure bool) *Error {
	return &Error{Name: q.name, Type: q.qtype, Kind: ErrNotFound, NXDomain: nxdomain, Secure: secure}
}

// canonical returns name in the one form in which names are compared; ok is
// false when it cannot be a name in the DNS, or only an escaped one.
func canonical(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 { // RFC 1035, section 2.3.4, as text
		return "", false
	}
	label := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '.' {
			if label == 0 {
				return "", false
			}
			label = 0
			continue
		}
		// What presentation format escapes would not compare equal to what a
		// server echoes, and \. could hide a dot inside a label.
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`\"'();@`, c) >= 0 {
			return "", false
		}
		if label++; label > 63 {
			return "", false
		}
	}
	return strings.ToLower(name), label > 0
}

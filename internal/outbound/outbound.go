// Package outbound makes messages ready to leave for other servers: what goes
// on through an alias leaves as forwarded mail, and what waited too long for
// its signature is signed anew.
//
// # Place in the path
//
// It stands between queue and remote and is a deliverer to the one and to the
// other as a queue. Nothing of what it makes is kept: a message that is tried
// again is made ready again, so that seals and signatures tell the time of
// sending, and are by keys that the DNS shows then.
//
// # Forwarded mail (forward.go, seal.go)
//
// The recipients of an attempt who stand behind the same alias get the
// message with
//
//   - a reverse-path in the alias' domain that fails back to us, and by which
//     SPF holds (package forward). The null reverse-path stays, and so does
//     that of a client of ours in a domain of ours, which needs no help;
//   - an ARC set with what we found when it came, by a key of the alias'
//     domain: RFC 8617, section 5.1. A chain that is too long, known to have
//     failed, or of which nobody could tell whether it is good, gets none;
//   - Delivered-To with the alias, by which gate knows it when it comes again;
//     not with one that needs SMTPUTF8, which few servers offer.
//
// Nothing else changes: the author's signatures hold, and we sign nothing in
// the author's name. What gate found unfit (DMARC, junk) is not sent: it
// fails, which the queue tells its sender, or keeps.
//
// # Signing anew (renew.go)
//
// What our users sent was signed when it came, with a signature that is good
// for as long as a message usually waits. One that was held, or came out of a
// backup, is signed again; and so is one that waited and whose key has gone
// from the DNS, or for which there was none yet.
//
// # Standards
//
// RFC 8617; RFC 6376; RFC 5321, section 3.6.2.
//
// # Limits
//
// A header section of up to maxHeader octets is held in memory, the body is
// read once more. Where a seal or signature cannot be made the message leaves
// without it; where a return address cannot be, it waits.
package outbound

import (
	"context"
	"log/slog"
	"slices"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
)

// Deliverer attempts to deliver, as queue says.
type Deliverer interface {
	Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome
}

// Keys are those that the DNS shows of our domains.
type Keys interface {
	// Begin begins to sign a message with this header section in the name of
	// its author; nil for one that is not signed.
	Begin(section []byte) (*dkim.Signer, error)
	// Uses reports whether a domain signs under a selector now.
	Uses(d addr.Domain, selector string) bool
	// Sealing returns the key to seal with in the name of a domain of ours.
	Sealing(d addr.Domain) (key dkim.SigningKey, ok bool)
}

// Returns makes the addresses that forwarded mail is sent from.
type Returns interface {
	// Address returns the one for a message and its alias: the same at each
	// attempt, and good when Address returns nil.
	Address(ctx context.Context, e *envelope.Envelope, alias addr.Address) (addr.Address, error)
}

// Options are what Outbound works with; all are required.
type Options struct {
	Next     Deliverer
	Keys     Keys
	Returns  Returns
	IsLocal  func(context.Context, addr.Domain) (bool, error) // whether a domain is ours
	Hostname addr.Domain                                      // the name that we vouch under
	Clock    clock.Clock
	Log      *slog.Logger
}

// Outbound is a deliverer to other servers. Its methods may be called from
// any goroutine.
type Outbound struct{ o Options }

// New returns one.
func New(o Options) *Outbound { return &Outbound{o} }

// Deliver makes a message ready for each of the ways in which it leaves, and
// attempts them, one after the other. It returns an outcome for each of the
// attempt's recipients, in their order.
func (o *Outbound) Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome {
	a = o.renewed(a)
	if !forwards(a) {
		return o.o.Next.Deliver(ctx, a)
	}
	outcomes := make([]envelope.Outcome, len(a.Recipients))
	for _, g := range byAlias(a) {
		for n, outcome := range o.forward(ctx, a, g) {
			outcomes[g.places[n]] = outcome
		}
	}
	return outcomes
}

// forwards reports whether somebody gets the message through an alias.
func forwards(a *envelope.Attempt) bool {
	return slices.ContainsFunc(a.Recipients, func(i int) bool { return !a.Envelope.Recipients[i].Via.IsNull() })
}

// group is those of an attempt's recipients who stand behind one alias; none
// for those who stand for themselves.
type group struct {
	alias      addr.Address
	recipients []int // indexes in the envelope
	places     []int // and in the attempt
}

// byAlias sorts the recipients of an attempt into groups, in their order.
func byAlias(a *envelope.Attempt) []*group {
	var list []*group
	at := map[addr.Address]*group{}
	for place, i := range a.Recipients {
		alias := a.Envelope.Recipients[i].Via
		g := at[alias]
		if g == nil {
			g = &group{alias: alias}
			at[alias] = g
			list = append(list, g)
		}
		g.recipients, g.places = append(g.recipients, i), append(g.places, place)
	}
	return list
}

// same returns n outcomes that are alike.
func same(n int, o envelope.Outcome) []envelope.Outcome {
	return slices.Repeat([]envelope.Outcome{o}, n)
}

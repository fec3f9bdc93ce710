package activity

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
)

// likeness is what events of one row have in common.
type likeness struct {
	hour    int64
	owner   int64
	kind    Kind
	outcome Outcome
	where   string
	detail  string
	// Of what was done only: with these, whoever guesses could make as many
	// rows as he likes.
	client, mechanism, credential string
	version, group                uint16
}

// alike returns the likeness of an event.
func alike(e *Event) likeness {
	l := likeness{
		hour: e.Last.Unix() / 3600, owner: e.Owner, kind: e.Kind, outcome: e.Outcome,
		where: e.Client.where(), detail: e.Detail,
	}
	if e.Outcome == Done {
		l.client, l.mechanism, l.credential = e.Client.Name, e.Mechanism, e.Credential
		l.version, l.group = e.Client.Version, uint16(e.Client.Group)
	}
	return l
}

// sum names the likeness within its hour and owner.
func (l likeness) sum() []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q %q %q %d %d", l.kind, l.outcome, l.where, l.detail, l.client, l.mechanism, l.credential, l.version, l.group)
	return h.Sum(nil)[:16]
}

// rest returns the event that counts e among the others of its outcome for
// which there is no room.
func rest(e *Event, owner int64, account string) *Event {
	return &Event{
		Kind: e.Kind, Outcome: e.Outcome, Owner: owner, Account: account, Client: Client{Protocol: e.Client.Protocol},
		Detail: others, First: e.First, Last: e.Last, Times: e.Times,
	}
}

// others is the detail of what is only counted.
const others = "more than are told apart"

// network returns what is taken for one source, as throttling does: a /24 or
// a /64.
func network(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	p, _ := ip.Prefix(bits) // fails for the zero Addr only, and gives the zero Prefix
	return p
}

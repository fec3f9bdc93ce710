package account

import (
	"sync"

	"gatepost/internal/account/record"
	"gatepost/internal/addr"
)

// Ended is something that signed people in and does no longer.
type Ended struct {
	Account    addr.Address
	Credential int64 // 0: all that the account has
}

// ending are those who are told.
type ending struct {
	mu   sync.Mutex
	list []func(Ended)
}

// OnEnd has f told of all that ends from now on: when it has, and before
// whoever ended it is answered. f ends the sessions, and does not wait for
// them.
func (d *Directory) OnEnd(f func(Ended)) {
	d.ending.mu.Lock()
	defer d.ending.mu.Unlock()
	d.ending.list = append(d.ending.list, f)
}

// End tells of what has ended. Who signs in from then on must be refused
// already: a session that misses this asks once more whether its credential
// holds (Exchange.Holds).
func (d *Directory) End(list ...Ended) {
	d.ending.mu.Lock()
	told := d.ending.list
	d.ending.mu.Unlock()
	for _, e := range list {
		e.Account = e.Account.Fold()
		for _, f := range told {
			f(e)
		}
	}
}

// endedOf returns the credentials of a person that are of a kind, as ended.
func endedOf(p *record.Person, kind record.Kind) (list []Ended) {
	for _, c := range p.Credentials {
		if c.Kind == kind {
			list = append(list, Ended{p.Address, c.ID})
		}
	}
	return list
}

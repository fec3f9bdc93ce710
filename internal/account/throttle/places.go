package throttle

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
)

// maxMarks bounds what is remembered of the places of an account, 8 octets
// each: what was seen longest ago makes room. A sign-in has three, of which
// most are there already.
const maxMarks = 48

// How well a place is known.
const (
	nowhere = iota
	near    // its network is known
	home    // its address and its program are
)

// Places are where accounts signed in before. What is kept of one is a keyed
// hash. Memory is bounded by the accounts, who are the operator's to make: an
// attacker adds to it only as one of them, and to that one only.
type Places struct {
	seed maphash.Seed

	mu sync.RWMutex
	of map[int64][]uint64 // by account; what was seen last is last
}

func newPlaces() *Places { return &Places{seed: maphash.MakeSeed(), of: map[int64][]uint64{}} }

// Learn remembers a place of an account.
func (p *Places) Learn(owner int64, s Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.marks(s) {
		if m != 0 {
			p.of[owner] = remember(p.of[owner], m)
		}
	}
}

// Recall is Learn for what was seen before, of which only the address or only
// the device may be known: those of last time are told first,
// and what has no room is forgotten.
func (p *Places) Recall(owner int64, s Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.marks(s) {
		if list := p.of[owner]; m != 0 && len(list) < maxMarks && !slices.Contains(list, m) {
			p.of[owner] = slices.Insert(list, 0, m)
		}
	}
}

// remember puts a mark last.
func remember(list []uint64, mark uint64) []uint64 {
	for i, m := range list {
		if m == mark {
			copy(list[i:], list[i+1:])
			list[len(list)-1] = mark
			return list
		}
	}
	if len(list) >= maxMarks {
		copy(list, list[1:])
		list[len(list)-1] = mark
		return list
	}
	if len(list) == cap(list) { // append would take twice what is needed
		list = append(make([]uint64, 0, len(list)+3), list...)
	}
	return append(list, mark)
}

// known returns how well the account knows where an attempt comes from.
func (p *Places) known(a *Attempt) int {
	if a.Owner == 0 {
		return nowhere
	}
	marks := p.marks(a.Source)
	var found [len(marks)]bool
	p.mu.RLock()
	for _, m := range p.of[a.Owner] {
		for i := range marks {
			found[i] = found[i] || m == marks[i]
		}
	}
	p.mu.RUnlock()
	switch {
	case found[0] && found[2]:
		return home
	case found[1]:
		return near
	}
	return nowhere
}

// marks returns those of the address, the network and the device; 0 is none.
func (p *Places) marks(s Source) (m [3]uint64) {
	for i, from := range []netip.Prefix{s.Address, s.Network} {
		if from.IsValid() {
			m[i] = maphash.Comparable(p.seed, from)
		}
	}
	if s.Device != "" {
		m[2] = maphash.String(p.seed, s.Device)
	}
	return m
}

package account

import (
	"context"

	"gatepost/internal/account/record"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// Bounds of what an alias may stand for.
const (
	// maxDepth is how deep aliases of aliases go.
	maxDepth = 10
	// maxRecipients bounds the recipients of one address, and the aliases
	// on the way to them.
	maxRecipients = 1000
)

func errNobody() error {
	return envelope.Refuse(550, "5.1.1", "there is no such address here")
}

// Resolve returns who gets the mail for an address of ours: folded local
// addresses, with their tags, and addresses elsewhere. Each account and each
// address elsewhere comes once, in the order of the lists. Errors for a peer
// are *envelope.Error: 550 for nobody, 451 for a postmaster who does not
// exist yet.
func (d *Directory) Resolve(ctx context.Context, to addr.Address) ([]addr.Address, error) {
	to = to.Fold()
	e, err := d.claim(ctx, to)
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		return nil, errNobody()
	case e.person != nil || e.reports:
		return []addr.Address{to}, nil
	}
	x := expansion{d: d, seen: map[addr.Address]bool{e.address: true}}
	return x.run(ctx, e)
}

// claim returns who answers for a folded address, nil if nobody does or it
// is not ours.
func (d *Directory) claim(ctx context.Context, a addr.Address) (*entry, error) {
	if local, err := d.IsLocal(ctx, a.Domain); !local || err != nil {
		return nil, err
	}
	for _, try := range spellings(a) {
		if e, err := d.lookup(ctx, try); e != nil || err != nil {
			return e, err
		}
	}
	return nil, nil
}

// spellings returns what a folded address may stand in the store as, the
// most exact first.
func spellings(a addr.Address) []addr.Address {
	base, tagged := untagged(a)
	catchAll := addr.Address{Domain: a.Domain}
	if tagged {
		return []addr.Address{a, base, catchAll}
	}
	return []addr.Address{a, catchAll}
}

// expansion follows aliases breadth first, so that each is reached the
// shortest way, and each once, which cuts loops.
type expansion struct {
	d       *Directory
	seen    map[addr.Address]bool // accounts, aliases and foreign addresses
	list    []addr.Address
	pending bool // a role that nobody fills yet was among them
}

func (x *expansion) run(ctx context.Context, e *entry) ([]addr.Address, error) {
	level := []*entry{e}
	for depth := 1; len(level) > 0; depth++ {
		if depth > maxDepth {
			return nil, envelope.Refuse(550, "5.4.6", "this address is a list of lists, too deep to follow")
		}
		var next []*entry
		for _, e := range level {
			x.pending = x.pending || e.role && len(e.targets) == 0
			for _, t := range e.targets {
				inner, err := x.follow(ctx, t)
				if err != nil {
					return nil, err
				}
				if inner != nil {
					next = append(next, inner)
				}
			}
		}
		level = next
	}
	switch {
	case len(x.list) > 0:
		return x.list, nil
	case x.pending:
		return nil, envelope.Refuse(451, "4.2.1", "nobody reads mail to this address yet; try again later")
	}
	return nil, errNobody()
}

// follow adds a target to the list, or returns the alias that it is.
func (x *expansion) follow(ctx context.Context, t addr.Address) (*entry, error) {
	local, err := x.d.IsLocal(ctx, t.Domain)
	if err != nil {
		return nil, err
	}
	if !local {
		return nil, x.add(t, t)
	}
	t = t.Fold()
	e, err := x.d.claim(ctx, t)
	switch {
	case err != nil || e == nil: // removed since: the others still get theirs
		return nil, err
	case e.person != nil || e.reports:
		return nil, x.add(t, e.address)
	case x.seen[e.address]:
		return nil, nil
	}
	x.seen[e.address] = true
	return e, x.check()
}

// add puts a recipient on the list, unless its account or address is there.
func (x *expansion) add(recipient, identity addr.Address) error {
	if x.seen[identity] {
		return nil
	}
	x.seen[identity] = true
	x.list = append(x.list, recipient)
	return x.check()
}

func (x *expansion) check() error {
	if len(x.seen) > maxRecipients+1 { // the address itself is not one of them
		return envelope.Refuse(550, "5.3.5", "this address is a list of too many recipients")
	}
	return nil
}

// Find returns the account that a local address belongs to, with or without
// a tag: an address that Resolve returned. ErrUnknown says that there is
// none (any more), ErrReports that it is an address for reports.
func (d *Directory) Find(ctx context.Context, to addr.Address) (Account, error) {
	p, err := d.find(ctx, to)
	if err != nil {
		return Account{}, err
	}
	return p.Account, nil
}

func (d *Directory) find(ctx context.Context, to addr.Address) (*record.Person, error) {
	to = to.Fold()
	e, err := d.lookup(ctx, to)
	if base, tagged := untagged(to); err == nil && tagged && (e == nil || e.person == nil) {
		e, err = d.lookup(ctx, base)
	}
	switch {
	case err != nil:
		return nil, err
	case (e == nil || e.person == nil) && isReports(withoutTag(to)):
		return nil, ErrReports // also when it has become an alias since
	case e == nil || e.person == nil:
		return nil, ErrUnknown
	}
	return e.person, nil
}

// Owns reports whether the account, named by its address, may send as from:
// its own address with any tag, an alias of which it is itself a target, and
// what only a catch-all claims that names it.
func (d *Directory) Owns(ctx context.Context, account string, from addr.Address) (bool, error) {
	e, err := d.claim(ctx, from.Fold())
	if err != nil || e == nil {
		return false, err
	}
	if e.person != nil {
		return e.address.String() == account, nil
	}
	for _, t := range e.targets {
		t = t.Fold()
		if base, tagged := untagged(t); tagged {
			t = base
		}
		if t.String() == account {
			return true, nil
		}
	}
	return false, nil
}

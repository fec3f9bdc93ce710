package account

import (
	"context"
	"errors"
	"strings"

	"gatepost/internal/account/record"
	"gatepost/internal/addr"
	"gatepost/internal/mtasts"
	"gatepost/internal/store"
)

// entry is what is known of one local address as it is spelled: an account,
// or an alias and its targets.
type entry struct {
	address addr.Address
	person  *record.Person // nil for an alias
	targets []addr.Address // of an alias
	role    bool           // postmaster or abuse without an alias of its own
	reports bool           // an address for reports, likewise
}

// domains are all domains of ours.
type domains struct {
	set  map[addr.Domain]mtasts.Mode // with what each publishes
	only addr.Domain                 // the one there is, if there is just one
}

// IsLocal reports whether addresses in the domain are ours: a domain that
// was added, or the server's own host name.
func (d *Directory) IsLocal(ctx context.Context, name addr.Domain) (bool, error) {
	if name == d.o.Hostname {
		return true, nil
	}
	all, err := d.ours(ctx)
	if err != nil {
		return false, err
	}
	_, local := all.set[name]
	return local, nil
}

// Promise returns the mode of MTA-STS that a domain publishes, if it is one
// that was added.
func (d *Directory) Promise(ctx context.Context, name addr.Domain) (mode mtasts.Mode, ours bool, err error) {
	all, err := d.ours(ctx)
	if err != nil {
		return mtasts.None, false, err
	}
	mode, ours = all.set[name]
	return mode, ours, nil
}

// ours returns the domains, which are in memory as a whole: that a domain is
// another's must be known for each message that leaves.
func (d *Directory) ours(ctx context.Context) (*domains, error) {
	d.mu.Lock()
	all, changes := d.domains, d.changes
	d.mu.Unlock()
	if all != nil {
		return all, nil
	}
	all = &domains{}
	err := d.view(ctx, func(tx *store.Tx) (err error) {
		all.set, err = record.DomainModes(tx)
		return err
	})
	if len(all.set) == 1 {
		for name := range all.set {
			all.only = name
		}
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == changes {
		d.domains = all
	}
	return all, nil
}

// view is store.View for a look-up that the caches could not answer.
func (d *Directory) view(ctx context.Context, f func(*store.Tx) error) error {
	d.Counters.Reads.Add(1)
	return d.db.View(ctx, f)
}

// lookup returns what is known of a folded address of ours, nil if nothing.
func (d *Directory) lookup(ctx context.Context, a addr.Address) (*entry, error) {
	d.mu.Lock()
	e, found := d.known.Get(a)
	if !found {
		_, found = d.nobodies.Get(a)
	}
	changes := d.changes
	d.mu.Unlock()
	if found {
		return e, nil
	}
	err := d.view(ctx, func(tx *store.Tx) (err error) {
		e, err = d.read(tx, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.changes != changes: // what was read may be out of date by now
	case e == nil:
		d.nobodies.Put(a, struct{}{})
	default:
		d.known.Put(a, e)
	}
	return e, nil
}

// read asks the store: an account before an alias before a role or the
// address for reports.
func (d *Directory) read(tx *store.Tx, a addr.Address) (*entry, error) {
	p, err := record.ReadPerson(tx, a)
	if err == nil {
		p.Account = d.effective(p.Account)
		return &entry{address: a, person: p}, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	targets, err := record.ReadTargets(tx, a)
	if err != nil {
		return nil, err
	}
	if len(targets) > 0 {
		return &entry{address: a, targets: targets}, nil
	}
	if isReports(a) {
		return &entry{address: a, reports: true}, nil
	}
	if !d.isRole(a) {
		return nil, nil
	}
	e := &entry{address: a, role: true}
	admin, err := record.Administrator(tx, a.Domain, a.Domain == d.o.Hostname)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return e, nil
	case err != nil:
		return nil, err
	}
	e.targets = []addr.Address{admin}
	return e, nil
}

// isRole reports whether the address is answered for by an administrator if
// by nobody else.
func (d *Directory) isRole(a addr.Address) bool {
	return a.Local == "postmaster" || a.Local == "abuse" || a.Local == "mailer-daemon" && a.Domain == d.o.Hostname
}

// The local parts of the addresses for reports, which every domain has.
const (
	TLSReports   = "tls-reports"
	DMARCReports = "dmarc-reports"
)

// isReports reports whether the mail for the address is read by the server
// itself if by nobody else.
func isReports(a addr.Address) bool { return a.Local == TLSReports || a.Local == DMARCReports }

// IsReports reports whether an address is one that others send their reports
// to.
func (d *Directory) IsReports(to addr.Address) bool { return isReports(withoutTag(to.Fold())) }

// untagged returns the address without its tag; ok is false if it has none.
func untagged(a addr.Address) (base addr.Address, ok bool) {
	local, _, ok := strings.Cut(a.Local, "+")
	return addr.Address{Local: local, Domain: a.Domain}, ok && local != ""
}

func withoutTag(a addr.Address) addr.Address {
	if base, tagged := untagged(a); tagged {
		return base
	}
	return a
}

// desk is what package signin asks and tells.
type desk struct{ *Directory }

// Login returns who a login means. It is a full address, or the local part
// alone where the server has only one domain. One that is no address at all
// is nobody's, like an unknown one.
func (d desk) Login(ctx context.Context, login string) (addr.Address, *record.Person, error) {
	all, err := d.ours(ctx)
	if err != nil {
		return addr.Address{}, nil, err
	}
	a, err := parseLogin(login, all.only)
	if err != nil {
		return addr.Address{Local: login}, nil, nil
	}
	if _, local := all.set[a.Domain]; !local {
		return a, nil, nil
	}
	e, err := d.lookup(ctx, a)
	if e == nil || err != nil {
		return a, nil, err
	}
	return a, e.person, nil
}

func parseLogin(login string, only addr.Domain) (addr.Address, error) {
	if !strings.Contains(login, "@") && only != "" {
		local, err := addr.ParseLocal(login)
		return addr.Address{Local: local, Domain: only}.Fold(), err
	}
	a, err := addr.Parse(login)
	return a.Fold(), err
}

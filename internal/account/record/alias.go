package record

import (
	"errors"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/mtasts"
	"gatepost/internal/store"
)

// Domain is a domain whose mail is ours.
type Domain struct {
	Name     addr.Domain
	Accounts int
	Parked   bool // nobody sends or gets mail in it
	Created  time.Time
	STS      mtasts.Mode // that it publishes
	Since    time.Time   // when that was chosen; zero if it is as it began
}

const domainQuery = `SELECT name, parked, created, sts_mode, sts_since, (SELECT COUNT(*) FROM account WHERE account.domain = domain.name) FROM domain`

func scanDomain(row scanner) (d Domain, err error) {
	var parked, created, since int64
	var mode string
	if err := row.Scan(&d.Name, &parked, &created, &mode, &since, &d.Accounts); err != nil {
		return d, err
	}
	d.Parked, d.Created = parked != 0, time.Unix(created, 0).UTC()
	if since != 0 {
		d.Since = time.Unix(since, 0).UTC()
	}
	d.STS, err = mtasts.ParseMode(mode)
	return d, err
}

// ReadDomains returns all domains, by name.
func ReadDomains(tx *store.Tx) ([]Domain, error) {
	rows, err := tx.Query(domainQuery + ` ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Domain
	for rows.Next() {
		d, err := scanDomain(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// ReadDomain returns one domain.
func ReadDomain(tx *store.Tx, name addr.Domain) (Domain, error) {
	return scanDomain(tx.QueryRow(domainQuery+` WHERE name = ?`, string(name)))
}

// DomainNames returns the names of all domains.
func DomainNames(tx *store.Tx) ([]addr.Domain, error) {
	rows, err := tx.Query(`SELECT name FROM domain`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []addr.Domain
	for rows.Next() {
		var name addr.Domain
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, rows.Err()
}

// DomainModes returns all domains with the mode of MTA-STS that they publish.
func DomainModes(tx *store.Tx) (map[addr.Domain]mtasts.Mode, error) {
	rows, err := tx.Query(`SELECT name, sts_mode FROM domain`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	modes := map[addr.Domain]mtasts.Mode{}
	for rows.Next() {
		var name addr.Domain
		var mode string
		if err := rows.Scan(&name, &mode); err != nil {
			return nil, err
		}
		if modes[name], err = mtasts.ParseMode(mode); err != nil {
			return nil, err
		}
	}
	return modes, rows.Err()
}

// SetDomainMode changes what a domain publishes.
func SetDomainMode(tx *store.Tx, name addr.Domain, mode mtasts.Mode, since time.Time) error {
	_, err := tx.Exec(`UPDATE domain SET sts_mode = ?, sts_since = ? WHERE name = ?`, mode.String(), since.Unix(), string(name))
	return err
}

// InsertDomain makes a domain; store.IsUnique tells that it is there.
func InsertDomain(tx *store.Tx, name addr.Domain, created time.Time) error {
	_, err := tx.Exec(`INSERT INTO domain (name, created) VALUES (?, ?)`, string(name), created.Unix())
	return err
}

// UpdateDomain writes whether a domain is parked.
func UpdateDomain(tx *store.Tx, name addr.Domain, parked bool) error {
	return found(tx.Exec(`UPDATE domain SET parked = ? WHERE name = ?`, number(parked), string(name)))
}

// DeleteDomain removes a domain that has no accounts, with its aliases.
func DeleteDomain(tx *store.Tx, name addr.Domain) error {
	_, err := tx.Exec(`DELETE FROM domain WHERE name = ?`, string(name))
	return err
}

// Alias is an address that stands for others.
type Alias struct {
	Address addr.Address   // its local part is empty for the catch-all of a domain
	Targets []addr.Address // in the order given; none for a role that nobody fills yet
	Role    bool           // postmaster or abuse, as it is without an alias of its own
	Created time.Time      // zero for a role
}

// ReadTargets returns the targets of an alias, none if there is no such alias.
func ReadTargets(tx *store.Tx, a addr.Address) ([]addr.Address, error) {
	rows, err := tx.Query(`SELECT target_domain, target_local FROM alias_target WHERE domain = ? AND local = ? ORDER BY place`,
		string(a.Domain), a.Local)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []addr.Address
	for rows.Next() {
		var t addr.Address
		if err := rows.Scan(&t.Domain, &t.Local); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// ReadAliases returns all aliases, by domain and name.
func ReadAliases(tx *store.Tx) ([]Alias, error) {
	rows, err := tx.Query(`SELECT alias.domain, alias.local, alias.created, target_domain, target_local
		FROM alias JOIN alias_target ON alias_target.domain = alias.domain AND alias_target.local = alias.local
		ORDER BY alias.domain, alias.local, place`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Alias
	for rows.Next() {
		var (
			a, t    addr.Address
			created int64
		)
		if err := rows.Scan(&a.Domain, &a.Local, &created, &t.Domain, &t.Local); err != nil {
			return nil, err
		}
		if n := len(list); n == 0 || list[n-1].Address != a {
			list = append(list, Alias{Address: a, Created: time.Unix(created, 0).UTC()})
		}
		last := &list[len(list)-1]
		last.Targets = append(last.Targets, t)
	}
	return list, rows.Err()
}

// InsertAlias makes an alias.
func InsertAlias(tx *store.Tx, a Alias) error {
	_, err := tx.Exec(`INSERT INTO alias (domain, local, created) VALUES (?, ?, ?)`,
		string(a.Address.Domain), a.Address.Local, a.Created.Unix())
	if err != nil {
		return err
	}
	return InsertTargets(tx, a.Address, a.Targets)
}

// InsertTargets gives targets to an alias that has none.
func InsertTargets(tx *store.Tx, a addr.Address, targets []addr.Address) error {
	for i, t := range targets {
		_, err := tx.Exec(`INSERT INTO alias_target (domain, local, place, target_domain, target_local) VALUES (?, ?, ?, ?, ?)`,
			string(a.Domain), a.Local, int64(i), string(t.Domain), t.Local)
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteTargets takes all targets from an alias.
func DeleteTargets(tx *store.Tx, a addr.Address) error {
	return found(tx.Exec(`DELETE FROM alias_target WHERE domain = ? AND local = ?`, string(a.Domain), a.Local))
}

// DeleteAlias removes an alias.
func DeleteAlias(tx *store.Tx, a addr.Address) error {
	return found(tx.Exec(`DELETE FROM alias WHERE domain = ? AND local = ?`, string(a.Domain), a.Local))
}

// found turns a statement that touched nothing into an error.
func found(n int64, err error) error {
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	return err
}

// DropTarget takes an account's address, with any tag, off every alias, and
// removes aliases that have no target left.
func DropTarget(tx *store.Tx, account addr.Address) error {
	list, err := readPlaces(tx, account)
	if err != nil {
		return err
	}
	for _, r := range list {
		_, err := tx.Exec(`DELETE FROM alias_target WHERE domain = ? AND local = ? AND place = ?`,
			string(r.alias.Domain), r.alias.Local, r.place)
		if err != nil {
			return err
		}
	}
	_, err = tx.Exec(`DELETE FROM alias WHERE NOT EXISTS
		(SELECT 1 FROM alias_target WHERE alias_target.domain = alias.domain AND alias_target.local = alias.local)`)
	return err
}

// place is one row of alias_target.
type place struct {
	alias addr.Address
	place int64
}

// readPlaces returns where an account is a target, with or without a tag.
func readPlaces(tx *store.Tx, account addr.Address) ([]place, error) {
	rows, err := tx.Query(`SELECT domain, local, place, target_local FROM alias_target WHERE target_domain = ?`, string(account.Domain))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []place
	for rows.Next() {
		var (
			p     place
			local string
		)
		if err := rows.Scan(&p.alias.Domain, &p.alias.Local, &p.place, &local); err != nil {
			return nil, err
		}
		// A target may have been kept unfolded before its domain was ours.
		if base, _, _ := strings.Cut(addr.FoldLocal(local), "+"); base == account.Local {
			list = append(list, p)
		}
	}
	return list, errors.Join(rows.Err(), rows.Close())
}

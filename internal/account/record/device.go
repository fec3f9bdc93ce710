package record

import (
	"time"

	"gatepost/internal/account/terms"
	"gatepost/internal/store"
)

// termColumns are what a credential is good for.
const termColumns = `scope, expires, networks`

// termRow holds termColumns.
type termRow struct {
	scope    string
	expires  int64
	networks string
}

func rowOf(t terms.Terms) (r termRow) {
	r = termRow{scope: string(t.Scope), networks: terms.Text(t.Networks)}
	if !t.Expires.IsZero() {
		r.expires = t.Expires.Unix()
	}
	return r
}

// terms reads a row. One that is damaged is good for nothing: it has no scope.
func (r termRow) terms() (t terms.Terms) {
	scope, err := terms.ParseScope(r.scope)
	if err != nil {
		return t
	}
	networks, err := terms.Parse(r.networks)
	if err != nil {
		return t
	}
	t = terms.Terms{Scope: scope, Networks: networks}
	if r.expires != 0 {
		t.Expires = time.Unix(r.expires, 0).UTC()
	}
	return t
}

// DeviceInfo is what may be shown of what a device signs in with: its password
// or its certificate.
type DeviceInfo struct {
	ID      int64
	Name    string
	Terms   terms.Terms
	SHA256  []byte // of a certificate
	Created time.Time
	Used    time.Time // to the hour; zero: never
}

// ReadDevices returns the credentials of an account that are of a kind, Device
// or Certificate, the oldest first.
func ReadDevices(tx *store.Tx, account int64, kind Kind) ([]DeviceInfo, error) {
	rows, err := tx.Query(`SELECT id, name, sha256, `+termColumns+`, created, used FROM credential WHERE account = ? AND kind = ? ORDER BY id`,
		account, string(kind))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []DeviceInfo
	for rows.Next() {
		var (
			d             DeviceInfo
			good          termRow
			created, used int64
		)
		if err := rows.Scan(&d.ID, &d.Name, &d.SHA256, &good.scope, &good.expires, &good.networks, &created, &used); err != nil {
			return nil, err
		}
		d.Terms, d.Created = good.terms(), time.Unix(created, 0).UTC()
		if kind != Certificate {
			d.SHA256 = nil
		}
		if used > 0 {
			d.Used = time.Unix(used, 0).UTC()
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// DeleteDevice removes what a device signs in with.
func DeleteDevice(tx *store.Tx, account, id int64, kind Kind) error {
	return found(tx.Exec(`DELETE FROM credential WHERE id = ? AND account = ? AND kind = ?`, id, account, string(kind)))
}

// Authority is one that issued certificates to our users.
type Authority struct {
	Key         string // the name of its private key
	Certificate []byte // DER
}

// ReadAuthorities returns all, the one that issues last.
func ReadAuthorities(tx *store.Tx) (list []Authority, err error) {
	rows, err := tx.Query(`SELECT key_name, certificate FROM authority ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a Authority
		if err := rows.Scan(&a.Key, &a.Certificate); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// InsertAuthority keeps one, which from then on issues.
func InsertAuthority(tx *store.Tx, a Authority) error {
	id, err := tx.NextID("authority")
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO authority (id, key_name, certificate) VALUES (?, ?, ?)`, id, a.Key, a.Certificate)
	return err
}

package record

import (
	"sync/atomic"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// Factor is what an account shows beside its password or instead of it.
type Factor struct {
	ID      int64
	Kind    FactorKind
	Name    string // as its owner calls it
	Handle  []byte // names it: no two have the same
	Secret  []byte // of an app: sealed; of a passkey: what its answers are checked with
	Site    string // the host name that a passkey was made for
	Counter atomic.Int64
	Drift   atomic.Int64
	Created time.Time
	Used    time.Time // zero: never
}

// FactorKind tells factors apart.
type FactorKind string

// The kinds of factors.
const (
	TOTP    FactorKind = "totp"    // the codes of an app
	Passkey FactorKind = "passkey" // Web Authentication
)

const factorColumns = `id, kind, name, handle, secret, site, counter, drift, created, used`

// scanFactor reads factorColumns.
func scanFactor(row scanner) (*Factor, error) {
	f := &Factor{}
	var counter, drift, created, used int64
	if err := row.Scan(&f.ID, &f.Kind, &f.Name, &f.Handle, &f.Secret, &f.Site, &counter, &drift, &created, &used); err != nil {
		return nil, err
	}
	f.Counter.Store(counter)
	f.Drift.Store(drift)
	f.Created = time.Unix(created, 0).UTC()
	if used > 0 {
		f.Used = time.Unix(used, 0).UTC()
	}
	return f, nil
}

// ReadFactors returns the factors of an account, the oldest first.
func ReadFactors(tx *store.Tx, account int64) ([]*Factor, error) {
	rows, err := tx.Query(`SELECT `+factorColumns+` FROM factor WHERE account = ? ORDER BY id`, account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*Factor
	for rows.Next() {
		f, err := scanFactor(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, rows.Err()
}

// InsertFactor keeps a factor of an account; store.IsUnique tells that there
// is one with its handle.
func InsertFactor(tx *store.Tx, account int64, f *Factor) error {
	_, err := tx.Exec(`INSERT INTO factor (id, account, kind, name, handle, secret, site, counter, drift, created, used)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`, f.ID, account, string(f.Kind), f.Name, full(f.Handle), full(f.Secret), f.Site,
		f.Counter.Load(), f.Drift.Load(), f.Created.Unix())
	return err
}

// DeleteFactor removes one factor of an account.
func DeleteFactor(tx *store.Tx, account, id int64) error {
	return found(tx.Exec(`DELETE FROM factor WHERE id = ? AND account = ?`, id, account))
}

// UseStep notes that a step of an app was accepted. It is false where that
// step or a later one was before.
func UseStep(tx *store.Tx, id, step, drift, when int64) (bool, error) {
	n, err := tx.Exec(`UPDATE factor SET counter = ?, drift = ?, used = ? WHERE id = ? AND kind = 'totp' AND counter < ?`,
		step, drift, when, id, step)
	return n == 1, err
}

// UseRecovery spends a recovery code. It is false where it was spent before.
func UseRecovery(tx *store.Tx, account int64, sum []byte) (bool, error) {
	n, err := tx.Exec(`DELETE FROM recovery_code WHERE account = ? AND sum = ?`, account, sum)
	return n == 1, err
}

// ReadRecoveryCodes returns what is kept of the codes that an account has left.
func ReadRecoveryCodes(tx *store.Tx, account int64) ([][]byte, error) {
	rows, err := tx.Query(`SELECT sum FROM recovery_code WHERE account = ?`, account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list [][]byte
	for rows.Next() {
		var sum []byte
		if err := rows.Scan(&sum); err != nil {
			return nil, err
		}
		list = append(list, sum)
	}
	return list, rows.Err()
}

// SetRecoveryCodes replaces the codes of an account; none: it has no more.
func SetRecoveryCodes(tx *store.Tx, account int64, sums [][]byte) error {
	if _, err := tx.Exec(`DELETE FROM recovery_code WHERE account = ?`, account); err != nil {
		return err
	}
	for _, sum := range sums {
		if _, err := tx.Exec(`INSERT INTO recovery_code (account, sum) VALUES (?, ?)`, account, sum); err != nil {
			return err
		}
	}
	return nil
}

// DropScram deletes the SCRAM keys of the password that a person chose.
func DropScram(tx *store.Tx, account int64) error {
	_, err := tx.Exec(`UPDATE credential SET scram = ? WHERE account = ? AND kind = 'password'`, []byte{}, account)
	return err
}

// FindPasskey returns whose a passkey is, with all that is known of them.
func FindPasskey(tx *store.Tx, handle []byte) (*Person, error) {
	var a addr.Address
	err := tx.QueryRow(`SELECT a.domain, a.local FROM factor f JOIN account a ON a.id = f.account WHERE f.handle = ? AND f.kind = 'passkey'`,
		handle).Scan(&a.Domain, &a.Local)
	if err != nil {
		return nil, err
	}
	return ReadPerson(tx, a)
}

// UsePasskey notes how often a passkey says that it has signed. It is false
// where it said as much or more before: then there are two of it. Those that
// do not count stay at zero.
func UsePasskey(tx *store.Tx, id, counter, when int64) (bool, error) {
	n, err := tx.Exec(`UPDATE factor SET counter = ?, used = ? WHERE id = ? AND kind = 'passkey' AND (counter < ? OR counter = 0 AND ? = 0)`,
		counter, when, id, counter, counter)
	return n == 1, err
}

// PasskeySites returns for how many accounts there are passkeys, by the host
// name that they were made for.
func PasskeySites(tx *store.Tx) (map[string]int, error) {
	rows, err := tx.Query(`SELECT site, COUNT(DISTINCT account) FROM factor WHERE kind = 'passkey' GROUP BY site`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	sites := map[string]int{}
	for rows.Next() {
		var site string
		var n int
		if err := rows.Scan(&site, &n); err != nil {
			return nil, err
		}
		sites[site] = n
	}
	return sites, rows.Err()
}

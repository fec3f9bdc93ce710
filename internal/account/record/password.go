package record

import (
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// PasswordRow is what the store knows of the password of an account.
type PasswordRow struct {
	Account, Credential int64
	Rating              []byte // sealed; empty if it was never rated
	Set                 time.Time
}

// ReadPasswords returns the passwords of all accounts that have one.
func ReadPasswords(tx *store.Tx) ([]PasswordRow, error) {
	rows, err := tx.Query(`SELECT account, id, rating, created FROM credential WHERE kind = 'password' ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []PasswordRow
	for rows.Next() {
		var (
			r       PasswordRow
			created int64
		)
		if err := rows.Scan(&r.Account, &r.Credential, &r.Rating, &created); err != nil {
			return nil, err
		}
		r.Set = time.Unix(created, 0).UTC()
		list = append(list, r)
	}
	return list, rows.Err()
}

// ReadFormer returns the hashes of the former passwords of an account, the
// latest first.
func ReadFormer(tx *store.Tx, account int64) ([]string, error) {
	rows, err := tx.Query(`SELECT argon2 FROM former_password WHERE account = ? ORDER BY id DESC`, account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// InsertFormer keeps the hash of a password that was replaced.
func InsertFormer(tx *store.Tx, account int64, argon2 string) error {
	id, err := tx.NextID("former_password")
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO former_password (id, account, argon2) VALUES (?, ?, ?)`, id, account, argon2)
	return err
}

// PruneFormer forgets all former passwords of an account but the latest.
func PruneFormer(tx *store.Tx, account int64, keep int) error {
	_, err := tx.Exec(`DELETE FROM former_password WHERE account = ? AND id NOT IN
		(SELECT id FROM former_password WHERE account = ? ORDER BY id DESC LIMIT ?)`, account, account, int64(keep))
	return err
}

// NamesOf returns the aliases that lead to an account, at most some.
func NamesOf(tx *store.Tx, account addr.Address, most int) ([]addr.Address, error) {
	list, err := readPlaces(tx, account)
	if err != nil {
		return nil, err
	}
	var names []addr.Address
	for _, p := range list {
		if p.alias.Local != "" && len(names) < most {
			names = append(names, p.alias)
		}
	}
	return names, nil
}

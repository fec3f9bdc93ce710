// Package record holds the rows of people as values: every query of the
// package account on its tables (store/migrations/0001_account.sql), and
// nothing of what the rows mean.
//
// Local parts and domains are given and returned folded, as they are kept.
// What is not there is store.ErrNotFound.
package record

import (
	"errors"
	"sync/atomic"
	"time"

	"gatepost/internal/account/terms"
	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// Account is a person, or a program, that has a mailbox and can sign in.
type Account struct {
	ID        int64 // never reused
	Address   addr.Address
	Role      Role
	Quota     int64 // octets; 0: no limit
	SendLimit int   // recipients a day (UTC); 0: no limit
	Frozen    bool  // may not sign in; mail still arrives
	Created   time.Time
	Factors   int // how many second factors it has
}

// Configured, as a quota or sending limit, is what the configuration says,
// now and when it changes.
const Configured = -1

// Role says what an account may do beyond its own mail.
type Role string

// The roles.
const (
	Admin Role = "admin" // administers the whole server
	User  Role = "user"
)

// Person is an account with its credentials.
type Person struct {
	Account
	Salt        []byte // of its SCRAM keys, all of them
	Iterations  int
	Credentials []*Credential
	Second      []*Factor // its second factors
	Recovery    [][]byte  // what is kept of its recovery codes
}

// Credential is one secret that signs an account in.
type Credential struct {
	ID     int64
	Kind   Kind
	Name   string // of a device
	Argon2 string // of a password: PHC
	SHA256 []byte // of a device, or of a certificate in DER
	Scram  []byte // sealed; may be empty
	Rating []byte // of a password: sealed; empty if it was never rated
	Terms  terms.Terms
	Set    time.Time
	Used   atomic.Int64
}

// Kind tells credentials apart.
type Kind string

// The kinds.
const (
	Password Kind = "password" // chosen by a person
	Device   Kind = "device"   // made here for one program or device

	Certificate Kind = "certificate" // issued here for one program or device

	// Token is what OAuth gave a program. It is in no row of a person: the
	// package grant keeps those.
	Token Kind = "token"
)

const accountColumns = `id, domain, local, role, quota, send_limit, frozen, created,
	(SELECT COUNT(*) FROM factor WHERE factor.account = account.id)`

type scanner interface{ Scan(dest ...any) error }

// scanAccount reads accountColumns, and what follows them into more.
func scanAccount(row scanner, more ...any) (a Account, err error) {
	var frozen, created int64
	err = row.Scan(append([]any{&a.ID, &a.Address.Domain, &a.Address.Local, &a.Role, &a.Quota, &a.SendLimit, &frozen, &created, &a.Factors}, more...)...)
	a.Frozen, a.Created = frozen != 0, time.Unix(created, 0).UTC()
	return a, err
}

// ReadPerson returns the account with exactly this address.
func ReadPerson(tx *store.Tx, a addr.Address) (*Person, error) {
	p := &Person{}
	var err error
	p.Account, err = scanAccount(tx.QueryRow(
		`SELECT `+accountColumns+`, scram_salt, scram_iterations FROM account WHERE domain = ? AND local = ?`,
		string(a.Domain), a.Local), &p.Salt, &p.Iterations)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(`SELECT id, kind, name, argon2, sha256, scram, rating, `+termColumns+`, created, used FROM credential WHERE account = ? ORDER BY id`, p.ID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			c             Credential
			good          termRow
			created, used int64
		)
		if err := rows.Scan(&c.ID, &c.Kind, &c.Name, &c.Argon2, &c.SHA256, &c.Scram, &c.Rating, &good.scope, &good.expires, &good.networks, &created, &used); err != nil {
			return nil, err
		}
		c.Terms = good.terms()
		c.Set = time.Unix(created, 0).UTC()
		c.Used.Store(used)
		p.Credentials = append(p.Credentials, &c)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || p.Factors == 0 {
		return p, err
	}
	if p.Second, err = ReadFactors(tx, p.ID); err != nil {
		return nil, err
	}
	p.Recovery, err = ReadRecoveryCodes(tx, p.ID)
	return p, err
}

// ReadAccounts returns the accounts of a domain, or all if it is empty, by
// domain and name.
func ReadAccounts(tx *store.Tx, domain addr.Domain) ([]Account, error) {
	rows, err := tx.Query(`SELECT `+accountColumns+` FROM account WHERE domain = ? OR ? = '' ORDER BY domain, local`,
		string(domain), string(domain))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Account
	for rows.Next() {
		a, err := scanAccount(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// ReadFrozen returns the addresses of the accounts that are frozen.
func ReadFrozen(tx *store.Tx) ([]addr.Address, error) {
	rows, err := tx.Query(`SELECT domain, local FROM account WHERE frozen = 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []addr.Address
	for rows.Next() {
		var a addr.Address
		if err := rows.Scan(&a.Domain, &a.Local); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// ReadAddress returns the address of an account.
func ReadAddress(tx *store.Tx, id int64) (a addr.Address, err error) {
	err = tx.QueryRow(`SELECT domain, local FROM account WHERE id = ?`, id).Scan(&a.Domain, &a.Local)
	return a, err
}

// Administrator returns who answers for a domain: its first administrator,
// else the server's, else the domain's first account, else, where anybody
// will do, the server's first.
func Administrator(tx *store.Tx, domain addr.Domain, anybody bool) (a addr.Address, err error) {
	var all int64
	if anybody {
		all = 1
	}
	err = tx.QueryRow(`SELECT domain, local FROM account
		WHERE role = 'admin' OR domain = ? OR ? = 1
		ORDER BY CASE WHEN role = 'admin' AND domain = ? THEN 0 WHEN role = 'admin' THEN 1 WHEN domain = ? THEN 2 ELSE 3 END, id
		LIMIT 1`, string(domain), all, string(domain), string(domain)).Scan(&a.Domain, &a.Local)
	return a, err
}

// InsertAccount makes an account and returns its id. The id of p is ignored,
// and so are its credentials.
func InsertAccount(tx *store.Tx, p *Person) (int64, error) {
	id, err := tx.NextID("account")
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(`INSERT INTO account (id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, id, string(p.Address.Domain), p.Address.Local, string(p.Role),
		p.Quota, int64(p.SendLimit), number(p.Frozen), p.Created.Unix(), p.Salt, int64(p.Iterations))
	return id, err
}

// UpdateAccount writes role, quota, sending limit and whether it is frozen.
func UpdateAccount(tx *store.Tx, a Account) error {
	_, err := tx.Exec(`UPDATE account SET role = ?, quota = ?, send_limit = ?, frozen = ? WHERE id = ?`,
		string(a.Role), a.Quota, int64(a.SendLimit), number(a.Frozen), a.ID)
	return err
}

// DeleteAccount removes an account with its credentials and counts.
func DeleteAccount(tx *store.Tx, id int64) error {
	_, err := tx.Exec(`DELETE FROM account WHERE id = ?`, id)
	return err
}

// InsertCredential keeps a credential of an account.
func InsertCredential(tx *store.Tx, account int64, c *Credential) error {
	good := rowOf(c.Terms)
	_, err := tx.Exec(`INSERT INTO credential (id, account, kind, name, argon2, sha256, scram, rating, `+termColumns+`, created, used)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		c.ID, account, string(c.Kind), c.Name, c.Argon2, full(c.SHA256), full(c.Scram), full(c.Rating),
		good.scope, good.expires, good.networks, c.Set.Unix())
	return err
}

// DeletePassword removes the password that a person chose.
func DeletePassword(tx *store.Tx, account int64) error {
	_, err := tx.Exec(`DELETE FROM credential WHERE account = ? AND kind = 'password'`, account)
	return err
}

// SetUsed notes when a credential was last used.
func SetUsed(tx *store.Tx, credential, when int64) error {
	_, err := tx.Exec(`UPDATE credential SET used = ? WHERE id = ?`, when, credential)
	return err
}

// ReadSent returns the recipients that an account has sent to on a day, given
// as days since 1970.
func ReadSent(tx *store.Tx, account, day int64) (n int64, err error) {
	err = tx.QueryRow(`SELECT recipients FROM sent WHERE account = ? AND day = ?`, account, day).Scan(&n)
	return n, err
}

// WriteSent keeps a day's total and drops the days before. An account that
// was removed meanwhile has no row to count in.
func WriteSent(tx *store.Tx, account, day, total int64) error {
	_, err := tx.Exec(`INSERT INTO sent (account, day, recipients)
		SELECT id, ?, ? FROM account WHERE id = ?
		ON CONFLICT (account, day) DO UPDATE SET recipients = excluded.recipients`, day, total, account)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`DELETE FROM sent WHERE account = ? AND day < ?`, account, day)
	return err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// full returns b, empty instead of nil: the columns are never NULL.
func full(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

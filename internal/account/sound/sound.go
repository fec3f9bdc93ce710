// Package sound checks the rows of people against what the schema cannot say:
// that credentials can be used with the keys that there are, that names and
// roles are such, that ids are never given twice.
package sound

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"gatepost/internal/account/enrol"
	"gatepost/internal/account/factor"
	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/signin"
	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/keys"
	"gatepost/internal/store"
)

// Check reads every account, credential and alias, and tells what is wrong.
func Check(tx *store.Tx, k *keys.Keys, found func(audit.Finding)) error {
	c := &checker{tx: tx, keys: k, found: found}
	people, err := record.ReadAccounts(tx, "")
	if err != nil {
		return err
	}
	if len(people) > 0 && !k.HasSecret() {
		c.fail("Put the directory keys back from a backup.", "The file keys/secret is missing: what it seals cannot be read.")
		people = nil
	}
	for _, a := range people {
		if err := c.account(a); err != nil {
			return err
		}
	}
	return errors.Join(c.ids(), c.aliases(), c.authorities())
}

type checker struct {
	tx    *store.Tx
	keys  *keys.Keys
	found func(audit.Finding)
}

func (c *checker) fail(fix, format string, args ...any) {
	c.found(audit.Finding{Check: "account", Level: audit.Failure, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (c *checker) account(a record.Account) error {
	p, err := record.ReadPerson(c.tx, a.Address)
	if err != nil {
		return err
	}
	// Names are kept as they are compared.
	if parsed, err := addr.Parse(a.Address.String()); err != nil || parsed != a.Address || addr.FoldLocal(a.Address.Local) != a.Address.Local {
		c.fail(audit.FixRows, "Account %d has the address %q, which is none.", a.ID, a.Address)
	}
	if a.Role != record.Admin && a.Role != record.User {
		c.fail(audit.FixRows, "The account %s has the role %q, which is none.", a.Address, a.Role)
	}
	former, err := record.ReadFormer(c.tx, p.ID)
	if err != nil {
		return err
	}
	for _, hash := range former {
		if !secret.Sound(hash) {
			c.fail(audit.FixRows, "The hash of a former password of %s is damaged.", a.Address)
		}
	}
	for _, cred := range p.Credentials {
		if err := signin.Sound(c.keys, p.ID, cred); err != nil {
			c.fail(fmt.Sprintf("Set a new one with: gatepost account password %s; or, if this is said of all accounts, put the directory keys back from a backup.", a.Address),
				"A %s of %s cannot be used to sign in: %v.", kindWord(cred.Kind), a.Address, err)
		}
	}
	return c.factors(p)
}

// factors checks what an account shows beside its password.
func (c *checker) factors(p *record.Person) error {
	for _, f := range p.Second {
		if err := enrol.Sound(c.keys, p.ID, f); err != nil {
			c.fail(fmt.Sprintf("Take it away with: gatepost account factor remove %s %d, and add it again; or, if this is said of all accounts, put the directory keys back from a backup.", p.Address, f.ID),
				"The second factor %d of %s cannot be used: %v.", f.ID, p.Address, err)
		}
		if f.Kind == record.TOTP && f.Drift.Load() != factor.Drift(f.Drift.Load(), 0) {
			c.fail(audit.FixRows, "The clock of the second factor %d of %s is said to be off by %d steps.", f.ID, p.Address, f.Drift.Load())
		}
	}
	for _, sum := range p.Recovery {
		if len(sum) != sha256.Size {
			c.fail(fmt.Sprintf("Make new ones with: gatepost account factor codes %s", p.Address), "A recovery code of %s is damaged.", p.Address)
		}
	}
	if len(p.Second) == 0 {
		return nil
	}
	for _, cred := range p.Credentials {
		if cred.Kind == record.Password && len(cred.Scram) > 0 {
			c.fail(audit.FixRows, "%s has a second factor, and SCRAM keys of its password beside it.", p.Address)
		}
	}
	return nil
}

func kindWord(k record.Kind) string {
	switch k {
	case record.Device:
		return "device password"
	case record.Certificate:
		return "certificate"
	}
	return "password"
}

// ids checks that no id can be given a second time.
func (c *checker) ids() error {
	rows, err := c.tx.Query(`SELECT s.name, s.next, MAX(a.id) FROM sequence s JOIN account a ON s.name = 'account'
			GROUP BY s.name, s.next HAVING MAX(a.id) >= s.next
		UNION ALL SELECT s.name, s.next, MAX(c.id) FROM sequence s JOIN credential c ON s.name = 'credential'
			GROUP BY s.name, s.next HAVING MAX(c.id) >= s.next
		UNION ALL SELECT s.name, s.next, MAX(f.id) FROM sequence s JOIN factor f ON s.name = 'factor'
			GROUP BY s.name, s.next HAVING MAX(f.id) >= s.next`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var next, given int64
		if err := rows.Scan(&name, &next, &given); err != nil {
			return err
		}
		c.fail(audit.FixRows, "The sequence %s goes on with %d, and %d is given already.", name, next, given)
	}
	return rows.Err()
}

// aliases checks that each leads somewhere.
func (c *checker) aliases() error {
	rows, err := c.tx.Query(`SELECT a.domain, a.local FROM alias a WHERE NOT EXISTS
		(SELECT 1 FROM alias_target t WHERE t.domain = a.domain AND t.local = a.local)`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var a addr.Address
		if err := rows.Scan(&a.Domain, &a.Local); err != nil {
			return err
		}
		c.fail(fmt.Sprintf("Remove it with: gatepost alias remove %s@%s", a.Local, a.Domain), "The alias %s@%s leads nowhere.", a.Local, a.Domain)
	}
	return rows.Err()
}

// authorities checks that certificates of our users are recognized, and that
// more can be issued.
func (c *checker) authorities() error {
	list, err := record.ReadAuthorities(c.tx)
	if err != nil {
		return err
	}
	for _, a := range list {
		if _, err := x509.ParseCertificate(a.Certificate); err != nil {
			c.fail("Issue new ones with: gatepost account certificate issue.", "An authority for certificates of users is damaged: those that it issued open nothing.")
		}
	}
	if len(list) > 0 && c.keys.HasSecret() {
		if _, err := c.keys.Signer(list[len(list)-1].Key); err != nil {
			c.fail("Put the directory keys back from a backup.", "The key of the authority for certificates of users cannot be read: %v.", err)
		}
	}
	return nil
}

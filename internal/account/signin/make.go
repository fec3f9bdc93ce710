package signin

import (
	"context"
	"fmt"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/terms"
	"gatepost/internal/addr"
	"gatepost/internal/passwords"
	"gatepost/internal/store"
)

// Purposes of the keys that SCRAM takes from the master secret.
const (
	sealScram  = "account scram keys"
	saltScram  = "account scram salt"
	fakeScram  = "account scram nobody"
	sealRating = "account password rating"
	saltMark   = "account password mark salt"
	macMark    = "account password mark"
)

// Fresh is a credential that was made and is not kept yet.
type Fresh struct {
	Kind   record.Kind
	Name   string
	argon2 string
	sha256 []byte
	scram  *secret.ScramKeys // nil: none are kept
	rated  *Rated            // of a password
	terms  terms.Terms
}

// DropScram makes that no SCRAM keys are kept of it.
func (f *Fresh) DropScram() { f.scram = nil }

// NewPassword hashes a password that a person chose, and that has this
// rating, which takes two fifths of a second.
func (d *Desk) NewPassword(ctx context.Context, p secret.Password, r passwords.Rating, salt []byte, iterations int) (*Fresh, error) {
	f := &Fresh{Kind: record.Password, terms: terms.Terms{Scope: terms.Both}}
	var err error
	if f.rated, err = d.rate(ctx, p, r); err != nil {
		return nil, err
	}
	if f.argon2, err = d.hasher.Hash(ctx, p); err != nil || !d.o.ScramForPasswords {
		return f, err
	}
	k, err := secret.NewScramKeys(p, salt, iterations)
	f.scram = &k
	return f, err
}

// NewDevice makes a device password that is good for what t says.
func (d *Desk) NewDevice(name string, t terms.Terms, salt []byte, iterations int) (*Fresh, secret.Password, error) {
	p, err := secret.NewDevice(d.o.Random)
	if err != nil {
		return nil, "", err
	}
	k, err := secret.NewScramKeys(p, salt, iterations)
	return &Fresh{Kind: record.Device, Name: name, sha256: secret.Sum(p), scram: &k, terms: t}, p, err
}

// Keep writes a fresh credential and returns its id.
func (d *Desk) Keep(tx *store.Tx, account int64, f *Fresh, created time.Time) (int64, error) {
	id, err := tx.NextID("credential")
	if err != nil {
		return 0, err
	}
	c := &record.Credential{ID: id, Kind: f.Kind, Name: f.Name, Argon2: f.argon2, SHA256: f.sha256, Terms: f.terms, Set: created}
	if f.scram != nil {
		c.Scram = d.o.Keys.Seal(sealScram, f.scram.Bytes(), sealContext(account, id))
	}
	if f.rated != nil {
		c.Rating = d.o.Keys.Seal(sealRating, f.rated.bytes(), sealContext(account, id))
	}
	return id, record.InsertCredential(tx, account, c)
}

// sealContext ties sealed SCRAM keys to their row: those of an attacker's own
// account cannot be copied into another's.
func sealContext(account, credential int64) []byte {
	return fmt.Appendf(nil, "%d %d", account, credential)
}

// Salt returns the SCRAM salt of an address, whether it is an account's or
// not: a real one and a made-up one are the same, so that nobody sees an
// account being made.
func (d *Desk) Salt(a addr.Address) []byte {
	s := d.o.Keys.MAC(saltScram, []byte(a.Domain), []byte(a.Local))
	return s[:secret.ScramSaltSize]
}

// scramKeys returns what a SCRAM exchange shows and checks, and whose each
// key is. Where there is no account, or none of its credentials have SCRAM
// keys, they are made up of the login.
func (d *Desk) scramKeys(c *claim) (keys sasl.Keys, whose []*record.Credential) {
	if c.person != nil {
		keys.Salt, keys.Iterations = c.person.Salt, c.person.Iterations
		for _, cred := range c.person.Credentials {
			if k, ok := d.unseal(c.person.ID, cred); ok {
				keys.Stored = append(keys.Stored, k.Stored[:])
				keys.Server = append(keys.Server, k.Server[:])
				whose = append(whose, cred)
			}
		}
	}
	if len(whose) > 0 {
		return keys, whose
	}
	stored := d.o.Keys.MAC(fakeScram, []byte("stored"), []byte(c.key()))
	server := d.o.Keys.MAC(fakeScram, []byte("server"), []byte(c.key()))
	return sasl.Keys{
		Salt:       d.Salt(c.address),
		Iterations: secret.ScramIterations,
		Stored:     [][]byte{stored[:]},
		Server:     [][]byte{server[:]},
	}, []*record.Credential{nil}
}

func (d *Desk) unseal(account int64, c *record.Credential) (k secret.ScramKeys, ok bool) {
	if len(c.Scram) == 0 || c.Kind == record.Password && !d.o.ScramForPasswords {
		return k, false
	}
	plain, err := d.o.Keys.Unseal(sealScram, c.Scram, sealContext(account, c.ID))
	if err == nil {
		k, err = secret.ParseScramKeys(plain)
	}
	if err != nil {
		d.o.Log.Error("SCRAM keys in the store cannot be used; a new password repairs them",
			"account_id", account, "credential_id", c.ID, "err", err)
	}
	return k, err == nil
}

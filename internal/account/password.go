package account

import (
	"context"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/signin"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/passwords"
	"gatepost/internal/store"
)

const (
	// oldAfter is how long after it was set a password counts as old where
	// the policy has no greatest age.
	oldAfter = 2 * 365 * 24 * time.Hour
	// maxNames bounds the aliases of a person that are asked for.
	maxNames = 50
)

// SetPolicy changes what new passwords must be, and how old they may become.
func (d *Directory) SetPolicy(p *passwords.Policy) { d.policy.Store(p) }

// PasswordWords tell what a new password must be, each a sentence.
func (d *Directory) PasswordWords() []string { return d.policy.Load().Words() }

// choose reads a new password for an account, and rates it.
func (d *Directory) choose(s string, who passwords.Person) (secret.Password, passwords.Rating, error) {
	p, err := secret.Prepare(s)
	if err != nil {
		return "", passwords.Rating{}, err
	}
	rating, err := d.policy.Load().Check(string(p), who)
	return p, rating, err
}

// SetPassword replaces the password, and ends the sessions that were signed
// in with the former one. Device passwords stay. A
// *passwords.Refusal says why one may not be had.
func (d *Directory) SetPassword(ctx context.Context, a addr.Address, password string) error {
	before, names, former, err := d.history(ctx, a)
	if err != nil {
		return err
	}
	pw, rating, err := d.choose(password, passwords.Person{Address: before.Address, Names: names})
	if err != nil {
		return err
	}
	policy := d.policy.Load()
	had, err := d.signin.Had(ctx, pw, former[:min(len(former), policy.History)])
	switch {
	case err != nil:
		return err
	case had:
		return policy.Reused()
	}
	fresh, err := d.signin.NewPassword(ctx, pw, rating, before.Salt, before.Iterations)
	if err != nil {
		return err
	}
	var ended []Ended
	err = d.onAccount(ctx, a, func(tx *store.Tx, now *record.Person) error {
		if now.ID != before.ID { // removed and made again while we hashed
			return errNoAccount(a)
		}
		if now.Factors > 0 { // it opens no mail
			fresh.DropScram()
		}
		if err := retire(tx, now, policy.History); err != nil {
			return err
		}
		ended = endedOf(now, record.Password)
		if _, err := d.signin.Keep(tx, now.ID, fresh, d.o.Clock.Now()); err != nil {
			return err
		}
		return d.note(tx, activity.Password, now.Account, "")
	})
	if err == nil {
		d.End(ended...)
	}
	return err
}

// history returns an account with its other names and the hashes of its
// passwords, the present one first.
func (d *Directory) history(ctx context.Context, a addr.Address) (p *record.Person, names []addr.Address, hashes []string, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		if p, err = findPerson(tx, a); err != nil {
			return err
		}
		if names, err = record.NamesOf(tx, p.Address, maxNames); err != nil {
			return err
		}
		for _, c := range p.Credentials {
			if c.Kind == record.Password {
				hashes = append(hashes, c.Argon2)
			}
		}
		former, err := record.ReadFormer(tx, p.ID)
		hashes = append(hashes, former...)
		return err
	})
	return p, names, hashes, err
}

// retire removes the present password and keeps its hash, as one of the last
// that may not come again.
func retire(tx *store.Tx, p *record.Person, history int) error {
	for _, c := range p.Credentials {
		if c.Kind == record.Password && history > 1 {
			if err := record.InsertFormer(tx, p.ID, c.Argon2); err != nil {
				return err
			}
		}
	}
	if err := record.PruneFormer(tx, p.ID, max(history-1, 0)); err != nil {
		return err
	}
	return record.DeletePassword(tx, p.ID)
}

// Password is what an operator sees of an account's password.
type Password struct {
	Set     time.Time
	RunsOut time.Time // zero: never
	Score   int       // of zxcvbn; -1: it was never rated, or that is lost
	Weak    bool      // it would be refused now
	Old     bool      // it ran out, or is two years old where none does
	Reused  bool      // another account has the same
}

// Passwords returns what may be known of the passwords, by account. Accounts
// without one are not among them.
func (d *Directory) Passwords(ctx context.Context) (map[int64]Password, error) {
	var rows []record.PasswordRow
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = record.ReadPasswords(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	rated := map[int64]*signin.Rated{}
	same := map[[len(signin.Rated{}.Mark)]byte]int{}
	for _, r := range rows {
		if len(r.Rating) == 0 {
			continue
		}
		rating, err := signin.Unrate(d.keys, r.Account, r.Credential, r.Rating)
		if err != nil { // the others are shown all the same; a deep check tells too
			d.o.Log.Error("the rating of a password cannot be read; a new password repairs it", "account_id", r.Account, "err", err)
			continue
		}
		rated[r.Account] = rating
		same[rating.Mark]++
	}
	policy, now := d.policy.Load(), d.o.Clock.Now()
	all := make(map[int64]Password, len(rows))
	for _, r := range rows {
		p := Password{Set: r.Set, Score: -1, Old: !now.Before(r.Set.Add(oldAfter))}
		if policy.MaxAge > 0 {
			p.RunsOut = r.Set.Add(policy.MaxAge)
			p.Old = !now.Before(p.RunsOut)
		}
		if rating := rated[r.Account]; rating != nil {
			p.Score, p.Weak, p.Reused = rating.Score, policy.Weak(rating.Rating), same[rating.Mark] > 1
		}
		all[r.Account] = p
	}
	return all, nil
}

// RunOut reports whether a password is older than the policy lets it become.
// Device passwords, which nobody chose, do not run out.
func (d desk) RunOut(c *record.Credential) bool {
	p := d.policy.Load()
	return c.Kind == record.Password && p.MaxAge > 0 && !d.o.Clock.Now().Before(c.Set.Add(p.MaxAge))
}

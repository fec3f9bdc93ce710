// Package enrol gives accounts second factors and takes them away: what has
// to be true before and what is true after, in the transaction of its caller.
//
// With the first factor the account gets recovery codes, and the SCRAM keys of
// its password go, since that password opens no mail any more. With the last
// factor the codes go too; SCRAM keys come back with the next password.
//
// Bounds: maxFactors of an account, maxApps of them apps.
package enrol

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"gatepost/internal/account/factor"
	"gatepost/internal/account/record"
	"gatepost/internal/account/signin"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/keys"
	"gatepost/internal/store"
)

const (
	// maxFactors bounds the factors of an account.
	maxFactors = 20
	// maxApps bounds the apps among them: each is one more code that a guess
	// may hit.
	maxApps = 3
	// maxName bounds what a factor is called, in octets.
	maxName = 100
)

// Desk knows what enrolment needs. All fields are required.
type Desk struct {
	Keys     *keys.Keys
	Clock    clock.Clock
	Random   io.Reader   // cryptographically secure
	Hostname addr.Domain // what apps show beside the address
}

// Setup is what an app is set up with, and what has to be shown again with
// its first code.
type Setup struct {
	Secret string // to be typed
	URI    string // to be shown as a QR code
	State  string
}

// ErrCode says that the first code of an app is wrong.
var ErrCode = errors.New("that is not the code which the app shows now; if it is, the clock of the device or of this server is wrong")

// StartTOTP begins to add an app. Nothing is kept of it yet.
func (d *Desk) StartTOTP(p *record.Person) (Setup, error) {
	if err := room(p, record.TOTP); err != nil {
		return Setup{}, err
	}
	secret, err := factor.NewSecret(d.Random)
	if err != nil {
		return Setup{}, err
	}
	return Setup{
		Secret: factor.Spelled(secret),
		URI:    factor.URI(secret, string(d.Hostname), p.Address.Unicode()),
		State:  factor.Begin(d.Keys, p.ID, d.Clock.Now(), secret),
	}, nil
}

// ConfirmTOTP adds the app that was begun, once it shows the right code. It
// returns recovery codes if it is the first factor.
func (d *Desk) ConfirmTOTP(tx *store.Tx, p *record.Person, state, name, code string) (codes []string, err error) {
	now := d.Clock.Now()
	secret, err := factor.Begun(d.Keys, p.ID, now, state)
	if err != nil {
		return nil, err
	}
	step, ok := factor.ReadCode(code).Step(secret, factor.Step(now), 0, 0)
	if !ok {
		return nil, ErrCode
	}
	f := &record.Factor{Kind: record.TOTP, Name: name, Handle: factor.Handle(d.Keys, secret)}
	f.Counter.Store(step) // this code signs nobody in
	f.Drift.Store(factor.Drift(step, factor.Step(now)))
	return d.add(tx, p, f, func(id int64) []byte { return factor.Seal(d.Keys, p.ID, id, secret) })
}

// StartPasskey begins to add a passkey. Nothing is kept of it yet.
func (d *Desk) StartPasskey(party *factor.Party, p *record.Person) (options []byte, state string, err error) {
	if err := room(p, record.Passkey); err != nil {
		return nil, "", err
	}
	return party.Invite(holder(party, p))
}

func holder(party *factor.Party, p *record.Person) factor.Holder {
	return factor.Holder{Account: p.ID, Name: p.Address.Unicode(), Has: signin.Passkeys(p, party.Site())}
}

// ReadPasskey reads the passkey that was begun.
func ReadPasskey(party *factor.Party, p *record.Person, state string, response []byte) (*factor.Made, error) {
	return party.Accept(holder(party, p), state, response)
}

// AddPasskey adds a passkey that was made. It returns recovery codes if it is
// the first factor.
func (d *Desk) AddPasskey(tx *store.Tx, p *record.Person, site, name string, m *factor.Made) (codes []string, err error) {
	f := &record.Factor{Kind: record.Passkey, Name: name, Handle: m.ID, Site: site}
	f.Counter.Store(m.Counter)
	return d.add(tx, p, f, func(id int64) []byte { return factor.SealPasskey(d.Keys, p.ID, id, m.Check) })
}

// add keeps a factor; what is kept of its secret is made for its id.
func (d *Desk) add(tx *store.Tx, p *record.Person, f *record.Factor, secret func(id int64) []byte) (codes []string, err error) {
	if f.Name == "" || len(f.Name) > maxName || strings.ContainsFunc(f.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("a second factor needs a name of at most %d octets", maxName)
	}
	if err := room(p, f.Kind); err != nil {
		return nil, err
	}
	if f.ID, err = tx.NextID("factor"); err != nil {
		return nil, err
	}
	f.Secret, f.Created = secret(f.ID), d.Clock.Now()
	switch err := record.InsertFactor(tx, p.ID, f); {
	case store.IsUnique(err):
		return nil, errors.New("this was added already")
	case err != nil:
		return nil, err
	}
	if len(p.Second) > 0 {
		return nil, nil
	}
	if err := record.DropScram(tx, p.ID); err != nil {
		return nil, err
	}
	return d.Codes(tx, p)
}

// room reports why an account can have no more of a kind.
func room(p *record.Person, kind record.FactorKind) error {
	apps := 0
	for _, f := range p.Second {
		if f.Kind == record.TOTP {
			apps++
		}
	}
	switch {
	case len(p.Second) >= maxFactors:
		return fmt.Errorf("%s has %d second factors, which is the most; remove one first", p.Address.Unicode(), maxFactors)
	case kind == record.TOTP && apps >= maxApps:
		return fmt.Errorf("%s has %d apps, which is the most; remove one first", p.Address.Unicode(), maxApps)
	}
	return nil
}

// Codes makes new recovery codes in place of those before. They are returned
// the only time that anybody sees them.
func (d *Desk) Codes(tx *store.Tx, p *record.Person) ([]string, error) {
	list, err := factor.NewRecovery(d.Random)
	if err != nil {
		return nil, err
	}
	sums := make([][]byte, len(list))
	for i, code := range list {
		sums[i] = factor.ReadCode(code).Sum(d.Keys, p.ID)
	}
	return list, record.SetRecoveryCodes(tx, p.ID, sums)
}

// What factors are called in sentences.
const (
	App     = "app"
	Passkey = "passkey"
)

// Words names a factor in a sentence.
func Words(f *record.Factor) string {
	if f.Kind == record.TOTP {
		return App + " " + f.Name
	}
	return Passkey + " " + f.Name
}

// Remove takes a factor away.
func (d *Desk) Remove(tx *store.Tx, p *record.Person, f *record.Factor) error {
	if err := record.DeleteFactor(tx, p.ID, f.ID); err != nil || len(p.Second) > 1 {
		return err
	}
	return record.SetRecoveryCodes(tx, p.ID, nil)
}

// Spend makes durable that a step of an app, or a recovery code, has been
// used. It is false where that was done before.
func (d *Desk) Spend(tx *store.Tx, account int64, app *record.Factor, step int64, recovery []byte) (bool, error) {
	if recovery != nil {
		return record.UseRecovery(tx, account, recovery)
	}
	now := d.Clock.Now()
	return record.UseStep(tx, app.ID, step, factor.Drift(step, factor.Step(now)), now.Unix())
}

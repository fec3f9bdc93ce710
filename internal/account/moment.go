package account

import (
	"gatepost/internal/account/record"
	"gatepost/internal/account/sound"
	"gatepost/internal/audit"
	"gatepost/internal/keys"
	"gatepost/internal/store"
)

// Moment is the store of one moment: every call of View shows the same.
type Moment interface {
	View(f func(*store.Tx) error) error
}

// Domains returns the domains of a moment.
func Domains(n Moment) (list []Domain, err error) {
	err = n.View(func(tx *store.Tx) error {
		list, err = record.ReadDomains(tx)
		return err
	})
	return list, err
}

// PasskeySites returns for how many accounts of a moment there are passkeys,
// by the host name that they were made for.
func PasskeySites(n Moment) (sites map[string]int, err error) {
	err = n.View(func(tx *store.Tx) error {
		sites, err = record.PasskeySites(tx)
		return err
	})
	return sites, err
}

// Check reads every row of people in a moment and tells what is wrong. It
// changes nothing.
func Check(n Moment, k *keys.Keys, found func(audit.Finding)) error {
	return n.View(func(tx *store.Tx) error { return sound.Check(tx, k, found) })
}

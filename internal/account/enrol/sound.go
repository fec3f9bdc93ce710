package enrol

import (
	"errors"
	"fmt"

	"gatepost/internal/account/factor"
	"gatepost/internal/account/record"
	"gatepost/internal/keys"
)

// Sound returns what is wrong with a factor that is kept, nil if it can be
// used.
func Sound(k *keys.Keys, account int64, f *record.Factor) error {
	switch f.Kind {
	case record.TOTP:
		if _, err := factor.Unseal(k, account, f.ID, f.Secret); err != nil {
			return errors.New("its secret cannot be unsealed")
		}
		return nil
	case record.Passkey:
		if _, err := factor.UnsealPasskey(k, account, f.ID, f.Secret); err != nil {
			return errors.New("what its answers are checked with cannot be unsealed")
		}
		return nil
	}
	return fmt.Errorf("there is no kind %q", f.Kind)
}

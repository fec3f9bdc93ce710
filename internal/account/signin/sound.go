package signin

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/keys"
)

// Sound returns what is wrong with a credential that is kept, nil if it can
// be used.
func Sound(k *keys.Keys, account int64, c *record.Credential) error {
	switch {
	case c.Kind == record.Password && !secret.Sound(c.Argon2):
		return errors.New("its hash is damaged")
	case c.Kind != record.Password && c.Kind != record.Device && c.Kind != record.Certificate:
		return fmt.Errorf("there is no kind %q", c.Kind)
	case c.Kind != record.Password && len(c.SHA256) != sha256.Size:
		return errors.New("its hash is damaged")
	case c.Terms.Scope == "":
		return errors.New("what it is good for is damaged")
	}
	if len(c.Rating) > 0 {
		if _, err := Unrate(k, account, c.ID, c.Rating); err != nil {
			return err
		}
	}
	if len(c.Scram) == 0 {
		return nil
	}
	plain, err := k.Unseal(sealScram, c.Scram, sealContext(account, c.ID))
	if err == nil {
		_, err = secret.ParseScramKeys(plain)
	}
	return err
}

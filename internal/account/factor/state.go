package factor

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"gatepost/internal/keys"
)

// begunFor is how long whoever began to add a factor has to end it.
const begunFor = 10 * time.Minute

// maxState bounds what is read as a state, in octets.
const maxState = 1024

// ErrBegun says that a state is not one of ours, is another account's, or is
// too old.
var ErrBegun = errors.New("this was begun too long ago, or elsewhere; begin again")

// sealBegun is the purpose of the key that a secret is sealed with on its way
// to the person and back.
const sealBegun = "account factor begun"

// Begin seals what was begun for an account, so that nothing is kept of it
// before it is ended, and nobody ends it with a secret of his own choice.
func Begin(k *keys.Keys, account int64, now time.Time, secret []byte) (state string) {
	var until [8]byte
	binary.BigEndian.PutUint64(until[:], uint64(now.Add(begunFor).Unix()))
	sealed := k.Seal(sealBegun, append(until[:], secret...), of(account))
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// Begun returns the secret of what was begun for an account.
func Begun(k *keys.Keys, account int64, now time.Time, state string) (secret []byte, err error) {
	if len(state) > maxState {
		return nil, ErrBegun
	}
	sealed, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil {
		return nil, ErrBegun
	}
	plain, err := k.Unseal(sealBegun, sealed, of(account))
	if err != nil || len(plain) != 8+secretSize || now.Unix() >= int64(binary.BigEndian.Uint64(plain)) {
		return nil, ErrBegun
	}
	return plain[8:], nil
}

// sealTOTP is the purpose of the key that secrets of apps are kept under.
const sealTOTP = "account factor totp"

// Seal returns a secret as it is kept in a row.
func Seal(k *keys.Keys, account, row int64, secret []byte) []byte {
	return k.Seal(sealTOTP, secret, of(account, row))
}

// Unseal returns the secret of a row.
func Unseal(k *keys.Keys, account, row int64, sealed []byte) ([]byte, error) {
	return k.Unseal(sealTOTP, sealed, of(account, row))
}

// sealPasskey is the purpose of the key that passkeys are kept under: they are
// no secret, but nobody who can write the store is to slip in his own.
const sealPasskey = "account factor passkey"

// SealPasskey returns what the answers of a passkey are checked with, as it is
// kept in a row.
func SealPasskey(k *keys.Keys, account, row int64, check []byte) []byte {
	return k.Seal(sealPasskey, check, of(account, row))
}

// UnsealPasskey returns it.
func UnsealPasskey(k *keys.Keys, account, row int64, sealed []byte) ([]byte, error) {
	return k.Unseal(sealPasskey, sealed, of(account, row))
}

// Handle names a secret without telling it: none is kept twice.
func Handle(k *keys.Keys, secret []byte) []byte {
	h := k.MAC(sealTOTP, secret)
	return h[:]
}

// of ties what is sealed to whose it is: nothing can be copied from an
// attacker's own row into another's.
func of(ids ...int64) []byte {
	b := make([]byte, 0, 8*len(ids))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, uint64(id))
	}
	return b
}

package signin

import (
	"context"
	"errors"

	"gatepost/internal/account/secret"
	"gatepost/internal/keys"
	"gatepost/internal/passwords"
)

// markSize is the length of a mark, in octets: two passwords that are not the
// same have the same one once in 2^128.
const markSize = 16

// Rated is what is kept of a password beside its hashes. It is sealed: a copy
// of the store alone tells neither whose password is weak nor who has the
// same.
type Rated struct {
	passwords.Rating
	// Mark is the same for the same password, whoever has it. It is made by
	// Argon2id over a salt from keys, and is worth as much to whoever
	// guesses as the hash.
	Mark [markSize]byte
}

const ratedVersion = 1

// bytes returns what parseRated reads.
func (r *Rated) bytes() []byte {
	return append([]byte{ratedVersion, byte(r.Score), byte(min(r.Length, 255))}, r.Mark[:]...)
}

func parseRated(b []byte) (*Rated, error) {
	if len(b) != 3+markSize || b[0] != ratedVersion {
		return nil, errors.New("its rating is damaged")
	}
	return &Rated{passwords.Rating{Score: int(b[1]), Length: int(b[2])}, [markSize]byte(b[3:])}, nil
}

// rate adds to a rating the mark of the password.
func (d *Desk) rate(ctx context.Context, p secret.Password, r passwords.Rating) (*Rated, error) {
	salt := d.o.Keys.MAC(saltMark)
	slow, err := d.hasher.Mark(ctx, p, salt[:markSize])
	if err != nil {
		return nil, err
	}
	mark := d.o.Keys.MAC(macMark, slow)
	return &Rated{r, [markSize]byte(mark[:markSize])}, nil
}

// Unrate opens the rating of a credential.
func Unrate(k *keys.Keys, account, credential int64, sealed []byte) (*Rated, error) {
	plain, err := k.Unseal(sealRating, sealed, sealContext(account, credential))
	if err != nil {
		return nil, err
	}
	return parseRated(plain)
}

// Had reports whether a password is what one of the stored hashes is of. It
// runs Argon2id once for each.
func (d *Desk) Had(ctx context.Context, p secret.Password, stored []string) (bool, error) {
	return d.hasher.IsOne(ctx, p, stored)
}

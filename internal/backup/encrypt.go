package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"gatepost/internal/backup/archive"
)

// ageMagic is what an encrypted file begins with.
const ageMagic = "age-encryption.org/"

// maxWork bounds what a passphrase may cost to be tried, as a power of two:
// who made the file chooses it, and 2^20 takes a gibibyte.
const maxWork = 20

// errPassphrase refuses what protects from nobody.
var errPassphrase = errors.New("the passphrase is empty")

// Encrypt returns a writer to what only the holders of recipients ("age1…"),
// or whoever knows the passphrase, can read. It must be closed. With neither,
// what is written stays as it is.
func Encrypt(w io.Writer, recipients []string, passphrase *string) (io.WriteCloser, error) {
	var to []age.Recipient
	for _, text := range recipients {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a recipient of age: %w", text, err)
		}
		to = append(to, r)
	}
	switch {
	case passphrase == nil && len(to) == 0:
		return unencrypted{w}, nil
	case passphrase == nil:
		return age.Encrypt(w, to...)
	case len(to) > 0:
		return nil, errors.New("a backup has recipients or a passphrase, not both")
	case *passphrase == "":
		return nil, errPassphrase
	}
	r, err := age.NewScryptRecipient(*passphrase)
	if err != nil {
		return nil, err
	}
	return age.Encrypt(w, r)
}

func parseRecipient(text string) (age.Recipient, error) {
	list, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
	if err == nil && len(list) != 1 {
		err = errors.New("give one at a time")
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// unencrypted is a writer that need not be closed.
type unencrypted struct{ io.Writer }

func (unencrypted) Close() error { return nil }

// Identity opens what was encrypted.
type Identity = age.Identity

// Identities returns what can open encrypted backups: the keys in a file of
// age, and a passphrase.
func Identities(file io.Reader, passphrase *string) (list []Identity, err error) {
	if file != nil {
		if list, err = age.ParseIdentities(file); err != nil {
			return nil, fmt.Errorf("not a file of age identities: %w", err)
		}
	}
	if passphrase != nil {
		if *passphrase == "" {
			return nil, errPassphrase
		}
		i, err := age.NewScryptIdentity(*passphrase)
		if err != nil {
			return nil, err
		}
		i.SetMaxWorkFactor(maxWork)
		list = append(list, i)
	}
	return list, nil
}

// Decrypt returns the content of a backup, encrypted or not.
func Decrypt(r io.Reader, identities []Identity) (io.Reader, error) {
	b := bufio.NewReaderSize(r, saveBuffer)
	start, err := b.Peek(len(ageMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(start) != ageMagic {
		return b, nil
	}
	if len(identities) == 0 {
		return nil, errors.New("the backup is encrypted: give the file with your age identity with --identity, or its passphrase with --passphrase-stdin")
	}
	plain, err := age.Decrypt(b, identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, errors.New("the backup is encrypted, and neither the identities nor the passphrase open it")
	case err != nil:
		return nil, archive.Broken("it cannot be decrypted (%w)", err)
	}
	return plain, nil
}

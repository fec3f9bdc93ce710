package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/caddyserver/certmagic"

	"gatepost/internal/audit"
	"gatepost/internal/store"
)

// Kept is a certificate as the store has it.
type Kept struct {
	Name  string
	Chain []*x509.Certificate // its own first; nil if it cannot be read
	Fault error               // why it cannot be shown to anybody; nil: it can
}

// ChainOf returns the chain for a name among kept certificates, nil if there
// is none that can be shown.
func ChainOf(list []Kept, name string) []*x509.Certificate {
	for _, kept := range list {
		if kept.Name == name && kept.Fault == nil {
			return kept.Chain
		}
	}
	return nil
}

// View reads the store: the one that is open, or one of a server that does
// not run.
type View func(func(*store.Tx) error) error

// List returns the certificates that an authority issued and that are kept,
// also of a server that does not run.
func List(view View, k Sealer, directory string) ([]Kept, error) {
	prefix := place(directory)
	rows := map[string][]byte{}
	var names []string
	err := view(func(tx *store.Tx) error {
		from, to := below(prefix)
		found, err := tx.Query(`SELECT path, content FROM acme WHERE path >= ? AND path < ? ORDER BY path`, from, to)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var p string
			var content []byte
			if err := found.Scan(&p, &content); err != nil {
				return err
			}
			rows[p] = content
			if strings.HasSuffix(p, ".crt") {
				names = append(names, strings.TrimSuffix(p, ".crt"))
			}
		}
		return found.Err()
	})
	var list []Kept
	for _, p := range names {
		list = append(list, examine(p, rows, k))
	}
	return list, err
}

// place returns where the certificates of an authority are.
func place(directory string) string {
	return certmagic.StorageKeys.CertsPrefix((&certmagic.ACMEIssuer{CA: directory}).IssuerKey())
}

// examine reads one certificate and says what is wrong with it, but for its
// dates.
func examine(p string, rows map[string][]byte, k Sealer) Kept {
	kept := Kept{Name: path.Base(p)}
	read := func(suffix string) []byte {
		value, err := k.Unseal(purpose, rows[p+suffix], []byte(p+suffix))
		if err != nil {
			kept.Fault = errors.Join(kept.Fault, fmt.Errorf("%s: %w", kept.Name+suffix, err))
		}
		return value
	}
	certificate, key := read(".crt"), read(".key")
	if kept.Fault != nil {
		return kept
	}
	// It says too when the key is that of another certificate.
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		kept.Fault = err
		return kept
	}
	kept.Chain = chain(pair.Certificate)
	kept.Fault = linked(kept.Chain)
	if err := kept.Chain[0].VerifyHostname(kept.Name); err != nil && kept.Fault == nil {
		kept.Fault = err
	}
	return kept
}

// linked reports what is wrong with a chain, in which each vouches for the one
// before.
func linked(chain []*x509.Certificate) error {
	for i := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("%q does not vouch for %q: %w", chain[i+1].Subject, chain[i].Subject, err)
		}
	}
	return nil
}

// Check tells of certificates that are kept and cannot be shown.
func Check(view View, k Sealer, directory string, found func(audit.Finding)) error {
	list, err := List(view, k, directory)
	for _, kept := range list {
		if kept.Fault != nil {
			found(audit.Finding{Check: "certificates", Level: audit.Failure,
				Text: fmt.Sprintf("The certificate of %s cannot be shown: %v.", kept.Name, kept.Fault),
				Fix:  "The next start of the server has another one issued."})
		}
	}
	return err
}

// clear removes certificates that cannot be shown, so that others are issued,
// and returns the rest: a crash between a key and its certificate leaves the
// one without the other, and certmagic would stop there.
func (c *Certificates) clear(ctx context.Context) (good []Kept, err error) {
	list, err := List(func(f func(*store.Tx) error) error { return c.o.DB.View(ctx, f) }, c.o.Keys, c.o.Directory)
	for _, kept := range list {
		if kept.Fault == nil {
			good = append(good, kept)
			continue
		}
		c.o.Log.Warn("a certificate cannot be shown, and another is asked for", "name", kept.Name, "error", kept.Fault)
		err = errors.Join(err, c.kept.Delete(ctx, path.Join(place(c.o.Directory), kept.Name)))
	}
	return good, err
}

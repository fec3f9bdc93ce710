// Package keys keeps everything secret that is on disk in one directory: the
// master secret, the private key of the server's certificate. What others
// need of it they get as an operation (seal, authenticate, sign), never as
// the key.
//
// # Place in the path
//
// Ground. The doors take their TLS configuration here; account seals what
// must not be readable in a copy of the store.
//
// # The directory
//
// It has mode 0700, its files 0600, and each is written durably: temporary
// file, sync, rename, sync of the directory.
//
//	secret           32 random octets, made once. Everything sealed is lost
//	                 with it: it belongs in every backup
//	host.pem         the private key of our own certificate, and
//	next.pem         the one that follows it, unless files are configured
//	self-signed.pem  key and certificate of our own making, likewise
//
// # Keys derived from the secret
//
// Each purpose has a key of its own (HKDF-SHA-256, RFC 5869, with the purpose
// as info), so that what is made for one is nothing to another.
//
// # Trust and limits
//
// Whoever reads the directory can read what is sealed; whoever has only the
// store cannot. Purposes are named in code, so the derived keys kept in
// memory are few.
package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"gatepost/internal/clock"
)

// secretSize is the length of the master secret, in octets.
const secretSize = 32

// Options configure the keys. Clock, Random and Log are required.
type Options struct {
	Clock  clock.Clock
	Random io.Reader // cryptographically secure
	Log    *slog.Logger

	// Certificate and Key are the paths of PEM files, both or none. The
	// first certificate in the file is the server's, its chain follows.
	Certificate, Key string
	// SelfSigned makes a certificate for Names where no files are given.
	SelfSigned bool
	// Names are what the self-signed certificate is good for: DNS names in
	// A-labels or IP addresses. localhost and its addresses are added.
	Names []string
}

// Keys is the open directory. Its methods may be called from any goroutine.
type Keys struct {
	dir    string
	o      Options
	master []byte
	frozen bool // nothing is written
	host   host

	mu      sync.Mutex
	derived map[string]*key // by purpose

	certificate
}

// key is what is derived for one purpose: one key to encrypt, another to
// authenticate.
type key struct {
	gcm cipher.AEAD
	mac []byte
}

// ErrSealed says that something sealed was changed, was sealed for another
// purpose or context, or under another secret.
var ErrSealed = errors.New("keys: cannot be unsealed: it was changed, or sealed with another secret")

// Open opens the directory and makes it, the secret and, if configured, the
// self-signed certificate when they are missing.
func Open(dir string, o Options) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	k := &Keys{dir: dir, o: o, derived: map[string]*key{}}
	var err error
	if k.master, err = k.secret(); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if err := k.Reload(); err != nil {
		return nil, err
	}
	return k, nil
}

// Look opens the directory as Open does and changes nothing: a self-signed
// certificate that Open would make is made in memory only. Where there is no
// secret, nothing can be unsealed.
func Look(dir string, o Options) (*Keys, error) {
	k := &Keys{dir: dir, o: o, derived: map[string]*key{}, frozen: true}
	var err error
	if k.master, err = readSecret(k.secretPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return k, k.Reload()
}

// HasSecret reports whether there is a master secret.
func (k *Keys) HasSecret() bool { return len(k.master) > 0 }

func (k *Keys) secretPath() string { return filepath.Join(k.dir, "secret") }

// secret reads the master secret. It is made only when its file does not
// exist: an unreadable or damaged one is an error, since a new one would make
// all that was sealed unreadable for good.
func (k *Keys) secret() ([]byte, error) {
	path := k.secretPath()
	s, err := readSecret(path)
	if !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	s = make([]byte, secretSize)
	if _, err := io.ReadFull(k.o.Random, s); err != nil {
		return nil, err
	}
	return s, writeFile(path, s)
}

func readSecret(path string) ([]byte, error) {
	s, err := os.ReadFile(path)
	if err == nil && len(s) != secretSize {
		return nil, fmt.Errorf("%s has %d octets instead of %d; put it back from a backup", path, len(s), secretSize)
	}
	return s, err
}

// Seal encrypts and authenticates plain with AES-256-GCM under the key of
// the purpose. context is authenticated too, and must be given again to
// unseal: the row that the sealed value belongs to, so that it cannot be
// moved to another. The nonce is the runtime's own random one, not Random's:
// one repeated nonce would give the key away. It is good for 2^32 values a
// purpose.
func (k *Keys) Seal(purpose string, plain, context []byte) []byte {
	return k.key(purpose).gcm.Seal(nil, nil, plain, context)
}

// Unseal returns what was sealed, or ErrSealed.
func (k *Keys) Unseal(purpose string, sealed, context []byte) ([]byte, error) {
	plain, err := k.key(purpose).gcm.Open(nil, nil, sealed, context)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// MAC returns the HMAC-SHA-256 of the parts under the key of the purpose.
// Each part is preceded by its length: ("ab", "c") is not ("a", "bc").
func (k *Keys) MAC(purpose string, parts ...[]byte) [32]byte {
	h := hmac.New(sha256.New, k.key(purpose).mac)
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

func (k *Keys) key(purpose string) *key {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.derived[purpose] == nil {
		k.derived[purpose] = derive(k.master, purpose)
	}
	return k.derived[purpose]
}

// derive panics only if the standard library's lengths were not what they
// are: nothing from outside reaches it.
func derive(master []byte, purpose string) *key {
	raw, err := hkdf.Key(sha256.New, master, nil, "gatepost "+purpose, 64)
	if err != nil {
		panic("keys: " + err.Error())
	}
	block, err := aes.NewCipher(raw[:32])
	if err != nil {
		panic("keys: " + err.Error())
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return &key{gcm, raw[32:]}
}

// writeFile puts content at path so that after a crash there is the old file
// or the whole new one.
func writeFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

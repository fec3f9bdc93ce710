package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Files of the host's own keys.
const (
	hostFile = "host.pem"
	nextFile = "next.pem"
)

// host are the keys that certificates for our own name are made for, unless
// the operator brings their own: the one of now, and the one that follows. The
// next exists long before it is used, so that others can be told of it (DANE).
type host struct {
	mu            sync.Mutex
	current, next *ecdsa.PrivateKey
	madeUp        bool // they are kept nowhere
}

// HostKeys returns the key that certificates for our own name are for, and the
// one that follows it; nil where the operator's files have the key, and where
// Look found none.
func (k *Keys) HostKeys() (current, next crypto.Signer) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if k.host.current == nil || k.host.madeUp {
		return nil, nil
	}
	return k.host.current, k.host.next
}

// AdvanceHost puts the next key in the place of the current one, which is
// lost, and makes another next. A self-signed certificate is of the new
// current key when it returns.
func (k *Keys) AdvanceHost() error {
	k.loading.Lock()
	defer k.loading.Unlock()
	if current, _ := k.HostKeys(); current == nil || k.frozen {
		return errors.New("keys: there is no next key of the host")
	}
	// After a crash from here on the next key is current, and Open makes
	// another next and another certificate.
	if err := os.Rename(filepath.Join(k.dir, nextFile), filepath.Join(k.dir, hostFile)); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := syncDir(k.dir); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := k.openHost(); err != nil {
		return err
	}
	return k.loadSelfSigned()
}

// openHost reads the host's keys and makes those that are missing. k.loading
// is held, or nobody else knows of k.
func (k *Keys) openHost() error {
	current, err := k.hostKey(hostFile, k.formerHost)
	if err != nil {
		return err
	}
	next, err := k.hostKey(nextFile, nil)
	if err != nil {
		return err
	}
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	k.host.current, k.host.next = current, next
	return nil
}

// hostKey reads one of the host's keys. Where its file does not exist, it is
// what former has, or made; one that is damaged is an error, since others may
// have been told of it.
func (k *Keys) hostKey(name string, former func() *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(k.dir, name)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return readECDSA(path)
	}
	var key *ecdsa.PrivateKey
	if former != nil {
		key = former()
	}
	if key == nil {
		var err error
		// ECDSA P-256: every client has it, and a handshake costs half of RSA's.
		if key, err = ecdsa.GenerateKey(elliptic.P256(), k.o.Random); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
	}
	if k.frozen {
		k.host.madeUp = true
		return key, nil
	}
	block, err := encodeKey(key)
	if err == nil {
		err = writeFile(path, block)
	}
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return key, nil
}

// formerHost returns the key of the self-signed certificate, as others may
// know it, from before the host's key had a file of its own; nil if there is
// none.
func (k *Keys) formerHost() *ecdsa.PrivateKey {
	key, err := readECDSA(filepath.Join(k.dir, selfSignedFile))
	if err != nil {
		return nil
	}
	return key
}

func readECDSA(path string) (*ecdsa.PrivateKey, error) {
	s, err := ReadSigner(path)
	if err != nil {
		return nil, err
	}
	key, ok := s.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("keys: %s is not a key of ours; put it back from a backup, or remove it to have a new one made", path)
	}
	return key, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return out.Bytes(), err
}

package keys

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// certificate is the part of Keys that a TLS handshake asks.
type certificate struct {
	current atomic.Pointer[tls.Certificate] // nil: there is none

	issued   atomic.Pointer[Issued]
	loading  sync.Mutex // held while the current one is being replaced
	warnings atomic.Pointer[[]string]
}

// suites are those of TLS 1.2 that keep the past secret when the key is lost
// (ECDHE) and authenticate what they encrypt (AEAD). TLS 1.3 has no others.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ServerTLS returns a configuration for a door to clone, or nil when no
// certificate is configured. Each handshake takes the certificate of its
// moment, so a Reload reaches every door at once and ends no session. Key
// agreement is Go's own order, which begins with X25519MLKEM768.
func (k *Keys) ServerTLS() *tls.Config {
	if k.current.Load() == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12, // RFC 8996, RFC 8314 section 4.1
		CipherSuites:   suites,
		GetCertificate: k.choose,
	}
}

// Issued returns the certificate that an authority issued for the name which
// a client asks, nil if there is none.
type Issued func(*tls.ClientHelloInfo) *tls.Certificate

// SetIssued puts certificates that somebody else keeps before those that are
// here.
func (k *Keys) SetIssued(f Issued) { k.issued.Store(&f) }

// choose is asked at every handshake.
func (k *Keys) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f := k.issued.Load(); f != nil {
		if c := (*f)(hello); c != nil {
			return c, nil
		}
	}
	c := k.current.Load()
	if k.selfSigned() && k.ageing(c.Leaf) && k.loading.TryLock() {
		err := k.renew()
		k.loading.Unlock()
		if err != nil {
			k.o.Log.Error("the self-signed certificate could not be renewed", "err", err)
		}
		c = k.current.Load()
	}
	return c, nil
}

// Certificate returns the certificate in use, nil if there is none.
func (k *Keys) Certificate() *x509.Certificate {
	if c := k.current.Load(); c != nil {
		return c.Leaf
	}
	return nil
}

// Chain returns the certificate in use and what vouches for it, its own first;
// nil if there is none.
func (k *Keys) Chain() (list []*x509.Certificate) {
	c := k.current.Load()
	if c == nil {
		return nil
	}
	for _, der := range c.Certificate {
		if parsed, err := x509.ParseCertificate(der); err == nil {
			list = append(list, parsed)
		}
	}
	return list
}

// Reload reads the certificate again, and renews a self-signed one that is
// about to expire. On an error the one in use stays.
func (k *Keys) Reload() error {
	k.loading.Lock()
	defer k.loading.Unlock()
	if err := k.load(); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	w := k.inspect()
	k.warnings.Store(&w)
	return nil
}

func (k *Keys) load() error {
	switch {
	case (k.o.Certificate == "") != (k.o.Key == ""):
		return errors.New("a certificate needs its key and a key its certificate: one of the two paths is missing")
	case k.o.Certificate != "":
		return k.loadFiles()
	case k.o.SelfSigned:
		if k.host.current == nil {
			if err := k.openHost(); err != nil {
				return err
			}
		}
		return k.loadSelfSigned()
	}
	return nil
}

func (k *Keys) selfSigned() bool { return k.o.SelfSigned && k.o.Certificate == "" }

func (k *Keys) loadFiles() error {
	c, err := tls.LoadX509KeyPair(k.o.Certificate, k.o.Key)
	if err != nil {
		return fmt.Errorf("the certificate %s with the key %s cannot be used: %w", k.o.Certificate, k.o.Key, err)
	}
	k.current.Store(&c)
	return nil
}

// Warnings returns what an operator should see to, in plain sentences, as of
// the last Open or Reload.
func (k *Keys) Warnings() []string { return *k.warnings.Load() }

func (k *Keys) inspect() []string {
	var list []string
	for _, path := range []string{k.dir, filepath.Join(k.dir, "secret"), filepath.Join(k.dir, selfSignedFile), filepath.Join(k.dir, hostFile), filepath.Join(k.dir, nextFile), k.o.Key} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			list = append(list, fmt.Sprintf("%s can be read or changed by others than its owner; protect it with: chmod go= %s", path, path))
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			list = append(list, fmt.Sprintf("%s cannot be looked at: %v", path, err))
		}
	}
	c := k.Certificate()
	switch now := k.o.Clock.Now(); {
	case c == nil:
		list = append(list, "there is no certificate, so no TLS and no signing in; set certificate and key, or self_signed, under [tls]")
	case now.After(c.NotAfter):
		list = append(list, fmt.Sprintf("the certificate expired on %s; renew it", c.NotAfter.UTC().Format("2006-01-02")))
	case now.Before(c.NotBefore):
		list = append(list, fmt.Sprintf("the certificate is not valid before %s; look at the clock", c.NotBefore.UTC().Format("2006-01-02 15:04 MST")))
	}
	return list
}

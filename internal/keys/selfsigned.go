package keys

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	selfSignedFile = "self-signed.pem"

	// A client that was told to trust the certificate has to be told again
	// when it is renewed, so it lives long, but not longer than the 398
	// days beyond which some refuse any.
	validity = 397 * 24 * time.Hour
	// renewal is how long before its end it is replaced.
	renewal = 30 * 24 * time.Hour
	// backdate makes room for clients whose clocks are late.
	backdate = time.Hour
)

// loadSelfSigned takes the certificate that was made before, or makes one
// when it is missing, ages, is not good for our names, or not of our key.
// k.loading is held.
func (k *Keys) loadSelfSigned() error {
	path := filepath.Join(k.dir, selfSignedFile)
	c, err := tls.LoadX509KeyPair(path, path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the certificate made before cannot be used; remove %s to have a new one made: %w", path, err)
	}
	if err != nil || k.ageing(c.Leaf) || !k.covers(c.Leaf) || !k.host.current.PublicKey.Equal(c.Leaf.PublicKey) {
		return k.renew()
	}
	k.current.Store(&c)
	return nil
}

// ageing reports whether c is to be replaced.
func (k *Keys) ageing(c *x509.Certificate) bool {
	now := k.o.Clock.Now()
	return now.Add(renewal).After(c.NotAfter) || now.Before(c.NotBefore)
}

// EndsSoon reports whether a certificate ends within this time, or within the
// last quarter of its life where that is shorter: one that is good for days is
// renewed days before its end.
func EndsSoon(c *x509.Certificate, within time.Duration, now time.Time) bool {
	return c.NotAfter.Sub(now) < min(within, c.NotAfter.Sub(c.NotBefore)/4)
}

func (k *Keys) covers(c *x509.Certificate) bool {
	return !slices.ContainsFunc(k.names(), func(name string) bool { return c.VerifyHostname(name) != nil })
}

func (k *Keys) names() []string {
	return append(slices.Clone(k.o.Names), "localhost", "127.0.0.1", "::1")
}

// renew makes a certificate, uses it, and keeps it in the directory. k.loading
// is held.
func (k *Keys) renew() error {
	file, err := k.selfSign()
	if err != nil {
		return err
	}
	c, err := tls.X509KeyPair(file, file)
	if err != nil {
		return err
	}
	// Used even if it cannot be written down, as on a full disk: else every
	// handshake would try again.
	k.current.Store(&c)
	if k.frozen {
		return nil
	}
	return writeFile(filepath.Join(k.dir, selfSignedFile), file)
}

// selfSign returns the host's key and a new certificate in PEM.
func (k *Keys) selfSign() ([]byte, error) {
	key := k.host.current
	serial := make([]byte, 16)
	if _, err := io.ReadFull(k.o.Random, serial); err != nil {
		return nil, err
	}
	now := k.o.Clock.Now()
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: "Gatepost, self-signed"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validity - backdate),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range k.names() {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, err := x509.CreateCertificate(k.o.Random, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	block, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return append(block, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...), nil
}

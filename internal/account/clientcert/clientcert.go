// Package clientcert makes and recognizes the certificates that our users sign
// in with (SASL EXTERNAL, RFC 4422 appendix A).
//
// # What is issued
//
// An Authority of our own, whose key is kept by package keys, signs a
// certificate for one device of one account: the account's address as its
// name, both ids as its serial number in the name (RFC 4519, section 2.31),
// good for authenticating clients and for nothing else, for MaxLife at most.
// The authority itself is good for nothing else either, so that somebody who
// trusts it for more has not trusted us with the names of servers.
//
// # What is recognized
//
// The certificate that a client showed in its handshake, if it is one of ours
// and in its time (Trusted.Shown). That is all a handshake can tell: whether it
// was revoked since, also since a session that is resumed now, is asked of the
// store at AUTH by whoever signs somebody in.
//
// # Trust and limits
//
// Requests and certificates are a stranger's: MaxRequest, maxShown, and only
// keys that are worth something. Of a request nothing is taken but its key.
package clientcert

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"gatepost/internal/addr"
)

const (
	// MaxLife bounds how long a certificate is good, and Life is how long if
	// nobody says: what is forgotten in a drawer ends some day.
	MaxLife = 2 * 366 * 24 * time.Hour
	Life    = 366 * 24 * time.Hour
	// authorityLife is how long an authority is good. Another one takes over
	// MaxLife before its end.
	authorityLife = 20 * 366 * 24 * time.Hour
	// backdate makes room for clients whose clocks are late.
	backdate = time.Hour
	// serialSize is the length of a serial number, in octets.
	serialSize = 16
)

// Subject is whom a certificate is for.
type Subject struct {
	Address             addr.Address
	Account, Credential int64
}

// Authority issues.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// NewAuthority makes the certificate of an authority, in DER.
func NewAuthority(key crypto.Signer, host string, random io.Reader, now time.Time) ([]byte, error) {
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Gatepost"}, CommonName: "Users of " + host},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	return x509.CreateCertificate(random, template, template, key.Public(), key)
}

// Lasts reports whether the authority outlives what it would issue now.
func (a *Authority) Lasts(now time.Time) bool { return now.Add(MaxLife).Before(a.Certificate.NotAfter) }

// Issue returns a certificate for a key, in DER, that is good until a time.
func (a *Authority) Issue(s Subject, key crypto.PublicKey, random io.Reader, now, until time.Time) ([]byte, error) {
	if life := until.Sub(now); life <= 0 || life > MaxLife {
		return nil, fmt.Errorf("a certificate is good for up to %d days", MaxLife/(24*time.Hour))
	}
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: s.Address.Unicode(), SerialNumber: fmt.Sprintf("%d-%d", s.Account, s.Credential)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if s.Address.IsASCII() { // what Apple's Mail goes by to offer it
		template.EmailAddresses = []string{s.Address.String()}
	}
	return x509.CreateCertificate(random, template, a.Certificate, key, a.Key)
}

func newSerial(random io.Reader) (*big.Int, error) {
	b := make([]byte, serialSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // RFC 5280, section 4.1.2.2: positive; and always as long
	return new(big.Int).SetBytes(b), nil
}

// Sum returns what a certificate in DER is known by.
func Sum(der []byte) []byte {
	h := sha256.Sum256(der)
	return h[:]
}

var errSubject = errors.New("the certificate does not say whose it is")

// parseSubject reads whom a certificate of ours is for.
func parseSubject(name pkix.Name) (s Subject, err error) {
	account, credential, _ := strings.Cut(name.SerialNumber, "-")
	for _, id := range []struct {
		text string
		to   *int64
	}{{account, &s.Account}, {credential, &s.Credential}} {
		n, err := strconv.ParseInt(id.text, 10, 64)
		if err != nil || n <= 0 || strconv.FormatInt(n, 10) != id.text {
			return Subject{}, errSubject
		}
		*id.to = n
	}
	if s.Address, err = addr.Parse(name.CommonName); err != nil {
		return Subject{}, errSubject
	}
	return s, nil
}

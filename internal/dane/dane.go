// Package dane speaks DANE for SMTP (RFC 7672 over 6698 and 7671): the owner
// of a signed zone says in TLSA records which keys or authorities a mail host
// has, and nobody else needs to vouch for it.
//
// # Place in the path
//
// A standard: pure, with the resolver passed in. transport asks Lookup what a
// host has published before a message leaves for it, and Set.Verify whether
// the chain that the host presents is among it. Records for our own keys, and
// the plan by which they change, are in own.go.
//
// # What it trusts
//
// The resolver's word that DNSSEC vouches for an answer (resolve says when
// that is believed), and nothing else: without it there is no DANE. A look-up
// that fails is never taken for a denial, since to make it fail is what an
// attacker would do.
//
// # Limits
//
// At most maxRecords records of a set are read, and maxChain certificates of
// a chain.
package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// Bounds of what is considered.
const (
	maxRecords = 64 // records of a set
	maxChain   = 16 // certificates that a host presents
)

// Usage says what a record stands for: RFC 6698, section 2.1.1.
type Usage uint8

// The usages. The first two lean on public authorities and are of no use to
// SMTP: RFC 7672, section 3.1.3.
const (
	PKIXTA Usage = iota
	PKIXEE
	TA // an authority that vouches for the host
	EE // the host's own key
)

// Selector says what of a certificate is meant: RFC 6698, section 2.1.2.
type Selector uint8

// The selectors.
const (
	Cert Selector = iota // all of it
	SPKI                 // its public key
)

// Matching says how a record's data is compared: RFC 6698, section 2.1.3.
type Matching uint8

// The matching types.
const (
	Full Matching = iota
	SHA256
	SHA512
)

// Record is one TLSA record: RFC 6698, section 2.1.
type Record struct {
	Usage    Usage
	Selector Selector
	Matching Matching
	Data     []byte
}

// fromDNS returns a record as the DNS library has it.
func fromDNS(rr *dns.TLSA) Record {
	data, err := hex.DecodeString(rr.Certificate)
	if err != nil {
		data = nil // never usable
	}
	return Record{Usage(rr.Usage), Selector(rr.Selector), Matching(rr.MatchingType), data}
}

// String returns the record as a zone file has it.
func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data)
}

// Equal reports whether two records say the same.
func (r Record) Equal(o Record) bool {
	return r.Usage == o.Usage && r.Selector == o.Selector && r.Matching == o.Matching && bytes.Equal(r.Data, o.Data)
}

// Usable reports whether the record can match anything: RFC 7672, sections
// 2.2 and 3.1. What we do not know, or what is damaged, cannot.
func (r Record) Usable() bool {
	if r.Usage != TA && r.Usage != EE || r.Selector > SPKI {
		return false
	}
	switch r.Matching {
	case SHA256:
		return len(r.Data) == sha256.Size
	case SHA512:
		return len(r.Data) == sha512.Size
	case Full:
		var err error
		if r.Selector == Cert {
			_, err = x509.ParseCertificate(r.Data)
		} else {
			_, err = x509.ParsePKIXPublicKey(r.Data)
		}
		return err == nil
	}
	return false
}

// matches reports whether the record is of a certificate, by selector and
// matching type; what it is good for is the usage's matter.
func (r Record) matches(c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == SPKI {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case SHA256:
		sum := sha256.Sum256(data)
		return bytes.Equal(r.Data, sum[:])
	case SHA512:
		sum := sha512.Sum512(data)
		return bytes.Equal(r.Data, sum[:])
	}
	return bytes.Equal(r.Data, data)
}

// usable returns the records that a chain is compared with. RFC 7671,
// section 9 (digest agility): of the digests for one usage and selector only
// the strongest counts, so that a broken one cannot be chosen by whoever can
// find a second image; full data always counts.
func usable(records []Record) []Record {
	var list []Record
	strongest := map[[2]uint8]Matching{}
	for _, r := range records {
		if !r.Usable() {
			continue
		}
		list = append(list, r)
		k := [2]uint8{uint8(r.Usage), uint8(r.Selector)}
		strongest[k] = max(strongest[k], r.Matching)
	}
	return slices.DeleteFunc(list, func(r Record) bool {
		return r.Matching != Full && r.Matching < strongest[[2]uint8{uint8(r.Usage), uint8(r.Selector)}]
	})
}

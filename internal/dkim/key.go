package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"slices"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// Key is a key record: RFC 6376, section 3.6.1.
type Key struct {
	Public  crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	Bits    int
	Testing bool // t=y
	Strict  bool // t=s: no identities below the domain
}

// ParseKey reads a key record that is to be used for mail with SHA-256.
func ParseKey(txt string) (*Key, error) {
	if len(txt) > maxRecord {
		return nil, permf("a key record of more than %d octets", maxRecord)
	}
	tags, err := ParseTags(txt)
	if err != nil {
		return nil, permf("the key record is malformed")
	}
	if v, ok := tags.Get("v"); ok && (v != "DKIM1" || tags.first() != "v") {
		return nil, permf("the key record is not of DKIM1")
	}
	if !allows(tags, "h", "sha256", "sha256") {
		return nil, permf("the key is not for SHA-256")
	}
	if !allows(tags, "s", "email", "*") {
		return nil, permf("the key is not for mail")
	}
	k := &Key{}
	if t, ok := tags.Get("t"); ok {
		flags := items(t)
		k.Testing, k.Strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	}
	return k, k.read(tags)
}

// allows reports whether a list, if there is one, has one of two items.
func allows(tags Tags, name, item, other string) bool {
	list, ok := tags.Get(name)
	return !ok || slices.Contains(items(list), item) || slices.Contains(items(list), other)
}

// read reads the key itself: k= and p=.
func (k *Key) read(tags Tags) error {
	p, ok := tags.Get("p")
	if !ok {
		return permf("the key record has no key")
	}
	if p == "" { // section 3.6.1
		return permf("the key has been revoked")
	}
	raw, ok := decode(p)
	if !ok {
		return permf("the key is not base64")
	}
	switch kind, given := tags.Get("k"); {
	case !given || kind == "rsa":
		return k.readRSA(raw)
	case kind == "ed25519": // RFC 8463, section 4: the octets as they are
		if len(raw) != ed25519.PublicKeySize {
			return permf("an Ed25519 key of %d octets", len(raw))
		}
		k.Public, k.Bits = ed25519.PublicKey(raw), 8*len(raw)
		return nil
	}
	return permf("unknown kind of key")
}

// readRSA reads a key as RFC 6376, section 3.6.1 and as everybody publishes
// it: RSAPublicKey bare, or in a SubjectPublicKeyInfo.
func (k *Key) readRSA(raw []byte) error {
	var key *rsa.PublicKey
	if any, err := x509.ParsePKIXPublicKey(raw); err == nil {
		key, _ = any.(*rsa.PublicKey)
	} else if bare, err := x509.ParsePKCS1PublicKey(raw); err == nil {
		key = bare
	}
	if key == nil {
		return permf("not an RSA key")
	}
	k.Public, k.Bits = key, key.N.BitLen()
	switch {
	case k.Bits < MinRSA: // RFC 8301, section 3.2
		return failf("an RSA key of %d bits, which anybody can break", k.Bits)
	case k.Bits > MaxRSA:
		return permf("an RSA key of %d bits, more than is useful", k.Bits)
	}
	return nil
}

// Keys are the key records of one selector.
type Keys struct {
	list []*Key
	bad  error // why others cannot be used; may be nil
}

// Lookup returns the keys that a domain publishes under a selector: RFC 6376,
// section 3.6.2. The error says why there are none; of one that may pass it
// is a resolve.ErrTemporary.
func Lookup(ctx context.Context, r resolve.Resolver, selector string, d addr.Domain) (Keys, error) {
	name := selector + "._domainkey." + string(d)
	texts, err := resolve.TXT(ctx, r, name)
	switch {
	case errors.Is(err, resolve.ErrNotFound):
		return Keys{}, permf("there is no key at %s", name)
	case err != nil:
		return Keys{}, &problem{TempError, "the key could not be looked up: " + err.Error(), err}
	}
	// Section 3.6.2.2 leaves open what several records mean. Two algorithms
	// under one name are met; one that fits is looked for.
	var keys Keys
	for _, txt := range texts[:min(len(texts), maxRecords)] {
		k, err := ParseKey(txt)
		if err != nil {
			keys.bad = err
			continue
		}
		keys.list = append(keys.list, k)
	}
	if len(keys.list) == 0 {
		return Keys{}, keys.bad
	}
	return keys, nil
}

// Verify looks for the key under which value is a signature of digest, the
// SHA-256 of what was signed.
func (ks Keys) Verify(a Algorithm, digest [32]byte, value []byte) (*Key, error) {
	err := ks.bad
	for _, k := range ks.list {
		var ok, fits bool
		switch pub := k.Public.(type) {
		case *rsa.PublicKey:
			fits = a == RSASHA256
			ok = fits && rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], value) == nil
		case ed25519.PublicKey:
			fits = a == Ed25519SHA256 // RFC 8463, section 3: over the digest
			ok = fits && ed25519.Verify(pub, digest[:], value)
		}
		if ok {
			return k, nil
		}
		if fits {
			err = failf("the signature does not fit the signed fields and the key")
		}
	}
	if err == nil {
		err = permf("no key of %s is published", a)
	}
	return nil, err
}

package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/dkim/canon"
)

// SigningKey is a key and the name that it is published under.
type SigningKey struct {
	Domain   addr.Domain
	Selector string
	// Signer holds an RSA key of MinRSA to MaxRSA bits or an Ed25519 key. It
	// needs no randomness from us.
	Signer crypto.Signer
}

// Check reports whether signatures can be made with the key, and how.
func (k SigningKey) Check() (Algorithm, error) {
	if _, literal := k.Domain.IP(); literal || k.Domain == "" || !validSelector(k.Selector) {
		return 0, fmt.Errorf("dkim: %q is not where a key is published", k.Selector+"._domainkey."+string(k.Domain))
	}
	switch pub := k.Signer.Public().(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < MinRSA || n > MaxRSA {
			return 0, fmt.Errorf("dkim: an RSA key of %d bits", n)
		}
		return RSASHA256, nil
	case ed25519.PublicKey:
		return Ed25519SHA256, nil
	}
	return 0, fmt.Errorf("dkim: no signatures with a %T", k.Signer.Public())
}

// Sign signs the SHA-256 of what is to be signed.
func (k SigningKey) Sign(digest [32]byte) ([]byte, error) {
	hash := crypto.SHA256
	if _, ok := k.Signer.Public().(ed25519.PublicKey); ok {
		hash = 0 // RFC 8463, section 3: the digest is the message
	}
	return k.Signer.Sign(nil, digest[:], hash)
}

// oversigned are the fields of which one more is signed than there are, so
// that none can be added on the way: another From or Subject would be shown,
// another Content-Type would show another text, and a replayed message gets
// no other recipients.
var oversigned = []string{
	"From", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition",
}

// signed are those that are signed if they are there. A mailing list may add
// its own without breaking the author's signature.
var signed = []string{
	"Sender", "Content-ID", "Content-Description", "Content-Language", "Autocrypt", "Auto-Submitted",
	"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post",
	"List-Owner", "List-Archive",
	"TLS-Report-Domain", "TLS-Report-Submitter", // RFC 8460, section 5.3
}

// SignedFields returns the h= of our signatures for a header: every field of
// those that matter, and one more of those that must not be added. A header
// may have no more than MaxHeaders of them.
func SignedFields(h *Header) ([]string, error) {
	var names []string
	for i, name := range slices.Concat(oversigned, signed) {
		for _, f := range h.Fields {
			if f.Is(name) {
				names = append(names, name)
			}
		}
		if i < len(oversigned) {
			names = append(names, name)
		}
	}
	if len(names) > MaxHeaders {
		return nil, fmt.Errorf("dkim: %d fields to sign", len(names))
	}
	return names, nil
}

// Signer signs one message while it passes. Make it with the header, write
// the body, then call Sign once.
type Signer struct {
	keys     []SigningKey
	made     time.Time
	lifetime time.Duration
	names    []string
	header   []byte // the signed fields as they are hashed
	body     Body
	hash     *BodyHash
}

// NewSigner begins to sign a header section with each of the keys: relaxed,
// made at the given time and good for a lifetime, or for ever if that is 0.
// It keeps nothing of the section.
func NewSigner(section []byte, keys []SigningKey, made time.Time, lifetime time.Duration) (*Signer, error) {
	for _, k := range keys {
		if _, err := k.Check(); err != nil {
			return nil, err
		}
	}
	h := NewHeader(section)
	names, err := SignedFields(h)
	if err != nil {
		return nil, err
	}
	s := &Signer{keys: keys, made: made, lifetime: lifetime, names: names}
	s.header = h.AppendSigned(nil, names)
	s.hash = s.body.Hash(canon.Relaxed, -1)
	return s, nil
}

// Write takes the next octets of the body, in canonical form. It never
// fails.
func (s *Signer) Write(p []byte) (int, error) { return s.body.Write(p) }

// Sign ends the body and returns the DKIM-Signature fields, one for each key
// in their order, to go in front of the header. It fails only if a key does.
func (s *Signer) Sign() ([]byte, error) {
	s.body.Close()
	bh := s.hash.Sum()
	var fields []byte
	for _, k := range s.keys {
		b := NewBuilder("DKIM-Signature")
		b.Tag("v", "1")
		b.Common(k, s.made, s.lifetime, s.names, bh)
		field, err := b.Sign(k, s.header)
		if err != nil {
			return nil, fmt.Errorf("dkim: signing as %s for %s: %w", k.Selector, k.Domain, err)
		}
		fields = append(fields, field...)
	}
	return fields, nil
}

// lineLength is what a line of a field should not exceed: RFC 5322, section
// 2.1.1.
const lineLength = 78

// Builder writes a signature field, folded.
type Builder struct {
	out    []byte
	column int
	begun  bool
}

// NewBuilder begins a field.
func NewBuilder(name string) *Builder {
	return &Builder{out: []byte(name + ":"), column: len(name) + 1}
}

// Tag adds a tag whose value needs no folding.
func (b *Builder) Tag(name, value string) { b.pieces(name, []string{value}, 0) }

// Common adds the tags that DKIM-Signature and ARC-Message-Signature share,
// but for b=.
func (b *Builder) Common(k SigningKey, made time.Time, lifetime time.Duration, names []string, bh []byte) {
	a, _ := k.Check()
	b.Tag("a", a.String())
	b.Tag("c", "relaxed/relaxed")
	b.Tag("d", string(k.Domain))
	b.Tag("s", k.Selector)
	b.Tag("t", strconv.FormatInt(made.Unix(), 10))
	if lifetime > 0 {
		b.Tag("x", strconv.FormatInt(made.Add(lifetime).Unix(), 10))
	}
	lower := make([]string, len(names))
	for i, n := range names {
		lower[i] = strings.ToLower(n)
	}
	b.pieces("h", lower, ':')
	b.Base64("bh", bh)
}

// Base64 adds a tag with octets for its value.
func (b *Builder) Base64(name string, value []byte) {
	b.pieces(name, chunks(base64Text(value)), 0)
}

// Sign adds b=, the signature of what is signed before the field and of the
// field itself, and returns the field with its line end.
func (b *Builder) Sign(k SigningKey, before []byte) ([]byte, error) {
	b.pieces("b", []string{""}, 0)
	h := sha256.New()
	h.Write(before)
	own := AppendRelaxed(nil, b.out)
	h.Write(own[:len(own)-len("\r\n")])
	value, err := k.Sign([32]byte(h.Sum(nil)))
	if err != nil {
		return nil, err
	}
	for _, c := range chunks(base64Text(value)) {
		b.piece(c)
	}
	return append(b.out, "\r\n"...), nil
}

// pieces adds a tag whose value may be folded between its pieces, with a
// separator behind each but the last.
func (b *Builder) pieces(name string, list []string, sep byte) {
	if b.begun {
		b.out = append(b.out, ';')
		b.column++
	}
	b.begun = true
	first := " " + name + "=" + list[0]
	if len(list) > 1 && sep != 0 {
		first += string(sep)
	}
	if b.column+len(first) >= lineLength {
		b.fold()
	}
	b.out = append(b.out, first...)
	b.column += len(first)
	for i, p := range list[1:] {
		if sep != 0 && i+2 < len(list) {
			p += string(sep)
		}
		b.piece(p)
	}
}

// piece adds more of a value.
func (b *Builder) piece(p string) {
	if b.column+len(p) >= lineLength {
		b.fold()
		b.out = append(b.out, ' ')
		b.column++
	}
	b.out = append(b.out, p...)
	b.column += len(p)
}

// fold ends the line; what comes next begins with a space.
func (b *Builder) fold() {
	b.out = append(b.out, "\r\n"...)
	b.column = 0
}

// chunks cuts text into pieces that fit between two folds.
func chunks(s string) []string {
	const size = 16
	var list []string
	for len(s) > size {
		list = append(list, s[:size])
		s = s[size:]
	}
	return append(list, s)
}

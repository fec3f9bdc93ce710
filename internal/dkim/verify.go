package dkim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

// Verifier verifies the signatures of one message while it passes. Make it
// with the header, write the body, then call Verify once.
type Verifier struct {
	// Skipped is how many signatures will not be looked at, since there are
	// more than MaxSignatures.
	Skipped int

	header  *Header
	body    Body
	list    []candidate
	several map[string]int // fields that are there more than once and should not be
}

// candidate is a signature field on its way to a result.
type candidate struct {
	at   int // its place among the fields
	raw  []byte
	sig  *Signature
	err  error
	hash *BodyHash
}

// NewVerifier reads a header section, with or without the empty line at its
// end, and finds its signatures. The section must stay as it is until Verify
// has returned.
func NewVerifier(section []byte) *Verifier {
	v := &Verifier{}
	if !message.Has(section, "DKIM-Signature") {
		return v
	}
	v.header = NewHeader(section)
	v.find()
	for i := range v.list {
		if c := &v.list[i]; c.err == nil {
			c.hash = v.body.Hash(c.sig.BodyCanon, c.sig.Length)
		}
	}
	return v
}

// find reads the signature fields, and keeps as many as are verified.
func (v *Verifier) find() {
	for i, f := range v.header.Fields {
		if f.Is("DKIM-Signature") {
			c := candidate{at: i, raw: f.Raw}
			c.sig, c.err = ParseSignature(f)
			v.list = append(v.list, c)
		}
	}
	v.Skipped = max(0, len(v.list)-MaxSignatures)
	if v.Skipped == 0 {
		return
	}
	// Whoever passes a message on may put signatures in front of it; those
	// of the author's domain, which decide, must not be pushed out by them.
	author := v.author()
	slices.SortStableFunc(v.list, func(a, b candidate) int { return b.rank(author) - a.rank(author) })
	v.list = v.list[:MaxSignatures]
	slices.SortFunc(v.list, func(a, b candidate) int { return a.at - b.at })
}

// author returns the domain in From, empty if it is not plain.
func (v *Verifier) author() addr.Domain {
	for _, f := range v.header.Fields {
		if f.Is("From") {
			if list, err := message.Addresses(f.Value()); err == nil && len(list) > 0 {
				return list[0].Domain
			}
		}
	}
	return ""
}

// rank is higher for what is rather to be verified.
func (c *candidate) rank(author addr.Domain) int {
	switch {
	case c.err != nil:
		return 0
	case author != "" && (within(author, c.sig.Domain) || within(c.sig.Domain, author)):
		return 2
	}
	return 1
}

// Write takes the next octets of the body, in canonical form: lines end in
// CR LF, dots are unstuffed. It never fails.
func (v *Verifier) Write(p []byte) (int, error) { return v.body.Write(p) }

// Body returns what hashes the body, so that who verifies more of the message
// than its signatures need not hash it again.
func (v *Verifier) Body() *Body { return &v.body }

// Verify ends the body, looks up the keys, all at once, and returns a result
// for each signature from the top of the header to its bottom. now is the
// time that t= and x= are judged by.
func (v *Verifier) Verify(ctx context.Context, r resolve.Resolver, now time.Time) []Result {
	digests := v.digests(now)
	results := make([]Result, len(v.list))
	var wait sync.WaitGroup
	for i := range v.list {
		if i > 0 {
			wait.Go(func() { results[i] = v.result(ctx, r, i, digests[i]) })
		}
	}
	if len(results) > 0 { // most messages have one, and need no goroutine
		results[0] = v.result(ctx, r, 0, digests[0])
	}
	wait.Wait()
	return results
}

// digests ends the body, judges the signatures by what the message tells, and
// returns what those cover that may still be good.
func (v *Verifier) digests(now time.Time) [][32]byte {
	v.body.Close()
	if len(v.list) > 0 { // else no header was kept
		v.several = v.header.several()
	}
	list := make([][32]byte, len(v.list))
	for i := range v.list {
		c := &v.list[i]
		if c.err == nil {
			c.err = c.check(now)
		}
		if c.err == nil {
			list[i] = v.header.Digest(c.sig.Headers, c.sig.HeaderCanon, c.raw, c.at)
		}
	}
	return list
}

// check judges a signature by what the message itself tells: RFC 6376,
// section 6.1.1 and the body of 6.1.3.
func (c *candidate) check(now time.Time) error {
	s := c.sig
	switch {
	case s.Algorithm == RSASHA1: // RFC 8301, section 3.1
		return failf("rsa-sha1 is broken: anybody may have made it")
	case !s.Expires.IsZero() && now.After(s.Expires):
		return failf("the signature expired at %s", s.Expires.Format(time.RFC3339))
	case s.Time.After(now.Add(maxSkew)):
		return failf("the signature is from the future, %s", s.Time.Format(time.RFC3339))
	case c.hash.Missing() > 0:
		return failf("the body is %d octets shorter than what was signed", c.hash.Missing())
	case !bytes.Equal(c.hash.Sum(), s.BodyHash):
		return failf("the body is not the one that was signed")
	}
	return nil
}

// result looks up the key of a signature, if it may still matter, and says
// what the signature is worth.
func (v *Verifier) result(ctx context.Context, r resolve.Resolver, i int, digest [32]byte) Result {
	c := &v.list[i]
	res := Result{Signature: c.sig}
	if c.sig != nil {
		res.Domain, res.Selector = c.sig.Domain, c.sig.Selector
	} else {
		res.Domain, res.Selector = claimed(c.raw)
	}
	if c.err == nil {
		c.err = c.verify(ctx, r, digest, &res)
	}
	var p *problem
	if errors.As(c.err, &p) {
		res.Status, res.Reason, res.Err = p.status, p.text, p.cause
		return res
	}
	res.Doubled = c.sig.doubled(v.several)
	res.Reason = res.praise()
	return res
}

func (c *candidate) verify(ctx context.Context, r resolve.Resolver, digest [32]byte, res *Result) error {
	keys, err := Lookup(ctx, r, c.sig.Selector, c.sig.Domain)
	if err != nil {
		return err
	}
	k, err := keys.Verify(c.sig.Algorithm, digest, c.sig.Value)
	if err != nil {
		return err
	}
	// Section 3.6.1, t=s: no identity below the domain.
	if d, _ := identityDomain(c.sig.Identity); k.Strict && d != c.sig.Domain {
		return failf("the key is not for identities below %s", c.sig.Domain)
	}
	res.KeyBits, res.Testing = k.Bits, k.Testing
	res.Unsigned = c.hash.Unsigned()
	return nil
}

// praise says what a good signature is worth.
func (r *Result) praise() string {
	switch l := r.Signature.Length; {
	case r.Testing:
		return "the signature is good, but the domain only tests (t=y)"
	case r.Doubled != "":
		return "the signature is good, but not every " + r.Doubled + " field is signed"
	case r.Unsigned > 0:
		return fmt.Sprintf("only the first %d octets of the body are signed, %d are not", l, r.Unsigned)
	case l >= 0:
		return fmt.Sprintf("the body is signed, but more may be added behind its %d octets (l=)", l)
	}
	return "signed by " + string(r.Domain)
}

// claimed returns what a signature that cannot be used says of its signer,
// for reports.
func claimed(raw []byte) (addr.Domain, string) {
	if len(raw) > maxField {
		return "", ""
	}
	f, ok := message.Find(raw, "DKIM-Signature")
	if !ok {
		return "", ""
	}
	tags, err := ParseTags(f.Value())
	if err != nil {
		return "", ""
	}
	var d addr.Domain
	if v, ok := tags.Get("d"); ok {
		if parsed, err := addr.ParseDomain(v); err == nil {
			d = parsed
		}
	}
	s, _ := tags.Get("s")
	if !validSelector(s) {
		s = ""
	}
	return d, s
}

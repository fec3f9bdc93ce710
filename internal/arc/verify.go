package arc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

// Verifier verifies the chain of one message while it passes. Make it with
// the header, write the body, then call Verify once.
type Verifier struct {
	header *dkim.Header
	chain  chain
	broken error // why the chain fails, as far as it is known
	bodies []*dkim.BodyHash
	body   *dkim.Body
	shared bool // somebody else writes to the body
}

// NewVerifier reads a header section, with or without the empty line at its
// end, and finds its chain. The section must stay as it is until Verify has
// returned.
func NewVerifier(section []byte) *Verifier {
	v := &Verifier{body: &dkim.Body{}}
	v.find(section)
	return v
}

// ShareVerifier is NewVerifier for a message whose body a dkim.Verifier
// hashes, so that it is hashed once for both. What is written to this one
// goes nowhere.
func ShareVerifier(section []byte, body *dkim.Body) *Verifier {
	v := &Verifier{body: body, shared: true}
	v.find(section)
	return v
}

// find looks for the chain.
func (v *Verifier) find(section []byte) {
	if !hasChain(section) {
		return
	}
	v.header = dkim.NewHeader(section)
	v.chain, v.broken = collect(v.header)
	switch {
	case v.chain.claimsFailure():
		v.broken = errors.New("the last seal says that it had failed before")
	case v.broken == nil:
		v.broken = v.chain.read()
	}
	if v.broken != nil {
		return
	}
	for i := range v.chain.links {
		v.bodies = append(v.bodies, v.body.Hash(v.chain.links[i].sig.BodyCanon, -1))
	}
}

func hasChain(section []byte) bool {
	for _, name := range fieldNames {
		if message.Has(section, name) {
			return true
		}
	}
	return false
}

// Write takes the next octets of the body, in canonical form. It never
// fails.
func (v *Verifier) Write(p []byte) (int, error) {
	if v.shared {
		return len(p), nil
	}
	return v.body.Write(p)
}

// Told returns what the chain of a header was worth by the word of somebody
// who verified it when it came: the results hold what Result.Auth says. ok is
// false where they say nothing of a chain that is there.
func Told(section []byte, said authres.Results) (r Result, ok bool) {
	c, _ := collect(dkim.NewHeader(section)) // what is broken was found then
	r = Result{Instances: c.top, Reason: "as it was told"}
	told := said.Find("arc")
	switch {
	case len(told) == 0:
		return r, c.top == 0 && !hasChain(section)
	case told[0].Value == Pass.String():
		r.Status = Pass
	case told[0].Value == Fail.String():
		r.Status = Fail
	}
	return r, r.Status != None || c.top == 0
}

// Verify ends the body, looks up the keys, and tells what the chain is worth
// at a time: RFC 8617, section 5.2.
func (v *Verifier) Verify(ctx context.Context, r resolve.Resolver, now time.Time) Result {
	res := Result{Instances: v.chain.top}
	if v.header == nil {
		res.Reason = "there is no chain"
		return res
	}
	v.body.Close()
	err := v.broken
	if err == nil {
		err = v.verify(ctx, r, now, &res)
	}
	if err != nil {
		res.Status, res.Sets, res.OldestPass = Fail, nil, 0
		res.Reason = "the chain fails: " + err.Error()
		if errors.Is(err, resolve.ErrTemporary) {
			res.Err = err
		}
		return res
	}
	res.Status = Pass
	res.Reason = "sealed by " + strings.Join(sealers(res.Sets), ", then ")
	return res
}

func sealers(sets []Set) []string {
	list := make([]string, len(sets))
	for i, s := range sets {
		list[i] = string(s.Sealer)
	}
	return list
}

func (v *Verifier) verify(ctx context.Context, r resolve.Resolver, now time.Time, res *Result) error {
	keys := lookup(ctx, r, v.chain.links)
	last := len(v.chain.links)
	if err := v.signature(last, keys, now); err != nil { // step 4
		return fmt.Errorf("the signature of instance %d: %w", last, err)
	}
	for i := last; i >= 1; i-- { // step 6
		if err := v.seal(i, keys); err != nil {
			return fmt.Errorf("the seal of instance %d: %w", i, err)
		}
	}
	res.OldestPass = last // step 5
	for res.OldestPass > 1 && v.signature(res.OldestPass-1, keys, now) == nil {
		res.OldestPass--
	}
	for i := range v.chain.links {
		res.Sets = append(res.Sets, v.chain.links[i].set(i+1))
	}
	return nil
}

// signature verifies the message signature of an instance.
func (v *Verifier) signature(instance int, keys keyring, now time.Time) error {
	l := &v.chain.links[instance-1]
	if !l.sig.Expires.IsZero() && now.After(l.sig.Expires) {
		return errors.New("it has expired")
	}
	if !bytes.Equal(v.bodies[instance-1].Sum(), l.sig.BodyHash) {
		return errors.New("the body is not the one that was signed")
	}
	digest := v.header.Digest(l.sig.Headers, l.sig.HeaderCanon, l.raw[signature], l.at)
	return keys.verify(l.sig, digest)
}

// seal verifies the seal of an instance, which covers the sets before it and
// its own: section 5.1.1.
func (v *Verifier) seal(instance int, keys keyring) error {
	var buf []byte
	for _, l := range v.chain.links[:instance-1] {
		buf = appendSet(buf, l.raw)
	}
	l := v.chain.links[instance-1]
	l.raw[seal] = dkim.WithoutValue(l.raw[seal])
	buf = appendSet(buf, l.raw)
	return keys.verify(l.seal, sha256.Sum256(bytes.TrimSuffix(buf, []byte("\r\n"))))
}

// keyring holds the keys of a chain, by selector and domain.
type keyring map[string]*published

// published is what a look-up brought.
type published struct {
	keys dkim.Keys
	err  error
}

func name(s *dkim.Signature) string { return s.Selector + "._domainkey." + string(s.Domain) }

// lookup gets the keys of a whole chain at once.
func lookup(ctx context.Context, r resolve.Resolver, links []link) keyring {
	ring := keyring{}
	var wait sync.WaitGroup
	for i := range links {
		for _, s := range []*dkim.Signature{links[i].sig, links[i].seal} {
			if ring[name(s)] != nil {
				continue
			}
			p := &published{}
			ring[name(s)] = p
			wait.Go(func() { p.keys, p.err = dkim.Lookup(ctx, r, s.Selector, s.Domain) })
		}
	}
	wait.Wait()
	return ring
}

func (k keyring) verify(s *dkim.Signature, digest [32]byte) error {
	if s.Algorithm == dkim.RSASHA1 { // RFC 8301, section 3.1
		return errors.New("rsa-sha1 is broken")
	}
	p := k[name(s)]
	if p.err != nil {
		return p.err
	}
	_, err := p.keys.Verify(s.Algorithm, digest, s.Value)
	return err
}

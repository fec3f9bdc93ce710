// Package signing signs what leaves in the name of our domains (DKIM, RFC
// 6376), and sees to the keys that it does so with.
//
// # Place in the path
//
// gate asks it for submissions, queue for the mail that we write ourselves,
// outbound for what has waited too long (Begin) and for what is passed on
// through an alias (Sealing). Who is signed for is the domain of ours that the
// author's address is in, or is below.
//
// # The life of a key
//
// Each domain has two at a time, RSA for everybody and Ed25519 (RFC 8463) for
// those who know it, under selectors of their own:
//
//	published  made, and shown to the operator; the DNS does not have it yet
//	used       the DNS shows it, to us as to everybody
//	retired    newer ones are used. It stays in the DNS as long as a message
//	           that it signed may be under way
//	gone       its record may be removed; the private key is
//
// Nothing is signed with a key that the DNS does not show: such a signature
// is worse than none. When a key is due to be replaced, the next one is made,
// and the old one goes on until the next is seen. One that vanishes from the
// DNS is not used until it is back, and an error is logged.
//
// # Trust and limits
//
// The private keys stay with the package keys. The DNS is asked once in
// Every; what Begin needs is in memory.
package signing

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/keys"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
)

// Times in the life of a key.
const (
	Every = 15 * time.Minute     // the DNS is asked
	life  = 180 * 24 * time.Hour // until the next one is made
	// grace is how much longer than a message may wait its signature is good,
	// and for how much longer than that a retired key stays in the DNS.
	grace = 3 * 24 * time.Hour
)

// Options are what a ring of keys works with; all are required.
type Options struct {
	Store    *store.DB
	Keys     *keys.Keys
	Resolver resolve.Resolver
	Clock    clock.Clock
	Log      *slog.Logger
	// Domains returns the domains that are ours and send mail.
	Domains func(ctx context.Context) ([]addr.Domain, error)
	// QueueLife is how long a message may wait to be sent.
	QueueLife time.Duration
}

// Ring holds the keys of our domains. Its methods may be called from any
// goroutine.
type Ring struct {
	o    Options
	used atomic.Pointer[map[addr.Domain][]dkim.SigningKey]
}

// Open returns the ring with the keys that were used last.
func Open(ctx context.Context, o Options) (*Ring, error) {
	r := &Ring{o: o}
	all, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	return r, r.use(all)
}

// use makes the keys that are to be used those that Begin uses.
func (r *Ring) use(all []Key) error {
	used := map[addr.Domain][]dkim.SigningKey{}
	var errs []error
	for _, k := range all {
		if k.State() != Used {
			continue
		}
		signer, err := r.o.Keys.Signer(k.name)
		if err != nil {
			errs = append(errs, fmt.Errorf("the key %s of %s cannot be used: %w", k.Selector, k.Domain, err))
			continue
		}
		used[k.Domain] = append(used[k.Domain], dkim.SigningKey{Domain: k.Domain, Selector: k.Selector, Signer: signer})
	}
	r.used.Store(&used)
	return errors.Join(errs...)
}

// Begin begins to sign a message with this header section. It returns nil for
// one that is not signed: its author is in no domain of ours, or the DNS
// shows no key yet.
func (r *Ring) Begin(section []byte) (*dkim.Signer, error) {
	list := r.forAuthor(section)
	if len(list) == 0 {
		return nil, nil
	}
	return dkim.NewSigner(section, list, r.o.Clock.Now(), r.o.QueueLife+grace)
}

// Sender returns the domain of ours that a message of the host itself is best
// from, since it will be signed: the one that the host is in or, where that
// one has no key in use, the first by name that has; empty if there is none.
func (r *Ring) Sender(host addr.Domain) addr.Domain {
	used := *r.used.Load()
	if d := covering(used, host); d != "" {
		return d
	}
	if len(used) == 0 {
		return ""
	}
	return slices.Min(slices.Collect(maps.Keys(used)))
}

// covering returns the domain with keys that another is, or is below; empty
// if there is none.
func covering(used map[addr.Domain][]dkim.SigningKey, d addr.Domain) addr.Domain {
	for name, more := string(d), true; more; _, name, more = strings.Cut(name, ".") {
		if used[addr.Domain(name)] != nil {
			return addr.Domain(name)
		}
	}
	return ""
}

// forAuthor returns the keys for who has written a message. Of several
// authors the first counts, as with DMARC those do whom the first domain
// vouches for.
func (r *Ring) forAuthor(section []byte) []dkim.SigningKey {
	authors, err := message.Senders(section)
	if err != nil || len(authors) == 0 {
		return nil
	}
	return r.forDomain(authors[0].Domain)
}

// forDomain returns the keys of a domain of ours, or of the one above it.
func (r *Ring) forDomain(domain addr.Domain) []dkim.SigningKey {
	used := *r.used.Load()
	return used[covering(used, domain)]
}

// Uses reports whether a domain signs under a selector now.
func (r *Ring) Uses(d addr.Domain, selector string) bool {
	return slices.ContainsFunc((*r.used.Load())[d], func(k dkim.SigningKey) bool { return k.Selector == selector })
}

// Sealing returns the key that seals what is passed on in the name of a domain
// of ours (ARC), of which the DNS shows one that all can verify: RFC 8617 has
// RSA alone, and a seal that some cannot verify breaks the chain for them.
func (r *Ring) Sealing(d addr.Domain) (key dkim.SigningKey, ok bool) {
	for _, k := range r.forDomain(d) {
		if _, ok := k.Signer.Public().(*rsa.PublicKey); ok {
			return k, true
		}
	}
	return dkim.SigningKey{}, false
}

// sample is what is signed to see whether others could verify it.
var sample [32]byte

// shown reports whether the DNS has the public half of a key: whether what it
// signs can be verified with what is found there. An error says that nobody
// knows now.
func (r *Ring) shown(ctx context.Context, k *Key) (bool, error) {
	signer, err := r.o.Keys.Signer(k.name)
	if err != nil {
		return false, err
	}
	signing := dkim.SigningKey{Domain: k.Domain, Selector: k.Selector, Signer: signer}
	algorithm, err := signing.Check()
	if err != nil {
		return false, err
	}
	value, err := signing.Sign(sample)
	if err != nil {
		return false, err
	}
	found, err := dkim.Lookup(ctx, r.o.Resolver, k.Selector, k.Domain)
	switch {
	case errors.Is(err, resolve.ErrTemporary):
		return false, err
	case err != nil:
		return false, nil
	}
	_, err = found.Verify(algorithm, sample, value)
	return err == nil, nil
}

// public returns the public half of a key.
func (r *Ring) public(name string) (crypto.PublicKey, error) {
	signer, err := r.o.Keys.Signer(name)
	if err != nil {
		return nil, err
	}
	return signer.Public(), nil
}

package signin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gatepost/internal/account/recent"
	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/throttle"
	"gatepost/internal/account/turn"
	"gatepost/internal/clock"
)

// verify checks a password against the one that whom a client claims to be
// chose, and returns its credential, nil if it is not that. Nobody, and accounts
// without a password, cost an Argon2id run like any other; so does a device
// password that may not be used so, and was not taken for that before: whoever
// stole it does not learn from the time it takes that it was right.
func (d *Desk) verify(ctx context.Context, claim *claim, password string, a throttle.Attempt) (*record.Credential, error) {
	p, err := secret.Prepare(password)
	if err != nil {
		return nil, nil // it tells nothing of the account: no hash is needed to hide it
	}
	who := claim.person
	if who == nil {
		who = &record.Person{}
	}
	mark := d.verified.token(who.ID, a.Network, p)
	if c := d.verified.get(mark); c != nil {
		return c, nil
	}
	chosen := &record.Credential{} // nobody's: it matches nothing
	for _, c := range who.Credentials {
		if c.Kind == record.Password {
			chosen = c
		}
	}
	done, err := d.enter(ctx, a)
	if err != nil {
		return nil, err
	}
	defer done()
	// A client that opens many connections at once has all of them wait for
	// the first one's run.
	if c := d.verified.get(mark); c != nil {
		return c, nil
	}
	if !d.hasher.Verify(p, chosen.Argon2) {
		return nil, nil
	}
	// Else the second try would be quicker, and tell that the first was right.
	if !who.Frozen && !d.people.Barred(who, chosen) {
		d.verified.put(mark, success{account: who.ID, credential: chosen}, claim.as)
	}
	return chosen, nil
}

// enter waits for a place to hash in.
func (d *Desk) enter(ctx context.Context, a throttle.Attempt) (done func(), err error) {
	return d.hasher.Enter(ctx, turn.Who{Known: d.throttle.Known(a), Network: a.Network, Failures: d.throttle.Failures(a)})
}

const (
	// verifiedFor is how long a password that was right need not be hashed
	// again.
	verifiedFor = 5 * time.Minute
	// maxVerified bounds how many are remembered.
	maxVerified = 10_000
)

// verified remembers passwords that were right, so that a client that signs
// in for each message does not cost an Argon2id run each time. It holds
// successes only, each for one account and one source network, under an HMAC
// whose key lives as long as the process: what leaks of it gives nothing to
// guess against without the key.
type verified struct {
	clock clock.Clock
	key   []byte

	mu      sync.Mutex
	changes uint64 // how often something was forgotten
	entries recent.Map[token, success]
}

// token is the HMAC of account, network and password.
type token [sha256.Size]byte

type success struct {
	account    int64
	credential *record.Credential
	until      time.Time
}

func newVerified(c clock.Clock, random io.Reader) *verified {
	v := &verified{clock: c, key: make([]byte, sha256.Size), entries: recent.New[token, success](maxVerified)}
	if _, err := io.ReadFull(random, v.key); err != nil {
		v.key = nil // nothing is remembered
	}
	return v
}

func (v *verified) token(account int64, from netip.Prefix, p secret.Password) token {
	h := hmac.New(sha256.New, v.key)
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], uint64(account))
	h.Write(id[:])
	ip := from.Addr().As16()
	h.Write(ip[:])
	h.Write([]byte(p))
	return token(h.Sum(nil))
}

// now returns what put must be given: it is asked before an account is
// looked up.
func (v *verified) now() (changes uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changes
}

// get returns the credential that was right, nil if it has to be verified.
func (v *verified) get(t token) *record.Credential {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := v.entries.Get(t)
	if !ok || !v.clock.Now().Before(s.until) {
		return nil
	}
	return s.credential
}

// put remembers a success, unless an account changed since now: the password
// that was verified may be the one that was just replaced.
func (v *verified) put(t token, s success, changes uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.key != nil && v.changes == changes {
		s.until = v.clock.Now().Add(verifiedFor)
		v.entries.Put(t, s)
	}
}

// forget drops what is remembered of the accounts.
func (v *verified) forget(accounts []int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes++
	v.entries.Remove(func(s success) bool { return slices.Contains(accounts, s.account) })
}

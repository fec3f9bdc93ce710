// Package signin makes credentials and checks them: it runs the exchanges in
// which a client says who it is.
//
// Every failure has one answer, whatever the reason (errRefused), but for a
// password that was right and has run out: whoever has it hears that. An unknown
// name costs what a known one does: with PLAIN and LOGIN one Argon2id run,
// with SCRAM an exchange over a salt and keys made up of the name, which stay
// the same. Guessing is slowed before a credential is looked at, also one
// that is remembered, but for device passwords, which nobody guesses: the
// right one is never slowed, whoever else tries. Nothing happens outside TLS.
//
// It knows no domains and no aliases: who a login means is asked of People.
package signin

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"gatepost/internal/account/clientcert"
	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/throttle"
	"gatepost/internal/account/turn"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
)

// People is asked who there is.
type People interface {
	// Login returns the address that a login means, which need not be
	// anybody's, and whose it is, nil if nobody's. It must not be quicker
	// or slower for either.
	Login(ctx context.Context, login string) (addr.Address, *record.Person, error)
	// RunOut reports whether a credential that is right is too old to sign
	// in with.
	RunOut(c *record.Credential) bool
	// Used is told of each credential that signed somebody in. It does not
	// wait.
	Used(c *record.Credential)
	// Barred reports whether a credential that is right opens no mail, because
	// its account has a second factor, or owes one.
	Barred(p *record.Person, c *record.Credential) bool
	// Spend makes durable that what was shown beside the password has been
	// used. It is false where somebody else was first.
	Spend(ctx context.Context, p *record.Person, s Shown, c activity.Client) (bool, error)
}

// Options configure a Desk. All fields are required, but for Certificates.
type Options struct {
	Keys   *keys.Keys
	Clock  clock.Clock
	Random io.Reader
	Log    *slog.Logger

	Cost              secret.Cost
	HashRuns          int  // Argon2id runs at once; one more is kept for places that accounts know
	ScramForPasswords bool // keep and accept SCRAM keys of passwords that people chose

	Certificates *clientcert.Trusted // of ours that clients may show; nil: none

	SignIns, Refused, Hashes *atomic.Int64 // counted

	// Tokens is asked of those that OAuth gave out; nil: there are none.
	Tokens Tokens

	// Tried is told of each exchange that was decided. It does not wait, and
	// keeps no reference to the event.
	Tried func(*activity.Event)
}

// Desk is where people sign in. Its methods may be called from any goroutine.
type Desk struct {
	people   People
	o        Options
	hasher   *secret.Hasher
	throttle *throttle.Throttle
	verified *verified
	guesses  *guesses
}

// New returns a desk for people.
func New(people People, o Options) *Desk {
	return &Desk{
		people:   people,
		o:        o,
		hasher:   secret.NewHasher(o.Cost, turn.New(o.Clock, o.HashRuns), o.Random, o.Hashes),
		throttle: throttle.New(o.Clock),
		verified: newVerified(o.Clock, o.Random),
		guesses:  newGuesses(o.Clock),
	}
}

// Recall remembers a place that an account used before the server was
// started, an address or a device; those of last time first.
func (d *Desk) Recall(account int64, from netip.Addr, device string) {
	d.throttle.Places.Recall(account, throttle.From(from, device))
}

// Forget is called when the accounts changed in any way.
func (d *Desk) Forget(accounts []int64) { d.verified.forget(accounts) }

// errRefused is the answer to whoever could not sign in, whatever the
// reason: a wrong password, an unknown name, a frozen account, a damaged
// hash, a code that is wrong or missing, and a password that opens no mail
// must not be told apart. RFC 4954, section 6. The last would tell whoever
// guesses that half of the way is done.
func errRefused(cause error) error {
	if errors.Is(cause, errRunOut) {
		return envelope.Fail(cause, 535, "5.7.8", "this password was right, but it has run out; ask whoever looks after this server for a new one (your mail still arrives)")
	}
	return envelope.Fail(cause, 535, "5.7.8", "authentication credentials invalid")
}

// errLater is the answer when we could not find out: RFC 4954, section 6.
func errLater(cause error) error {
	return envelope.Fail(cause, 454, "4.7.0", "temporary authentication failure; try again later")
}

// Reasons for the log.
var (
	errNobody     = errors.New("no such account")
	errFrozen     = errors.New("account is frozen")
	errCredential = errors.New("wrong credential")
	errAuthzID    = errors.New("asked to act as somebody else")
	errRunOut     = errors.New("the password has run out")
	errRevoked    = errors.New("the certificate was revoked")
	errBarred     = errors.New("the password opens no mail: a second factor is on, or owed")
	errCode       = errors.New("the password was right, the code was not")
	errGuessed    = errors.New("the password was right, and too many codes were wrong")
)

// Start begins an exchange. mechanism is matched without case and must be one
// of those that Mechanisms names for the connection: an *envelope.Error
// otherwise.
func (d *Desk) Start(mechanism string, p *envelope.Peer) (*Exchange, error) {
	mechanism = strings.ToUpper(mechanism)
	offered := d.Mechanisms(p.TLS)
	switch {
	case len(offered) == 0:
		// RFC 4954, section 6: the client may have shown its password
		// already, to everybody on the way.
		return nil, envelope.Refuse(538, "5.7.11", "encryption required for authentication")
	case !slices.Contains(offered, mechanism):
		return nil, envelope.Refuse(504, "5.5.4", "unrecognized authentication type")
	}
	x := &Exchange{desk: d, peer: p, mechanism: mechanism}
	x.from = x.source()
	switch mechanism {
	case sasl.Plain:
		x.step = x.plain
	case sasl.Login:
		x.step = x.loginName
	case sasl.OAuthBearer, sasl.XOAuth2:
		x.step = x.bearer
	case sasl.External:
		x.step = x.external
	default:
		var err error
		if x.scram, err = sasl.NewConversation(mechanism, p.TLS, d.o.Random); err != nil {
			return nil, errLater(err)
		}
		x.step = x.scramFirst
	}
	return x, nil
}

// Mechanisms returns what may be offered on a connection, the strongest
// first; none without TLS.
func (d *Desk) Mechanisms(t *tls.ConnectionState) []string {
	list := sasl.Mechanisms(t)
	if d.o.Tokens != nil && len(list) > 0 {
		list = append(list, sasl.OAuthBearer, sasl.XOAuth2)
	}
	if _, shown := d.shown(t); shown && len(list) > 0 {
		list = append([]string{sasl.External}, list...)
	}
	return list
}

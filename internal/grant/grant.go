// Package grant keeps what programs for mail were given in place of a
// password: which program may send or read whose mail, and the tokens by which
// it shows that.
//
// # Place in the path
//
// Beside it. oauthd asks it to make codes and tokens (RFC 6749, RFC 8628);
// account asks it whose a token is when a client signs in with OAUTHBEARER or
// XOAUTH2; operators list and end grants.
//
// # What there is
//
// A grant is what somebody allowed one program to do, once. It has one
// refresh token at a time, which each use replaces, and a few access tokens
// that live accessLife. It ends when it is not refreshed for grantLife, when
// its owner or an operator ends it, or when a refresh token that was replaced
// is shown again: then two have it, and one of them is a thief (RFC 9700,
// section 4.14). All refresh tokens of a grant begin with the same secret, its
// family, so that an old one is known without being kept.
//
// Codes live in memory, a minute or ten: nothing is written to the disk at the
// wish of somebody who has not signed in, and after a restart a program asks
// again.
//
// # Trust and limits
//
// Tokens are 256 random bits and kept as SHA-256: whoever reads the store has
// none, and a look-up by a hash tells nothing by the time it takes. What a
// program calls itself is its own word, but for what the operator registered.
// All is bounded by the constants below.
package grant

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/oauth"
	"gatepost/internal/store"
)

// How long things live.
const (
	codeLife   = time.Minute // RFC 9700 has it short: it is used at once
	deviceLife = 10 * time.Minute
	accessLife = time.Hour
	grantLife  = 90 * 24 * time.Hour // without use
)

// Bounds.
const (
	maxGrants    = 50 // of an account
	maxAccess    = 5  // access tokens of a grant; the oldest makes room
	maxClients   = 100
	maxCodes     = 2000 // in memory, and
	maxCodesOf   = 20   // of an account
	maxDevices   = 2000 // in memory, and
	maxDevicesOf = 20   // from a network
	pollEvery    = 5 * time.Second
	maxGuesses   = 10 // codes that an account may mistype in guessTime
	guessTime    = 10 * time.Minute
)

// Owner is whose mail it is about.
type Owner struct {
	ID      int64
	Address addr.Address
}

// Options configure a Book. All fields are required.
type Options struct {
	Store  *store.DB
	Clock  clock.Clock
	Random io.Reader // cryptographically secure
	Log    *slog.Logger
	// Note writes an event down in the transaction that makes it.
	Note func(*store.Tx, *activity.Event) error
	// Ended is told of each grant that has ended, before whoever ended it is
	// answered; sessions that it opened are to end.
	Ended func(account addr.Address, grant int64)
}

// Book keeps grants. Its methods may be called from any goroutine. What a
// client may be told of is an *oauth.Error.
type Book struct {
	o Options

	mu      sync.Mutex
	codes   map[sum]*code
	devices map[sum]*Device
	typed   map[oauth.UserCode]*Device
	guesses map[int64]*guesses
}

// sum is the SHA-256 of a secret.
type sum [sha256.Size]byte

// New returns a book.
func New(o Options) *Book {
	return &Book{
		o: o, codes: map[sum]*code{}, devices: map[sum]*Device{}, typed: map[oauth.UserCode]*Device{}, guesses: map[int64]*guesses{},
	}
}

// Grant is what somebody allowed a program.
type Grant struct {
	ID      int64
	Owner   Owner
	Client  string // its id
	Name    string // as its owner was shown it
	Scope   oauth.Scope
	Created time.Time
	Used    time.Time // when it last got an access token
	Ends    time.Time // unless it is used before
}

// Token is what an access token stands for.
type Token struct {
	Owner   Owner
	Grant   int64
	Name    string // of the program
	Scope   oauth.Scope
	Expires time.Time
}

// ErrUnknown says that there is no such grant or client.
var ErrUnknown = errors.New("there is no such thing")

// The one answer for whatever is wrong with a code or a token, so that nobody
// learns what exists.
var errGrant = &oauth.Error{Code: oauth.InvalidGrant, Text: "it is not good, or not any more"}

// errBusy is the answer when a bound is reached.
var errBusy = &oauth.Error{Code: oauth.Unavailable, Text: "too many are waiting; try again in a few minutes"}

// Token returns what an access token is good for, also one that has run out
// and was not replaced yet; ok is false if there is none.
func (b *Book) Token(ctx context.Context, token string) (t Token, ok bool, err error) {
	s, ok := sumOf(accessPrefix, token)
	if !ok {
		return t, false, nil
	}
	err = b.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		t, err = readToken(tx, s)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return t, false, nil
	case err != nil:
		return t, false, err
	}
	return t, true, nil
}

// Holds reports whether a grant has not ended.
func (b *Book) Holds(ctx context.Context, id int64) (holds bool, err error) {
	err = b.o.Store.View(ctx, func(tx *store.Tx) error {
		g, err := readGrant(tx, `g.id = ?`, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		holds = err == nil && b.o.Clock.Now().Before(g.Ends)
		return err
	})
	return holds, err
}

// Grants returns those of an account, the oldest first.
func (b *Book) Grants(ctx context.Context, account int64) (list []Grant, err error) {
	err = b.o.Store.View(ctx, func(tx *store.Tx) error {
		list, err = readGrants(tx, `g.account = ? AND g.ends > ?`, account, b.o.Clock.Now().Unix())
		return err
	})
	return list, err
}

// End ends a grant of an account with all of its tokens. who asked for it.
func (b *Book) End(ctx context.Context, account, id int64, who activity.Client) error {
	var g row
	err := b.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		g, err = readGrant(tx, `g.id = ? AND g.account = ?`, id, account)
		if errors.Is(err, store.ErrNotFound) {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		return b.end(tx, &g.Grant, activity.GrantRemoved, who)
	})
	if err == nil {
		b.o.Ended(g.Owner.Address, g.ID)
	}
	return err
}

// end removes a grant and notes it.
func (b *Book) end(tx *store.Tx, g *Grant, kind activity.Kind, who activity.Client) error {
	if _, err := tx.Exec(`DELETE FROM oauth_access WHERE grant_id = ?`, g.ID); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM oauth_grant WHERE id = ?`, g.ID); err != nil {
		return err
	}
	return b.note(tx, kind, g, who)
}

func (b *Book) note(tx *store.Tx, kind activity.Kind, g *Grant, who activity.Client) error {
	return b.o.Note(tx, &activity.Event{
		Kind: kind, Owner: g.Owner.ID, Account: g.Owner.Address.Unicode(), Client: who, Detail: g.Name,
	})
}

// Near reports whether two addresses are of one network.
func Near(a, b netip.Addr) bool { return a.IsValid() && within(a, 64) == within(b, 64) }

// source is what is taken for one source: what one client can easily move in.
// Whoever rents a machine has a /48 often, which is 65,536 networks.
func source(ip netip.Addr) netip.Prefix { return within(ip, 48) }

// within returns the network of an address: a /24, or so many bits of IPv6.
func within(ip netip.Addr, bits int) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		bits = 24
	}
	p, _ := ip.Prefix(bits) // fails for the zero Addr only, and gives the zero Prefix
	return p
}

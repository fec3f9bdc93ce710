// Package account knows the people: their domains, accounts, aliases and
// credentials. It tells the gate who gets mail and who may send as whom, and
// the doors who somebody is.
//
// # Place in the path
//
// The gate asks IsLocal and Resolve at RCPT and Owns and Spend for what a
// user sends; local asks Find; a door starts an Exchange for AUTH. Answers
// come from memory when they are warm. Operator commands use the rest.
//
// # Addresses
//
// Local parts of ours are compared without case and in NFC. An address is
// looked for, in this order, as an account, as an alias, as postmaster or
// abuse, as each of these without its tag (from the first "+" on; the tag
// stays with the recipient), and as the catch-all of its domain. Characters
// that once routed mail (percent, bang, a second at sign in quotes) have no
// meaning: they are names that nobody has.
//
// postmaster and abuse exist in every domain and cannot be removed (RFC 5321,
// section 4.5.1; RFC 2142): without an alias of their own they reach the
// domain's first administrator, else the server's, else the domain's first
// account. The server's own host name answers for them and for mailer-daemon.
// So do tls-reports and dmarc-reports exist, which reach no person: the server
// itself reads what comes there, unless there is an alias or account of the
// name.
//
// # Credentials
//
// Passwords are kept as Argon2id, and as SCRAM keys sealed with a key that is
// not in the store; device passwords as SHA-256 and SCRAM keys; of a
// certificate that was issued to a device its SHA-256. What people
// choose must pass the policy of package passwords, whichever way it is set;
// how strong it was, and a mark by which two that are the same are known, are
// sealed beside the hash. The hashes of the last ones are kept too.
//
// Once an account has a second factor its password opens no mail: SMTP and
// IMAP take its device passwords only, and its SCRAM keys are gone. On pages
// password and factor are judged together.
//
// # Rooms
//
// record holds the queries; signin the making and checking of credentials,
// with secret (hashes), sasl (messages), terms (what a device may do),
// clientcert (certificates), factor (codes and passkeys) and throttle
// (guessing) under it; enrol the second factors that people add; recent the
// bounded map of the caches. What is here decides.
//
// # Trust and limits
//
// The store and the keys are ours. Names and passwords are a stranger's.
// What is kept in memory is bounded by the constants below, the domains and
// the sending counts by what the operator created. Another process must not
// change the same store: caches would not hear of it.
package account

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/account/clientcert"
	"gatepost/internal/account/enrol"
	"gatepost/internal/account/factor"
	"gatepost/internal/account/recent"
	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/signin"
	"gatepost/internal/account/terms"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/passwords"
	"gatepost/internal/store"
)

// Bounds of what is kept in memory.
const (
	// cachedAddresses bounds the addresses of ours that are remembered with
	// what the store says of them.
	cachedAddresses = 20_000
	// cachedUnknown bounds those that are remembered as nobody's. They have
	// their own room, so that guessing names cannot push the others out.
	cachedUnknown = 20_000
	// maxDomains bounds the domains, which are in memory as a whole.
	maxDomains = 100_000
)

// What the sub-packages know by these names.
type (
	Account  = record.Account
	Role     = record.Role
	Domain   = record.Domain
	Alias    = record.Alias
	Device   = record.DeviceInfo
	Terms    = terms.Terms
	Exchange = signin.Exchange
	Token    = signin.Token
	Tokens   = signin.Tokens
)

// The roles.
const (
	Admin = record.Admin
	User  = record.User
)

// Configured, as a quota or sending limit to set, is what the configuration
// says, now and when it changes.
const Configured = record.Configured

// Options configure a Directory. All fields are required, but for the limits,
// of which zero is none.
type Options struct {
	Hostname addr.Domain // the server's own, whether it is a domain of ours or not
	Origins  []string    // where its pages are, as https://mx.example.org: passkeys work there alone; none: nowhere
	Clock    clock.Clock
	Random   io.Reader // cryptographically secure
	Log      *slog.Logger

	HashRuns          int  // Argon2id runs at once, 64 MiB each
	ScramForPasswords bool // keep and accept SCRAM keys of passwords that people chose
	Passwords         *passwords.Policy

	Quota     int64 // octets, for accounts that have none of their own
	SendLimit int   // recipients a day, likewise

	Activity Activity // nil: nobody reviews
	Tokens   Tokens   // nil: nobody signs in with tokens
}

// Counters count what the directory did since it was made.
type Counters struct {
	SignIns atomic.Int64 // that succeeded
	Refused atomic.Int64 // that failed
	Hashes  atomic.Int64 // Argon2id runs
	Reads   atomic.Int64 // look-ups that had to ask the store
}

// Directory answers for the people of one store. Its methods may be called
// from any goroutine.
type Directory struct {
	Counters Counters

	db     *store.DB
	keys   *keys.Keys
	o      Options
	policy atomic.Pointer[passwords.Policy]
	enrol  enrol.Desk
	party  *factor.Party // nil: the host name cannot have passkeys
	// factorRoles are those that must have a second factor; nil: none.
	factorRoles atomic.Pointer[[]Role]
	signin      *signin.Desk
	sent        sent
	later       later
	ending      ending
	issuer      issuer
	certs       clientcert.Trusted

	freezing sync.Mutex // one change of what is frozen at a time, with what follows from it
	outbox   Outbox     // nil: nobody sends

	mu       sync.Mutex // guards what follows
	changes  uint64     // how often the caches were emptied
	domains  *domains   // nil: to be read
	known    recent.Map[addr.Address, *entry]
	nobodies recent.Map[addr.Address, struct{}]
}

// New returns a directory over the store. It reads nothing yet. Close it
// before the store.
func New(db *store.DB, k *keys.Keys, o Options) *Directory {
	return newDirectory(db, k, o, secret.Argon2id)
}

// newDirectory is New with another cost of hashing, for tests.
func newDirectory(db *store.DB, k *keys.Keys, o Options, cost secret.Cost) *Directory {
	d := &Directory{
		db:       db,
		keys:     k,
		o:        o,
		later:    later{db: db, clock: o.Clock, log: o.Log, pending: map[pending]func(*store.Tx) error{}},
		known:    recent.New[addr.Address, *entry](cachedAddresses),
		nobodies: recent.New[addr.Address, struct{}](cachedUnknown),
		enrol:    enrol.Desk{Keys: k, Clock: o.Clock, Random: o.Random, Hostname: o.Hostname},
	}
	d.SetPolicy(o.Passwords)
	var err error
	if d.party, err = factor.NewParty(factor.PartyOptions{
		Site: string(o.Hostname), Origins: o.Origins, Keys: k, Clock: o.Clock, Random: o.Random,
	}); err != nil {
		d.party = nil
		o.Log.Error("passkeys do not work", "err", err)
	}
	d.signin = signin.New(desk{d}, signin.Options{
		Keys: k, Clock: o.Clock, Random: o.Random, Log: o.Log,
		Cost: cost, HashRuns: o.HashRuns, ScramForPasswords: o.ScramForPasswords,
		Certificates: &d.certs, Tokens: o.Tokens,
		SignIns: &d.Counters.SignIns, Refused: &d.Counters.Refused, Hashes: &d.Counters.Hashes,
		Tried: tried(o.Activity),
	})
	return d
}

// Now returns the time by which credentials expire.
func (d *Directory) Now() time.Time { return d.o.Clock.Now() }

// Close writes down what was kept back.
func (d *Directory) Close() { d.later.close() }

// Mechanisms returns the SASL mechanisms that may be offered on a
// connection, the strongest first; none without TLS.
func (d *Directory) Mechanisms(t *tls.ConnectionState) []string { return d.signin.Mechanisms(t) }

// Start begins an exchange in which the peer signs in. mechanism is matched
// without case and must be one that Mechanisms names for the connection: an
// *envelope.Error otherwise.
func (d *Directory) Start(mechanism string, p *envelope.Peer) (*Exchange, error) {
	return d.signin.Start(mechanism, p)
}

// ParseRole reads a role as an operator writes it.
func ParseRole(s string) (Role, error) {
	if r := Role(s); r == Admin || r == User {
		return r, nil
	}
	return "", fmt.Errorf("there is no role %q; it is admin or user", s)
}

// ErrUnknown says that an address is not an account's.
var ErrUnknown = errors.New("there is no such account")

// ErrReports says that an address is no account's: the server itself reads
// what comes there.
var ErrReports = errors.New("it is an address for reports")

// update is store.Update for a change of which the caches must hear. f
// returns the accounts that it changed.
func (d *Directory) update(ctx context.Context, f func(*store.Tx) ([]int64, error)) error {
	var accounts []int64
	err := d.db.Update(ctx, func(tx *store.Tx) (err error) {
		accounts, err = f(tx)
		return err
	})
	if err == nil {
		d.changed(accounts)
	}
	return err
}

// changed empties the caches. It is called when a change is durable and
// before anybody is told of it.
func (d *Directory) changed(accounts []int64) {
	d.mu.Lock()
	d.changes++
	d.domains = nil
	d.known.Clear()
	d.nobodies.Clear()
	d.mu.Unlock()
	d.signin.Forget(accounts)
}

// effective puts the configured limits where an account has none of its own.
func (d *Directory) effective(a Account) Account {
	if a.Quota == Configured {
		a.Quota = d.o.Quota
	}
	if a.SendLimit == Configured {
		a.SendLimit = d.o.SendLimit
	}
	return a
}

// Package activity keeps what people review to see that nobody else is in
// their mail: every sign-in and every failure, every change of a credential,
// every alias that leads away, every export.
//
// # Place in the path
//
// Beside the path. account tells the Book of each exchange that was decided
// (Tried), which does not wait for the disk, and of each change (Note), which
// is written in the transaction that makes it: no change without its event.
//
// # What is one row
//
// Sign-ins that are alike in an hour are one row with a count: the same
// account, address, program, credential and TLS. Failures are alike where
// account, address and reason are. An hour has at most maxDone and maxRefused
// rows of an account, and maxStrangers of failures for names that nobody has,
// which are told apart by network alone; what is beyond is one more row that
// only counts. So a flood of guesses cannot fill the disk, and no number is
// lost.
//
// # Alerts
//
// What is usual for an account is learned from its sign-ins: countries,
// networks, devices (known.go). A sign-in that is not usual, many failures and
// some changes make an alert, in the transaction that writes them (judge.go).
// Alerts wait in the store until somebody sends them: Unsent, Sent.
//
// # What is never kept
//
// Passwords, and names that are nobody's: people type the one into the field
// of the other.
//
// # Trust and limits
//
// What a client calls itself is a stranger's word: it is cut to maxText
// octets here, and escaped by whoever shows it. At most maxPending kinds of
// things of each outcome wait to be written; a crash loses the last second.
package activity

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"
)

// Kind says what happened. The names are a contract: they stand in JSON.
type Kind string

// The kinds.
const (
	SignIn         Kind = "sign-in"
	Password       Kind = "password"       // it was set
	DeviceAdded    Kind = "device-added"   // a device got a password of its own
	DeviceRemoved  Kind = "device-removed" // and lost it
	AccountAdded   Kind = "account-added"
	AccountRemoved Kind = "account-removed"
	Role           Kind = "role"
	Frozen         Kind = "frozen"
	Released       Kind = "released"
	AliasSet       Kind = "alias-set"
	AliasRemoved   Kind = "alias-removed"
	Forwarding     Kind = "forwarding" // mail for an account also goes elsewhere
	Recovery       Kind = "recovery"   // where its alerts go beside it was set
	Export         Kind = "export"     // its mail was copied out
	Backup         Kind = "backup"     // all of the server was
	FactorAdded    Kind = "factor-added"
	FactorRemoved  Kind = "factor-removed"
	RecoveryUsed   Kind = "recovery-code-used" // it signed somebody in
	CodesMade      Kind = "codes-made"         // new recovery codes

	CertificateIssued  Kind = "certificate-issued"  // a device got a certificate to sign in with
	CertificateRevoked Kind = "certificate-revoked" // and lost it

	GrantAdded   Kind = "grant-added"   // a program got tokens in place of a password
	GrantRemoved Kind = "grant-removed" // and lost them
	TokenReused  Kind = "token-reused"  // likewise, since two have the same one
)

// Outcome says how it ended.
type Outcome string

// The outcomes.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused"
	Later   Outcome = "later" // the client was asked to come back: too many were waiting
)

// Protocols by which something was asked for.
const (
	SMTP    = "smtp"
	Web     = "web"     // a page of the console
	Command = "command" // an operator's
)

// Event is one thing that happened, or several that are alike.
type Event struct {
	ID      int64
	Kind    Kind
	Outcome Outcome
	Owner   int64  // the id of the account; 0: nobody's
	Account string // its address; empty: nobody's

	Client     Client
	Credential string // the one that was used, as "password" or "device phone"
	Mechanism  string // of SASL
	Detail     string // the rest of the sentence, by kind: a reason, a role, targets
	// Knew says of a sign-in that the secret which was shown was right, also
	// where it was refused for want of more. It is judged by, and not kept.
	Knew bool

	First, Last time.Time // equal if it happened once
	Times       int64
}

// Client is who asked for it.
type Client struct {
	Protocol string
	Address  netip.Addr   // the zero one where there is none
	From     netip.Prefix // instead of Address, where only the network is kept
	Country  string       // two letters; filled in when the event is written
	Network  string       // who announces the address; likewise
	Name     string       // what it called itself
	Operator string       // who gave a command, as the machine knows them: "root"
	Version  uint16       // of TLS, as crypto/tls numbers them; 0: in the clear
	Cipher   uint16
	Group    tls.CurveID
}

// By returns a context for what a client asks for: Note takes it from there,
// so that nothing on the way to it has to hand it on.
func By(ctx context.Context, c Client) context.Context { return context.WithValue(ctx, by{}, c) }

type by struct{}

// asker returns who asked for what is done in a context: a command that
// nobody knows the giver of, where nothing else was said.
func asker(ctx context.Context) Client {
	if c, ok := ctx.Value(by{}).(Client); ok {
		return c
	}
	return Client{Protocol: Command}
}

// where returns the address or network as it is kept.
func (c *Client) where() string {
	switch {
	case c.From.IsValid():
		return c.From.String()
	case c.Address.IsValid():
		return c.Address.String()
	}
	return ""
}

// Kinds returns all kinds, in the order of this file.
func Kinds() []Kind {
	return []Kind{
		SignIn, Password, DeviceAdded, DeviceRemoved, AccountAdded, AccountRemoved, Role, Frozen, Released,
		AliasSet, AliasRemoved, Forwarding, Recovery, Export, Backup,
		GrantAdded, GrantRemoved, TokenReused,
		CertificateIssued, CertificateRevoked,
		FactorAdded, FactorRemoved, RecoveryUsed, CodesMade,
	}
}

// Package gate decides who may send what to whom.
//
// # Place in the path
//
// smtpd asks it at each stage of a session: connection, greeting, MAIL, each
// RCPT, the end of the header and the end of the data. Every stage is a list
// of checks, asked in order; the first that objects is the verdict. To add a
// check is to write one function and put it into its list.
//
// # What it decides
//
//   - Nobody sends to other servers who is not signed in or listed in
//     [relay] networks (rcpt.go).
//   - Aliases become recipients here, once, in memory; nothing is injected
//     again. Who is behind an address, account knows. What must not go on to
//     another server, and what comes back to us of what did, is in forward.go.
//   - A signed-in user sends only from addresses that are theirs: MAIL FROM
//     (mail.go), From and Sender (header.go).
//   - Whether a message from the world is by whom it says (watch.go): verdict
//     decides, with the standards below it.
//   - What our users and [relay] clients send is signed in the name of their
//     domain (sign.go).
//   - What a submission lacks is added, and what must not leave is taken out
//     (RFC 6409, section 8); marks that only we may set are taken out of
//     everything (edit.go).
//
// # Standards
//
// RFC 5321, 6409 (submission), 3461 section 5.2.7 (aliases and DSN), 8601
// section 5 (forged Authentication-Results), 8689 section 3 (TLS-Required).
//
// # Trust
//
// It believes the session's Peer: its address, and the account that the
// session itself verified. Nothing that the client says of itself is
// believed. It keeps no state of its own and is used by all sessions at once.
package gate

import (
	"context"
	"io"
	"log/slog"
	"net/netip"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
	"gatepost/internal/verdict"
)

// Directory knows our domains, who is behind their addresses and what our
// accounts may do. Its errors are what the client is told, where they are
// *envelope.Error.
type Directory interface {
	// IsLocal reports whether a domain is ours.
	IsLocal(ctx context.Context, d addr.Domain) (bool, error)
	// Resolve returns who gets the mail for an address in a domain of ours.
	Resolve(ctx context.Context, to addr.Address) ([]addr.Address, error)
	// Owns reports whether an account may send as an address.
	Owns(ctx context.Context, account string, from addr.Address) (bool, error)
	// IsReports reports whether an address is one that others send their
	// reports to.
	IsReports(to addr.Address) bool
	// Spend counts recipients against an account's daily limit, or refuses.
	Spend(ctx context.Context, account string, recipients int) error
}

// Returns knows the addresses that we forward mail from. Its errors are what
// the client is told, where they are *envelope.Error.
type Returns interface {
	// Find returns to whom goes what comes to an address, if it is a return
	// address, genuine or not; a null sender must not be told.
	Find(ctx context.Context, to addr.Address) (sender addr.Address, is bool, err error)
	// Spend counts a message to one; to any other address it does nothing.
	Spend(ctx context.Context, to addr.Address) error
}

// Mailboxes knows how full the mailboxes are.
type Mailboxes interface {
	// HasRoom reports whether a message of size octets would find room, as
	// far as can be told cheaply; delivery decides.
	HasRoom(ctx context.Context, to addr.Address, size int64) (bool, error)
}

// Signer signs messages in the name of our domains.
type Signer interface {
	// Begin begins to sign a message with this header section. It returns nil
	// for one that is not signed.
	Begin(section []byte) (*dkim.Signer, error)
}

// Witness keeps what others are to be told of mail in their name.
type Witness interface {
	// Saw takes note of a message as a report tells of it. It must return at
	// once.
	Saw(p aggregate.Published, row aggregate.Row)
}

// Options are what Gate works with; all are required.
type Options struct {
	Hostname  addr.Domain // the name that we greet with and vouch under
	Relay     []netip.Prefix
	Directory Directory
	Mailboxes Mailboxes
	Returns   Returns
	// Checker verifies who mail from the world is from.
	Checker *verdict.Checker
	// Signer signs what our users send.
	Signer Signer
	// Witness is told of mail from the world in the name of those who want to
	// hear of it; nil: nobody is.
	Witness Witness
	Clock   clock.Clock
	Log     *slog.Logger
	Random  io.Reader // for Message-ID; safe for concurrent use
}

// Gate holds the checks together. Its methods may be called from any
// goroutine.
type Gate struct {
	o Options
}

// New returns the gate of a server.
func New(o Options) *Gate { return &Gate{o} }

// Connect is asked when a client has connected, and marks those that may
// relay.
func (g *Gate) Connect(_ context.Context, p *envelope.Peer) error {
	p.Relay = g.mayRelay(p)
	return nil
}

// mayRelay reports whether a client may send to anywhere without signing in:
// on the MX only, since on submission everybody signs in.
func (g *Gate) mayRelay(p *envelope.Peer) bool {
	if p.Door != envelope.MX {
		return false
	}
	ip := p.Addr.Addr().Unmap().WithZone("")
	for _, network := range g.o.Relay {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// Helo is asked after HELO or EHLO. A name proves nothing, and refusing odd
// ones refuses real mail.
func (g *Gate) Helo(context.Context, *envelope.Peer) error { return nil }

// Mail is asked at MAIL, before the envelope has recipients. size is what
// the client declared, 0 if nothing; until Data it stands in for the size
// that the spool will count, so that RCPT can look for room.
func (g *Gate) Mail(ctx context.Context, p *envelope.Peer, e *envelope.Envelope, size int64) error {
	e.Size = size
	for _, check := range atMail {
		if err := check(g, ctx, p, e); err != nil {
			return err
		}
	}
	return nil
}

// Rcpt is asked at each RCPT and returns the recipients that it stands for.
func (g *Gate) Rcpt(ctx context.Context, p *envelope.Peer, e *envelope.Envelope, r envelope.Recipient) ([]envelope.Recipient, error) {
	q := &rcpt{peer: p, envelope: e, asked: r}
	for _, step := range atRcpt {
		if err := step(g, ctx, q); err != nil {
			return nil, err
		}
	}
	return q.recipients, nil
}

// Header is asked when the header section has arrived and returns the one
// to keep.
func (g *Gate) Header(ctx context.Context, p *envelope.Peer, e *envelope.Envelope, header []byte) ([]byte, error) {
	for _, check := range atHeader {
		if err := check(g, ctx, p, e, header); err != nil {
			return nil, err
		}
	}
	e.TLSOptional = !e.RequireTLS && p.Origin() == envelope.User && waivesTLS(header)
	return g.edit(p, e, header)
}

// Data is asked when the whole message has arrived, before it is committed.
func (g *Gate) Data(ctx context.Context, p *envelope.Peer, e *envelope.Envelope) error {
	e.Size = 0
	for _, check := range atData {
		if err := check(g, ctx, p, e); err != nil {
			return err
		}
	}
	return nil
}

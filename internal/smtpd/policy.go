package smtpd

import (
	"context"
	"crypto/tls"
	"time"

	"gatepost/internal/envelope"
)

// Policy decides what a client may do. Each method is asked once at its
// stage, in the session's goroutine; an *envelope.Error is answered as it
// stands, and one with code 421 ends the session.
type Policy interface {
	// Connect is asked before the greeting. It may set Peer.Relay.
	Connect(ctx context.Context, p *envelope.Peer) error
	// Helo is asked when Peer.Helo is known.
	Helo(ctx context.Context, p *envelope.Peer) error
	// Mail is asked when From, Origin, Account and what MAIL said of
	// reports are filled in. size is SIZE=, 0 if it was not given.
	Mail(ctx context.Context, p *envelope.Peer, e *envelope.Envelope, size int64) error
	// Rcpt returns the recipients that one forward-path stands for. The
	// domain of r.To is empty for <postmaster>. The session leaves out those
	// that the envelope has already.
	Rcpt(ctx context.Context, p *envelope.Peer, e *envelope.Envelope, r envelope.Recipient) ([]envelope.Recipient, error)
	// Watch is asked right before Header, with the same fields as they came,
	// and returns who is to see the rest; nil if nobody needs to.
	Watch(p *envelope.Peer, e *envelope.Envelope, header []byte) Watcher
	// Header is asked when the header section has come and its syntax is
	// right. It gets the fields without the empty line, which it must not
	// keep or change, and returns the ones to keep in their place. What it
	// adds to e.Header stands below our Received field.
	Header(ctx context.Context, p *envelope.Peer, e *envelope.Envelope, header []byte) ([]byte, error)
	// Sign is asked right after Header, if nobody watches, with the fields that
	// are kept and go out, and returns who signs the message; nil if nobody does.
	Sign(p *envelope.Peer, e *envelope.Envelope, header []byte) (Watcher, error)
	// Data is asked when all has come, right before Commit.
	Data(ctx context.Context, p *envelope.Peer, e *envelope.Envelope) error
}

// Watcher sees one message pass.
type Watcher interface {
	// Write gets what follows the empty line after the header: canonical, as
	// it comes. It keeps no reference to p. What it keeps of the header that
	// Watch got counts against the octets held by all sessions.
	Write(p []byte) (int, error)
	// Judge is asked when all has come, before Data; it may take as long as
	// the DNS. What it adds to e.Header stands below our Received field.
	Judge(ctx context.Context, e *envelope.Envelope) error
}

// Spool takes messages.
type Spool interface {
	// Create begins a message. Whoever calls it calls Commit or Discard.
	Create() Draft
}

// Draft is a message that is still arriving.
type Draft interface {
	// Write appends content: canonical, every line ending in CR LF. It
	// keeps no reference to p.
	Write(p []byte) (int, error)
	// Commit returns nil only when the message is durable: what follows is
	// our responsibility. The draft is used up either way.
	Commit(e *envelope.Envelope, changes ...envelope.Change) error
	// Discard forgets the draft; after Commit it does nothing.
	Discard()
}

// Book keeps how messages came.
type Book interface {
	// Arrived is called when a message has become ours; messageID is what its
	// header says, empty if nothing. It keeps no reference to p or e, and must
	// not wait for the disk.
	Arrived(p *envelope.Peer, e *envelope.Envelope, messageID string)
}

// Authenticator knows the users.
type Authenticator interface {
	// Mechanisms returns what may be offered on a connection.
	Mechanisms(t *tls.ConnectionState) []string
	// Start begins a sign-in with one of the mechanisms.
	Start(mechanism string, p *envelope.Peer) (Exchange, error)
}

// Exchange is one attempt to sign in.
type Exchange interface {
	// Next takes the client's response, which it does not keep and which is
	// nil if there was no initial one, and returns the challenge to send.
	// When done is true the client has proved who it is, and a challenge that
	// is not empty is the last. An error ends the exchange.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Account returns the address of the account, once done.
	Account() string
	// Credential returns what it signed in with, once done, and until when
	// that is good; the zero time: for ever.
	Credential() (id int64, until time.Time)
	// Holds reports, once done, whether the credential still opens the door.
	// It is asked when Server.End would find the session, so that one that
	// ended while the client signed in is not missed.
	Holds(ctx context.Context) bool
}

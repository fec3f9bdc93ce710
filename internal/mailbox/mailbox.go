// Package mailbox keeps delivered mail: the index of every account's folders
// and messages, and the bodies.
//
// # Place in the path
//
// local files messages; commands (and later IMAP and the console) list and
// open them. The index lives in store. A body of up to 64 KiB lives in its
// row, a larger one in a file of blob, whose name begins with "m-" so that
// the spool, which keeps its own bodies beside them, and this package never
// sweep away each other's.
//
// # Exactly once
//
// File writes the message, the space that it takes and the pair (id,
// recipient) in one transaction. A delivery that is repeated because its
// outcome was lost finds the pair and files nothing. The pairs are a table
// of their own: a user may expunge the message first. Messages that are filed
// while the store's writer is busy share a transaction, unless one of them is
// refused: then each has its own (together.go). Forget removes the pairs
// once the outcome is durable, Prune what Forget missed.
//
// # Import
//
// Mail from files (import.go) is filed many messages at a time, each with a
// row that says that it is there. An import that was interrupted is run again
// and files what is missing.
//
// # Crashes
//
//	after                       what is there            who puts it right
//	--------------------------  -----------------------  ------------------
//	the body's file is durable  a file without a row     Sweep
//	the transaction             message and pair         nothing to do
//	the outcome, not Forget     a pair of a dead id      Prune
//	a body's row was removed    a file without a row     Sweep
//	an account, not its mail    a mailbox of no account  Sweep
//
// # Standards
//
// UIDs, UIDVALIDITY and modification sequences are those of RFC 9051,
// section 2.3 and RFC 7162, section 3.1; roles those of RFC 6154.
//
// It trusts its callers with account ids. Limits: names of folders have at
// most 255 octets and 16 levels; what lists show of a message is
// taken from its first 64 KiB of header and cut.
package mailbox

import (
	"context"
	"errors"
	"io"
	"sync"

	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/store"
)

// Errors of this package.
var (
	// ErrFiled says that this message was filed for this recipient before.
	ErrFiled = errors.New("filed before")
	// ErrQuota says that the mailbox has no room for the message.
	ErrQuota = errors.New("the mailbox is full")
	// ErrNotFound says that there is no such account, folder or message.
	ErrNotFound = errors.New("not found")
	// ErrName says that a folder cannot have this name.
	ErrName = errors.New("not a valid folder name")
)

// Boxes are the mailboxes of all accounts. Its methods may be called from
// any goroutine.
type Boxes struct {
	db     *store.DB
	blobs  blob.Store
	clock  clock.Clock
	random io.Reader

	mu        sync.Mutex
	placing   map[string]bool // files whose rows are being written: Sweep leaves them alone
	open      *group          // what else is filed now may join it; nil if none waits
	importing map[int64]bool  // accounts whose mailbox is being imported to
}

// New returns the mailboxes in db, with their large bodies in blobs. random
// names those bodies and must be safe for concurrent use.
func New(db *store.DB, blobs blob.Store, c clock.Clock, random io.Reader) *Boxes {
	return &Boxes{db: db, blobs: blobs, clock: c, random: random, placing: map[string]bool{}, importing: map[int64]bool{}}
}

// Used returns the octets that an account's messages take.
func (b *Boxes) Used(ctx context.Context, account int64) (used int64, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(`SELECT used FROM mailbox WHERE account = ?`, account).Scan(&used)
		if errors.Is(err, store.ErrNotFound) {
			return nil // nothing has arrived yet
		}
		return err
	})
	return used, err
}

// Package moment holds the store and the spool of one and the same instant,
// with the files of both, while the server goes on. A backup copies it, a
// deep check reads it.
//
// # Why one instant
//
// A message moves: it is in the spool, then in a mailbox as well, then only
// in the mailbox. Two looks at two times can miss it or see it twice:
//
//	first, then      what a copy made so would do
//	---------------  -----------------------------------------------------
//	store, spool     lose the message that was filed and done in between:
//	                 the store is from before it, the spool from after it
//	spool, store     file a message twice that was filed, done and forgotten
//	                 in between: the spool offers it again, and the row which
//	                 says that it was filed is gone
//
// So both are taken at once. The store has one writer, and its snapshot begins
// in the writer's turn, when no commit is under way; within that turn the
// spool is taken, under its lock. Of every message these hold then:
//
//   - It was acknowledged before: it is in the spool, or it is done.
//   - It is done for one of our recipients: local was told so by the mailbox
//     after the commit, so the message is in the store. What is being
//     committed in this very turn is in neither, since nobody was told.
//   - It is in the store and not done in the spool (its outcome is on the
//     way): the row which says that it was filed is in the store too, since it
//     goes only after the outcome is durable, and the copy files nothing twice.
//   - A bounce and the failure that it tells are one change of the spool: both
//     are there or neither.
//
// What left for another server before is done, and is not sent again. What
// leaves after is sent again by a copy that is let go, as after a crash: a
// restored queue is therefore held.
//
// # Files
//
// Rows and records name files of the blob store. Before the instant, removals
// are put off; so every file that is named then is there until Close, and
// nobody writes to a file that has a name. Segments of the spool are kept by
// its snapshot.
//
// # Cost
//
// The store's writer and the spool stand still while the states of the queued
// messages are copied, about 10 ms for 100,000. While a moment is open the
// store's log and the disk grow with what is written and removed.
package moment

import (
	"context"
	"errors"

	"gatepost/internal/blob"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// Parts are what a moment is taken of.
type Parts struct {
	DB    *store.DB
	Spool *spool.Spool
	Blobs *blob.Dir
}

// Moment is one instant, until it is closed.
type Moment struct {
	Store *store.Snapshot
	Spool *spool.Snapshot

	release func()
}

// Take takes the present moment.
func Take(ctx context.Context, p Parts) (*Moment, error) {
	m := &Moment{release: p.Blobs.Hold()}
	var err error
	m.Store, err = p.DB.Snapshot(ctx, func() { m.Spool = p.Spool.Snapshot() })
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// CloseStore ends the store's part early: its log need not grow while the rest
// is read.
func (m *Moment) CloseStore() error {
	s := m.Store
	m.Store = nil
	if s == nil {
		return nil
	}
	return s.Close()
}

// CloseSpool ends the spool's part early.
func (m *Moment) CloseSpool() {
	if m.Spool != nil {
		m.Spool.Close()
		m.Spool = nil
	}
}

// Close ends the moment.
func (m *Moment) Close() error {
	m.CloseSpool()
	err := m.CloseStore()
	m.release()
	return err
}

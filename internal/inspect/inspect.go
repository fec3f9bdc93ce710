// Package inspect reads all that is stored and says what is wrong with it:
// the deep part of check.
//
// Every owner checks what is its own, all of one moment: the store its pages
// and references, account and mailbox their rows, mailbox its bodies, spool
// its records and bodies. What is here puts them in order, bounds what they
// say, and finds the files that belong to nobody.
//
// It changes nothing. It runs in the server, beside its work, or without one.
package inspect

import (
	"context"
	"errors"
	"fmt"

	"gatepost/internal/account"
	"gatepost/internal/acme"
	"gatepost/internal/activity"
	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/courier"
	"gatepost/internal/envelope"
	"gatepost/internal/forward"
	"gatepost/internal/keys"
	"gatepost/internal/mailbox"
	"gatepost/internal/moment"
	"gatepost/internal/proof"
	"gatepost/internal/reputation"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// maxFindings bounds what is told of one part: a disk that decays may have a
// thousand times as much to tell, and no more to say.
const maxFindings = 200

// Things are what is read.
type Things struct {
	Store *store.Snapshot // nil: there is none yet
	Spool *spool.Snapshot
	Told  []string // what the spool says by itself, a sentence each
	Blobs blob.Store
	Keys  *keys.Keys // nil: they cannot be read, which is told already
	// Authority is the directory of the one that issues certificates; may be
	// empty.
	Authority string

	// Files are the names of all blobs at some time before the moment.
	Files []string
	// Orphan reports whether a file that nothing in the moment names belongs
	// to nobody now. It is asked at the end.
	Orphan func(ctx context.Context, name string) (bool, error)
}

// Running reads what a running server stores.
type Running struct {
	Parts moment.Parts
	Boxes *mailbox.Boxes
	Keys  *keys.Keys
	Told  []string // what the spool said when it was opened
	// Authority is as in Things.
	Authority string
}

// Check reads everything. progress is told how many octets of how many were
// read; findings come as they are made.
func (r *Running) Check(ctx context.Context, progress func(done, total int64), found func(audit.Finding)) error {
	// Removals are put off before the files are listed, so that one which is
	// listed stays, or is known to go.
	defer r.Parts.Blobs.Hold()()
	files, err := List(r.Parts.Blobs)
	if err != nil {
		return err
	}
	m, err := moment.Take(ctx, r.Parts)
	if err != nil {
		return err
	}
	t := &Things{Store: m.Store, Spool: m.Spool, Told: r.Told, Blobs: r.Parts.Blobs, Keys: r.Keys, Authority: r.Authority, Files: files, Orphan: r.orphan}
	return errors.Join(t.Check(ctx, progress, found), m.Close())
}

// orphan knows what came after the moment, and what is about to go.
func (r *Running) orphan(ctx context.Context, name string) (bool, error) {
	if r.Parts.Blobs.Doomed(name) {
		return false, nil
	}
	if id, err := envelope.ParseID(name); err == nil {
		return !r.Parts.Spool.Owns(id), nil
	}
	return r.Boxes.Orphan(ctx, name)
}

// List returns the names of all blobs.
func List(blobs blob.Store) (names []string, err error) {
	err = blobs.Each(func(name string) error {
		names = append(names, name)
		return nil
	})
	return names, err
}

// Check reads everything.
func (t *Things) Check(ctx context.Context, progress func(done, total int64), found func(audit.Finding)) error {
	total := t.Spool.Work()
	if t.Store != nil {
		database, err := t.Store.Size()
		bodies, failed := mailbox.Work(t.Store)
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		total += database + bodies
	}
	var read int64
	done := func(n int64) {
		read += n
		progress(read, total)
	}
	left := make(map[string]bool, len(t.Files))
	for _, name := range t.Files {
		left[name] = true
	}
	for _, part := range t.parts(ctx, done, left) {
		part.run(found)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// parts are those of the check, in order. left are the files that nobody has
// owned yet.
func (t *Things) parts(ctx context.Context, done func(int64), left map[string]bool) []part {
	owned := func(name string) { delete(left, name) }
	list := []part{
		{"store", "The database is whole.", func(found func(audit.Finding)) error { return t.store(done, found) }},
		{"account", "All accounts, credentials and aliases are sound.", t.accounts},
		{"activity", "The log of activity is sound.", t.activity},
	}
	if t.Authority != "" {
		list = append(list, part{"certificates", "Every certificate that was issued is whole, has its key and is vouched for.", t.certificates})
	}
	return append(list,
		part{"protection", "What is known of other servers, and the proofs of delivery, are sound.", t.protection},
		part{"reports", "What others report, and what is reported to them, is sound.", t.reports},
		part{"forward", "All return addresses of forwarded mail are sound.", t.returns},
		part{"mailbox", "All mailboxes are sound, and every message in them is what was filed.", func(found func(audit.Finding)) error {
			return t.mailboxes(ctx, done, owned, found)
		}},
		part{"spool", "The spool is sound, and every message in it is what was received.", func(found func(audit.Finding)) error {
			return t.spool(ctx, done, owned, found)
		}},
		part{"files", "Every file belongs to a message.", func(found func(audit.Finding)) error { return t.orphans(ctx, left, found) }},
	)
}

// part is a part of the check: what to say if nothing is wrong, and how to
// find out.
type part struct {
	check, good string
	work        func(found func(audit.Finding)) error
}

// run does a part and bounds what it tells. That it cannot be done, as where
// the database is damaged, is a finding too, and no reason to leave out the
// others.
func (p part) run(found func(audit.Finding)) {
	n := 0
	err := p.work(func(f audit.Finding) {
		if n++; n <= maxFindings {
			found(f)
		}
	})
	switch {
	case err != nil:
		found(audit.Finding{Check: p.check, Level: audit.Failure, Text: fmt.Sprintf("Not all of it could be checked: %v.", err),
			Fix: "See to what else is found, then check again."})
	case n == 0:
		found(audit.Finding{Check: p.check, Level: audit.OK, Text: p.good})
	case n > maxFindings:
		found(audit.Finding{Check: p.check, Level: audit.Failure,
			Text: fmt.Sprintf("%d more findings of this kind are not shown.", n-maxFindings), Fix: "See to those that are shown first."})
	}
}

func (t *Things) store(done func(int64), found func(audit.Finding)) error {
	if t.Store == nil {
		return nil
	}
	damage, err := t.Store.Damage()
	if err != nil {
		// A database that cannot even be read is a finding, not the end.
		damage = append(damage, err.Error())
	}
	for _, text := range damage {
		found(audit.Finding{Check: "store", Level: audit.Failure, Text: "The database is damaged: " + text + ".",
			Fix: "Keep a copy of store.db and restore the last good backup; then look at the health of the disk."})
	}
	size, err := t.Store.Size()
	done(size)
	return err
}

func (t *Things) accounts(found func(audit.Finding)) error {
	if t.Store == nil || t.Keys == nil {
		return nil
	}
	return account.Check(t.Store, t.Keys, found)
}

func (t *Things) certificates(found func(audit.Finding)) error {
	if t.Store == nil || t.Keys == nil {
		return nil
	}
	return acme.Check(t.Store.View, t.Keys, t.Authority, found)
}

func (t *Things) activity(found func(audit.Finding)) error {
	if t.Store == nil {
		return nil
	}
	return activity.Check(t.Store, found)
}

func (t *Things) protection(found func(audit.Finding)) error {
	if t.Store == nil {
		return nil
	}
	return proof.Check(t.Store, found)
}

func (t *Things) reports(found func(audit.Finding)) error {
	if t.Store == nil {
		return nil
	}
	return errors.Join(reputation.Check(t.Store, found), courier.Check(t.Store, found))
}

func (t *Things) returns(found func(audit.Finding)) error {
	if t.Store == nil {
		return nil
	}
	return forward.Check(t.Store, found)
}

func (t *Things) mailboxes(ctx context.Context, done func(int64), owned func(string), found func(audit.Finding)) error {
	if t.Store == nil {
		return nil
	}
	return mailbox.Check(ctx, t.Store, t.Blobs, done, owned, found)
}

// spool tells what the spool said at its start and what it says now, each
// once.
func (t *Things) spool(ctx context.Context, done func(int64), owned func(string), found func(audit.Finding)) error {
	said := map[string]bool{}
	once := func(f audit.Finding) {
		if !said[f.Text] {
			said[f.Text] = true
			found(f)
		}
	}
	if err := t.Spool.Check(ctx, done, owned, once); err != nil {
		return err
	}
	for _, text := range t.Told {
		once(audit.Finding{Check: "spool", Level: audit.Failure, Text: text + ".",
			Fix: "Look at the health of the disk, and make a backup."})
	}
	return nil
}

// orphans tells of files that belong to nobody: they take room and do no
// harm.
func (t *Things) orphans(ctx context.Context, left map[string]bool, found func(audit.Finding)) error {
	for name := range left {
		orphan, err := t.Orphan(ctx, name)
		if err != nil {
			return err
		}
		if orphan {
			found(audit.Finding{Check: "files", Level: audit.Warning, Text: fmt.Sprintf("The file %s belongs to no message.", name),
				Fix: "The next start of the server removes it, unless the spool is damaged."})
		}
	}
	return nil
}

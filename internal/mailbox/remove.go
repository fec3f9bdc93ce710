package mailbox

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// chunk is how many messages or pairs one transaction removes: others wait
// for the writer no longer than that.
const chunk = 200

// Forget removes the pairs of messages whose outcomes are durable: nobody
// will file them again.
func (b *Boxes) Forget(ctx context.Context, ids []envelope.ID) error {
	for len(ids) > 0 {
		some := ids[:min(len(ids), chunk)]
		ids = ids[len(some):]
		err := b.db.Update(ctx, func(tx *store.Tx) error {
			for i := range some {
				if _, err := tx.Exec(`DELETE FROM filed WHERE spool = ?`, some[i][:]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Prune forgets every message that is not live any more. It is called at
// the start, when the spool knows what is live.
func (b *Boxes) Prune(ctx context.Context, live func(envelope.ID) bool) error {
	ids, err := b.remembered(ctx)
	if err != nil {
		return err
	}
	return b.Forget(ctx, slices.DeleteFunc(ids, live))
}

// remembered returns the messages that have pairs.
func (b *Boxes) remembered(ctx context.Context) (ids []envelope.ID, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT DISTINCT spool FROM filed`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var raw []byte
			var id envelope.ID
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			copy(id[:], raw)
			ids = append(ids, id)
		}
		return rows.Err()
	})
	return ids, err
}

// Remove removes the mailbox of an account that is no longer in the
// directory, a part at a time. What is filed meanwhile by a delivery that
// still knew the account goes with it; after the last part, File does not
// make the mailbox again.
func (b *Boxes) Remove(ctx context.Context, account int64) error {
	for {
		var blobs []string
		var rest bool
		err := b.db.Update(ctx, func(tx *store.Tx) (err error) {
			if blobs, rest, err = removeSome(tx, account); err != nil || rest {
				return err
			}
			if rest, err = forgetSome(tx, account); err != nil || rest {
				return err
			}
			return removeBox(tx, account)
		})
		if err != nil {
			return err
		}
		for _, name := range blobs {
			_ = b.blobs.Remove(name) // Sweep finds what stays
		}
		if !rest {
			return nil
		}
	}
}

// removeSome removes some messages and returns the files that nothing names
// any more, and whether messages may be left.
func removeSome(tx *store.Tx, account int64) (blobs []string, rest bool, err error) {
	messages, err := someMessages(tx, account)
	if err != nil {
		return nil, false, err
	}
	for _, m := range messages {
		if _, err := tx.Exec(`DELETE FROM message WHERE id = ?`, m.id); err != nil {
			return nil, false, err
		}
		name, err := release(tx, m.body)
		if err != nil {
			return nil, false, err
		}
		if name != "" {
			blobs = append(blobs, name)
		}
	}
	return blobs, len(messages) == chunk, nil
}

func someMessages(tx *store.Tx, account int64) (list []struct{ id, body int64 }, err error) {
	rows, err := tx.Query(`SELECT m.id, m.body FROM folder f JOIN message m ON m.folder = f.id
		WHERE f.account = ? LIMIT ?`, account, chunk)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m struct{ id, body int64 }
		if err := rows.Scan(&m.id, &m.body); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// release counts one message less for a body. With the last one its row
// goes; the file that it had is returned, to be removed after the commit.
func release(tx *store.Tx, body int64) (blob string, err error) {
	var refs int64
	err = tx.QueryRow(`UPDATE body SET refs = refs - 1 WHERE id = ? RETURNING refs, blob`, body).Scan(&refs, &blob)
	if err != nil || refs > 0 {
		return "", err
	}
	_, err = tx.Exec(`DELETE FROM body WHERE id = ?`, body)
	return blob, err
}

// forgetSome forgets some of what was imported, and returns whether there may
// be more.
func forgetSome(tx *store.Tx, account int64) (rest bool, err error) {
	n, err := tx.Exec(`DELETE FROM imported WHERE account = ? AND same IN
		(SELECT i.same FROM imported i WHERE i.account = ? LIMIT ?)`, account, account, chunk)
	return n == chunk, err
}

// removeBox removes an empty mailbox.
func removeBox(tx *store.Tx, account int64) error {
	_, err := tx.Exec(`DELETE FROM expunged WHERE folder IN (SELECT id FROM folder WHERE account = ?)`, account)
	if err == nil {
		_, err = tx.Exec(`DELETE FROM folder WHERE account = ?`, account)
	}
	if err == nil {
		_, err = tx.Exec(`DELETE FROM mailbox WHERE account = ?`, account)
	}
	return err
}

// Swept says what Sweep removed.
type Swept struct {
	Mailboxes int // of accounts that are gone
	Files     int // that no message has
}

// Sweep removes what a crash left over. It may run while mail is filed.
func (b *Boxes) Sweep(ctx context.Context) (s Swept, err error) {
	gone, err := b.orphans(ctx)
	if err != nil {
		return s, err
	}
	for _, account := range gone {
		if err := b.Remove(ctx, account); err != nil {
			return s, err
		}
		s.Mailboxes++
	}
	var files []string
	err = b.blobs.Each(func(name string) error {
		orphan, err := b.Orphan(ctx, name)
		if orphan {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		return s, err
	}
	for _, name := range files {
		if err := b.blobs.Remove(name); err != nil {
			return s, err
		}
		s.Files++
	}
	return s, nil
}

// orphans returns the accounts that have a mailbox and nothing else.
func (b *Boxes) orphans(ctx context.Context) (accounts []int64, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT account FROM mailbox WHERE account NOT IN (SELECT id FROM account)`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var account int64
			if err := rows.Scan(&account); err != nil {
				return err
			}
			accounts = append(accounts, account)
		}
		return rows.Err()
	})
	return accounts, err
}

// Orphan reports whether a file is ours and no row names it nor ever will.
// The order matters: a file that is not being placed any more either has its
// row by now or never gets one.
func (b *Boxes) Orphan(ctx context.Context, name string) (bool, error) {
	if !Owns(name) {
		return false, nil
	}
	b.mu.Lock()
	placing := b.placing[name]
	b.mu.Unlock()
	if placing {
		return false, nil
	}
	err := b.db.View(ctx, func(tx *store.Tx) error {
		var id int64
		return tx.QueryRow(`SELECT id FROM body WHERE blob = ? AND blob <> ''`, name).Scan(&id)
	})
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// Owns reports whether a file of the blob store belongs to this package.
func Owns(name string) bool { return strings.HasPrefix(name, blobPrefix) }

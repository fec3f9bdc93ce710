package mailbox

import (
	"context"
	"errors"
	"fmt"

	"gatepost/internal/mailbox/title"
	"gatepost/internal/store"
)

// Inbox is the folder that mail is delivered to.
const Inbox = title.Inbox

// Folder is one folder of an account.
type Folder struct {
	Name        string `json:"name"`
	Role        string `json:"role,omitempty"` // inbox, sent, drafts, junk, trash, archive or none
	Messages    int64  `json:"messages"`
	Unseen      int64  `json:"unseen"`
	UIDValidity uint32 `json:"uid_validity"`
	UIDNext     uint32 `json:"uid_next"`
}

// Folders returns the folders of an account: the standard ones first, then
// the others by name. It makes the standard ones if there are none yet.
func (b *Boxes) Folders(ctx context.Context, account int64) ([]Folder, error) {
	list, err := b.folders(ctx, account)
	if err != nil || len(list) > 0 {
		return list, err
	}
	if err := b.begin(ctx, account); err != nil {
		return nil, err
	}
	list, err = b.folders(ctx, account)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("account %d: %w", account, ErrNotFound)
	}
	return list, err
}

func (b *Boxes) folders(ctx context.Context, account int64) (list []Folder, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT f.Name, f.Role, f.uidvalidity, f.uidnext,
			(SELECT COUNT(*) FROM message m WHERE m.folder = f.id),
			(SELECT COUNT(*) FROM message m WHERE m.folder = f.id AND m.flags & ? = 0)
			FROM folder f WHERE f.account = ?
			ORDER BY CASE WHEN f.role = '' THEN 1 ELSE 0 END, CASE WHEN f.role = '' THEN f.name END, f.id`,
			int64(Seen), account)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var f Folder
			if err := rows.Scan(&f.Name, &f.Role, &f.UIDValidity, &f.UIDNext, &f.Messages, &f.Unseen); err != nil {
				return err
			}
			list = append(list, f)
		}
		return rows.Err()
	})
	return list, err
}

// begin is create for who only reads: a mailbox has its INBOX also before
// anything arrived.
func (b *Boxes) begin(ctx context.Context, account int64) error {
	return b.db.Update(ctx, func(tx *store.Tx) error { return b.create(tx, account) })
}

// create makes the mailbox of an account with its standard folders, unless
// it is there, or the account is not: one that was removed a moment ago does
// not get its mailbox back.
func (b *Boxes) create(tx *store.Tx, account int64) error {
	made, err := tx.Exec(`INSERT INTO mailbox (account, used, uidvalidity)
		SELECT id, 0, 0 FROM account WHERE id = ?
		ON CONFLICT (account) DO NOTHING`, account)
	if err != nil || made == 0 {
		return err
	}
	for _, f := range title.Standard {
		if err := b.createFolder(tx, account, f.Name, f.Role); err != nil {
			return err
		}
	}
	return nil
}

// createFolder adds a folder to a mailbox that exists.
func (b *Boxes) createFolder(tx *store.Tx, account int64, name, role string) error {
	// RFC 9051, section 2.3.1.1: a folder that is made again under an old
	// name needs a greater UIDVALIDITY, also when the clock was set back.
	now := b.clock.Now().Unix()
	var validity int64
	err := tx.QueryRow(`UPDATE mailbox
		SET uidvalidity = CASE WHEN uidvalidity < ? THEN ? ELSE uidvalidity + 1 END
		WHERE account = ? RETURNING uidvalidity`, now, now, account).Scan(&validity)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("account %d: %w", account, ErrNotFound)
	}
	if err != nil {
		return err
	}
	id, err := tx.NextID("folder")
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO folder (id, account, name, role, subscribed, uidvalidity, uidnext, modseq)
		VALUES (?, ?, ?, ?, 1, ?, 1, 1)`, id, account, name, role, validity)
	return err
}

// folderName returns a name in the form that it is kept in, or ErrName.
func folderName(name string) (string, error) {
	if clean, ok := title.Clean(name); ok {
		return clean, nil
	}
	return "", ErrName
}

package mailbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"gatepost/internal/store"
)

// Inbox is the folder that mail is delivered to: RFC 9051, section 5.1.
const Inbox = "INBOX"

// Bounds of a folder's name.
const (
	MaxName  = 255 // octets
	MaxDepth = 16  // levels, separated by '/'
)

// standard are the folders that every mailbox begins with and the roles of
// RFC 6154, section 2 that clients find them by.
var standard = []struct{ name, role string }{
	{Inbox, "inbox"},
	{"Sent", "sent"},
	{"Drafts", "drafts"},
	{"Junk", "junk"},
	{"Trash", "trash"},
	{"Archive", "archive"},
}

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
		rows, err := tx.Query(`SELECT f.name, f.role, f.uidvalidity, f.uidnext,
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
	for _, f := range standard {
		if err := b.createFolder(tx, account, f.name, f.role); err != nil {
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
	if !utf8.ValidString(name) || len(name) > MaxName {
		return "", ErrName
	}
	levels := strings.Split(norm.NFC.String(name), "/")
	// RFC 9051, section 5.1: INBOX is written in any case, also as the
	// first level of others.
	if strings.EqualFold(levels[0], Inbox) {
		levels[0] = Inbox
	}
	if len(levels) > MaxDepth || strings.HasPrefix(levels[0], "#") {
		return "", ErrName // '#' begins a namespace
	}
	for _, level := range levels {
		if level == "" || level == "." || level == ".." || strings.ContainsFunc(level, misleading) {
			return "", ErrName
		}
	}
	return strings.Join(levels, "/"), nil
}

// misleading tells the characters that are wildcards in LIST or would make one
// name look like another.
func misleading(r rune) bool {
	return r == '*' || r == '%' || unicode.IsControl(r) ||
		unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"gatepost/internal/store"
)

// pageSize is how many messages a list reads from the store at once: a
// reader that is slow holds no snapshot open and little memory.
const pageSize = 500

// Messages returns the messages of a folder by UID. The list is read in
// pages: a message that arrives meanwhile may be in it. An error is the last
// thing that it yields.
func (b *Boxes) Messages(ctx context.Context, account int64, folder string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		id, err := b.folderID(ctx, account, folder)
		if errors.Is(err, ErrNotFound) { // nothing has arrived yet, or it never will
			if err = b.begin(ctx, account); err == nil {
				id, err = b.folderID(ctx, account, folder)
			}
		}
		after := uint32(0)
		for err == nil {
			var list []Message
			list, err = b.page(ctx, id, after)
			for _, m := range list {
				if !yield(m, nil) {
					return
				}
				after = m.UID
			}
			if len(list) < pageSize {
				break
			}
		}
		if err != nil {
			yield(Message{}, err)
		}
	}
}

func (b *Boxes) folderID(ctx context.Context, account int64, folder string) (id int64, err error) {
	name, err := folderName(folder)
	if err != nil {
		return 0, err
	}
	err = b.db.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT id FROM folder WHERE account = ? AND name = ?`, account, name).Scan(&id)
	})
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("folder %s: %w", name, ErrNotFound)
	}
	return id, err
}

// page returns the messages with the next UIDs after one.
func (b *Boxes) page(ctx context.Context, folder int64, after uint32) (list []Message, err error) {
	err = b.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT id, uid, flags, size, subject, sender, sent
			FROM message WHERE folder = ? AND uid > ? ORDER BY uid LIMIT ?`, folder, int64(after), pageSize)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m Message
			var sent int64
			if err := rows.Scan(&m.ID, &m.UID, &m.Flags, &m.Size, &m.Subject, &m.From, &sent); err != nil {
				return err
			}
			m.Date = time.Unix(sent, 0).UTC()
			list = append(list, m)
		}
		return rows.Err()
	})
	return list, err
}

// Content is a whole message, to be read once from its first field to its
// last line.
type Content struct {
	io.Reader
	Size     int64     // octets that it gives
	Received time.Time // when it arrived
	Flags    Flags
	Keywords []string
	Ends     []byte    // how its lines ended before it was imported: see package lines
	file     io.Closer // nil when the body was in its row
}

// Close gives back what the content holds open.
func (c *Content) Close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// Open returns a message of an account by its id. The caller closes it.
func (b *Boxes) Open(ctx context.Context, account, id int64) (*Content, error) {
	var c Content
	var header, inline []byte
	var name, keywords string
	err := b.db.View(ctx, func(tx *store.Tx) error {
		var received int64
		// The account is part of the question: an id alone opens nothing.
		err := tx.QueryRow(`SELECT m.flags, m.keywords, m.received, b.size, b.blob, b.header, b.content, b.ends
			FROM message m JOIN folder f ON f.id = m.folder JOIN body b ON b.id = m.body
			WHERE m.id = ? AND f.account = ?`, id, account).
			Scan(&c.Flags, &keywords, &received, &c.Size, &name, &header, &inline, &c.Ends)
		c.Received = time.Unix(received, 0).UTC()
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("message %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	c.Keywords = strings.Fields(keywords)
	body := io.Reader(bytes.NewReader(inline))
	if name != "" {
		file, err := b.blobs.Open(name)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", id, err)
		}
		c.file, body = file, io.NewSectionReader(file, 0, file.Size())
	}
	c.Reader = io.MultiReader(bytes.NewReader(header), body)
	return &c, nil
}

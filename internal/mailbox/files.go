package mailbox

import (
	"context"

	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/mailbox/sound"
	"gatepost/internal/store"
)

// Moment is the store of one moment: every call of View shows the same.
type Moment = sound.Moment

// Work returns the octets that Check reads.
func Work(n Moment) (octets int64, err error) { return sound.Work(n) }

// Check reads every row and every body of the mailboxes in a snapshot, and
// tells what is wrong. done is told of the octets that were read, owned of the
// blobs that belong to a body. It changes nothing.
func Check(ctx context.Context, n Moment, blobs blob.Store, done func(int64), owned func(name string), found func(audit.Finding)) error {
	return sound.Check(ctx, n, blobs, done, owned, found)
}

// File is a file of the blob store that holds a body.
type File struct {
	Name string
	Size int64 // octets, when it was filed
	sum  int64
}

// Matches reports whether a CRC32C is that of the file when it was filed, as
// far as that is known.
func (f *File) Matches(sum uint32) bool { return sound.Matches(f.sum, sum) }

// Files returns the files that the bodies of a snapshot are in.
func Files(n Moment) (list []File, err error) {
	err = n.View(func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT blob, size - LENGTH(header), content_sum FROM body WHERE blob <> '' ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var f File
			if err := rows.Scan(&f.Name, &f.Size, &f.sum); err != nil {
				return err
			}
			list = append(list, f)
		}
		return rows.Err()
	})
	return list, err
}

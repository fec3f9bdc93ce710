package mailbox

import "gatepost/internal/store"

// File is a file of the blob store that holds a body.
type File struct {
	Name string
	Size int64 // octets, when it was filed
	sum  int64
}

// Matches reports whether a CRC32C is that of the file when it was filed, as
// far as that is known.
func (f *File) Matches(sum uint32) bool { return matches(f.sum, sum) }

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

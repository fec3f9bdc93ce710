package store

import "errors"

// idBlock is how many ids are taken from a sequence at once: so many are
// given out for one write of its row, and at most so many are left out when
// the process ends.
const idBlock = 100

// block is a range of ids that nobody else will be given, once the
// transaction that took it is committed.
type block struct{ next, end int64 }

// NextID returns an id that the sequence has not given before, beginning at
// 1. Ids grow, with gaps. One that was given in a transaction that was
// undone may be given again: nothing durable bears it.
func (tx *Tx) NextID(sequence string) (int64, error) {
	if tx.ids == nil {
		return 0, errors.New("store: ids are given in Update only")
	}
	b := tx.ids[sequence]
	if b == nil || b.next == b.end {
		b = &block{}
		err := tx.QueryRow(`INSERT INTO sequence (name, next) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET next = sequence.next + excluded.next - 1
			RETURNING next`, sequence, int64(1+idBlock)).Scan(&b.end)
		if err != nil {
			return 0, err
		}
		b.next = b.end - idBlock
		tx.ids[sequence] = b
	}
	b.next++
	return b.next - 1, nil
}

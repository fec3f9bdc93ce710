package store

import (
	"errors"
	"time"
)

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
		err := tx.QueryRow(`INSERT INTO sequence (name, next)
			VALUES (?, COALESCE((SELECT f.next FROM sequence f WHERE f.name = ''), 1) + ?)
			ON CONFLICT (name) DO UPDATE SET next = sequence.next + ?
			RETURNING next`, sequence, int64(idBlock), int64(idBlock)).Scan(&b.end)
		if err != nil {
			return 0, err
		}
		b.next = b.end - idBlock
		tx.ids[sequence] = b
	}
	b.next++
	return b.next - 1, nil
}

// leapUnit is how many ids a second of the wall clock is worth: more than a
// server gives out, and few enough that a number of JavaScript, which is exact
// up to 2^53, can hold them beyond the year 2200.
const leapUnit = 1 << 20

// LeapIDs makes all sequences go on from an id that stands for a moment. It is
// for a store that was brought back from an earlier time, whose former life
// went on: the ids that it has given out since are not known, and must not be
// given to anything else. The next leap leads beyond all that is given after
// this one.
func (tx *Tx) LeapIDs(now time.Time) error {
	if tx.ids == nil {
		return errors.New("store: ids are given in Update only")
	}
	clear(tx.ids)
	floor := now.Unix() * leapUnit
	if _, err := tx.Exec(`UPDATE sequence SET next = ? WHERE next < ?`, floor, floor); err != nil {
		return err
	}
	// The empty name is where sequences begin that are not there yet.
	_, err := tx.Exec(`INSERT INTO sequence (name, next) VALUES ('', ?)
		ON CONFLICT (name) DO UPDATE SET next = excluded.next WHERE sequence.next < excluded.next`, floor)
	return err
}

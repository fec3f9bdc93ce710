package activity

import (
	"context"
	"database/sql"
	"time"

	"gatepost/internal/store"
)

// Filter says which events are asked for.
type Filter struct {
	Account string    // empty: all
	Since   time.Time // the zero time: from the beginning
	Kind    Kind      // empty: all
	Failed  bool      // only what was not done
}

// listBatch is how many events are read at a time: nobody holds up the store
// while a terminal scrolls.
const listBatch = 500

// List hands the events that are asked for to each, by the time of their
// last, until it returns an error.
func (b *Book) List(ctx context.Context, f Filter, each func(*Event) error) error {
	b.Flush()
	at, id := f.Since.Unix(), int64(0)
	if f.Since.IsZero() {
		at = 0
	}
	for {
		batch, err := b.batch(ctx, &f, at, id)
		if err != nil {
			return err
		}
		for i := range batch {
			if err := each(&batch[i]); err != nil {
				return err
			}
		}
		if len(batch) < listBatch {
			return nil
		}
		last := &batch[len(batch)-1]
		at, id = last.Last.Unix(), last.ID
	}
}

const (
	listAll = `SELECT ` + columns + ` FROM activity
		WHERE ended >= ? AND (ended > ? OR id > ?) AND (kind = ? OR ? = '') AND (outcome <> 'done' OR ? = 0)
		ORDER BY ended, id LIMIT ?`
	listOne = `SELECT ` + columns + ` FROM activity
		WHERE account = ? AND ended >= ? AND (ended > ? OR id > ?) AND (kind = ? OR ? = '') AND (outcome <> 'done' OR ? = 0)
		ORDER BY ended, id LIMIT ?`
)

// batch returns the next events after one that ended at a time.
func (b *Book) batch(ctx context.Context, f *Filter, at, id int64) (list []Event, err error) {
	failed := int64(0)
	if f.Failed {
		failed = 1
	}
	args := []any{at, at, id, string(f.Kind), string(f.Kind), failed, int64(listBatch)}
	err = b.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		var rows *sql.Rows
		if f.Account == "" {
			rows, err = tx.Query(listAll, args...)
		} else {
			rows, err = tx.Query(listOne, append([]any{f.Account}, args...)...)
		}
		if err != nil {
			return err
		}
		list, err = gather(rows)
		return err
	})
	return list, err
}

const listLast = `SELECT ` + columns + ` FROM activity WHERE account = ? AND owner = ? ORDER BY ended DESC, id DESC LIMIT ?`

// Last returns what happened last to an account, the latest first, and nothing
// of who had its address before.
func (b *Book) Last(ctx context.Context, owner int64, account string, most int) (list []Event, err error) {
	b.Flush()
	err = b.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(listLast, account, owner, int64(most))
		if err != nil {
			return err
		}
		list, err = gather(rows)
		return err
	})
	return list, err
}

// gather reads all rows and closes them.
func gather(rows *sql.Rows) (list []Event, err error) {
	defer rows.Close()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

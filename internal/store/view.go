package store

import (
	"context"
	"fmt"
)

// View calls f in a transaction that reads one snapshot: what was committed
// before it began. ctx bounds the wait for a connection, not f, which ends
// by itself. The error of f is returned as it is.
func (db *DB) View(ctx context.Context, f func(*Tx) error) error {
	if !db.enter() {
		return ErrClosed
	}
	defer db.views.Done()
	var c *conn
	select {
	case c = <-db.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { db.readers <- c }()
	db.Counters.Views.Add(1)
	return c.view(f)
}

func (db *DB) enter() bool {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if !db.closed {
		db.views.Add(1)
	}
	return !db.closed
}

func (c *conn) view(f func(*Tx) error) (err error) {
	if err := c.run("BEGIN"); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	tx := &Tx{conn: c}
	defer func() {
		tx.end()
		if e := c.run("ROLLBACK"); e != nil && err == nil {
			err = fmt.Errorf("store: %w", e)
		}
		c.trim()
	}()
	return f(tx)
}

package store

import (
	"context"
	"fmt"
)

// Update calls f in a writing transaction, shared with what others write at
// the same time, and returns nil when it is on the disk. An error of f undoes
// what f did and is returned as it is. ctx bounds the wait for f's turn: once
// f has run, Update returns what became of it.
//
// f runs in another goroutine, once at most.
func (db *DB) Update(ctx context.Context, f func(*Tx) error) error {
	j := &job{ctx: ctx, f: f, done: make(chan struct{})}
	if err := db.queue(j); err != nil {
		return err
	}
	<-j.done
	return j.err
}

// job is a closure that waits for the writer.
type job struct {
	ctx  context.Context
	f    func(*Tx) error
	err  error
	done chan struct{} // closed when err is final
}

func (db *DB) queue(j *job) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return ErrClosed
	}
	select {
	case db.jobs <- j:
		return nil
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
}

// writer is the connection that writes, and what it knows beside it.
type writer struct {
	*conn
	ids map[string]*block
	ill int // commits that failed since one succeeded
}

// write commits what is queued, group by group, until Close.
func (db *DB) write(w *writer) {
	defer close(db.stopped)
	for first := range db.jobs {
		group := db.gather(first)
		db.Counters.Updates.Add(int64(len(group)))
		err := w.commit(group)
		if err != nil {
			db.Counters.Failed.Add(1)
		} else {
			db.Counters.Commits.Add(1)
		}
		db.tell(w, err, len(group))
		for _, j := range group {
			close(j.done)
		}
	}
	if err := w.close(); err != nil {
		db.log.Error("closing the store", "err", err)
	}
}

// tell logs that commits fail, and that they work again, once each: a full
// disk would fill its log with the rest.
func (db *DB) tell(w *writer, err error, updates int) {
	switch {
	case err == nil && w.ill > 0:
		db.log.Info("the store can commit again", "failed", w.ill)
		w.ill = 0
	case err != nil && w.ill == 0:
		db.log.Error("the store cannot commit", "err", err, "updates", updates)
	}
	if err != nil {
		w.ill++
	}
}

// gather returns what arrived while the writer was busy. It waits for
// nothing: under load the groups grow by themselves.
func (db *DB) gather(first *job) []*job {
	group := []*job{first}
	for len(group) < maxGroup {
		select {
		case j, ok := <-db.jobs:
			if !ok {
				return group
			}
			group = append(group, j)
		default:
			return group
		}
	}
	return group
}

// commit runs the closures of a group and makes them durable. It returns an
// error, and has given it to all of them, when the transaction was lost.
func (w *writer) commit(group []*job) error {
	defer w.trim()
	err := w.run("BEGIN IMMEDIATE")
	for _, j := range group {
		if err == nil {
			err = w.step(j)
		}
	}
	if err == nil {
		err = w.run("COMMIT")
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("store: %w", err)
	for _, j := range group {
		if j.err == nil {
			j.err = err
		}
	}
	w.undo("ROLLBACK")
	return err
}

// step runs one closure in a savepoint of its own. What it returns is not
// the closure's error but that of the database, which ends the group: SQLite
// rolls back by itself when the disk is full or fails, and then there is no
// savepoint to return to.
func (w *writer) step(j *job) error {
	if j.err = j.ctx.Err(); j.err != nil {
		return nil
	}
	if err := w.run("SAVEPOINT closure"); err != nil {
		return err
	}
	tx := &Tx{ctx: j.ctx, conn: w.conn, ids: w.ids}
	j.err = j.f(tx)
	tx.end()
	if j.err != nil {
		if err := w.undo("ROLLBACK TO SAVEPOINT closure"); err != nil {
			return err
		}
	}
	return w.run("RELEASE SAVEPOINT closure")
}

// undo rolls back. Blocks of ids may have been taken in what is undone, so
// none is used any further.
func (w *writer) undo(query string) error {
	clear(w.ids)
	return w.run(query)
}

// Package store is the relational store: accounts, the mailbox index, what
// must outlive a restart and is not a message in flight.
//
// # Place in the path
//
// Ground: it knows no tables beyond its own sequence; each package brings
// its schema as a file in migrations. Messages in flight are in spool, not
// here.
//
// # One writer that commits in groups
//
// Every Update is a closure that waits for the one writer. The writer takes
// what has arrived during its last commit (at most maxGroup), runs each
// closure in a savepoint of one transaction, so that one that fails rolls
// back alone, and commits once. Update returns nil only when that commit is
// on the disk (WAL with synchronous=FULL: one fsync a group). If the commit
// fails, as on a full disk, everyone in the group gets the error, nothing of
// the group has happened, and the next group begins anew.
//
// View reads a snapshot, concurrently with the writer and other views.
//
// # One dialect for two databases
//
// SQLite today, PostgreSQL later; what is written must run on both. Types
// are BIGINT, TEXT and BYTEA; times are seconds since 1970 in UTC; truth is
// 0 or 1; ids come from NextID. A test reads every migration and every
// statement of the program and, where a PostgreSQL server is installed, has
// it prepare them. A query's rows are closed before the next query begins:
// a PostgreSQL connection answers one at a time.
//
// # Trust and limits
//
// The file is ours (mode 0600) and is not opened by another process while
// the data directory is locked. A closure has no time limit: it holds up
// every other writer, and must do nothing but queries.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Bounds of the store.
const (
	// maxGroup bounds the closures of one transaction, and with it how long
	// the first of them waits for the others.
	maxGroup = 256
	// maxStatements bounds the prepared statements kept for a connection.
	// The program's own are far fewer: only texts put together at run time
	// could exceed it.
	maxStatements = 500
	// Bounds of the number of connections for View; between them it is the
	// number of processors. A View waits for a free one.
	minReaders, maxReaders = 4, 16
)

// Errors of the store. What the database itself says is wrapped.
var (
	// ErrNotFound is returned by Row.Scan when there is no row.
	ErrNotFound = errors.New("store: not found")
	// ErrClosed is returned by everything after Close.
	ErrClosed = errors.New("store: closed")
)

// Options configure a store. All fields are required.
type Options struct {
	Path string // of the database file; its directory must exist
	Log  *slog.Logger
}

// Counters count what the store did since it was opened.
type Counters struct {
	Views   atomic.Int64 // reading transactions
	Updates atomic.Int64 // closures given to Update that ran
	Commits atomic.Int64 // groups that were committed
	Failed  atomic.Int64 // groups that were lost to an error of the database
}

// DB is an open store. Its methods may be called from any goroutine, but not
// from within a closure given to one of them.
type DB struct {
	Counters Counters

	log     *slog.Logger
	pools   [2]*sql.DB // hold the connections of the writer and the readers
	readers chan *conn // the idle ones

	mu      sync.RWMutex // held while queueing a job or entering a view, so that Close sees them all
	closed  bool
	views   sync.WaitGroup
	jobs    chan *job
	stopped chan struct{} // closed when the writer is done
}

// Open opens the store, makes it if it is not there, and brings its schema up
// to date. A schema that is newer than this program is refused: nothing is
// written to it.
func Open(ctx context.Context, o Options) (*DB, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db := &DB{
		log:     o.Log,
		jobs:    make(chan *job, maxGroup),
		stopped: make(chan struct{}),
	}
	w, err := db.connect(ctx, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: opening %s: %w", path, err), db.disconnect())
	}
	go db.write(w)
	return db, nil
}

// create makes an empty file that nobody else can read, and makes its name
// durable. SQLite gives the files that it puts beside it the same mode.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// connect brings the schema up to date and opens the readers' connections
// and the writer's, which it returns.
func (db *DB) connect(ctx context.Context, path string) (*writer, error) {
	var err error
	if db.pools[0], err = open(path, 16<<20, false); err != nil {
		return nil, err
	}
	if err := db.migrate(ctx, db.pools[0], migrations); err != nil {
		return nil, err
	}
	if db.pools[1], err = open(path, 4<<20, true); err != nil {
		return nil, err
	}
	n := min(max(runtime.GOMAXPROCS(0), minReaders), maxReaders)
	db.readers = make(chan *conn, n)
	for range n {
		r, err := newConn(ctx, db.pools[1])
		if err != nil {
			return nil, err
		}
		db.readers <- r
	}
	c, err := newConn(ctx, db.pools[0])
	if err != nil {
		return nil, err
	}
	return &writer{conn: c, ids: map[string]*block{}}, nil
}

// open returns a pool whose connections keep up to cache octets of pages.
func open(path string, cache int, readOnly bool) (*sql.DB, error) {
	v := url.Values{
		// Text in double quotes would be taken for a string: SQLite's alone.
		"_dqs":    {"0"},
		"_pragma": pragmas(cache, readOnly),
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: v.Encode()}
	return sql.Open("sqlite", name.String())
}

func pragmas(cache int, readOnly bool) []string {
	list := []string{
		// First, since the others may have to wait too: for an operator
		// who looks into the file with a tool of theirs.
		"busy_timeout(5000)",
		"journal_mode(WAL)",
		// A commit is on the disk when it returns.
		"synchronous(FULL)",
		"foreign_keys(ON)",
		fmt.Sprintf("cache_size(%d)", -cache>>10), // negative: KiB
		"temp_store(MEMORY)",
		// Not mapped: an I/O error on a mapped page is a signal that ends
		// the process, where a failed read is an error that ends a query.
		"mmap_size(0)",
		// Pages of 4 KiB: the log is written back after 16 MiB and is given
		// back to the file system beyond 64.
		"wal_autocheckpoint(4000)",
		"journal_size_limit(67108864)",
		// What was deleted (mail, credentials) is overwritten where that
		// costs no write of its own.
		"secure_delete(FAST)",
		"trusted_schema(OFF)",
	}
	if readOnly {
		list = append(list, "query_only(ON)")
	}
	return list
}

// Close lets what is queued finish, and closes the files.
func (db *DB) Close() error {
	db.mu.Lock()
	was := db.closed
	db.closed = true
	db.mu.Unlock()
	if was {
		return ErrClosed
	}
	close(db.jobs)
	<-db.stopped
	db.views.Wait()
	return db.disconnect()
}

// disconnect closes what is open. Nothing uses it any more.
func (db *DB) disconnect() error {
	var errs []error
	for range len(db.readers) {
		errs = append(errs, (<-db.readers).close())
	}
	for _, p := range db.pools {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}

// IsUnique reports whether err says that a row with the same key is there
// already.
func IsUnique(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// Failed reports whether err says that the store could not answer, rather than
// that somebody asked for what cannot be.
func Failed(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) || errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

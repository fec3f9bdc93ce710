package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Snapshot is the store as it was at one moment, for as long as it is open.
// It is used by one goroutine. While it is open the log of the database
// grows with all that is written.
type Snapshot struct {
	conn  *conn
	close func() error
}

// Snapshot returns the store as it is now. meanwhile is called at that
// moment, with no commit under way: whoever was told of one by then finds it
// in the snapshot, and nobody has been told of any other. meanwhile must be
// quick and must not use the store.
func (db *DB) Snapshot(ctx context.Context, meanwhile func()) (*Snapshot, error) {
	if !db.enter() {
		return nil, ErrClosed
	}
	c, err := newConn(ctx, db.pools[1])
	if err != nil {
		db.views.Done()
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Snapshot{conn: c, close: func() error { defer db.views.Done(); return c.close() }}
	begun := false
	err = db.Update(ctx, func(*Tx) error {
		if err := s.begin(); err != nil {
			return err
		}
		meanwhile()
		begun = true
		return nil
	})
	// That the commit failed is the affair of those who wrote in it.
	if !begun {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// begin pins the moment: SQLite does it with the first read.
func (s *Snapshot) begin() error {
	if err := s.conn.run("BEGIN"); err != nil {
		return err
	}
	var n int64
	return s.number(&n, "SELECT COUNT(*) FROM sqlite_schema")
}

// number reads the one number that a query of SQLite's own returns.
func (s *Snapshot) number(n *int64, query string) error {
	if err := s.conn.sql.QueryRowContext(context.Background(), query).Scan(n); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// Close ends the snapshot.
func (s *Snapshot) Close() error {
	_ = s.conn.run("ROLLBACK") // there may have been no BEGIN
	return s.close()
}

// View calls f with the snapshot. The error of f is returned as it is.
func (s *Snapshot) View(f func(*Tx) error) error {
	tx := &Tx{conn: s.conn}
	defer tx.end()
	return f(tx)
}

// Size returns the octets that WriteTo writes.
func (s *Snapshot) Size() (int64, error) {
	var count, size int64
	err := errors.Join(s.number(&count, "PRAGMA page_count"), s.number(&size, "PRAGMA page_size"))
	return count * size, err
}

// WriteTo writes the snapshot as a database file.
func (s *Snapshot) WriteTo(w io.Writer) (n int64, err error) {
	rows, err := s.conn.sql.QueryContext(context.Background(), "SELECT data FROM sqlite_dbpage ORDER BY pgno")
	if err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var page sql.RawBytes
		if err := rows.Scan(&page); err != nil {
			return n, fmt.Errorf("store: %w", err)
		}
		k, err := w.Write(page)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	if err := rows.Err(); err != nil {
		return n, fmt.Errorf("store: %w", err)
	}
	return n, nil
}

// maxDamage bounds the sentences of Damage.
const maxDamage = 100

// Damage reads the whole database, its indexes too, and returns what the
// database itself finds wrong, a sentence each, at most maxDamage.
func (s *Snapshot) Damage() ([]string, error) {
	list, err := s.lines(fmt.Sprintf("PRAGMA integrity_check(%d)", maxDamage), func(rows *sql.Rows) (string, error) {
		var text string
		err := rows.Scan(&text)
		return strings.TrimSpace(text), err
	})
	if err != nil || len(list) == 1 && list[0] == "ok" {
		list = nil
	}
	if err != nil {
		return nil, err
	}
	strays, err := s.lines("PRAGMA foreign_key_check", func(rows *sql.Rows) (string, error) {
		var table, parent string
		var row, key sql.NullInt64
		err := rows.Scan(&table, &row, &parent, &key)
		return fmt.Sprintf("row %d of %s belongs to a row of %s that is not there", row.Int64, table, parent), err
	})
	return append(list, strays...), err
}

// lines runs a query of SQLite's own.
func (s *Snapshot) lines(query string, line func(*sql.Rows) (string, error)) (list []string, err error) {
	rows, err := s.conn.sql.QueryContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer rows.Close()
	for rows.Next() && len(list) < maxDamage {
		text, err := line(rows)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		list = append(list, text)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return list, nil
}

// ErrOlder says that the data was written by an older program, and that no
// server of this version has upgraded it yet.
var ErrOlder = errors.New("the data was written by an older Gatepost and is not upgraded yet; start this one once")

// Look opens the store at path as it is, and changes nothing in it: a schema
// that is not this program's own is refused. No server may be running on it.
// A store that does not exist is fs.ErrNotExist.
func Look(ctx context.Context, path string) (*Snapshot, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	v := url.Values{
		"mode": {"ro"}, "_dqs": {"0"},
		"_pragma": {"busy_timeout(5000)", "query_only(ON)", "mmap_size(0)", "trusted_schema(OFF)", "temp_store(MEMORY)"},
	}
	// Without a log there is nothing to recover, and SQLite need not even make
	// the files that it would coordinate with others by.
	if wal, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) || err == nil && wal.Size() == 0 {
		v.Set("immutable", "1")
	}
	pool, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: v.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	c, err := newConn(ctx, pool)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: opening %s: %w", path, err), pool.Close())
	}
	s := &Snapshot{conn: c, close: func() error { return errors.Join(c.close(), pool.Close()) }}
	if err = s.begin(); err == nil {
		err = s.checkVersion()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Snapshot) checkVersion() error {
	var have int64
	if err := s.number(&have, "SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied"); err != nil {
		return err
	}
	know, err := latest(migrations)
	switch {
	case err != nil:
		return err
	case have > know:
		return newer(have, know)
	case have < know:
		return ErrOlder
	}
	return nil
}

// latest returns the version that the steps lead to.
func latest(steps fs.FS) (version int64, err error) {
	names, err := fs.Glob(steps, "migrations/*.sql")
	for _, name := range names {
		digits, _, _ := strings.Cut(filepath.Base(name), "_")
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, err
		}
		version = max(version, n)
	}
	return version, err
}

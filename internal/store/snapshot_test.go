package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// image writes a snapshot to a file and opens it as a store.
func image(t *testing.T, s *Snapshot) *DB {
	t.Helper()
	size, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := s.WriteTo(&b); err != nil || n != size || int64(b.Len()) != size {
		t.Fatalf("wrote %d of %d octets: %v", n, size, err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return reopen(t, Options{Path: path, Log: slog.New(slog.DiscardHandler)})
}

// A snapshot is the store of one moment, however much is written while it is
// read.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	many := func(count int, name func(i int) string) func(*Tx) error {
		return func(tx *Tx) (err error) {
			for i := range count {
				err = errors.Join(err, addDomain(name(i))(tx))
			}
			return err
		}
	}
	must(db.Update(t.Context(), many(300, func(i int) string { return fmt.Sprintf("%s%d.example", strings.Repeat("x", 500), i) })))
	called := false
	s, err := db.Snapshot(t.Context(), func() { called = true })
	must(err)
	if !called {
		t.Error("the moment was not told")
	}
	for i := range 10 {
		must(db.Update(t.Context(), many(30, func(k int) string { return fmt.Sprintf("%s%d.%d.late.example", strings.Repeat("y", 500), i, k) })))
	}
	must(db.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`DELETE FROM domain WHERE name < 'y'`)
		return err
	}))
	count := func(view func(func(*Tx) error) error) (n int64) {
		t.Helper()
		must(view(func(tx *Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM domain WHERE name < 'y'`).Scan(&n) }))
		return n
	}
	if n := count(s.View); n != 300 {
		t.Errorf("the snapshot has %d domains", n)
	}
	damage, err := s.Damage()
	if err != nil || len(damage) > 0 {
		t.Errorf("%q, %v", damage, err)
	}
	dup := image(t, s)
	if n := count(func(f func(*Tx) error) error { return dup.View(t.Context(), f) }); n != 300 {
		t.Errorf("the copy has %d domains", n)
	}
	if strings.Contains(domains(t, dup), "late") {
		t.Error("the copy has what came later")
	}
	must(s.Close())
	if n := count(func(f func(*Tx) error) error { return db.View(t.Context(), f) }); n != 0 {
		t.Errorf("the store has %d of the old domains", n)
	}
}

// Everything that somebody was told of at the moment is in the snapshot, and
// nothing that somebody was told of is missing from it unless they were told
// later.
func TestSnapshotIsAMoment(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	var told atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := db.Update(context.Background(), addDomain(fmt.Sprintf("d%d-%d.example", w, i))); err != nil {
					t.Error(err)
				}
				told.Add(1)
			}
		})
	}
	for range 20 {
		for before := told.Load(); told.Load() < before+5; {
			time.Sleep(time.Millisecond)
		}
		var then int64
		s, err := db.Snapshot(t.Context(), func() { then = told.Load() })
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		err = s.View(func(tx *Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM domain`).Scan(&n) })
		// Each writer may have been told of one that it has not counted.
		if err != nil || n < then || n > then+4 {
			t.Errorf("the snapshot has %d domains of which %d were acknowledged: %v", n, then, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	stop()
	writers.Wait()
}

func TestSnapshotAfterClose(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	db := reopen(t, o)
	s, err := db.Snapshot(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	if _, err := s.Size(); err != nil {
		t.Errorf("the store was closed under a snapshot: %v", err)
	}
	if err := errors.Join(s.Close(), <-closed); err != nil {
		t.Error(err)
	}
	if _, err := db.Snapshot(t.Context(), func() {}); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

// files returns the content of the files beside a path, but for the index of
// the log, which is no data.
func files(t *testing.T, path string) string {
	t.Helper()
	list, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range list {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "-shm") && len(content) > 0 {
			fmt.Fprintf(&b, "%s %x\n", name, content)
		}
	}
	return b.String()
}

// To look at a store changes nothing in it, also where a server was killed
// and its log holds what the file does not.
func TestLook(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	db := reopen(t, o)
	if err := db.Update(t.Context(), addDomain("a.example")); err != nil {
		t.Fatal(err)
	}
	killed := filepath.Join(t.TempDir(), "killed.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(o.Path + suffix)
		if err != nil || len(b) == 0 {
			t.Fatal(len(b), err)
		}
		if err := os.WriteFile(killed+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{killed, o.Path} {
		before := files(t, path)
		s, err := Look(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		var name string
		err = s.View(func(tx *Tx) error { return tx.QueryRow(`SELECT name FROM domain`).Scan(&name) })
		if err != nil || name != "a.example" {
			t.Errorf("%s: %q, %v", path, name, err)
		}
		if damage, err := s.Damage(); err != nil || len(damage) > 0 {
			t.Errorf("%s: %q, %v", path, damage, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if files(t, path) != before {
			t.Errorf("%s was changed", path)
		}
		if list, err := filepath.Glob(path + "*"); err != nil || path == o.Path && len(list) != 1 {
			t.Errorf("%q, %v", list, err)
		}
	}
	if _, err := Look(t.Context(), o.Path+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store that is not there: %v", err)
	}
	pool, err := open(o.Path, 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for version, want := range map[int]string{9999: "newer Gatepost (its schema is version 9999", 1: ErrOlder.Error()} {
		if _, err := pool.Exec(`DELETE FROM goose_db_version WHERE version_id > 1`); err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)`, version); err != nil {
			t.Fatal(err)
		}
		if _, err := Look(t.Context(), o.Path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// What the database finds damaged in itself is told in sentences.
func TestDamage(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	db := reopen(t, o)
	err := db.Update(t.Context(), func(tx *Tx) (err error) {
		for i := range 2000 {
			err = errors.Join(err, addDomain(fmt.Sprintf("%04d.%s.example", i, strings.Repeat("x", 50)))(tx))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	pool, err := open(o.Path, 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{`PRAGMA foreign_keys = OFF`, `INSERT INTO alias (domain, local, created) VALUES ('nobody.example', 'x', 0)`} {
		pool.SetMaxOpenConns(1)
		if _, err := pool.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	pool.Close()
	b, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	// A leaf of the table: the pages of the indexes on it no longer agree.
	at := bytes.LastIndex(b, []byte("0999."))
	copy(b[at:], "0899.")
	if err := os.WriteFile(o.Path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Look(t.Context(), o.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	damage, err := s.Damage()
	text := strings.Join(damage, "\n")
	if err != nil || len(damage) < 2 || !strings.Contains(text, "row 1 of alias belongs to a row of domain that is not there") {
		t.Errorf("%q, %v", damage, err)
	}
}

// After a leap no sequence gives what it has given before, nor what it would
// have given had the store gone on, nor what it gives after another leap.
func TestLeapIDs(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	take := func(sequence string) (id int64) {
		t.Helper()
		err := db.Update(t.Context(), func(tx *Tx) (err error) {
			id, err = tx.NextID(sequence)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	leap := func(to int64) {
		t.Helper()
		if err := db.Update(t.Context(), func(tx *Tx) error { return tx.LeapIDs(time.Unix(to, 0)) }); err != nil {
			t.Fatal(err)
		}
	}
	if id := take("x"); id != 1 {
		t.Errorf("the first is %d", id)
	}
	leap(1_800_000_000)
	for _, sequence := range []string{"x", "y"} { // y is made after the leap
		if a, b := take(sequence), take(sequence); a != 1_800_000_000<<20 || b != a+1 {
			t.Errorf("%s: %d, %d", sequence, a, b)
		}
	}
	leap(1_700_000_000) // the clock was set back
	for _, sequence := range []string{"x", "y"} {
		if id := take(sequence); id <= 1_800_000_000<<20 {
			t.Errorf("%s: %d after a leap back", sequence, id)
		}
	}
	leap(1_800_000_001)
	for _, sequence := range []string{"x", "y", "z"} {
		if id := take(sequence); id != 1_800_000_001<<20 {
			t.Errorf("%s: %d", sequence, id)
		}
	}
	err := db.View(t.Context(), func(tx *Tx) error { return tx.LeapIDs(time.Unix(0, 0)) })
	if err == nil {
		t.Error("a leap while reading")
	}
}

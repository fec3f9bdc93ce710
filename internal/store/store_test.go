package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testOptions(tb testing.TB) Options {
	return Options{Path: filepath.Join(tb.TempDir(), "gatepost.db"), Log: slog.New(slog.DiscardHandler)}
}

func testStore(tb testing.TB) *DB {
	tb.Helper()
	return reopen(tb, testOptions(tb))
}

func reopen(tb testing.TB, o Options) *DB {
	tb.Helper()
	db, err := Open(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, ErrClosed) {
			tb.Error(err)
		}
	})
	return db
}

func addDomain(name string) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO domain (name, created) VALUES (?, ?)`, name, int64(0))
		return err
	}
}

func domains(tb testing.TB, db *DB) string {
	tb.Helper()
	var list []string
	err := db.View(context.Background(), func(tx *Tx) error {
		rows, err := tx.Query(`SELECT name FROM domain ORDER BY name`)
		if err != nil {
			return err
		}
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			list = append(list, name)
		}
		return rows.Err() // left open: the transaction closes them
	})
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Join(list, " ")
}

// together runs the closures in one group: the writer is held until all of
// them wait.
func together(t *testing.T, db *DB, list ...func(*Tx) error) []error {
	t.Helper()
	begun, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		err := db.Update(context.Background(), func(*Tx) error { close(begun); <-release; return nil })
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	errs := make([]error, len(list))
	for i, f := range list {
		all.Go(func() { errs[i] = db.Update(context.Background(), f) })
		for len(db.jobs) <= i { // queued in the order given
			time.Sleep(time.Millisecond)
		}
	}
	close(release)
	all.Wait()
	return errs
}

func TestUpdateIsDurableAndSeen(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	db := reopen(t, o)
	if err := db.Update(context.Background(), addDomain("a.example")); err != nil {
		t.Fatal(err)
	}
	if got := domains(t, db); got != "a.example" {
		t.Errorf("domains: %q", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got := domains(t, reopen(t, o)); got != "a.example" {
		t.Errorf("domains after opening again: %q", got)
	}
}

func TestGroupIsOneCommit(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	var list []func(*Tx) error
	for i := range 20 {
		list = append(list, addDomain(fmt.Sprintf("d%02d.example", i)))
	}
	for _, err := range together(t, db, list...) {
		if err != nil {
			t.Error(err)
		}
	}
	// One for the closure that held the writer, one for the group.
	if n := db.Counters.Commits.Load(); n != 2 {
		t.Errorf("%d commits for a group", n)
	}
	if n := strings.Count(domains(t, db), "example"); n != 20 {
		t.Errorf("%d rows of 20", n)
	}
}

func TestFailingClosureRollsBackAlone(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	mine := errors.New("mine")
	errs := together(t, db,
		addDomain("a.example"),
		func(tx *Tx) error {
			if err := addDomain("b.example")(tx); err != nil {
				return err
			}
			return mine
		},
		addDomain("a.example"), // unique
		addDomain("c.example"),
	)
	if errs[0] != nil || errs[1] != mine || !IsUnique(errs[2]) || errs[3] != nil {
		t.Errorf("errors: %v", errs)
	}
	if got := domains(t, db); got != "a.example c.example" {
		t.Errorf("domains: %q", got)
	}
}

func TestIsUnique(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	err := db.Update(context.Background(), func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO alias (domain, local, created) VALUES ('nowhere.example', 'x', 0)`)
		return err
	})
	if err == nil || IsUnique(err) {
		t.Errorf("a missing foreign key: %v", err)
	}
	if IsUnique(nil) || IsUnique(errors.New("UNIQUE")) {
		t.Error("IsUnique of something else")
	}
}

// A row of a group that SQLite lost as a whole must not look committed to
// anybody, and the store must go on.
func TestLostTransactionFailsTheGroup(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	errs := together(t, db,
		addDomain("a.example"),
		func(tx *Tx) error { // stands for a full disk, after which SQLite rolls back by itself
			_, err := tx.Exec(`ROLLBACK`)
			return errors.Join(err, errors.New("disk full"))
		},
		addDomain("b.example"),
	)
	for i, err := range errs {
		if err == nil {
			t.Errorf("closure %d: no error", i)
		}
	}
	if got := domains(t, db); got != "" {
		t.Errorf("domains: %q", got)
	}
	if n := db.Counters.Failed.Load(); n != 1 {
		t.Errorf("%d failed groups", n)
	}
	if err := db.Update(context.Background(), addDomain("c.example")); err != nil {
		t.Errorf("the store did not survive: %v", err)
	}
	if got := domains(t, db); got != "c.example" {
		t.Errorf("domains: %q", got)
	}
}

func TestFullDatabase(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	limit := func(pages int) {
		t.Helper()
		err := db.Update(context.Background(), func(tx *Tx) error {
			var n int64
			return tx.QueryRow(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages)).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	big := strings.Repeat("x", 1<<20)
	limit(100)
	errs := together(t, db, addDomain("a.example"), addDomain(big), addDomain("b.example"))
	if errs[1] == nil {
		t.Fatal("a megabyte went into 400 KiB")
	}
	got := domains(t, db)
	for i, name := range []string{"a.example", "", "b.example"} {
		if name != "" && (errs[i] == nil) != strings.Contains(got, name) {
			t.Errorf("%s: error %v, but the store has %q", name, errs[i], got)
		}
	}
	limit(1 << 20)
	if err := db.Update(context.Background(), addDomain(big)); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestContextBoundsTheWait(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	begun, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { db.Update(context.Background(), func(*Tx) error { close(begun); <-release; return nil }) })
	<-begun
	all.Go(func() {
		ran := false
		err := db.Update(ctx, func(*Tx) error { ran = true; return nil })
		if !errors.Is(err, context.Canceled) || ran {
			t.Errorf("cancelled while it waited: %v, ran: %v", err, ran)
		}
	})
	for len(db.jobs) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	close(release)
	all.Wait()

	// Once a closure runs, cancelling changes nothing.
	ctx, cancel = context.WithCancel(context.Background())
	err := db.Update(ctx, func(tx *Tx) error { cancel(); return addDomain("a.example")(tx) })
	if err != nil || domains(t, db) != "a.example" {
		t.Errorf("cancelled while it ran: %v, %q", err, domains(t, db))
	}
}

func TestViewWaitsForAConnection(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	release := make(chan struct{})
	var all sync.WaitGroup
	for range cap(db.readers) {
		all.Go(func() { db.View(context.Background(), func(*Tx) error { <-release; return nil }) })
	}
	for len(db.readers) > 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := db.View(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("no connection was free: %v", err)
	}
	close(release)
	all.Wait()
	if err := db.View(context.Background(), func(*Tx) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestViewIsASnapshot(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	count := func(tx *Tx) (n int64) {
		if err := tx.QueryRow(`SELECT COUNT(*) FROM domain`).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	err := db.View(context.Background(), func(tx *Tx) error {
		before := count(tx)
		if err := db.Update(context.Background(), addDomain("a.example")); err != nil {
			t.Error(err)
		}
		if after := count(tx); after != before {
			t.Errorf("the snapshot changed from %d to %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := domains(t, db); got != "a.example" {
		t.Errorf("the next view: %q", got)
	}
}

// Rows that a closure forgot to close would hold its snapshot for whoever
// gets the connection next.
func TestForgottenRowsAreClosed(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	if err := errors.Join(db.Update(context.Background(), addDomain("a.example")), db.Update(context.Background(), addDomain("b.example"))); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * cap(db.readers) {
		err := db.View(context.Background(), func(tx *Tx) error {
			rows, err := tx.Query(`SELECT name FROM domain`)
			if err != nil || !rows.Next() {
				t.Errorf("%v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		name := fmt.Sprintf("c%d.example", i)
		if err := db.Update(context.Background(), addDomain(name)); err != nil {
			t.Fatal(err)
		}
	}
	for range cap(db.readers) {
		if n := strings.Count(domains(t, db), "example"); n != 2+2*cap(db.readers) {
			t.Errorf("a view sees %d rows", n)
		}
	}
}

func TestViewCannotWrite(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	if err := db.View(context.Background(), addDomain("a.example")); err == nil {
		t.Error("a view wrote")
	}
	err := db.View(context.Background(), func(tx *Tx) error { _, err := tx.NextID("x"); return err })
	if err == nil {
		t.Error("a view took an id")
	}
	if got := domains(t, db); got != "" {
		t.Errorf("domains: %q", got)
	}
}

func TestTxIsRefusedOutsideItsClosure(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	var escaped *Tx
	db.Update(context.Background(), func(tx *Tx) error { escaped = tx; return nil })
	if _, err := escaped.Exec(`DELETE FROM domain`); !errors.Is(err, errOver) {
		t.Errorf("Exec: %v", err)
	}
	if err := escaped.QueryRow(`SELECT 1`).Scan(); !errors.Is(err, errOver) {
		t.Errorf("QueryRow: %v", err)
	}
}

func TestRowErrors(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	db.View(context.Background(), func(tx *Tx) error {
		var n int64
		if err := tx.QueryRow(`SELECT created FROM domain WHERE name = ?`, "x").Scan(&n); !errors.Is(err, ErrNotFound) {
			t.Errorf("no row: %v", err)
		}
		if err := tx.QueryRow(`SELECT nonsense FROM domain`).Scan(&n); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("no column: %v", err)
		}
		if _, err := tx.Query(`SELECT "created" FROM domain WHERE name = "x"`); err == nil {
			t.Error("double quotes made a string")
		}
		for _, arg := range []any{true, 1.5, float32(1), time.Now()} {
			if _, err := tx.Query(`SELECT name FROM domain WHERE created = ?`, arg); err == nil {
				t.Errorf("an argument of type %T was taken", arg)
			}
		}
		return nil
	})
}

func TestStatementsAreBounded(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	c := <-db.readers
	defer func() { db.readers <- c }()
	for i := range maxStatements + 10 {
		err := c.view(func(tx *Tx) error {
			var n int64
			return tx.QueryRow(fmt.Sprintf(`SELECT %d`, i)).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.statements) > maxStatements {
			t.Fatalf("%d statements are kept", len(c.statements))
		}
	}
}

// Insert writes each row once, whatever their number.
func TestInsert(t *testing.T) {
	t.Parallel()
	const query = `INSERT INTO domain (name, created) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`
	for _, n := range []int{0, 1, rowsAtOnce - 1, rowsAtOnce, rowsAtOnce + 1, 2*rowsAtOnce + 3} {
		db := testStore(t)
		var rows [][]any
		for i := range n {
			rows = append(rows, []any{fmt.Sprintf("d%d.example", i), int64(i)})
		}
		err := db.Update(t.Context(), func(tx *Tx) error {
			if err := tx.Insert(query, rows); err != nil {
				return err
			}
			return tx.Insert(query, rows)
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(t.Context(), func(tx *Tx) error {
			var have, sum int
			err := tx.QueryRow(`SELECT COUNT(*), COALESCE(SUM(created), 0) FROM domain WHERE name = 'd' || created || '.example'`).Scan(&have, &sum)
			if have != n || sum != n*(n-1)/2 {
				t.Errorf("%d rows of %d, created at %d in all", have, n, sum)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		err = db.Update(t.Context(), func(tx *Tx) error {
			rows = append(rows, []any{"null.example", nil})
			return tx.Insert(query, rows)
		})
		if err == nil {
			t.Error("a row that cannot be is inserted")
		}
	}
	err := testStore(t).Update(t.Context(), func(tx *Tx) error { return tx.Insert(`INSERT INTO domain DEFAULT VALUES`, nil) })
	if err == nil {
		t.Error("there is no row of values")
	}
}

func TestNextID(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	seen := map[int64]bool{}
	var last int64
	take := func(db *DB, n int, fail bool) {
		t.Helper()
		err := db.Update(context.Background(), func(tx *Tx) error {
			for range n {
				id, err := tx.NextID("x")
				if err != nil {
					return err
				}
				if !fail {
					if seen[id] || id <= last {
						t.Errorf("id %d after %d, seen: %v", id, last, seen[id])
					}
					seen[id], last = true, id
				}
			}
			if fail {
				return errors.New("undone")
			}
			return nil
		})
		if (err != nil) != fail {
			t.Fatal(err)
		}
	}
	db := reopen(t, o)
	take(db, 1, false)
	if last != 1 {
		t.Errorf("the first id is %d", last)
	}
	take(db, idBlock+5, false) // over a block's end
	take(db, idBlock+5, true)  // the block it takes is undone with it
	take(db, 3, false)
	db.Close()
	db = reopen(t, o)
	take(db, 3, false)
	// Another sequence begins at the beginning.
	db.Update(context.Background(), func(tx *Tx) error {
		if id, err := tx.NextID("y"); id != 1 || err != nil {
			t.Errorf("first id of another sequence: %d, %v", id, err)
		}
		return nil
	})
}

// The ids of a closure that is undone may come again, those of its
// neighbours in the group may not, whoever took the block.
func TestNextIDInAGroupWithFailures(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	var mu sync.Mutex
	kept := map[int64]int{}
	taker := func(n int, fail bool) func(*Tx) error {
		return func(tx *Tx) error {
			for range n {
				id, err := tx.NextID("x")
				if err != nil {
					return err
				}
				if !fail {
					mu.Lock()
					kept[id]++
					mu.Unlock()
				}
			}
			if fail {
				return errors.New("undone")
			}
			return nil
		}
	}
	together(t, db, taker(3, false), taker(2, true), taker(idBlock, true), taker(4, false), taker(1, true), taker(idBlock, false))
	together(t, db, taker(2, false))
	if len(kept) != 3+4+idBlock+2 {
		t.Errorf("%d different ids", len(kept))
	}
	for id, n := range kept {
		if n > 1 {
			t.Errorf("id %d was given %d times", id, n)
		}
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	// What is queued still happens.
	var all sync.WaitGroup
	begun, release := make(chan struct{}), make(chan struct{})
	all.Go(func() { db.Update(context.Background(), func(*Tx) error { close(begun); <-release; return nil }) })
	<-begun
	all.Go(func() {
		if err := db.Update(context.Background(), addDomain("a.example")); err != nil {
			t.Error(err)
		}
	})
	for len(db.jobs) == 0 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	all.Wait()
	for what, err := range map[string]error{
		"Update": db.Update(context.Background(), addDomain("b.example")),
		"View":   db.View(context.Background(), func(*Tx) error { return nil }),
		"Close":  db.Close(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

func TestFilesAreOurs(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	db := reopen(t, o)
	if err := db.Update(context.Background(), addDomain("a.example")); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(filepath.Dir(o.Path))
	if err != nil || len(list) < 3 {
		t.Fatalf("%d files, %v", len(list), err)
	}
	for _, e := range list {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	want := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "mmap_size": "0", "secure_delete": "2"}
	check := func(tx *Tx) error {
		for name, value := range want {
			var got string
			if err := tx.QueryRow(`PRAGMA ` + name).Scan(&got); err != nil {
				return err
			}
			if got != value {
				t.Errorf("%s is %s", name, got)
			}
		}
		return nil
	}
	if err := errors.Join(db.Update(context.Background(), check), db.View(context.Background(), check)); err != nil {
		t.Error(err)
	}
}

func TestPathIsNotInterpreted(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Path = filepath.Join(filepath.Dir(o.Path), "a b%41?mode=memory#x")
	if err := reopen(t, o).Update(context.Background(), addDomain("a.example")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(o.Path); err != nil || info.Size() == 0 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	db := reopen(t, o)
	newer := fstest.MapFS{"migrations/9999_later.sql": {Data: []byte("-- +goose Up\nCREATE TABLE later (x BIGINT);\n")}}
	list, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	for _, name := range list {
		data, err := fs.ReadFile(migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		newer[name] = &fstest.MapFile{Data: data}
	}
	pool, err := open(o.Path, 1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.migrate(context.Background(), pool, newer); err != nil {
		t.Fatal(err)
	}
	pool.Close()
	db.Close()
	_, err = Open(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "newer Gatepost (its schema is version 9999") {
		t.Errorf("a newer schema: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	if err := os.WriteFile(o.Path, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := Open(context.Background(), o); err == nil {
		db.Close()
		t.Error("garbage was opened")
	}
	o.Path = filepath.Join(o.Path, "below", "a.file")
	if db, err := Open(context.Background(), o); err == nil {
		db.Close()
		t.Error("a path below a file was opened")
	}
}

// Concurrent use under -race: what Update said is there is there.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	db := testStore(t)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("d%d-%d.example", g, i)
				fail := i%5 == 4
				err := db.Update(context.Background(), func(tx *Tx) error {
					if _, err := tx.NextID("x"); err != nil {
						return err
					}
					if err := addDomain(name)(tx); err != nil || !fail {
						return err
					}
					return sql.ErrTxDone
				})
				var found int64
				if err := db.View(context.Background(), func(tx *Tx) error {
					return tx.QueryRow(`SELECT COUNT(*) FROM domain WHERE name = ?`, name).Scan(&found)
				}); err != nil {
					t.Error(err)
				}
				if (err == nil) == fail || (found == 1) != (err == nil) {
					t.Errorf("%s: %v, found %d", name, err, found)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkUpdate64(b *testing.B) {
	db := testStore(b)
	var n int64
	var mu sync.Mutex
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mu.Lock()
			n++
			name := fmt.Sprintf("d%d.example", n)
			mu.Unlock()
			if err := db.Update(context.Background(), addDomain(name)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(db.Counters.Updates.Load())/float64(db.Counters.Commits.Load()), "updates/commit")
}

func BenchmarkUpdateAlone(b *testing.B) {
	db := testStore(b)
	for i := 0; b.Loop(); i++ {
		if err := db.Update(context.Background(), addDomain(fmt.Sprintf("d%d.example", i))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkView(b *testing.B) {
	db := testStore(b)
	db.Update(context.Background(), addDomain("a.example"))
	b.ReportAllocs()
	for b.Loop() {
		err := db.View(context.Background(), func(tx *Tx) error {
			var n int64
			return tx.QueryRow(`SELECT created FROM domain WHERE name = ?`, "a.example").Scan(&n)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Tx is the transaction that a closure works in. It is used by that closure
// alone, in its goroutine, and ends with it.
type Tx struct {
	ctx  context.Context // nil when reading
	conn *conn
	ids  map[string]*block // nil when reading
	rows []*sql.Rows
	over bool
}

// errOver says that a closure let its Tx escape.
var errOver = errors.New("store: the transaction is over")

// Context returns the context that Update was given: what is written down may
// depend on who asked for it. It is not there to wait on.
func (tx *Tx) Context() context.Context {
	if tx.ctx == nil {
		return context.Background()
	}
	return tx.ctx
}

// Exec runs a statement that returns no rows and reports how many rows it
// changed.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	s, err := tx.prepare(query, args)
	if err != nil {
		return 0, err
	}
	r, err := s.Exec(args...)
	if err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	return r.RowsAffected()
}

// rowsAtOnce is how many rows Insert gives to one statement.
const rowsAtOnce = 32

// Insert runs an INSERT of one row, VALUES (?, …), for many rows: for most of
// them in statements that insert several, since what a statement costs by
// itself is more than what a row does.
func (tx *Tx) Insert(query string, rows [][]any) error {
	before, rest, _ := strings.Cut(query, "VALUES (")
	row, after, ok := strings.Cut(rest, ")")
	if !ok {
		return fmt.Errorf("store: no row of values in %q", query)
	}
	row = "(" + row + ")"
	many := before + "VALUES " + row + strings.Repeat(", "+row, rowsAtOnce-1) + after
	for len(rows) >= rowsAtOnce {
		if _, err := tx.Exec(many, slices.Concat(rows[:rowsAtOnce]...)...); err != nil {
			return err
		}
		rows = rows[rowsAtOnce:]
	}
	for _, args := range rows {
		if _, err := tx.Exec(query, args...); err != nil {
			return err
		}
	}
	return nil
}

// Query runs a statement that returns rows. The rows must be closed before
// the next statement, and are at the latest when the transaction ends.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	s, err := tx.prepare(query, args)
	if err != nil {
		return nil, err
	}
	rows, err := s.Query(args...)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	tx.rows = append(tx.rows, rows)
	return rows, nil
}

// Texts calls f with each row of a query for two texts.
func (tx *Tx) Texts(query string, f func(a, b string)) error {
	rows, err := tx.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var a, b string
		if err := rows.Scan(&a, &b); err != nil {
			return err
		}
		f(a, b)
	}
	return rows.Err()
}

// QueryRow runs a statement that returns at most one row of interest.
func (tx *Tx) QueryRow(query string, args ...any) Row {
	s, err := tx.prepare(query, args)
	if err != nil {
		return Row{err: err}
	}
	return Row{row: s.QueryRow(args...)}
}

// Row is the result of QueryRow. Scan must be called.
type Row struct {
	row *sql.Row
	err error
}

// Scan copies the columns of the row; ErrNotFound says that there is none.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	switch err := r.row.Scan(dest...); {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func (tx *Tx) prepare(query string, args []any) (*sql.Stmt, error) {
	if tx.over {
		return nil, errOver
	}
	for _, a := range args {
		switch a.(type) {
		case bool, float32, float64, time.Time:
			// The two databases hold these differently.
			return nil, fmt.Errorf("store: an argument is a %T; use int64, string or []byte", a)
		}
	}
	return tx.conn.prepare(query)
}

// end closes what the closure left open and makes the Tx useless.
func (tx *Tx) end() {
	for _, r := range tx.rows {
		r.Close()
	}
	tx.over = true
}

// conn is one connection with the statements prepared on it. One goroutine
// uses it at a time.
//
// Its statements run without the caller's context: cancelling one would
// interrupt the connection, and SQLite answers an interrupted write by
// rolling back the whole transaction, with everybody else's closures in it.
type conn struct {
	sql        *sql.Conn
	statements map[string]*sql.Stmt
}

func newConn(ctx context.Context, pool *sql.DB) (*conn, error) {
	c, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c, map[string]*sql.Stmt{}}, nil
}

func (c *conn) prepare(query string) (*sql.Stmt, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	s, err := c.sql.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("store: %w in %q", err, query)
	}
	c.statements[query] = s
	return s, nil
}

// run executes a statement of our own.
func (c *conn) run(query string) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	_, err = s.Exec()
	return err
}

// trim forgets all statements when there are too many. It is called between
// transactions, when none is in use.
func (c *conn) trim() {
	if len(c.statements) <= maxStatements {
		return
	}
	for query, s := range c.statements {
		s.Close()
		delete(c.statements, query)
	}
}

func (c *conn) close() error {
	for _, s := range c.statements {
		s.Close()
	}
	return c.sql.Close()
}

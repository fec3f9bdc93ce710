package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// migrations are the steps of the schema, in order. Each package writes its
// own; a step that was released is never edited.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date, each step in a transaction.
func (db *DB) migrate(ctx context.Context, pool *sql.DB, steps fs.FS) error {
	steps, err := fs.Sub(steps, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, pool, steps,
		goose.WithSlog(db.log), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	have, know, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > know {
		return newer(have, know)
	}
	done, err := p.Up(ctx)
	for _, step := range done {
		db.log.Info("the schema of the store has a new step", "step", step.Source.Version)
	}
	return err
}

// newer refuses a downgrade: the older program would misread what the newer
// wrote.
func newer(have, know int64) error {
	return fmt.Errorf("the data was written by a newer Gatepost (its schema is version %d, this program knows %d); run that one, or restore a backup made before the upgrade", have, know)
}

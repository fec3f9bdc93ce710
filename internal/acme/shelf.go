package acme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"gatepost/internal/clock"
	"gatepost/internal/store"
)

// Sealer encrypts what must not be readable in a copy of the store; it is
// keys.Keys.
type Sealer interface {
	Seal(purpose string, plain, context []byte) []byte
	Unseal(purpose string, sealed, context []byte) ([]byte, error)
}

// purpose is that of the key which seals rows.
const purpose = "acme"

// maxContent bounds one row, in octets.
const maxContent = 1 << 20

// shelf is the store as certmagic wants it: a certmagic.Storage. One process
// has the store, so that its locks are in memory.
type shelf struct {
	db    *store.DB
	keys  Sealer
	clock clock.Clock

	mu    sync.Mutex
	locks map[string]chan struct{} // closed when the lock is free
}

// Store keeps a value.
func (s *shelf) Store(ctx context.Context, path string, value []byte) error {
	if len(value) > maxContent {
		return fmt.Errorf("acme: %s has %d octets, which nothing of ours has", path, len(value))
	}
	sealed := s.keys.Seal(purpose, value, []byte(path))
	return s.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO acme (path, content, modified) VALUES (?, ?, ?)
			ON CONFLICT (path) DO UPDATE SET content = excluded.content, modified = excluded.modified`,
			path, sealed, s.clock.Now().Unix())
		return err
	})
}

// Load returns a value, fs.ErrNotExist if there is none.
func (s *shelf) Load(ctx context.Context, path string) ([]byte, error) {
	var sealed []byte
	err := s.db.View(ctx, func(tx *store.Tx) error {
		return missing(tx.QueryRow(`SELECT content FROM acme WHERE path = ?`, path).Scan(&sealed))
	})
	if err != nil {
		return nil, err
	}
	value, err := s.keys.Unseal(purpose, sealed, []byte(path))
	if err != nil {
		return nil, fmt.Errorf("acme: %s: %w", path, err)
	}
	return value, nil
}

func missing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fs.ErrNotExist
	}
	return err
}

// below returns the bounds of the paths below one; "0" follows "/".
func below(path string) (from, to string) { return path + "/", path + "0" }

// Delete removes a value, or all below it.
func (s *shelf) Delete(ctx context.Context, path string) error {
	from, to := below(path)
	return s.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM acme WHERE path = ? OR (path >= ? AND path < ?)`, path, from, to)
		return err
	})
}

// Exists reports whether there is a value, or one below.
func (s *shelf) Exists(ctx context.Context, path string) bool {
	_, err := s.Stat(ctx, path)
	return err == nil
}

// List returns the paths below one; only those directly below it, and once
// each, unless recursive.
func (s *shelf) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	from, to := below(path)
	var list []string
	err := s.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT path FROM acme WHERE path >= ? AND path < ? ORDER BY path`, from, to)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var p string
			if err := rows.Scan(&p); err != nil {
				return err
			}
			if first, _, deeper := strings.Cut(p[len(from):], "/"); deeper && !recursive {
				p = from + first
			}
			if len(list) == 0 || list[len(list)-1] != p {
				list = append(list, p)
			}
		}
		return rows.Err()
	})
	if err == nil && len(list) == 0 {
		err = fs.ErrNotExist
	}
	return list, err
}

// Stat tells of a value, or that there are some below it.
func (s *shelf) Stat(ctx context.Context, path string) (info certmagic.KeyInfo, err error) {
	from, to := below(path)
	err = s.db.View(ctx, func(tx *store.Tx) error {
		var found string
		var modified int64
		err := tx.QueryRow(`SELECT path, modified, LENGTH(content) FROM acme WHERE path = ? OR (path >= ? AND path < ?)
			ORDER BY path LIMIT 1`, path, from, to).Scan(&found, &modified, &info.Size)
		info.Key, info.Modified, info.IsTerminal = path, time.Unix(modified, 0), found == path
		return missing(err)
	})
	return info, err
}

// Lock waits for a name.
func (s *shelf) Lock(ctx context.Context, name string) error {
	for {
		s.mu.Lock()
		busy := s.locks[name]
		if busy == nil {
			s.locks[name] = make(chan struct{})
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Unlock frees a name.
func (s *shelf) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := s.locks[name]
	if busy == nil {
		return fmt.Errorf("acme: %s is not locked", name)
	}
	delete(s.locks, name)
	close(busy)
	return nil
}

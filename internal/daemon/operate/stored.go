package operate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"gatepost/internal/backup"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/spool"
)

// Backup writes a backup of the installation to w, through the running server
// or without one. Only when it returns nil is it whole. progress is told how
// many octets of about how many were written.
func Backup(ctx context.Context, cfg *config.Config, w io.Writer, progress func(done, total int64)) (*backup.Manifest, error) {
	op, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var m *backup.Manifest
	err = op.Do(ctx, "backup", control.None{}, func(it control.Item) error {
		var b control.Backup
		if err := json.Unmarshal(it.JSON, &b); err != nil {
			return err
		}
		if b.Manifest != nil {
			m = b.Manifest
			return nil
		}
		_, err := io.Copy(&counted{w: w, total: b.Octets, progress: progress}, it.Body)
		return err
	})
	if err = errors.Join(err, op.Close()); err == nil && m == nil {
		err = errors.New("the running server did not finish the backup")
	}
	return m, err
}

// counted tells how far a writer has come.
type counted struct {
	w           io.Writer
	done, total int64
	progress    func(done, total int64)
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.done += int64(n)
	c.progress(c.done, c.total)
	return n, err
}

// Restore brings up a backup in a new or empty directory, which becomes an
// installation of its own.
func Restore(ctx context.Context, r io.Reader, dir string, progress func(done, total int64)) (*backup.Restored, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return backup.Restore(ctx, r, backup.Target{
		Dir: dir, FS: blob.OS, Clock: clock.System, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Configure: func(text []byte, files []backup.Named) ([]byte, spool.Options, error) {
			return relocate(dir, text, files)
		},
	}, progress)
}

// relocate makes the configuration of a backup that of a directory: its data
// is there, and the files that it names are below it.
func relocate(dir string, text []byte, files []backup.Named) ([]byte, spool.Options, error) {
	path := filepath.Join(dir, "gatepost.toml")
	before, err := config.Parse(path, text)
	if err != nil {
		return nil, spool.Options{}, err
	}
	moves := map[string]string{"data": "."}
	for _, f := range files {
		if _, named := before.Files()[f.Setting]; !named {
			return nil, spool.Options{}, fmt.Errorf("it has no file %q", f.Setting)
		}
		moves[f.Setting] = f.Member
	}
	moved, err := config.Relocate(text, moves)
	if err != nil {
		return nil, spool.Options{}, err
	}
	cfg, err := config.Parse(path, moved)
	if err != nil {
		return nil, spool.Options{}, err
	}
	if cfg.DataDir() != dir {
		return nil, spool.Options{}, errors.New("its data cannot be moved")
	}
	return moved, settings.Spool(cfg), nil
}

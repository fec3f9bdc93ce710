// Package datadir knows the directory that holds everything: who may be in
// it, who works on it, and what lies where.
//
//	lock          held by the process that works on it
//	control.sock  the operator's commands to a running server
//	keys/         secrets: see keys
//	store.db      accounts and the index of mailboxes: see store
//	spool/        messages in flight: see spool
//	blobs/        large bodies of both: see blob
//	breached.list the operator's list of breached passwords: see passwords
package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process works on the data directory.
var ErrLocked = errors.New("another gatepost is working on this data directory")

// Where things lie in the data directory dir.

func Socket(dir string) string   { return filepath.Join(dir, "control.sock") }
func Keys(dir string) string     { return filepath.Join(dir, "keys") }
func Store(dir string) string    { return filepath.Join(dir, "store.db") }
func Spool(dir string) string    { return filepath.Join(dir, "spool") }
func Blobs(dir string) string    { return filepath.Join(dir, "blobs") }
func Breached(dir string) string { return filepath.Join(dir, "breached.list") }

// Prepare makes the data directory with mode 0700 if it is missing, and
// refuses one that others may write into.
func Prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the data directory: %w", err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("cannot use the data directory: %w", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if fi.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s may be written by every user, who could put anything into your mail; mend it with: chmod 700 %s", dir, dir)
	}
	return nil
}

// Lock takes the lock on the data directory, which ends with the process at
// the latest. It returns ErrLocked when somebody else holds it.
func Lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("cannot lock the data directory: %w", err)
	}
	return f, nil
}

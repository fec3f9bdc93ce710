package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"gatepost/internal/backup/archive"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/mailbox"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// stageName is where a backup is put until it is known to be whole.
const stageName = ".restoring"

// writers is how many files are made durable at the same time.
const writers = 32

// Target is where a backup is restored to.
type Target struct {
	Dir    string // new or empty
	FS     blob.FS
	Clock  clock.Clock
	Random io.Reader
	Log    *slog.Logger
	// Configure is given the configuration of the backup and the members of
	// the files that its settings name, which will be below Dir under those
	// names. It returns the text for Dir, and how its spool is to be opened:
	// what concerns the sizes.
	Configure func(text []byte, files []Named) ([]byte, spool.Options, error)
}

// Restored says what is there now.
type Restored struct {
	*Manifest
	Domains  int64 `json:"domains"`
	Accounts int64 `json:"accounts"`
	Messages int64 `json:"messages"` // in mailboxes
}

// Restore brings up a backup in a directory of its own. After an error nothing
// of it is there.
func Restore(ctx context.Context, r io.Reader, t Target, progress func(done, total int64)) (*Restored, error) {
	s, err := newStage(t)
	if err != nil {
		return nil, err
	}
	var done int64
	m, err := archive.Read(ctx, r, s, func(n int64) {
		done += n
		progress(done, s.total)
	})
	restored := &Restored{Manifest: m}
	if err = errors.Join(err, s.settle()); err == nil {
		err = s.renew(ctx, restored)
	}
	if err == nil {
		err = s.publish()
	}
	if err != nil {
		return nil, errors.Join(err, s.discard())
	}
	return restored, nil
}

// stage is a restore under way.
type stage struct {
	t    Target
	dir  string   // t.Dir/.restoring
	lock *os.File // on dir, so that two do not restore to the same place
	made bool     // t.Dir was made

	total int64
	files []Named
	blobs *blob.Dir
	spool *spool.Spool

	turns   chan struct{}
	writing sync.WaitGroup
	mu      sync.Mutex
	failed  error // the first error of what is written beside the reading
}

// newStage makes the place.
func newStage(t Target) (*stage, error) {
	s := &stage{t: t, dir: filepath.Join(t.Dir, stageName), turns: make(chan struct{}, writers)}
	if err := s.claim(); err != nil {
		return nil, err
	}
	var err error
	if err = t.FS.Mkdir(s.dir); err == nil {
		s.blobs, err = blob.OpenDirOn(t.FS, filepath.Join(s.dir, "blobs"))
	}
	if err != nil {
		return nil, errors.Join(err, s.discard())
	}
	return s, nil
}

// claim makes the directory, or sees that it is empty but for what a restore
// has left that was interrupted, which goes.
func (s *stage) claim() error {
	err := os.Mkdir(s.t.Dir, 0o700)
	s.made = err == nil
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot restore to %s: %w", s.t.Dir, err)
	}
	list, err := s.t.FS.List(s.t.Dir)
	if err != nil {
		return fmt.Errorf("cannot restore to %s: %w", s.t.Dir, err)
	}
	left := slices.Contains(list, stageName)
	switch {
	case left && len(list) > 1:
		return fmt.Errorf("a restore to %s was interrupted when it was nearly done; remove what is there and restore again", s.t.Dir)
	case !left && len(list) > 0:
		return fmt.Errorf("%s is not empty; name a new or empty directory", s.t.Dir)
	}
	if s.lock, err = os.Open(s.t.Dir); err != nil {
		return err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("another restore to %s is under way", s.t.Dir), s.lock.Close())
	}
	return os.RemoveAll(s.dir)
}

// discard removes all that a restore has made.
func (s *stage) discard() error {
	err := errors.Join(s.settle(), os.RemoveAll(s.dir))
	if s.made {
		// Not what somebody else has put there meanwhile.
		if failed := os.Remove(s.t.Dir); !errors.Is(failed, unix.ENOTEMPTY) {
			err = errors.Join(err, failed)
		}
	}
	return errors.Join(err, s.lock.Close())
}

func (s *stage) Head(h *archive.Head) error {
	s.total = h.Octets
	s.files = h.Files
	return nil
}

// member puts one at its place.
func (s *stage) Member(dir, name string, size int64, content io.Reader) error {
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	switch dir {
	case archive.Keys:
		text, err := small(content, size, name)
		if err != nil {
			return err
		}
		return keys.Put(filepath.Join(s.dir, "keys"), name, text)
	case archive.Files:
		text, err := small(content, size, name)
		if err != nil {
			return err
		}
		return s.write(filepath.Join("files", name), text)
	case archive.Queue:
		return s.queue(name, content)
	case archive.Mail:
		return s.mail(name, content)
	}
	if name == archive.Store {
		return s.store(content, size)
	}
	return s.config(content, size)
}

// small reads a member that has to be small.
func small(content io.Reader, size int64, name string) ([]byte, error) {
	if size > archive.MaxSmall {
		return nil, archive.Broken("%s is larger than it can be", name)
	}
	return io.ReadAll(content)
}

// write makes a small file durable.
func (s *stage) write(name string, content []byte) error {
	path := filepath.Join(s.dir, name)
	if err := s.t.FS.Mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := s.t.FS.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return errors.Join(err, f.Sync(), f.Close(), s.t.FS.SyncDir(filepath.Dir(path)))
}

// config writes the configuration and opens the spool as it says.
func (s *stage) config(content io.Reader, size int64) error {
	text, err := small(content, size, archive.Config)
	if err != nil {
		return err
	}
	for _, f := range s.files {
		if f.Member != archive.Files+filepath.Base(f.Member) {
			return archive.Broken("%q has no place in a backup", f.Member)
		}
	}
	text, o, err := s.t.Configure(text, s.files)
	if err != nil {
		return archive.Broken("its configuration is refused (%w)", err)
	}
	if err := s.write(archive.Config, text); err != nil {
		return err
	}
	o.Dir, o.FS, o.Blobs = filepath.Join(s.dir, "spool"), s.t.FS, s.blobs
	o.Clock, o.Random, o.Log = s.t.Clock, s.t.Random, s.t.Log
	s.spool, _, err = spool.Open(o)
	return err
}

func (s *stage) store(content io.Reader, size int64) error {
	if size == 0 {
		return archive.Broken("its store is empty")
	}
	f, err := s.t.FS.Create(filepath.Join(s.dir, archive.Store))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(&appender{file: f}, content, make([]byte, saveBuffer))
	return errors.Join(err, f.Sync(), f.Close())
}

// queue puts a message into the spool, held.
func (s *stage) queue(name string, content io.Reader) error {
	if s.spool == nil {
		return archive.Broken("queued messages come before the configuration")
	}
	m, err := spool.ReadMessage(content)
	if err != nil {
		return archive.Broken("%s%s: %w", archive.Queue, name, err)
	}
	if m.Envelope.ID.String() != name {
		return archive.Broken("%s%s is another message", archive.Queue, name)
	}
	m.Envelope.Held = true
	d := s.spool.Create()
	if _, err := io.Copy(d, content); err != nil {
		d.Discard()
		return cause(err)
	}
	s.beside(func() error { return cause(d.Restore(m)) }, d.Discard)
	return nil
}

// cause returns why the spool refused: what it would tell a client says
// nothing to an operator.
func cause(err error) error {
	var e *envelope.Error
	if errors.As(err, &e) && e.Cause != nil {
		return e.Cause
	}
	return err
}

// mail puts the content of a message in a mailbox among the files.
func (s *stage) mail(name string, content io.Reader) error {
	if !mailbox.Owns(name) || len(name) > blob.MaxName {
		return archive.Broken("%s%s is not the name of a message", archive.Mail, name)
	}
	w, err := s.blobs.Create()
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, content); err != nil {
		w.Discard()
		return err
	}
	s.beside(func() error { return w.Commit(name) }, w.Discard)
	return nil
}

// beside does what waits for the disk beside the reading, so that many wait
// together; after a failure of others, only undo.
func (s *stage) beside(work func() error, undo func()) {
	s.turns <- struct{}{}
	s.writing.Go(func() {
		defer func() { <-s.turns }()
		s.mu.Lock()
		failed := s.failed
		s.mu.Unlock()
		if failed != nil {
			undo()
			return
		}
		if err := work(); err != nil {
			s.mu.Lock()
			s.failed = errors.Join(s.failed, err)
			s.mu.Unlock()
		}
	})
}

// settle waits for what is written beside, and closes the spool.
func (s *stage) settle() error {
	s.writing.Wait()
	err := s.failed
	s.failed = nil
	if s.spool != nil {
		err = errors.Join(err, s.spool.Close())
		s.spool = nil
	}
	return err
}

// renew makes of the store another one than that which was copied: what its
// former life has given out since must not be taken for what this one gives.
func (s *stage) renew(ctx context.Context, r *Restored) error {
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(s.dir, archive.Store), Log: s.t.Log})
	if err != nil {
		return err
	}
	now := s.t.Clock.Now()
	err = db.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(mailbox.Renew(tx, now), tx.LeapIDs(now),
			tx.QueryRow(`SELECT COUNT(*) FROM domain`).Scan(&r.Domains),
			tx.QueryRow(`SELECT COUNT(*) FROM account`).Scan(&r.Accounts),
			tx.QueryRow(`SELECT COUNT(*) FROM message`).Scan(&r.Messages))
	})
	return errors.Join(err, db.Close())
}

// publish moves everything to its place, the configuration last: without it
// nobody takes the directory for a server.
func (s *stage) publish() error {
	list, err := s.t.FS.List(s.dir)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b string) int {
		switch archive.Config {
		case a:
			return 1
		case b:
			return -1
		}
		return 0
	})
	if err := s.t.FS.SyncDir(s.dir); err != nil {
		return err
	}
	for i, name := range list {
		if name == archive.Config {
			if err := s.t.FS.SyncDir(s.t.Dir); err != nil {
				return s.unpublish(list[:i], err)
			}
		}
		if err := s.t.FS.Rename(filepath.Join(s.dir, name), filepath.Join(s.t.Dir, name)); err != nil {
			return s.unpublish(list[:i], err)
		}
	}
	err = s.t.FS.SyncDir(s.t.Dir)
	if err == nil && s.made {
		err = s.t.FS.SyncDir(filepath.Dir(s.t.Dir))
	}
	if err != nil {
		return s.unpublish(list, err)
	}
	// It is done: an empty directory that stays is no reason to undo it.
	_ = s.t.FS.Remove(s.dir)
	_ = s.lock.Close()
	return nil
}

// unpublish removes what publish has moved.
func (s *stage) unpublish(list []string, cause error) error {
	for i := len(list) - 1; i >= 0; i-- { // the configuration first
		cause = errors.Join(cause, os.RemoveAll(filepath.Join(s.t.Dir, list[i])))
	}
	return cause
}

package blob

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// FS is the file system beneath everything that must survive a power loss.
// It has only what can be said precisely about durability, so that tests
// can put a machine beneath that stops, fails and fills up at any step.
//
// Nothing is durable by itself: content once Handle.Sync returned nil,
// names (of new, linked, renamed and removed files and of directories) once
// SyncDir of the directory they are in returned nil.
type FS interface {
	// Create makes a new, empty file; it fails if the name is taken.
	Create(name string) (Handle, error)
	// Open opens a file that exists, for reading and writing.
	Open(name string) (Handle, error)
	// Rename replaces new if it exists.
	Rename(old, new string) error
	// Link fails if new exists.
	Link(old, new string) error
	Remove(name string) error
	// Mkdir makes one directory; that it exists already is no error.
	Mkdir(name string) error
	// List returns the names in a directory.
	List(dir string) ([]string, error)
	SyncDir(dir string) error
}

// Handle is an open file of an FS. After Sync has failed once, nobody knows
// what the disk holds of the file: a later success proves nothing.
type Handle interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	// Push waits until a range of the content has gone to the disk, where it
	// is not durable yet. What is large goes there in steps, or the syncs of
	// others would stand behind all of it. An error counts as one of Sync.
	Push(off, n int64) error
	Size() (int64, error)
}

// OS is the operating system's file system. Files are readable by their
// owner only, since they hold people's mail.
var OS FS = system{}

type system struct{}

type handle struct{ *os.File }

func (system) Create(name string) (Handle, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (system) Open(name string) (Handle, error) { return open(name, os.O_RDWR) }

func open(name string, flag int) (Handle, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return handle{f}, nil
}

func (system) Rename(old, new string) error { return os.Rename(old, new) }
func (system) Link(old, new string) error   { return os.Link(old, new) }
func (system) Remove(name string) error     { return os.Remove(name) }

func (system) Mkdir(name string) error {
	err := os.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (system) List(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (system) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Sync makes the content durable. fdatasync leaves out times and the like,
// which spares a write of the journal, but not the size.
func (h handle) Sync() error {
	return h.call("fdatasync", unix.Fdatasync)
}

// Push writes pages, no journal, and does not flush the disk's own cache.
func (h handle) Push(off, n int64) error {
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return h.call("sync_file_range", func(fd int) error { return unix.SyncFileRange(fd, off, n, all) })
}

// call makes a system call on the file until no signal comes between.
func (h handle) call(name string, f func(fd int) error) error {
	raw, err := h.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = f(int(fd))
		for failed == unix.EINTR {
			failed = f(int(fd))
		}
	})
	if err == nil && failed != nil {
		err = &fs.PathError{Op: name, Path: h.Name(), Err: failed}
	}
	return err
}

func (h handle) Size() (int64, error) {
	info, err := h.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

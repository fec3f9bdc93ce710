// Package blob keeps bodies as files, and holds the file system beneath
// everything that must survive a power loss.
//
// # Place in the path
//
// The spool streams bodies that are too large for its log here, and the
// mailbox links them for as long as a message is kept. A blob is written
// once, whole, and never changed.
//
// # On disk
//
// A directory with a sub-directory for each of 256 values of a hash of the
// name, so that none grows large, and one, "tmp", for files that are being
// written. A file gets its name when it is whole: written to tmp, synced,
// renamed, and the directory synced. What a crash left in tmp is removed by
// the next OpenDir; only one process may use a directory at a time.
//
// # What it trusts
//
// Nobody: the grammar of names leaves no way out of the directory. The
// content is the caller's affair, its checksum too.
package blob

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// MaxName is the longest name of a blob, in octets.
const MaxName = 64

// ErrName says that a string cannot name a blob: 1 to MaxName lower-case
// letters, digits, "-", "_" and ".", not beginning with a dot.
var ErrName = errors.New("not a valid name of a blob")

// Store keeps blobs by name. Its methods may be called from any goroutine.
// A missing blob is fs.ErrNotExist.
type Store interface {
	// Create begins a blob. The caller must end it with Commit or Discard.
	Create() (Writer, error)
	Open(name string) (File, error)
	// Link gives a blob a second name, which lives on when the first is
	// removed; the name is durable when it returns nil. It fails with
	// fs.ErrExist if new is taken.
	Link(old, new string) error
	// Remove forgets a name; that there is none is no error. After a crash
	// the name may be back: whoever removes must be ready to do it again.
	Remove(name string) error
	// Each calls f with every name, in no order, until it fails. Blobs that
	// come or go meanwhile may be seen or not.
	Each(f func(name string) error) error
}

// File is an open blob.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Writer takes the content of a new blob.
type Writer interface {
	io.Writer
	// Commit makes the blob durable under a name that was never used
	// before, and ends the writer. After an error there is no such blob.
	Commit(name string) error
	// Discard drops the blob; after Commit it does nothing.
	Discard()
}

// Dir is a Store in a directory.
type Dir struct {
	fs     FS
	root   string
	serial atomic.Uint64
	shards sync.Map // shards that durably exist, by path

	mu     sync.Mutex
	holds  int             // see Hold
	doomed map[string]bool // names to be removed when there is none any more
}

// OpenDir opens a store on the machine's own file system, and makes its
// directory when it is missing; the one above must exist.
func OpenDir(path string) (*Dir, error) { return OpenDirOn(OS, path) }

// OpenDirOn is OpenDir on another file system.
func OpenDirOn(fsys FS, path string) (*Dir, error) {
	d := &Dir{fs: fsys, root: path}
	if err := d.prepare(); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	return d, nil
}

// prepare makes the directories durable and removes what was being written
// when the machine stopped.
func (d *Dir) prepare() error {
	if err := d.fs.Mkdir(d.root); err != nil {
		return err
	}
	if err := d.fs.SyncDir(filepath.Dir(d.root)); err != nil {
		return err
	}
	if err := d.fs.Mkdir(d.tmp()); err != nil {
		return err
	}
	left, err := d.fs.List(d.tmp())
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := d.fs.Remove(filepath.Join(d.tmp(), name)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) tmp() string { return filepath.Join(d.root, "tmp") }

// path returns the shard and the full path of a name.
func (d *Dir) path(name string) (shard, path string, err error) {
	if !validName(name) {
		return "", "", fmt.Errorf("%w: %q", ErrName, name)
	}
	shard = filepath.Join(d.root, fmt.Sprintf("%02x", byte(crc32.ChecksumIEEE([]byte(name)))))
	return shard, filepath.Join(shard, name), nil
}

// validName holds the grammar that keeps a name inside its directory.
func validName(name string) bool {
	if name == "" || len(name) > MaxName || name[0] == '.' {
		return false
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// enter sees to it that a shard durably exists. Its own name is synced once
// a start, since a process that died may have made it and not synced it.
func (d *Dir) enter(shard string) error {
	if _, ok := d.shards.Load(shard); ok {
		return nil
	}
	if err := d.fs.Mkdir(shard); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.root); err != nil {
		return err
	}
	d.shards.Store(shard, true)
	return nil
}

// Create begins a blob.
func (d *Dir) Create() (Writer, error) {
	path := filepath.Join(d.tmp(), fmt.Sprintf("%x", d.serial.Add(1)))
	f, err := d.fs.Create(path)
	if err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	return &writer{dir: d, path: path, file: f}, nil
}

// Open opens a blob for reading.
func (d *Dir) Open(name string) (File, error) {
	_, path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	h, err := d.fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	size, err := h.Size()
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("blob: %w", err)
	}
	return file{h, size}, nil
}

// Link gives a blob a second name.
func (d *Dir) Link(old, new string) error {
	_, from, err := d.path(old)
	if err != nil {
		return err
	}
	shard, to, err := d.path(new)
	if err != nil {
		return err
	}
	if err := d.enter(shard); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	if err := d.fs.Link(from, to); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	if err := d.fs.SyncDir(shard); err != nil {
		_ = d.fs.Remove(to)
		return fmt.Errorf("blob: %w", err)
	}
	return nil
}

// Remove forgets a name.
func (d *Dir) Remove(name string) error {
	_, path, err := d.path(name)
	if err != nil || d.putOff(name) {
		return err
	}
	return d.remove(path)
}

func (d *Dir) remove(path string) error {
	if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob: %w", err)
	}
	return nil
}

// Each calls f with every name.
func (d *Dir) Each(f func(name string) error) error {
	shards, err := d.fs.List(d.root)
	if err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	for _, shard := range shards {
		if len(shard) != 2 {
			continue
		}
		names, err := d.fs.List(filepath.Join(d.root, shard))
		if err != nil {
			return fmt.Errorf("blob: %w", err)
		}
		for _, name := range names {
			if !validName(name) {
				continue
			}
			if err := f(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// file is a Handle that knows its size.
type file struct {
	Handle
	size int64
}

func (f file) Size() int64 { return f.size }

// step is how much of a blob the disk gets at a time. Whoever syncs something
// small meanwhile waits for a step, not for the whole blob.
const step = 1 << 20

type writer struct {
	dir    *Dir
	path   string
	file   Handle // nil once ended
	size   int64
	pushed int64 // of size
	err    error // the first failure of Write: the blob is not whole
}

func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.file.WriteAt(p, w.size)
	w.size += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err == nil && w.size-w.pushed >= step {
		err = w.file.Push(w.pushed, w.size-w.pushed)
		w.pushed = w.size
	}
	if err != nil {
		w.err = fmt.Errorf("blob: %w", err)
	}
	return n, w.err
}

// Commit is the one routine that makes a file durable: the content first,
// so that no name ever leads to less than the whole; then the name.
func (w *writer) Commit(name string) error {
	if w.file == nil {
		return errors.New("blob: the writer has ended")
	}
	err := w.err
	if err == nil {
		err = w.commit(name)
	}
	if err != nil {
		w.Discard()
	}
	return err
}

func (w *writer) commit(name string) error {
	shard, path, err := w.dir.path(name)
	if err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	if err := w.dir.enter(shard); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	if err := w.dir.fs.Rename(w.path, path); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	w.path = path
	if err := w.dir.fs.SyncDir(shard); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	// Everything is on the disk: an error of close says nothing about it.
	_ = w.file.Close()
	w.file = nil
	return nil
}

// Discard drops the blob. It removes what is there on a best effort: the
// next OpenDir does it again.
func (w *writer) Discard() {
	if w.file == nil {
		return
	}
	_ = w.file.Close()
	_ = w.dir.fs.Remove(w.path)
	w.file = nil
}

// Package crashfs is a file system in memory for tests: it tells apart what
// is durable from what was merely done, shows how the disk may look after a
// power loss, and fails where it is told to.
//
// It is harsher than any real file system: of everything that was not
// synced, any part may be there and any part may not, in any combination.
// A write may be torn at its sectors. Content, once synced, is durable; a
// name is durable once the directory that it is in was synced, and syncing a
// file does nothing for its name. After a sync has failed, what it should
// have written may be lost for good although it can still be read, and later
// syncs of the file succeed without it: what Linux does.
package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"

	"gatepost/internal/blob"
)

// Sector is the unit that a disk writes whole or not at all.
const Sector = 512

var (
	// ErrStopped is what everything returns once the machine has stopped.
	ErrStopped = errors.New("crashfs: the machine has stopped")
	// ErrSkipped, from a hook, makes a sync do nothing and report success, as
	// if the code under test had left it out.
	ErrSkipped = errors.New("crashfs: skipped")
)

// Kind is an operation of the file system.
type Kind string

// The kinds. Those that begin with Sync make something durable.
const (
	Create  Kind = "create"
	Open    Kind = "open"
	Read    Kind = "read"
	Write   Kind = "write"
	Push    Kind = "push"
	Sync    Kind = "sync"
	Rename  Kind = "rename"
	Link    Kind = "link"
	Remove  Kind = "remove"
	Mkdir   Kind = "mkdir"
	List    Kind = "list"
	Size    Kind = "size"
	SyncDir Kind = "syncdir"
)

// Op is one operation, as the hook sees it.
type Op struct {
	Kind Kind
	Path string
}

// FS is a file system in memory with a root directory "/". It implements
// blob.FS and may be used from any goroutine.
type FS struct {
	// Hook is asked before each operation, under the lock of the file
	// system; an error makes the operation fail with it. A failed write
	// leaves its first half, a failed sync may lose what it should have
	// written. It is set while nobody uses the file system.
	Hook func(Op) error

	mu      sync.Mutex
	dirs    map[string]*dir
	files   []*inode
	stopped bool
}

// New returns an empty file system.
func New() *FS { return &FS{dirs: map[string]*dir{"/": newDir()}} }

// inode is a file without its names.
type inode struct {
	durable content
	now     content
	writes  []write // since durable, oldest first
}

// lose lets go of the writes that no sync has made sure of.
func (i *inode) lose() {
	for w := range i.writes {
		i.writes[w].lost = !i.writes[w].sure
	}
}

type write struct {
	off  int64
	data []byte
	sure bool // a sync succeeded after it, but one before it had failed
	lost bool // a sync failed after it
}

// dir maps names to files; nil stands for a directory, which is found by
// its path.
type dir struct {
	durable map[string]*inode
	now     map[string]*inode
	edits   []edit // since durable, oldest first
}

// edit is one change of a directory that happens as a whole.
type edit struct {
	gone string // name that vanishes, if not empty
	name string // name that appears, if not empty
	file *inode
}

func newDir() *dir { return &dir{durable: map[string]*inode{}, now: map[string]*inode{}} }

func (d *dir) edit(e edit) {
	e.apply(d.now)
	d.edits = append(d.edits, e)
}

func (e edit) apply(m map[string]*inode) {
	if e.gone != "" {
		delete(m, e.gone)
	}
	if e.name != "" {
		m[e.name] = e.file
	}
}

// Stop makes every later operation fail: the power is off.
func (f *FS) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// Revive lets operations succeed again after Stop: the process died, but the
// machine did not. What was not synced is still there to be read, and still
// not durable.
func (f *FS) Revive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = false
}

// Stopped reports whether the machine has stopped.
func (f *FS) Stopped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped
}

// begin asks whether an operation may go on.
func (f *FS) begin(kind Kind, name string) error {
	if f.stopped {
		return ErrStopped
	}
	if f.Hook == nil {
		return nil
	}
	err := f.Hook(Op{kind, name})
	if errors.Is(err, ErrStopped) {
		f.stopped = true
	}
	return err
}

func (f *FS) dir(name string) (*dir, error) {
	d := f.dirs[path.Clean(name)]
	if d == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return d, nil
}

// find returns the directory and the file of a path; the file is nil if
// there is none.
func (f *FS) find(name string) (*dir, *inode, error) {
	d, err := f.dir(path.Dir(name))
	if err != nil {
		return nil, nil, err
	}
	return d, d.now[path.Base(name)], nil
}

// Create implements blob.FS.
func (f *FS) Create(name string) (blob.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Create, name); err != nil {
		return nil, err
	}
	d, _, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if _, taken := d.now[path.Base(name)]; taken {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	i := &inode{}
	f.files = append(f.files, i)
	d.edit(edit{name: path.Base(name), file: i})
	return &handle{fs: f, name: name, inode: i}, nil
}

// Open implements blob.FS.
func (f *FS) Open(name string) (blob.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Open, name); err != nil {
		return nil, err
	}
	_, i, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &handle{fs: f, name: name, inode: i}, nil
}

// Rename implements blob.FS. Within a directory it is one edit; between two
// it is one in each, since syncing one says nothing of the other.
func (f *FS) Rename(old, new string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Rename, new); err != nil {
		return err
	}
	from, i, err := f.find(old)
	if err != nil {
		return err
	}
	to, _, err := f.find(new)
	if err != nil {
		return err
	}
	if i == nil {
		return &fs.PathError{Op: "rename", Path: old, Err: fs.ErrNotExist}
	}
	if from == to {
		from.edit(edit{gone: path.Base(old), name: path.Base(new), file: i})
		return nil
	}
	to.edit(edit{name: path.Base(new), file: i})
	from.edit(edit{gone: path.Base(old)})
	return nil
}

// Link implements blob.FS.
func (f *FS) Link(old, new string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Link, new); err != nil {
		return err
	}
	_, i, err := f.find(old)
	if err != nil {
		return err
	}
	to, taken, err := f.find(new)
	switch {
	case err != nil:
		return err
	case i == nil:
		return &fs.PathError{Op: "link", Path: old, Err: fs.ErrNotExist}
	case taken != nil:
		return &fs.PathError{Op: "link", Path: new, Err: fs.ErrExist}
	}
	to.edit(edit{name: path.Base(new), file: i})
	return nil
}

// Remove implements blob.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Remove, name); err != nil {
		return err
	}
	d, i, err := f.find(name)
	if err != nil {
		return err
	}
	if i == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	d.edit(edit{gone: path.Base(name)})
	return nil
}

// Mkdir implements blob.FS.
func (f *FS) Mkdir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Mkdir, name); err != nil {
		return err
	}
	name = path.Clean(name)
	if f.dirs[name] != nil {
		return nil
	}
	d, _, err := f.find(name)
	if err != nil {
		return err
	}
	d.edit(edit{name: path.Base(name)})
	f.dirs[name] = newDir()
	return nil
}

// List implements blob.FS.
func (f *FS) List(name string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(List, name); err != nil {
		return nil, err
	}
	d, err := f.dir(name)
	if err != nil {
		return nil, err
	}
	return sorted(d.now), nil
}

// SyncDir implements blob.FS.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch err := f.begin(SyncDir, name); {
	case errors.Is(err, ErrSkipped):
		return nil
	case err != nil:
		return err
	}
	d, err := f.dir(name)
	if err != nil {
		return err
	}
	for _, e := range d.edits {
		e.apply(d.durable)
	}
	d.edits = nil
	return nil
}

// Used returns the octets of all files with a name in a directory.
func (f *FS) Used(name string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n int64
	if d := f.dirs[path.Clean(name)]; d != nil {
		for _, i := range d.now {
			if i != nil {
				n += int64(len(i.now.b))
			}
		}
	}
	return n
}

func sorted(m map[string]*inode) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type handle struct {
	fs     *FS
	name   string
	inode  *inode
	closed bool
}

func (h *handle) begin(kind Kind) error {
	if h.closed {
		return fs.ErrClosed
	}
	return h.fs.begin(kind, h.name)
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Read); err != nil {
		return 0, err
	}
	if off >= int64(len(h.inode.now.b)) {
		return 0, io.EOF
	}
	n := copy(p, h.inode.now.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt leaves half of the write when it fails.
func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	dead := h.fs.stopped || h.closed
	err := h.begin(Write)
	if dead {
		return 0, err
	}
	if err != nil {
		p = p[:len(p)/2]
	}
	h.inode.write(p, off)
	return len(p), err
}

// Push makes nothing durable. When it fails, what was written may be lost for
// good, and Sync will not tell: the error was told.
func (h *handle) Push(_, _ int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.begin(Push)
	if err != nil {
		h.inode.lose()
	}
	return err
}

// Sync makes all writes durable, but for those that a failed one let go.
func (h *handle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	i := h.inode
	switch err := h.begin(Sync); {
	case errors.Is(err, ErrSkipped):
		return nil
	case err != nil:
		i.lose()
		return err
	}
	unsure := false
	for w := range i.writes {
		i.writes[w].sure = !i.writes[w].lost
		unsure = unsure || i.writes[w].lost
	}
	if !unsure {
		for _, w := range i.writes {
			i.durable.put(w.data, w.off)
		}
		i.writes = nil
	}
	return nil
}

func (h *handle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Size); err != nil {
		return 0, err
	}
	return int64(len(h.inode.now.b)), nil
}

func (h *handle) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return fs.ErrClosed
	}
	h.closed = true
	return nil
}

func (i *inode) write(p []byte, off int64) {
	data := slices.Clone(p)
	i.now.put(data, off)
	i.writes = append(i.writes, write{off: off, data: data})
}

package blob

import (
	"errors"
	"io/fs"
)

// Hold puts off removals, for who copies the blobs while others work: until
// release is called, whatever was there can be opened. A name that was removed
// meanwhile goes then, or after a crash whenever whoever removed it does so
// again. Holds may overlap.
func (d *Dir) Hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds++
	if d.doomed == nil {
		d.doomed = map[string]bool{}
	}
	return d.release
}

func (d *Dir) release() {
	d.mu.Lock()
	d.holds--
	var list map[string]bool
	if d.holds == 0 {
		list, d.doomed = d.doomed, nil
	}
	d.mu.Unlock()
	for name := range list {
		if _, path, err := d.path(name); err == nil {
			_ = d.remove(path)
		}
	}
}

// Doomed reports whether a name was removed and is only there for a Hold.
func (d *Dir) Doomed(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.doomed[name]
}

// putOff reports whether a removal waits for a Hold to end.
func (d *Dir) putOff(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holds > 0 {
		d.doomed[name] = true
	}
	return d.holds > 0
}

// Frozen returns a file system on which nothing changes: it can be read, and
// what would change it succeeds and does nothing, but that no file can be
// made. So recovery can be run to see what it would find.
func Frozen(fsys FS) FS { return frozen{fsys} }

type frozen struct{ FS }

func (f frozen) Create(name string) (Handle, error) {
	return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrPermission}
}

func (f frozen) Open(name string) (Handle, error) {
	h, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return frozenHandle{h}, nil
}

// List takes a directory that is not there for one that was made.
func (f frozen) List(dir string) ([]string, error) {
	names, err := f.FS.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

func (frozen) Rename(_, _ string) error { return nil }
func (frozen) Link(_, _ string) error   { return nil }
func (frozen) Remove(string) error      { return nil }
func (frozen) Mkdir(string) error       { return nil }
func (frozen) SyncDir(string) error     { return nil }

type frozenHandle struct{ Handle }

func (frozenHandle) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (frozenHandle) Sync() error                            { return nil }
func (frozenHandle) Push(_, _ int64) error                  { return nil }

package crashfs

import (
	"hash/maphash"
	"path"
	"slices"
)

// content is what a file holds. Disks that came of one another by a crash
// share it for as long as neither writes to it.
type content struct {
	b      []byte
	shared bool
}

func (c *content) share() content {
	c.shared = true
	return *c
}

// own makes c safe to write to.
func (c *content) own() {
	if c.shared {
		c.b, c.shared = slices.Clone(c.b), false
	}
}

func (c *content) put(p []byte, off int64) {
	c.own()
	if end := off + int64(len(p)); end > int64(len(c.b)) {
		c.b = append(c.b, make([]byte, end-int64(len(c.b)))...)
	}
	copy(c.b[off:], p)
}

var seed = maphash.MakeSeed()

// Fingerprint tells disks apart: it is the same for two file systems of this
// process that have the same names and the same contents now.
func (f *FS) Fingerprint() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(seed)
	f.fingerprint("/", &h)
	return h.Sum64()
}

func (f *FS) fingerprint(name string, h *maphash.Hash) {
	d := f.dirs[name]
	for _, n := range sorted(d.now) {
		maphash.WriteComparable(h, n)
		if i := d.now[n]; i != nil {
			maphash.WriteComparable(h, len(i.now.b))
			h.Write(i.now.b)
		} else {
			f.fingerprint(path.Join(name, n), h)
		}
	}
	maphash.WriteComparable(h, len(d.now))
}

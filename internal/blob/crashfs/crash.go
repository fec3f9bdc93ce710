package crashfs

import "path"

// Choose decides what a crash leaves: it returns a number from 0 to n-1.
type Choose func(n int) int

// Crash returns the file system as it may look when the machine starts
// again after a power loss at this moment. Each choice belongs to one
// unsynced step, in a fixed order, so that the same choices give the same
// disk. The file system itself is left as it is.
func (f *FS) Crash(choose Choose) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	after := New()
	moved := map[*inode]*inode{}
	for _, i := range f.files {
		n := &inode{durable: i.survive(choose)}
		n.now = n.durable.share()
		moved[i] = n
		after.files = append(after.files, n)
	}
	f.keep("/", after, moved, choose)
	return after
}

// keep carries a directory over, and those below it that still have a name.
func (f *FS) keep(name string, after *FS, moved map[*inode]*inode, choose Choose) {
	d := f.dirs[name]
	left := map[string]*inode{}
	for n, i := range d.durable {
		left[n] = i
	}
	for _, e := range d.edits {
		if choose(2) == 1 {
			e.apply(left)
		}
	}
	kept := newDir()
	after.dirs[name] = kept
	for _, n := range sorted(left) {
		kept.durable[n], kept.now[n] = moved[left[n]], moved[left[n]]
		if left[n] == nil {
			f.keep(path.Join(name, n), after, moved, choose)
		}
	}
}

// survive returns the content of a file after a crash: each write that is
// not sure is absent, present or torn.
func (i *inode) survive(choose Choose) content {
	left := i.durable.share()
	for _, w := range i.writes {
		fate := 1
		if !w.sure {
			fate = choose(3)
		}
		switch fate {
		case 1:
			left.put(w.data, w.off)
		case 2:
			w.tear(&left, choose)
		}
	}
	return left
}

// tear writes some of the sectors that w touches. Long writes are torn in
// at most 64 pieces, so that a choice is not wasted on each sector of a
// megabyte of zeros.
func (w write) tear(left *content, choose Choose) {
	piece := int64(Sector)
	for int64(len(w.data)) > 64*piece {
		piece *= 2
	}
	for from := int64(0); from < int64(len(w.data)); {
		to := min((w.off+from)/piece*piece+piece-w.off, int64(len(w.data)))
		if choose(2) == 1 {
			left.put(w.data[from:to], w.off+from)
		}
		from = to
	}
}

// Flip inverts one bit of a file at rest, as a decaying disk does. It
// reports whether the file is there and that long.
func (f *FS) Flip(name string, bit int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, i, err := f.find(name)
	if err != nil || i == nil || bit/8 >= int64(len(i.now.b)) {
		return false
	}
	for _, c := range []*content{&i.now, &i.durable} {
		if bit/8 < int64(len(c.b)) {
			c.own()
			c.b[bit/8] ^= 1 << (bit % 8)
		}
	}
	return true
}

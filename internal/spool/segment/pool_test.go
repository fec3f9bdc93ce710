package segment

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/spool/wire"
)

// names lists the directory.
func (r *rig) names() string {
	r.t.Helper()
	list, err := r.fs.List(testDir)
	r.must(err)
	for i, name := range list {
		list[i] = strings.TrimLeft(name, "0")
	}
	return strings.Join(list, " ")
}

func (r *rig) expect(what, names string) {
	r.t.Helper()
	if got := r.names(); got != names {
		r.t.Errorf("%s: %q, want %q", what, got, names)
	}
}

// A segment's life: made, used, retired, used again under another name.
func TestLives(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.expect("new", "")
	r.must(r.pool.Refill())
	r.must(r.pool.Refill()) // there is one already
	r.expect("refilled", "1.seg")
	a := r.take()
	r.expect("taken", "1.seg")
	b := r.take()
	r.expect("taken two", "1.seg 2.seg")
	lost, err := r.pool.Retire(a)
	if lost || err != nil {
		t.Errorf("lost %v, %v", lost, err)
	}
	r.pool.Put(a)
	r.expect("retired", "1.free 2.seg")
	c := r.take()
	r.expect("used again", "2.seg 3.seg")
	if c.Tag == a.Tag || c.Gen != 3 || c == a {
		t.Errorf("the new life is the old: %+v", c)
	}
	_, err = r.pool.Retire(b)
	r.must(err)
	r.pool.Put(b)
	r.lost()
	r.expect("after a crash", "2.free 3.seg")
	if len(r.used) != 1 || r.used[0].Gen != 3 {
		t.Errorf("in use: %+v", r.used)
	}
	if g := r.take(); g.Gen != 4 {
		t.Errorf("generation %d is used twice", g.Gen)
	}
	r.expect("used after a crash", "3.seg 4.seg")
}

// No generation is used twice, even when only names of files tell which
// there were.
func TestGenerations(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"seg", "free", "new", "damaged"} {
		r := newRig(t)
		h, err := r.fs.Create(path.Join(testDir, fmt.Sprintf("%016x.%s", 41, name)))
		r.must(err)
		_, err = h.WriteAt(make([]byte, testSize), 0)
		r.must(err)
		r.open()
		if g := r.take(); g.Gen != 42 {
			t.Errorf("%s: generation %d", name, g.Gen)
		}
	}
}

// What is not ours stays; what was not written out goes; what is set aside
// is counted.
func TestOtherFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	strangers := []string{"README", "0000000000000001", "1.seg", "000000000000000g.seg", "0000000000000001.seg.bak", "0000000000000005.damaged"}
	for _, name := range append(strangers, "0000000000000007.new") {
		_, err := r.fs.Create(path.Join(testDir, name))
		r.must(err)
	}
	r.open()
	list, err := r.fs.List(testDir)
	r.must(err)
	slices.Sort(strangers)
	if !slices.Equal(list, strangers) || len(r.used) != 0 {
		t.Errorf("%q, %d in use", list, len(r.used))
	}
	if n := r.pool.Aside(); n != 1 {
		t.Errorf("%d set aside", n)
	}
}

// What is damaged is set aside and never written over; what is bad, or of
// another size, is removed.
func TestPut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		mark  func(*Segment)
		names string
	}{
		{"sound", func(*Segment) {}, "1.free"},
		{"damaged", func(g *Segment) { g.Damaged = true }, "1.damaged"},
		{"damaged and bad", func(g *Segment) { g.Damaged, g.Bad = true, true }, "1.damaged"},
		{"bad", func(g *Segment) { g.Bad = true }, ""},
		{"of another size", func(g *Segment) { g.Size++ }, ""},
	} {
		r := newRig(t)
		g := r.take()
		tt.mark(g)
		_, err := r.pool.Retire(g)
		r.must(err)
		r.pool.Put(g)
		r.expect(tt.name, tt.names)
		r.take()
		if want := strings.TrimSpace(strings.Replace(tt.names, "1.free", "", 1) + " 2.seg"); r.names() != want {
			t.Errorf("%s, and another: %q", tt.name, r.names())
		}
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var list []*Segment
	for range 4 {
		list = append(list, r.take())
	}
	for _, g := range list {
		_, err := r.pool.Retire(g)
		r.must(err)
		r.pool.Put(g)
	}
	r.must(r.pool.Refill())
	for _, tt := range []struct{ most, held int64 }{
		{10 * testSize, 4 * testSize}, {4 * testSize, 4 * testSize}, {4*testSize - 1, 3 * testSize},
		{testSize, testSize}, {-1, testSize}, // the one that is ready stays
	} {
		if held := r.pool.Trim(tt.most); held != tt.held || r.fs.Used(testDir) != held {
			t.Errorf("trimmed to %d: %d held, %d on disk", tt.most, held, r.fs.Used(testDir))
		}
	}
}

// A log of a newer version is refused, with a clear message, and not touched.
func TestNewerVersion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write(r.take(), 3)
	g := r.take()
	head := wire.SegmentHead{Gen: g.Gen, Tag: g.Tag, Size: g.Size}.Encode()
	head[7] = '3'
	sum := wire.Checksum(head[:32])
	head[32], head[33], head[34], head[35] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	_, err := g.file.WriteAt(head, 0)
	r.must(errors.Join(err, g.file.Sync()))
	before := r.fs.Fingerprint()
	p := &Pool{FS: r.fs, Dir: testDir, Size: testSize}
	_, err = p.Open()
	if err == nil || !strings.Contains(err.Error(), "newer version of Gatepost (format 3)") || !strings.Contains(err.Error(), g.Path) {
		t.Errorf("opened with %v", err)
	}
	if r.fs.Fingerprint() != before {
		t.Error("it was changed")
	}
}

// The name of a freed segment, which a process that died had not synced, is
// durable once Open has seen it.
func TestFreedStaysFreed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.take()
	r.write(g, 3)
	r.fs.Hook = func(op crashfs.Op) error {
		if op.Kind == crashfs.SyncDir {
			return crashfs.ErrStopped
		}
		return nil
	}
	if _, err := r.pool.Retire(g); err == nil {
		t.Fatal("it did not stop")
	}
	r.fs.Hook = nil
	r.fs.Revive()
	r.open()
	if len(r.used) != 0 {
		t.Fatal("it was not freed")
	}
	r.lost()
	r.expect("after a crash", "1.free")
}

// Whatever fails while a segment is made, the next attempt succeeds; whatever
// fails while one is retired, it is said whether its name is known.
func TestPoolFaults(t *testing.T) {
	t.Parallel()
	for _, reuse := range []bool{false, true} {
		for fail, more := 1, true; more; fail++ {
			r := newRig(t)
			if reuse {
				g := r.take()
				_, err := r.pool.Retire(g)
				r.must(err)
				r.pool.Put(g)
			}
			n := 0
			r.fs.Hook = func(crashfs.Op) error {
				if n++; n == fail {
					return syscall.ENOSPC
				}
				return nil
			}
			_, err := r.pool.Take()
			if more = n >= fail; more && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("operation %d failed: %v", fail, err)
			}
			r.fs.Hook = nil
			if more {
				r.take()
			}
			r.lost()
			for _, g := range r.used {
				if rd := Read(g); !rd.Empty() || len(rd.Findings) > 0 {
					t.Errorf("operation %d failed: %s is left: %+v", fail, g.Path, rd)
				}
			}
		}
	}
	for _, kind := range []crashfs.Kind{crashfs.Rename, crashfs.SyncDir} {
		r := newRig(t)
		g := r.take()
		r.fs.Hook = func(op crashfs.Op) error {
			if op.Kind == kind {
				return syscall.EIO
			}
			return nil
		}
		if lost, err := r.pool.Retire(g); lost != (kind == crashfs.SyncDir) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s failed: lost %v, %v", kind, lost, err)
		}
	}
}

// Randomness that fails makes no segment without a secret.
func TestNoRandomness(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.pool.Random = strings.NewReader("short")
	if _, err := r.pool.Take(); err == nil {
		t.Error("a segment without a tag")
	}
	r.expect("without randomness", "")
}

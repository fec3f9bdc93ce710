package blob_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob"
	"gatepost/internal/blob/blobtest"
	"gatepost/internal/blob/crashfs"
)

// disk returns a file system that can crash, with a directory for the blobs
// of a test.
func disk(t *testing.T) *crashfs.FS {
	t.Helper()
	f := crashfs.New()
	if err := errors.Join(f.Mkdir("/data"), f.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return f
}

func openOn(t *testing.T, f blob.FS) *blob.Dir {
	t.Helper()
	d, err := blob.OpenDirOn(f, "/data/blob")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStore(t *testing.T) {
	t.Parallel()
	t.Run("on the system", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		blobtest.Store(t, func(t *testing.T) blob.Store {
			d, err := blob.OpenDir(filepath.Join(root, filepath.Base(t.Name())))
			if err != nil {
				t.Fatal(err)
			}
			return d
		})
	})
	t.Run("on crashfs", func(t *testing.T) {
		t.Parallel()
		f := crashfs.New()
		blobtest.Store(t, func(t *testing.T) blob.Store {
			d, err := blob.OpenDirOn(f, "/"+filepath.Base(t.Name()))
			if err != nil {
				t.Fatal(err)
			}
			return d
		})
	})
}

func TestFS(t *testing.T) {
	t.Parallel()
	t.Run("of the system", func(t *testing.T) {
		t.Parallel()
		blobtest.FS(t, blob.OS, t.TempDir())
	})
	t.Run("crashfs", func(t *testing.T) {
		t.Parallel()
		blobtest.FS(t, disk(t), "/data")
	})
}

// Mail is for the owner's eyes.
func TestModes(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "blob")
	d, err := blob.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, d, "a", "x")
	if _, err := d.Create(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o", path, got)
		}
		return nil
	})
	if err != nil || files != 2 {
		t.Errorf("%d files, %v", files, err)
	}
}

// What is no blob of ours is neither listed nor touched.
func TestStrangers(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "blob")
	d, err := blob.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, d, "a", "x")
	shards, err := filepath.Glob(filepath.Join(root, "??"))
	if err != nil || len(shards) != 1 {
		t.Fatalf("shards %q, %v", shards, err)
	}
	strangers := []string{filepath.Join(shards[0], ".hidden"), filepath.Join(shards[0], "NOT"), filepath.Join(root, "lost+found")}
	for _, name := range strangers {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d, err = blob.OpenDir(root); err != nil {
		t.Fatal(err)
	}
	if got := blobtest.Names(t, d); len(got) != 1 {
		t.Errorf("names %q", got)
	}
	for _, name := range strangers {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}

// journey is what happens to blobs in their life; done is told of each step
// that is over. Several names share a shard with none of the others.
func journey(f *crashfs.FS, done func(step string)) error {
	d, err := blob.OpenDirOn(f, "/data/blob")
	if err != nil {
		return err
	}
	for i := range 4 {
		w, err := d.Create()
		if err != nil {
			return err
		}
		for k := range 3 {
			if _, err := io.WriteString(w, part(i, k)); err != nil {
				return err
			}
		}
		name := fmt.Sprint("blob", i)
		if err := w.Commit(name); err != nil {
			return err
		}
		done(name)
	}
	for _, i := range []int{1, 2} {
		link := fmt.Sprint("link", i)
		if err := d.Link(fmt.Sprint("blob", i), link); err != nil {
			return err
		}
		done(link)
		if err := d.Remove(fmt.Sprint("blob", i)); err != nil {
			return err
		}
		done(fmt.Sprint("no blob", i))
	}
	return nil
}

func part(i, k int) string { return strings.Repeat(fmt.Sprint(i, k, " "), 150) }

// promised says what is wrong with a disk that the machine finds after it
// stopped when some steps of the journey were over.
func promised(t *testing.T, f *crashfs.FS, over map[string]bool) error {
	d, err := blob.OpenDirOn(f, "/data/blob")
	if err != nil {
		return err
	}
	for _, kind := range []string{"blob", "link"} {
		for i := range 4 {
			name := fmt.Sprint(kind, i)
			got, ok := blobtest.Get(t, d, name)
			if ok && got != part(i, 0)+part(i, 1)+part(i, 2) {
				return fmt.Errorf("%s is not whole", name)
			}
			if !ok && over[name] && !over["no "+name] && !(kind == "blob" && over[fmt.Sprint("link", i)]) {
				return fmt.Errorf("%s was committed and is gone", name)
			}
		}
	}
	if left, err := f.List("/data/blob/tmp"); err != nil || len(left) > 0 {
		return fmt.Errorf("left in tmp: %q, %v", left, err)
	}
	return nil
}

// explore stops the machine at every operation of the journey, lets every
// sync at one site do nothing, and returns the first violation and how many
// different disks were tried.
func explore(t *testing.T, skip string, sites map[string]bool) (cases int, found error) {
	for stop, more := 1, true; more; stop++ {
		f, n := disk(t), 0
		over := map[string]bool{}
		f.Hook = func(op crashfs.Op) error {
			if n++; n == stop {
				return crashfs.ErrStopped
			}
			if op.Kind == crashfs.Sync || op.Kind == crashfs.SyncDir {
				site := crashfs.Site()
				sites[site] = true
				if site == skip {
					return crashfs.ErrSkipped
				}
			}
			return nil
		}
		err := journey(f, func(step string) { over[step] = true })
		more = err != nil
		f.Hook = nil
		seen := map[uint64]bool{}
		for i := range 64 {
			after := f.Crash(chooser(i))
			if print := after.Fingerprint(); seen[print] {
				continue
			} else {
				seen[print] = true
			}
			cases++
			if err := promised(t, after, over); err != nil {
				return cases, fmt.Errorf("stopped at operation %d, way %d: %w", stop, i, err)
			}
		}
	}
	return cases, nil
}

// chooser returns the ith way to choose: all lost, all kept, or any.
func chooser(i int) crashfs.Choose {
	state := uint64(i)
	return func(n int) int {
		if i < 2 {
			return i
		}
		// SplitMix64.
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return int((z ^ z>>31) % uint64(n))
	}
}

// Power is lost at every operation: what was committed or linked is whole,
// what was not is whole or not there, and nothing is left in tmp.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	cases, err := explore(t, "", map[string]bool{})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d cases", cases)
	if cases < 500 {
		t.Errorf("only %d cases", cases)
	}
}

// Every sync is needed: without it something that was promised is lost.
func TestEverySyncIsNeeded(t *testing.T) {
	t.Parallel()
	sites := map[string]bool{}
	if _, err := explore(t, "", sites); err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	for site := range sites {
		line, _, _ := strings.Cut(site, " < ")
		lines[line] = true
		cases, err := explore(t, site, map[string]bool{})
		if err == nil {
			t.Errorf("without the sync at %s nothing was lost in %d cases", site, cases)
			continue
		}
		t.Logf("%s: after %d cases: %v", site, cases, err)
	}
	for site := range crashfs.Syncs(t, ".") {
		if !lines[site] && !strings.HasPrefix(site, "blob/fs.go:") { // the system's own
			t.Errorf("the sync at %s is never reached", site)
		}
	}
}

// Whatever fails, once, an error is returned, and the next attempt succeeds.
func TestFaults(t *testing.T) {
	t.Parallel()
	for at, more := 1, true; more; at++ {
		f, n := disk(t), 0
		var failed crashfs.Op
		f.Hook = func(op crashfs.Op) error {
			if n++; n == at {
				failed = op
				return syscall.EIO
			}
			return nil
		}
		over := map[string]bool{}
		err := journey(f, func(step string) { over[step] = true })
		if more = n >= at; !more {
			break
		}
		switch {
		case err == nil && failed.Kind == crashfs.Remove && strings.Contains(failed.Path, "/tmp/"):
		case !errors.Is(err, syscall.EIO):
			t.Errorf("%v failed: %v", failed, err)
		}
		if err := promised(t, f.Crash(chooser(0)), over); err != nil {
			t.Errorf("%v failed: %v", failed, err)
		}
		d := openOn(t, f)
		for _, name := range blobtest.Names(t, d) {
			if err := d.Remove(name); err != nil {
				t.Error(err)
			}
		}
		if err := journey(f, func(string) {}); err != nil {
			t.Errorf("%v failed once: %v", failed, err)
		}
	}
}

// A large blob goes to the disk in steps, and one that fails is a write that
// failed: a sync would not tell of it again.
func TestPushFails(t *testing.T) {
	t.Parallel()
	f := disk(t)
	d := openOn(t, f)
	pushed := 0
	f.Hook = func(op crashfs.Op) error {
		if op.Kind == crashfs.Push {
			if pushed++; pushed == 2 {
				return syscall.EIO
			}
		}
		return nil
	}
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, nil, syscall.EIO} {
		if _, err := w.Write(make([]byte, 600<<10)); !errors.Is(err, want) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if err := w.Commit("a"); !errors.Is(err, syscall.EIO) {
		t.Errorf("Commit: %v", err)
	}
	if _, err := d.Open("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a blob that is not whole: %v", err)
	}
}

// A full disk is told, and what was written of the blob is given back.
func TestFull(t *testing.T) {
	t.Parallel()
	f := disk(t)
	d := openOn(t, f)
	full := true
	f.Hook = func(op crashfs.Op) error {
		if full && op.Kind == crashfs.Write {
			return syscall.ENOSPC
		}
		return nil
	}
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "abcd"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write: %v", err)
	}
	full = false
	if _, err := io.WriteString(w, "efgh"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write after a failed one: %v: a part is missing", err)
	}
	if err := w.Commit("a"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Commit: %v", err)
	}
	if left, err := f.List("/data/blob/tmp"); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %q, %v", left, err)
	}
	blobtest.Put(t, d, "a", "x")
}

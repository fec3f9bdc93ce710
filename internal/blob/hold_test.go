package blob_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"gatepost/internal/blob"
	"gatepost/internal/blob/blobtest"
	"gatepost/internal/blob/crashfs"
)

// What is removed while somebody copies can be read until the last of them
// is done.
func TestHold(t *testing.T) {
	t.Parallel()
	d, err := blob.OpenDir(filepath.Join(t.TempDir(), "blob"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before", "first", "second", "stays"} {
		blobtest.Put(t, d, name, name)
	}
	remove := func(name string) {
		t.Helper()
		if err := d.Remove(name); err != nil {
			t.Error(err)
		}
	}
	there := func(when string, want ...string) {
		t.Helper()
		got := blobtest.Names(t, d)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	remove("before")
	one := d.Hold()
	remove("first")
	two := d.Hold()
	remove("second")
	remove("second")
	remove("none")
	if !d.Doomed("first") || !d.Doomed("second") || d.Doomed("stays") {
		t.Error("what is doomed is not known")
	}
	if err := d.Remove("../x"); !errors.Is(err, blob.ErrName) {
		t.Errorf("a name that is none: %v", err)
	}
	there("held twice", "first", "second", "stays")
	two()
	there("held once", "first", "second", "stays")
	one()
	there("not held", "stays")
	if d.Doomed("first") {
		t.Error("what is gone is still doomed")
	}
	remove("stays")
	there("removed at once")
}

// Nothing that is done through it changes a frozen file system, and all that
// is asked of it can be read.
func TestFrozen(t *testing.T) {
	t.Parallel()
	below := crashfs.New()
	if err := below.Mkdir("/data"); err != nil {
		t.Fatal(err)
	}
	d := openOn(t, below)
	blobtest.Put(t, d, "a", "content")
	w, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("left by a crash")); err != nil {
		t.Fatal(err)
	}
	before := below.Fingerprint()

	frozen := openOn(t, blob.Frozen(below))
	if got, ok := blobtest.Get(t, frozen, "a"); !ok || got != "content" {
		t.Errorf("read %q, %v", got, ok)
	}
	if err := errors.Join(frozen.Link("a", "b"), frozen.Remove("a")); err != nil {
		t.Error(err)
	}
	if _, err := frozen.Create(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("made a file: %v", err)
	}
	h, err := blob.Frozen(below).Open("/data/blob/tmp/2")
	if err != nil {
		t.Fatal(err)
	}
	n, err := h.WriteAt([]byte("x"), 0)
	if err = errors.Join(err, h.Sync(), h.Close(), blob.Frozen(below).Rename("/data/blob", "/x")); n != 1 || err != nil {
		t.Error(n, err)
	}
	if list, err := blob.Frozen(below).List("/none"); len(list) > 0 || err != nil {
		t.Errorf("a directory that is not there: %q, %v", list, err)
	}
	if below.Fingerprint() != before {
		t.Error("a frozen file system has changed")
	}
}

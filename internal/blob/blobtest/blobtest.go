// Package blobtest holds what every implementation of blob.Store and of
// blob.FS must do, for their tests to call. What survives a power loss can be
// shown on crashfs only; that crashfs behaves as the operating system does
// while nothing fails is shown by FS.
package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatepost/internal/blob"
)

// Store tests a store. open returns one over the same blobs each time that
// it is called in one test, and over none in another.
func Store(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, test := range map[string]func(*testing.T, func(*testing.T) blob.Store){
		"blobs":      blobs,
		"names":      names,
		"writers":    writers,
		"links":      links,
		"unfinished": unfinished,
		"many":       many,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
	}
}

// Put makes a blob.
func Put(t testing.TB, s blob.Store, name, content string) {
	t.Helper()
	w, err := s.Create()
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err == nil {
		err = w.Commit(name)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// Get returns the content of a blob; ok is false if there is none.
func Get(t testing.TB, s blob.Store, name string) (content string, ok bool) {
	t.Helper()
	f, err := s.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil || int64(len(b)) != f.Size() {
		t.Fatalf("%s: %d octets of %d, %v", name, len(b), f.Size(), err)
	}
	return string(b), true
}

// Names returns the names of all blobs, in order.
func Names(t testing.TB, s blob.Store) []string {
	t.Helper()
	var list []string
	err := s.Each(func(name string) error {
		list = append(list, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func want(t *testing.T, s blob.Store, blobs map[string]string) {
	t.Helper()
	for name, content := range blobs {
		if got, ok := Get(t, s, name); !ok || got != content {
			t.Errorf("%s: %.20q, there %v; want %.20q", name, got, ok, content)
		}
	}
	if got := Names(t, s); len(got) != len(blobs) {
		t.Errorf("names %q of %d", got, len(blobs))
	}
}

// A blob is there, whole, from Commit to Remove, whichever store is asked.
func blobs(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	large := strings.Repeat("0123456789abcdef", 20_000)
	all := map[string]string{"empty": "", "small": "x", "large": large}
	for name, content := range all {
		Put(t, s, name, content)
	}
	want(t, s, all)
	want(t, open(t), all)

	f, err := s.Open("large")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 32)
	if n, err := f.ReadAt(b, 8); n != 32 || err != nil || string(b) != large[8:40] {
		t.Errorf("in the middle: %q, %v", b[:n], err)
	}
	if n, err := f.ReadAt(b, int64(len(large))-5); n != 5 || err != io.EOF {
		t.Errorf("across the end: %d, %v", n, err)
	}
	// Who has it open goes on reading.
	if err := s.Remove("large"); err != nil {
		t.Error(err)
	}
	if n, err := f.ReadAt(b, 0); n != 32 || err != nil {
		t.Errorf("of a removed one: %d, %v", n, err)
	}
	if err := s.Remove("large"); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	if _, err := s.Open("large"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed one opens: %v", err)
	}
	delete(all, "large")
	want(t, open(t), all)

	stop := errors.New("stop")
	if err := s.Each(func(string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Each went on: %v", err)
	}
}

// No name leads out of the store.
func names(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	for _, name := range []string{"a", "0", "a.b-c_d", "-", "_", "tmp", strings.Repeat("z", blob.MaxName)} {
		Put(t, s, name, name)
		if got, ok := Get(t, s, name); !ok || got != name {
			t.Errorf("%q holds %q", name, got)
		}
	}
	before := Names(t, s)
	for _, name := range []string{
		"", ".", "..", ".a", "../a", "a/b", "/a", "a/../b", `a\b`, "A", "ä", "a b", "a\x00", "a\n", strings.Repeat("z", blob.MaxName+1),
	} {
		_, err := s.Open(name)
		errs := []error{err, s.Remove(name), s.Link("a", name), s.Link(name, "b")}
		w, err := s.Create()
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range append(errs, w.Commit(name)) {
			if !errors.Is(err, blob.ErrName) {
				t.Errorf("%q passes for a name (%d): %v", name, i, err)
			}
		}
	}
	if after := Names(t, s); !slices.Equal(before, after) {
		t.Errorf("%q became %q", before, after)
	}
}

func writers(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := w.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
	}
	if _, err := s.Open("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a blob is there before Commit")
	}
	if err := w.Commit("a"); err != nil {
		t.Fatal(err)
	}
	w.Discard() // does nothing
	if err := w.Commit("b"); err == nil {
		t.Error("committed twice")
	}
	dropped, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dropped.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	dropped.Discard()
	dropped.Discard()
	if err := dropped.Commit("c"); err == nil {
		t.Error("committed after Discard")
	}
	want(t, s, map[string]string{"a": "abcabcabc"})
}

// A second name is as good as the first, and outlives it.
func links(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	Put(t, s, "a", "content")
	Put(t, s, "b", "other")
	if err := s.Link("a", "c"); err != nil {
		t.Fatal(err)
	}
	if err := s.Link("a", "b"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("linked over another: %v", err)
	}
	if err := s.Link("missing", "d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("linked what is not there: %v", err)
	}
	want(t, s, map[string]string{"a": "content", "b": "other", "c": "content"})
	if err := s.Remove("a"); err != nil {
		t.Error(err)
	}
	want(t, open(t), map[string]string{"b": "other", "c": "content"})
}

// What was being written when the process ended leaves nothing.
func unfinished(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	for range 3 {
		w, err := s.Create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 100_000)); err != nil {
			t.Error(err)
		}
	}
	s = open(t)
	want(t, s, nil)
	// Nor does it stand in the way of the next ones.
	for i := range 3 {
		Put(t, s, fmt.Sprint(i), "x")
	}
	want(t, s, map[string]string{"0": "x", "1": "x", "2": "x"})
}

func many(t *testing.T, open func(*testing.T) blob.Store) {
	s := open(t)
	var group sync.WaitGroup
	for k := range 8 {
		group.Go(func() {
			for i := range 20 {
				name := fmt.Sprint(k, "-", i)
				w, err := s.Create()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.WriteString(w, name); err != nil {
					t.Error(err)
				}
				err = errors.Join(w.Commit(name), s.Link(name, name+"x"))
				if i%2 == 0 {
					err = errors.Join(err, s.Remove(name))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	all := map[string]string{}
	for k := range 8 {
		for i := range 20 {
			name := fmt.Sprint(k, "-", i)
			all[name+"x"] = name
			if i%2 == 1 {
				all[name] = name
			}
		}
	}
	want(t, s, all)
}

// FS tests a file system in an empty directory of it.
func FS(t *testing.T, f blob.FS, dir string) {
	at := func(name string) string { return dir + "/" + name }
	is := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	h, err := f.Create(at("a"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Create(at("a"))
	is("a name that is taken", err, fs.ErrExist)
	_, err = f.Create(at("missing/a"))
	is("in a directory that is not there", err, fs.ErrNotExist)
	_, err = f.Open(at("missing"))
	is("a file that is not there", err, fs.ErrNotExist)
	is("removing it", f.Remove(at("missing")), fs.ErrNotExist)
	is("renaming it", f.Rename(at("missing"), at("b")), fs.ErrNotExist)
	is("linking it", f.Link(at("missing"), at("b")), fs.ErrNotExist)
	is("syncing it", f.SyncDir(at("missing")), fs.ErrNotExist)
	_, err = f.List(at("missing"))
	is("listing it", err, fs.ErrNotExist)

	_, err = h.WriteAt([]byte("world"), 6)
	is("a write behind the end", err, nil)
	_, err = h.WriteAt([]byte("hello"), 0)
	is("a write before it", err, nil)
	is("a sync", h.Sync(), nil)
	other, err := f.Open(at("a"))
	is("a second handle", err, nil)
	contains(t, other, "hello\x00world")

	is("a directory", f.Mkdir(at("d")), nil)
	is("the same again", f.Mkdir(at("d")), nil)
	is("a link", f.Link(at("a"), at("d/b")), nil)
	is("a link over another", f.Link(at("a"), at("d/b")), fs.ErrExist)
	_, err = f.Create(at("c"))
	is("another file", err, nil)
	is("a rename over another", f.Rename(at("a"), at("c")), nil)
	is("a rename to another directory", f.Rename(at("c"), at("d/c")), nil)
	is("syncs", errors.Join(f.SyncDir(dir), f.SyncDir(at("d"))), nil)
	listed(t, f, dir, "d")
	listed(t, f, at("d"), "b", "c")

	is("a removal", f.Remove(at("d/b")), nil)
	listed(t, f, at("d"), "c")
	contains(t, h, "hello\x00world") // open files stay
	is("a close", h.Close(), nil)
	is("a second close", h.Close(), fs.ErrClosed)
	_, err = h.ReadAt(make([]byte, 1), 0)
	is("a read of a closed file", err, fs.ErrClosed)
	if h.Sync() == nil {
		t.Error("a closed file was synced")
	}
	contains(t, other, "hello\x00world")
	is("a close of the other handle", other.Close(), nil)
}

func contains(t *testing.T, h blob.Handle, content string) {
	t.Helper()
	size, err := h.Size()
	if err != nil || size != int64(len(content)) {
		t.Errorf("%d octets of %d, %v", size, len(content), err)
	}
	b := make([]byte, len(content)+5)
	n, err := h.ReadAt(b, 0)
	if err != io.EOF || string(b[:n]) != content {
		t.Errorf("read %q, %v", b[:n], err)
	}
	n, err = h.ReadAt(b[:3], 2)
	if err != nil || !bytes.Equal(b[:n], []byte(content[2:5])) {
		t.Errorf("read %q in the middle, %v", b[:n], err)
	}
	if n, err := h.ReadAt(b, size+1); n != 0 || err != io.EOF {
		t.Errorf("read %d behind the end, %v", n, err)
	}
}

func listed(t *testing.T, f blob.FS, dir string, names ...string) {
	t.Helper()
	got, err := f.List(dir)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, names) {
		t.Errorf("%s holds %q, %v; want %q", dir, got, err, names)
	}
}

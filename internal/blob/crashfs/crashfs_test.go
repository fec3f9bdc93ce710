package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob"
)

func create(t *testing.T, f *FS, name, content string) blob.Handle {
	t.Helper()
	h, err := f.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	writeAt(t, h, content, 0)
	return h
}

func writeAt(t *testing.T, h blob.Handle, content string, off int64) {
	t.Helper()
	if _, err := h.WriteAt([]byte(content), off); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read returns what a file holds, "-" if it is not there.
func read(t *testing.T, f *FS, name string) string {
	t.Helper()
	h, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	must(t, err)
	size, err := h.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := h.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
		t.Fatalf("%s: read %d of %d: %v", name, n, size, err)
	}
	return string(b)
}

// all returns what look says of every disk that a crash of f may leave.
func all(f *FS, look func(*FS) string) []string {
	seen := map[string]bool{}
	for choices, more := []int(nil), true; more; {
		var made, of []int
		after := f.Crash(func(n int) int {
			c := 0
			if len(made) < len(choices) {
				c = choices[len(made)]
			}
			made, of = append(made, c), append(of, n)
			return c
		})
		seen[look(after)] = true
		// The next choices, as one counts.
		more = false
		for i := len(made) - 1; i >= 0 && !more; i-- {
			if made[i]+1 < of[i] {
				choices, more = append(made[:i:i], made[i]+1), true
			}
		}
	}
	var list []string
	for s := range seen {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: a crash may leave\n%q, want\n%q", what, got, want)
	}
}

// What a crash may leave of contents: all combinations of what was not
// synced, torn at sectors, and nothing else.
func TestContents(t *testing.T) {
	t.Parallel()
	f := New()
	h := create(t, f, "/a", "aaaa")
	must(t, f.SyncDir("/"))
	look := func(f *FS) string { return read(t, f, "/a") }
	expect(t, "a new file", all(f, look), "", "aaaa")
	must(t, h.Sync())
	expect(t, "a synced file", all(f, look), "aaaa")
	writeAt(t, h, "b", 1)
	writeAt(t, h, "c", 2)
	expect(t, "two writes", all(f, look), "aaaa", "abaa", "aaca", "abca")
	must(t, h.Sync())
	expect(t, "two synced writes", all(f, look), "abca")

	old, recent := strings.Repeat("o", 2*Sector), strings.Repeat("n", 2*Sector)
	writeAt(t, h, old, 0)
	must(t, h.Sync())
	writeAt(t, h, recent, 0)
	half := Sector
	expect(t, "a torn write", all(f, look),
		old, recent, recent[:half]+old[half:], old[:half]+recent[half:])
}

func TestNames(t *testing.T) {
	t.Parallel()
	look := func(f *FS) string { return read(t, f, "/a") + read(t, f, "/b") }
	start := func() *FS {
		f := New()
		must(t, create(t, f, "/a", "x").Sync())
		return f
	}
	f := start()
	expect(t, "a new name", all(f, look), "--", "x-")
	must(t, f.SyncDir("/"))
	expect(t, "a synced name", all(f, look), "x-")
	must(t, f.Rename("/a", "/b"))
	expect(t, "a renamed file", all(f, look), "x-", "-x")
	must(t, f.Remove("/b"))
	expect(t, "a removed file", all(f, look), "x-", "-x", "--")
	must(t, f.SyncDir("/"))
	expect(t, "synced once more", all(f, look), "--")

	f = start()
	must(t, f.SyncDir("/"))
	must(t, f.Link("/a", "/b"))
	expect(t, "a linked file", all(f, look), "x-", "xx")
	must(t, f.SyncDir("/"))
	must(t, f.Remove("/a"))
	expect(t, "its first name removed", all(f, look), "xx", "-x")
}

// The sync of one directory says nothing of another, and that of a file
// nothing of its name. A directory that is lost takes all with it.
func TestDirectories(t *testing.T) {
	t.Parallel()
	f := New()
	must(t, f.Mkdir("/d"))
	must(t, create(t, f, "/a", "x").Sync())
	must(t, f.SyncDir("/"))
	must(t, f.Rename("/a", "/d/b"))
	look := func(f *FS) string { return read(t, f, "/a") + read(t, f, "/d/b") }
	expect(t, "moved", all(f, look), "x-", "-x", "xx", "--")
	must(t, f.SyncDir("/d"))
	expect(t, "its new directory synced", all(f, look), "-x", "xx")

	must(t, f.Mkdir("/e"))
	must(t, create(t, f, "/e/c", "y").Sync())
	must(t, f.SyncDir("/e"))
	look = func(f *FS) string {
		if _, err := f.List("/e"); errors.Is(err, fs.ErrNotExist) {
			return "no directory"
		}
		return read(t, f, "/e/c")
	}
	expect(t, "in a new directory", all(f, look), "no directory", "y")
}

// After a failed sync what it should have written can be read, may be lost,
// and later syncs succeed without it.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	for kind, call := range map[Kind]func(blob.Handle) error{
		Sync: blob.Handle.Sync,
		Push: func(h blob.Handle) error { return h.Push(0, 4) },
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			failedSync(t, kind, call)
		})
	}
}

func failedSync(t *testing.T, kind Kind, call func(blob.Handle) error) {
	f := New()
	h := create(t, f, "/a", "aaaa")
	must(t, errors.Join(f.SyncDir("/"), h.Sync()))
	writeAt(t, h, "b", 1)
	fail := true
	f.Hook = func(op Op) error {
		if fail && op == (Op{kind, "/a"}) {
			return syscall.EIO
		}
		return nil
	}
	if err := call(h); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	fail = false
	if got := read(t, f, "/a"); got != "abaa" {
		t.Errorf("reads %q", got)
	}
	writeAt(t, h, "c", 2)
	must(t, h.Sync())
	look := func(f *FS) string { return read(t, f, "/a") }
	expect(t, "after a sync that succeeded", all(f, look), "aaca", "abca")
}

// What was pushed is not durable.
func TestPush(t *testing.T) {
	t.Parallel()
	f := New()
	h := create(t, f, "/a", "aaaa")
	must(t, errors.Join(f.SyncDir("/"), h.Sync()))
	writeAt(t, h, "b", 1)
	must(t, h.Push(0, 4))
	expect(t, "after a push", all(f, func(f *FS) string { return read(t, f, "/a") }), "aaaa", "abaa")
}

func TestHook(t *testing.T) {
	t.Parallel()
	f := New()
	h := create(t, f, "/a", "")
	must(t, errors.Join(f.SyncDir("/"), h.Sync()))
	answer := error(syscall.ENOSPC)
	f.Hook = func(Op) error { return answer }
	if n, err := h.WriteAt([]byte("abcd"), 0); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write that fails: %d, %v", n, err)
	}
	answer = nil
	if got := read(t, f, "/a"); got != "ab" {
		t.Errorf("it left %q", got)
	}
	answer = ErrSkipped
	must(t, errors.Join(h.Sync(), f.SyncDir("/")))
	answer = nil
	expect(t, "a sync that was left out", all(f, func(f *FS) string { return read(t, f, "/a") }), "", "ab")

	answer = ErrStopped
	if err := f.Mkdir("/d"); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
	answer = nil
	if _, err := h.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrStopped) {
		t.Errorf("after the machine has stopped: %v", err)
	}
	f.Revive()
	if got := read(t, f, "/a"); got != "ab" {
		t.Errorf("after it was revived: %q", got)
	}
}

// Disks that came of one another do not see each other's writes.
func TestCrashedDisksAreApart(t *testing.T) {
	t.Parallel()
	f := New()
	must(t, create(t, f, "/a", "aaaa").Sync())
	must(t, f.SyncDir("/"))
	disks := []*FS{f}
	for range 3 {
		disks = append(disks, disks[len(disks)-1].Crash(func(int) int { return 0 }))
	}
	for i, d := range disks {
		h, err := d.Open("/a")
		must(t, err)
		writeAt(t, h, fmt.Sprint(i), int64(i))
		if i%2 == 0 {
			must(t, h.Sync())
		}
	}
	disks[3].Flip("/a", 8)
	var got bytes.Buffer
	for _, d := range disks {
		fmt.Fprintf(&got, "%s %s, ", read(t, d, "/a"), read(t, d.Crash(func(int) int { return 0 }), "/a"))
	}
	if want := "0aaa 0aaa, a1aa aaaa, aa2a aa2a, a`a3 a`aa, "; got.String() != want {
		t.Errorf("got %s want %s", got.String(), want)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	seen := map[uint64]string{}
	for _, names := range []string{"", "/a", "/b", "/d/", "/d/a", "/a /b", "/a /d/a"} {
		for _, content := range []string{"x", "xx"} {
			f := New()
			for _, name := range strings.Fields(names) {
				if strings.HasPrefix(name, "/d/") {
					must(t, f.Mkdir("/d"))
				}
				if !strings.HasSuffix(name, "/") {
					create(t, f, name, content)
				}
			}
			if names == "" || names == "/d/" {
				content = "nothing"
			}
			was, now := seen[f.Fingerprint()], names+" with "+content
			if was != "" && was != now {
				t.Errorf("%s looks like %s", now, was)
			}
			seen[f.Fingerprint()] = now
		}
	}
	f := New()
	create(t, f, "/a", "x")
	if f.Fingerprint() != f.Crash(func(int) int { return 1 }).Fingerprint() {
		t.Error("the same disk looks like another")
	}
}

func TestSite(t *testing.T) {
	t.Parallel()
	f := New()
	var sites []string
	f.Hook = func(Op) error {
		sites = append(sites, Site())
		return nil
	}
	// Site's callers are outside of this package: blob is.
	_, err := blob.OpenDirOn(f, "/blob")
	must(t, err)
	for _, s := range sites {
		if !strings.HasPrefix(s, "blob/blob.go:") || strings.Count(s, " < ") != 1 {
			t.Errorf("site %q", s)
		}
	}
	if slices.Sort(sites); len(slices.Compact(sites)) < 3 {
		t.Errorf("sites %q", sites)
	}
}

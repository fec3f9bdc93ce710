package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gatepost/internal/backup/archive"
	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool"
)

// furnished is a server with mail in mailboxes and in the queue, small and
// large.
func furnished(t testing.TB) *server {
	t.Helper()
	s := install(t)
	for i, size := range []int{300, 100 << 10, 200 << 10} {
		if err := s.send(fmt.Sprint("filed", i), size, "user1@example.org", "user2@example.org"); err != nil {
			t.Fatal(err)
		}
	}
	s.settle()
	s.close()
	s = openServer(t, s.dir)
	for i, size := range []int{300, 100 << 10, 10 << 10} {
		if err := s.send(fmt.Sprint("queued", i), size, "user3@example.org"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// A backup of a server that stands still is that server.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	b, m := s.save()
	if m.Queued != 3 || m.Files != 4 || m.Damaged != 0 || m.Hostname != "mx.example.org" {
		t.Errorf("%+v", m)
	}
	dir, r := restored(t, b)
	if r.Domains != 1 || r.Accounts != volatile || r.Messages != 6 || r.Queued != 3 {
		t.Errorf("%+v", r)
	}
	for _, path := range tree(t, dir) {
		info, err := os.Stat(dir + path)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	top, err := os.ReadDir(dir)
	if err != nil || len(top) != 5 {
		t.Errorf("%v, %v", top, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "gatepost.toml"))
	if err != nil || string(text) != configText {
		t.Errorf("%q, %v", text, err)
	}
	n := openServer(t, dir)
	for id := range int64(people) {
		if !slices.Equal(n.mail(id+1), s.mail(id+1)) {
			t.Errorf("user%d has other mail", id+1)
		}
	}
	// An id that the old server gives out from now on is not given here.
	for _, server := range []*server{s, n} {
		if err := server.send("new", 10, "user1@example.org"); err != nil {
			t.Fatal(err)
		}
		server.queue.Start()
		await(t, "not delivered", func() bool { return len(server.mail(1)) == 4 })
	}
	if old, fresh := s.ids(), n.ids(); slices.ContainsFunc(fresh[3:], func(id int64) bool { return slices.Contains(old, id) }) {
		t.Errorf("ids %v here, %v there", fresh, old)
	}
	n.close()
	s.close()
	// The restored server can be copied again.
	again := openServer(t, dir)
	defer again.close()
	second, _ := again.save()
	if _, r := restored(t, second); r.Messages != 7 || r.Queued != 3 {
		t.Errorf("of the restored: %+v", r)
	}
}

// ids returns the ids of the messages of the first account.
func (s *server) ids() (list []int64) {
	s.t.Helper()
	for m, err := range s.boxes.Messages(s.t.Context(), 1, "INBOX") {
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, m.ID)
	}
	return list
}

// Files that the configuration names come along, and those that cannot be read
// are named.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	defer s.close()
	src := s.source()
	src.Config = func() (*Config, error) {
		return &Config{Text: []byte(configText), Stale: errors.New("line 3"), Files: []File{
			{Setting: "tls.certificate", Path: "/etc/ssl/../my cert.pem", Content: []byte("certificate")},
			{Setting: "tls.key", Path: "/etc/ssl/key.pem", Err: os.ErrPermission},
			{Setting: "route.0.password_file", Path: "/x/my cert.pem", Content: []byte("password")},
			{Setting: "tls.roots", Path: "huge", Content: make([]byte, archive.MaxSmall+1)},
		}}, nil
	}
	job, err := src.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, m := s.finish(job)
	if m.Damaged != 3 || !strings.Contains(m.Damage[0], "line 3") || !strings.Contains(m.Damage[1], "/etc/ssl/key.pem, which the setting tls.key names, is not in this backup") {
		t.Errorf("%q", m.Damage)
	}
	to := target(filepath.Join(t.TempDir(), "new"))
	var files []Named
	to.Configure = func(text []byte, list []Named) ([]byte, spool.Options, error) {
		files = list
		return append(text, "# moved\n"...), spoolSizes(), nil
	}
	if _, err := Restore(t.Context(), bytes.NewReader(b), to, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"certificate", "password"} {
		content, err := os.ReadFile(filepath.Join(to.Dir, files[i].Member))
		if err != nil || string(content) != want {
			t.Errorf("%+v: %q, %v", files[i], content, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(to.Dir, "gatepost.toml")); err != nil || string(text) != configText+"# moved\n" {
		t.Errorf("%q, %v", text, err)
	}
	src.Config = func() (*Config, error) { return nil, os.ErrPermission }
	if _, err := src.Begin(t.Context()); !errors.Is(err, os.ErrPermission) {
		t.Errorf("without a configuration: %v", err)
	}
}

// faultyBlobs makes the reading of one file fail beyond a place.
type faultyFile struct {
	blob.File
	from, to int64
}

func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(p)) > f.from {
		n := 0
		if off < f.from {
			n, _ = f.File.ReadAt(p[:f.from-off], off)
		}
		return n, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// What a disk has lost is replaced by zeros, and the rest is there.
func TestMended(t *testing.T) {
	t.Parallel()
	content := letter("x", 40_000)
	whole := memory{bytes.NewReader(content)}
	for _, c := range []struct{ from, to int64 }{{0, 1}, {5000, 5001}, {8192, 16384}, {0, int64(len(content))}, {int64(len(content)) - 1, int64(len(content))}} {
		m := &mended{file: faultyFile{whole, c.from, c.to}}
		got, err := io.ReadAll(m)
		if err != nil || len(got) != len(content) || m.fault == nil {
			t.Fatalf("%v: %d octets, %v, fault %v", c, len(got), err, m.fault)
		}
		low, high := c.from/piece*piece, (c.to+piece-1)/piece*piece
		for i, x := range got {
			if x != content[i] && (int64(i) < low || int64(i) >= high) {
				t.Fatalf("%v: another octet at %d", c, i)
			}
		}
	}
	m := &mended{file: whole}
	if got, err := io.ReadAll(m); err != nil || !bytes.Equal(got, content) || m.compare(int64(len(content)), true) != nil {
		t.Errorf("a whole file: %v, %v", err, m.fault)
	}
}

// What is damaged on the disk, or missing, does not keep the rest from being
// copied. It is named, and the restored server knows it for damaged too.
func TestDamageStaysDamage(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	defer s.close()
	large := map[string]string{} // path by kind
	err := filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			kind := "mail"
			if _, err := envelope.ParseID(d.Name()); err == nil {
				kind = "queue"
			} else if large[kind] != "" {
				kind = "other mail"
			}
			large[kind] = path
		}
		return err
	})
	if err != nil || len(large) != 3 {
		t.Fatal(large, err)
	}
	flip := func(path string, at func([]byte) int) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[at(b)] ^= 1
		// A new file, where others may be linked with the old one.
		if !strings.HasSuffix(path, ".seg") {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	middle := func(b []byte) int { return len(b) / 2 }
	flip(large["mail"], middle)
	flip(large["queue"], middle)
	if err := os.Remove(large["other mail"]); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(s.dir, "spool", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("The end of queued2")) {
			flip(path, func(b []byte) int { return bytes.Index(b, []byte("The end of queued2")) })
		}
	}
	before := s.findings()
	b, m := s.save()
	if m.Damaged != 4 || len(m.Damage) != 4 {
		t.Errorf("%q", m.Damage)
	}
	t.Logf("%q", m.Damage)
	if len(before) < 4 {
		t.Errorf("found before: %q", before)
	}
	dir, r := restored(t, b)
	if r.Damaged != 4 || r.Queued != 3 {
		t.Errorf("%+v", r)
	}
	n := openServer(t, dir)
	defer n.close()
	after := n.findings()
	t.Logf("%q", after)
	bad := 0
	for _, q := range n.queued() {
		if _, err := n.spool.Body(q); err != nil {
			bad++
		}
	}
	if bad != 2 {
		t.Errorf("%d queued messages are damaged", bad)
	}
	if texts := strings.Join(after, "\n"); strings.Count(texts, "does not match its checksum") != 2 || strings.Count(texts, "is missing") != 1 || !strings.Contains(texts, "is damaged") {
		t.Errorf("found after: %s", texts)
	}
}

func (s *server) queued() (list []envelope.ID) {
	s.spool.Each(func(e *envelope.Envelope) bool {
		list = append(list, e.ID)
		return true
	})
	return list
}

// nothing sees to it that a refused restore has left nothing.
func nothing(t *testing.T, what, dir string, made bool) {
	t.Helper()
	list, err := os.ReadDir(dir)
	switch {
	case made && err == nil && len(list) == 0:
	case !made && errors.Is(err, os.ErrNotExist):
	default:
		t.Errorf("%s: %s has %v, %v", what, dir, list, err)
	}
}

// refused restores what must be refused, to a new directory and to one that is
// there.
func refused(t *testing.T, what string, b []byte, want string) {
	t.Helper()
	for _, made := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "new")
		if made {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Restore(t.Context(), bytes.NewReader(b), target(dir), func(int64, int64) {})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
		nothing(t, what, dir, made)
	}
}

// edited copies an archive and lets edit change its members; the account of
// it agrees with what it is then.
func edited(t *testing.T, b []byte, edit func(name string, content []byte) (string, []byte)) []byte {
	t.Helper()
	var out bytes.Buffer
	var m Manifest
	w := archive.NewWriter(t.Context(), &out, m.Made)
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		content, rerr := io.ReadAll(r)
		if err != nil || rerr != nil {
			t.Fatal(err, rerr)
		}
		if strings.HasPrefix(h.Name, "sums/") || h.Name == "manifest.json" {
			continue
		}
		name, content := edit(h.Name, content)
		if name == "" {
			continue
		}
		if strings.HasPrefix(name, archive.Queue) {
			m.Queued++
		} else if strings.HasPrefix(name, archive.Mail) {
			m.Files++
		}
		if err := w.AddBytes(name, content); err != nil {
			t.Fatal(err)
		}
	}
	m.Format = archive.Format
	if err := w.Finish(&m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A backup that is damaged, cut short or hostile is refused, and leaves
// nothing behind, in its directory nor beside it.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	b, _ := s.save()
	s.close()
	refused(t, "nothing", nil, "not a backup")
	refused(t, "something else", []byte(strings.Repeat("x", 5000)), "not a backup")
	for i := range 12 {
		refused(t, fmt.Sprintf("cut after %d twelfths", i), b[:len(b)*i/12], "cannot be used")
	}
	for _, what := range []string{"The end of filed1", "The end of queued1", "The end of queued2", "SQLite format 3"} {
		damaged := slices.Clone(b)
		damaged[bytes.LastIndex(damaged, []byte(what))] ^= 1
		refused(t, what, damaged, "is not what was written")
	}

	same := func(name string, content []byte) (string, []byte) { return name, content }
	if _, err := Restore(t.Context(), bytes.NewReader(edited(t, b, same)), target(filepath.Join(t.TempDir(), "new")), func(int64, int64) {}); err != nil {
		t.Fatalf("only copied: %v", err)
	}
	swap := func(prefix, with string, content []byte) func(string, []byte) (string, []byte) {
		done := false
		return func(name string, c []byte) (string, []byte) {
			if !strings.HasPrefix(name, prefix) || done {
				return name, c
			}
			done = true
			if content != nil {
				c = content
			}
			return with, c
		}
	}
	for what, edit := range map[string]func(string, []byte) (string, []byte){
		"out of the directory":         swap("mail/", "mail/../../x", nil),
		"absolute":                     swap("mail/", "/tmp/gatepost-x", nil),
		"mail under a name of ours":    swap("mail/", "mail/06h0344kwe1xwr3400m9b2t5q8", nil),
		"mail under a long name":       swap("mail/", "mail/m-"+strings.Repeat("x", 80), nil),
		"another id":                   swap("queue/", "queue/06h0344kwe1xwr3400m9b2t5q8", nil),
		"no message":                   swap("queue/", "queue/06h0344kwe1xwr3400m9b2t5q8", []byte("x")),
		"no database":                  swap("store.db", "store.db", []byte("no database")),
		"an empty database":            swap("store.db", "store.db", []byte{}),
		"a key with a hidden name":     swap("keys/", "keys/.x", nil),
		"no secret":                    swap("keys/secret", "keys/other", nil),
		"a queue before all":           swap("gatepost.toml", "queue/06h0344kwe1xwr3400m9b2t5q8", []byte("x")),
		"no configuration":             swap("gatepost.toml", "", nil),
		"files of a strange name":      swap("backup.json", "backup.json", []byte(`{"gatepost_backup":1,"files":[{"setting":"tls.key","member":"../../x"}]}`)),
		"files of another strange":     swap("backup.json", "backup.json", []byte(`{"gatepost_backup":1,"files":[{"setting":"tls.key","member":"files/../x"}]}`)),
		"a head that makes no sense":   swap("backup.json", "backup.json", []byte(`[]`)),
		"a file of nobody's directory": swap("keys/secret", "etc/secret", nil),
	} {
		refused(t, what, edited(t, b, edit), "")
	}
	twice := func(name string, c []byte) (string, []byte) {
		if strings.HasPrefix(name, "queue/") {
			for k := tar.NewReader(bytes.NewReader(b)); ; {
				h, err := k.Next()
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(h.Name, "queue/") {
					c, _ = io.ReadAll(k)
					return h.Name, c
				}
			}
		}
		return name, c
	}
	refused(t, "a message twice", edited(t, b, twice), "already")

	to := target(filepath.Join(t.TempDir(), "new"))
	to.Configure = func([]byte, []Named) ([]byte, spool.Options, error) {
		return nil, spool.Options{}, errors.New("line 3: no")
	}
	if _, err := Restore(t.Context(), bytes.NewReader(b), to, func(int64, int64) {}); err == nil || !strings.Contains(err.Error(), "line 3: no") {
		t.Errorf("a configuration that is refused: %v", err)
	}
	nothing(t, "a configuration that is refused", to.Dir, false)
}

// Only a new or empty directory is restored to. What an interrupted restore
// has left is no obstacle, unless it was about to end.
func TestWhereTo(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	b, _ := s.save()
	s.close()
	restore := func(dir string) error {
		_, err := Restore(t.Context(), bytes.NewReader(b), target(dir), func(int64, int64) {})
		return err
	}
	write := func(path string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	write(filepath.Join(dir, "full", "x"))
	if err := restore(filepath.Join(dir, "full")); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Error(err)
	}
	if got := tree(t, filepath.Join(dir, "full")); len(got) != 2 {
		t.Errorf("%q", got)
	}
	if err := restore(filepath.Join(dir, "full", "x")); err == nil {
		t.Error("restored to a file")
	}
	if err := restore(filepath.Join(dir, "none", "below")); err == nil {
		t.Error("restored below what is not there")
	}
	write(filepath.Join(dir, "left", stageName, "keys", "secret"))
	if err := restore(filepath.Join(dir, "left")); err != nil {
		t.Errorf("after an interrupted restore: %v", err)
	}
	write(filepath.Join(dir, "nearly", stageName, "x"))
	write(filepath.Join(dir, "nearly", "store.db"))
	if err := restore(filepath.Join(dir, "nearly")); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Error(err)
	}
	first, second := target(filepath.Join(dir, "both")), target(filepath.Join(dir, "both"))
	first.Configure = func(text []byte, _ []Named) ([]byte, spool.Options, error) {
		if _, err := Restore(t.Context(), bytes.NewReader(b), second, func(int64, int64) {}); err == nil || !strings.Contains(err.Error(), "another restore") {
			t.Errorf("two at a time: %v", err)
		}
		return text, spoolSizes(), nil
	}
	if _, err := Restore(t.Context(), bytes.NewReader(b), first, func(int64, int64) {}); err != nil {
		t.Error(err)
	}
	openServer(t, first.Dir).close()
}

// failing is a file system whose nth change fails.
type failing struct {
	blob.FS
	mu   sync.Mutex
	left int
}

var errFull = syscall.ENOSPC

func (f *failing) step() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left--
	if f.left == 0 {
		return errFull
	}
	return nil
}

func (f *failing) Create(name string) (blob.Handle, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	h, err := f.FS.Create(name)
	return &failingHandle{h, f}, err
}

func (f *failing) Open(name string) (blob.Handle, error) {
	h, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &failingHandle{h, f}, nil
}

func (f *failing) Rename(a, b string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.FS.Rename(a, b)
}

func (f *failing) Mkdir(name string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.FS.Mkdir(name)
}

func (f *failing) SyncDir(name string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}

type failingHandle struct {
	blob.Handle
	f *failing
}

func (h *failingHandle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.f.step(); err != nil {
		return 0, err
	}
	return h.Handle.WriteAt(p, off)
}

func (h *failingHandle) Sync() error {
	if err := h.f.step(); err != nil {
		return err
	}
	return h.Handle.Sync()
}

// Wherever the disk fails during a restore, nothing of it is left; or it was
// restored in spite of that, as the spool can do.
func TestRestoreFails(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	b, _ := s.save()
	s.close()
	refusals := 0
	for n, more := 1, true; more; n += 1 + n/25 {
		dir := filepath.Join(t.TempDir(), "new")
		to := target(dir)
		f := &failing{FS: quick{blob.OS}, left: n}
		to.FS = f
		_, err := Restore(t.Context(), bytes.NewReader(b), to, func(int64, int64) {})
		more = f.left <= 0
		if err != nil {
			refusals++
			if !errors.Is(err, errFull) {
				t.Errorf("change %d: %v", n, err)
			}
			nothing(t, fmt.Sprint("change ", n), dir, false)
			continue
		}
		if n%4 == 0 || !more {
			server := openServer(t, dir)
			if list := server.findings(); len(list) > 0 {
				t.Errorf("change %d: %q", n, list)
			}
			server.close()
		}
	}
	if refusals < 25 {
		t.Errorf("only %d changes failed", refusals)
	}
	t.Logf("%d failures", refusals)

	ctx, cancel := context.WithCancel(t.Context())
	dir := filepath.Join(t.TempDir(), "new")
	_, err := Restore(ctx, bytes.NewReader(b), target(dir), func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	nothing(t, "interrupted", dir, false)
}

// A backup that cannot be written to its end is none, and holds nothing up.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	whole, _ := s.save()
	for i := range 10 {
		job, err := s.source().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		room := len(whole) * i / 10
		_, err = job.Write(t.Context(), writerFunc(func(p []byte) (int, error) {
			if room -= len(p); room < 0 {
				return 0, errFull
			}
			return len(p), nil
		}))
		if !errors.Is(err, errFull) {
			t.Errorf("%d: %v", i, err)
		}
		if err := job.Close(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	job, err := s.source().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := job.Write(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := job.Close(); err != nil {
		t.Error(err)
	}
	s.settle()
	await(t, "files are still held", func() bool {
		n := 0
		s.blobs.Each(func(name string) error {
			if _, err := envelope.ParseID(name); err == nil {
				n++
			}
			return nil
		})
		return n == 0
	})
	s.close()
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

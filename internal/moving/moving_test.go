package moving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatepost/internal/lines"
	"gatepost/internal/mbox"
)

// tree writes files below a directory: their names and contents.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1_400_000_000, 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// found reads a source: a line for each message, and for what is told.
func found(t *testing.T, path string, in io.Reader, o Options) (list []string, err error) {
	t.Helper()
	root := path
	if o.Max == 0 {
		o.Max = 1000
	}
	if o.Dialect == "" {
		o.Dialect = mbox.Auto
	}
	o.Skipped = func(where, why string) {
		list = append(list, "skipped "+strings.TrimPrefix(where, root)+": "+why)
	}
	o.Noted = func(text string) { list = append(list, "noted "+strings.ReplaceAll(text, root, "")) }
	s, err := Open(path, in, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = s.Each(t.Context(), func(l *Letter) error {
		b, err := io.ReadAll(l.Content)
		list = append(list, fmt.Sprintf("%s %v %d %q", l.Folder, l.Flags, l.Received.Unix(), b))
		return err
	})
	return list, err
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const line = "From anna@example.org Thu Jan  1 00:16:40 1970\n" // 1000

func TestMaildir(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"cur/1700000000.a:2,S":          "A: 1\n\n1\n",
		"cur/999999999.b:2,FRa":         "A: 2\r\n\r\n2\r\n",
		"new/1800000000.c":              "A: 3\n",
		"tmp/1.d":                       "A: half",
		"cur/.hidden":                   "x",
		"dovecot-keywords":              "0 work\n",
		"dovecot.index":                 "x",
		".Entw&APw-rfe.2=2E0/cur/1:2,D": "A: 4\n",
		".Sent/new/":                    "",
		"Lists/go/cur/1.e:2,":           "A: 5\n",
		"Lists/.go.dev/cur/1.f:2,T":     "A: 6\n",
		"cur/3.empty:2,":                "",
		"cur/4.large:2,":                strings.Repeat("x", 1001),
	})
	got, err := found(t, root, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "Maildir", got,
		"skipped /cur/3.empty:2,: it is empty",
		"skipped /cur/4.large:2,: it has 1001 octets, more than the 1000 that are taken",
		`INBOX [\Flagged \Answered work] 1400000000 "A: 2\r\n\r\n2\r\n"`,
		`INBOX [\Seen] 1400000000 "A: 1\n\n1\n"`,
		`INBOX [] 1400000000 "A: 3\n"`,
		"noted /tmp: files that were never finished (1) are left alone",
		`Entwürfe/2.0 [\Draft] 1400000000 "A: 4\n"`,
		`Lists/go/dev [\Deleted] 1400000000 "A: 6\n"`,
		`Lists/go [] 1400000000 "A: 5\n"`,
	)
	got, err = found(t, filepath.Join(root, "Lists"), nil, Options{Folder: "Old/../x"})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "below a folder", got, `Old/_/x/go/dev [\Deleted] 1400000000 "A: 6\n"`, `Old/_/x/go [] 1400000000 "A: 5\n"`)
}

// A Maildir that somebody made leads nowhere: links, FIFOs, devices, loops.
func TestTraps(t *testing.T) {
	t.Parallel()
	outside := tree(t, map[string]string{"secret": "Subject: secret\n", "cur/1:2,": "Subject: secret\n"})
	root := tree(t, map[string]string{"cur/1.a:2,": "A: 1\n", "cur/5.dir/x": "A: 2\n"})
	for name, to := range map[string]string{
		"cur/2.link:2,": filepath.Join(outside, "secret"), "cur/3.up:2,": "../../" + filepath.Base(outside) + "/secret",
		"cur/6.here:2,": "1.a:2,", ".Folder": outside, ".Loop": ".", "Loop": "..",
	} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "cur/4.fifo:2,"), 0o600); err != nil {
		t.Fatal(err)
	}
	deep := root
	for range maxNested + 1 {
		deep = filepath.Join(deep, "d")
	}
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := found(t, root, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "traps", got,
		`INBOX [] 1400000000 "A: 1\n"`,
		"skipped /cur/2.link:2,: it is a link, which is not followed",
		"skipped /cur/3.up:2,: it is a link, which is not followed",
		"skipped /cur/4.fifo:2,: it is not a regular file",
		"skipped /cur/5.dir: it is a directory",
		"skipped /cur/6.here:2,: it is a link, which is not followed",
		"skipped "+strings.TrimPrefix(deep, root)+": directories are nested more than 24 deep",
	)
	plain := tree(t, map[string]string{"a.eml": "A: 1\n"})
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(plain, "b.eml")); err != nil {
		t.Fatal(err)
	}
	got, err = found(t, plain, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "files", got, `INBOX [] 1400000000 "A: 1\n"`, "skipped /b.eml: it is a link, which is not followed")
	if _, err := found(t, "/dev/null", nil, Options{}); !errors.Is(err, errNoSource) {
		t.Errorf("a device: %v", err)
	}
	if _, err := found(t, filepath.Join(root, "none"), nil, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// Directories as Thunderbird, Apple Mail, MH and others keep them.
func TestFiles(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"Inbox":               "From - Thu Jan  1 00:16:40 1970\nX-Mozilla-Status: 0005\nX-Mozilla-Keys: $label1 a(b \nDate: Thu, 1 Jan 1970 00:33:20 +0000\n\nx\n\n",
		"Inbox.msf":           "index",
		"Inbox.sbd/2019":      line + "A: 1\n\n",
		"Inbox.sbd/Sub.sbd/X": line + "A: 2\n\n",
		"Work.mbox/mbox":      line + "A: 3\n\n",
		"mh/1":                "A: 4\n",
		"letters/a.eml":       "Received: by x; Thu, 1 Jan 1970 00:50:00 +0000\nDate: Thu, 1 Jan 1970 00:33:20 +0000\nStatus: R\n\n",
		"letters/b.txt":       line + "A: 5\n\n",
		"letters/readme.txt":  "hello",
		"letters/c.eml":       "hello",
		"Trash":               "",
		"popstate.dat":        "x",
	})
	got, err := found(t, root, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	head := `"X-Mozilla-Status: 0005\nX-Mozilla-Keys: $label1 a(b \nDate: Thu, 1 Jan 1970 00:33:20 +0000\n\nx\n"`
	expect(t, "files", got,
		`INBOX [\Seen \Flagged $label1 a_b] 2000 `+head,
		`INBOX/Sub/X [] 1000 "A: 2\n"`,
		`INBOX/2019 [] 1000 "A: 1\n"`,
		`Work [] 1000 "A: 3\n"`,
		`letters [\Seen] 3000 "Received: by x; Thu, 1 Jan 1970 00:50:00 +0000\nDate: Thu, 1 Jan 1970 00:33:20 +0000\nStatus: R\n\n"`,
		`letters [] 1000 "A: 5\n"`,
		"skipped /letters/c.eml: it does not begin like a message",
		`mh [] 1400000000 "A: 4\n"`,
		"noted : files that hold no mail (4) are left alone",
	)
}

func TestMboxFile(t *testing.T) {
	t.Parallel()
	file := line + "Subject: a\nStatus: RO\nX-Status: AFDT\nX-Keywords: x\\y $z\n\na\n\n" +
		line + "X-Gmail-Labels: =?UTF-8?Q?Inbox,Unread,Caf=C3=A9,Important?=\n\n\n" +
		line + "X-Gmail-Labels: Archived,Opened,\"Work/../x\",Second label,Category Updates,Starred\n\n\n" +
		line + "X-Gmail-Labels: Sent,Opened\n\n\n" +
		line + "X-Gmail-Labels: Trash,Inbox\n\n\n" +
		line + "X-Gmail-Labels: Archived,Unread\n\n\n" +
		line + "\n" + line + strings.Repeat("x", 1001) + "\n\n"
	want := []string{
		`INBOX [\Seen \Answered \Flagged \Deleted \Draft x_y $z] 1000 "Subject: a\nStatus: RO\nX-Status: AFDT\nX-Keywords: x\\y $z\n\na\n"`,
		`INBOX [Caf_] 1000 "X-Gmail-Labels: =?UTF-8?Q?Inbox,Unread,Caf=C3=A9,Important?=\n\n"`,
		`Work/_/x [\Seen \Flagged Second_label] 1000 "X-Gmail-Labels: Archived,Opened,\"Work/../x\",Second label,Category Updates,Starred\n\n"`,
		`Sent [\Seen] 1000 "X-Gmail-Labels: Sent,Opened\n\n"`,
		`Trash [\Seen] 1000 "X-Gmail-Labels: Trash,Inbox\n\n"`,
		`Archive [] 1000 "X-Gmail-Labels: Archived,Unread\n\n"`,
		"skipped standard input: message 7 at octet 583: it is empty",
		"skipped standard input: message 8 at octet 631: it has 1002 octets, more than the 1000 that are taken",
	}
	got, err := found(t, "-", strings.NewReader(file), Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "mbox", got, want...)

	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	go os.WriteFile(fifo, []byte(file), 0)
	got, err = found(t, fifo, nil, Options{Folder: "All"})
	if err != nil || len(got) != 8 || !strings.HasPrefix(got[3], `All [\Seen] 1000`) {
		t.Errorf("%q, %v", got, err)
	}
	for content, want := range map[string]error{"": nil, "hello": mbox.ErrNotMbox, "A: b\n": nil} {
		if _, err := found(t, "-", strings.NewReader(content), Options{}); !errors.Is(err, want) {
			t.Errorf("%q: %v", content, err)
		}
	}
	stop := errors.New("stop")
	s, err := Open("-", strings.NewReader(file), Options{Dialect: mbox.Auto, Max: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Each(t.Context(), func(*Letter) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if done, total := s.Progress(); done == 0 || done >= total || total != int64(len(file)) {
		t.Errorf("%d of %d", done, total)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Each(ended, func(*Letter) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A directory with more names than are kept at once is read in pages.
func TestPages(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprintf("%d.x", 1000+i*7%50)] = "x"
	}
	dir, err := os.OpenRoot(tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var names []string
	for after := ""; ; {
		page, err := nextNames(dir, after, 7)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, page...)
		if len(page) < 7 {
			break
		}
		after = page[6]
	}
	if len(names) != 50 || !slices.IsSorted(names) {
		t.Errorf("%q", names)
	}
}

// What is exported is found again, with its folder, flags and date; and
// nothing that exists is replaced or left by a link.
func TestExport(t *testing.T) {
	t.Parallel()
	kept := []Kept{
		{Folder: "INBOX", Flags: nil, Ends: lines.AllLF},
		{Folder: "INBOX", Flags: []string{`\Seen`, "$work"}, Ends: lines.AllCRLF},
		{Folder: "Entwürfe/2.0", Flags: []string{`\Draft`, `\Flagged`, `\Answered`, `\Deleted`, "x"}, Ends: lines.AllLF},
		{Folder: "R&D", Ends: lines.AllLF},
	}
	content := []string{"A: 1\n\nFrom x\n>From y\n", "A: 2\r\n\r\nx\r\n", "X-Gatepost-Folder: evil\nStatus: R\nX-Status: \nX-Keywords: \nA: 3\n\n", "X-Gmail-Labels: R&D,Unread\n\n\n"}
	var want []string
	fill := func(x Export) {
		t.Helper()
		want = nil
		for i, k := range kept {
			k.UID, k.Received = uint32(i+1), time.Unix(int64(1000+i), 0)
			k.Content = strings.NewReader(strings.ReplaceAll(strings.ReplaceAll(content[i], "\r\n", "\n"), "\n", "\r\n"))
			if err := x.Add(&k); err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprintf("%s %d %q", k.Folder, 1000+i, content[i]))
		}
		if err := x.Close(true); err != nil {
			t.Fatal(err)
		}
	}
	same := func(path string) {
		t.Helper()
		var got []string
		var flags [][]string
		s, err := Open(path, nil, Options{Dialect: mbox.Auto, Max: 1000, Skipped: func(where, why string) { t.Error(where, why) }, Noted: func(text string) { t.Error(text) }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		err = s.Each(t.Context(), func(l *Letter) error {
			b, err := io.ReadAll(l.Content)
			got = append(got, fmt.Sprintf("%s %d %q", l.Folder, l.Received.Unix(), b))
			flags = append(flags, l.Flags)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			j := slices.Index(got, w)
			if j < 0 || !sameFlags(flags[j], kept[i].Flags) {
				t.Errorf("%s is not in\n%s\nor without %q: %q", w, strings.Join(got, "\n"), kept[i].Flags, flags)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d messages of %d", len(got), len(want))
		}
	}
	file := filepath.Join(t.TempDir(), "out.mbox")
	x, err := NewExport(file, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	fill(x)
	same(file)
	if _, err := NewExport(file, time.Unix(1, 0)); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Error(err)
	}
	dir := filepath.Join(t.TempDir(), "out") + "/"
	if x, err = NewExport(dir, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	fill(x)
	same(dir)
	if x, err = NewExport(dir, time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	fill(x)
	if names, _ := filepath.Glob(dir + "cur/*"); len(names) != 4 {
		t.Errorf("after a second export: %q", names)
	}

	outside := t.TempDir()
	trap := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(trap, ".R&-D")); err != nil {
		t.Fatal(err)
	}
	if x, err = NewExport(trap, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := x.Add(&Kept{Folder: "R&D", Content: bytes.NewReader(nil)}); err == nil {
		t.Error("an export went through a link")
	}
	if err := x.Close(false); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("%v", left)
	}
	half := filepath.Join(t.TempDir(), "half.mbox")
	if x, err = NewExport(half, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half an export stays: %v", err)
	}
}

func TestFolderName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"inbox": "INBOX", "InBox|x": "INBOX/x", "": "_", "..|.|x": "_/_/x", "a/b|c*%": "a_b/c__", "#shared": "_shared", "\xff\x00": "__", "\u202ea": "_a",
		strings.Repeat("x|", 20) + "y": strings.Repeat("x/", 15) + "x_x_x_x_x_y",
	} {
		if got := folderName(strings.Split(in, "|")); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	long := strings.Repeat("ü", 200)
	a, b := folderName([]string{long + "a"}), folderName([]string{long + "b"})
	if len(a) > maxName || a == b || !strings.HasPrefix(a, "üü") {
		t.Errorf("%q, %q", a, b)
	}
	if folderName(nil) != "INBOX" {
		t.Error("nothing")
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte("X-Gmail-Labels: Inbox,=?UTF-8?Q?a?=\nStatus: RO\nX-Mozilla-Status: 0009\n"), "Work/..", "a b")
	f.Add([]byte("X-Gatepost-Folder: x\nStatus: O\nX-Status: \nX-Keywords: y\nReceived: x; Thu, 1 Jan 1970 00:50:00 +0000\n"), "INBOX", `\Seen`)
	f.Fuzz(func(t *testing.T, header []byte, folder, flag string) {
		header = headerOf(header)
		folder = folderName(strings.Split(folder, "/"))
		flags := cleanFlags([]string{flag})
		above := top(header, folder, flags)
		s := readState(headerOf(append(above, header...)))
		if strings.TrimSpace(folder) != folder || strings.ContainsAny(folder, "\t") {
			return // white space around a field's value is none of it
		}
		if s.folder == "" {
			s.folder = inbox
		}
		if s.top != len(above) || s.folder != folder || !sameFlags(s.flags, flags) {
			t.Errorf("%q %q came back as %q %q, with %d of %d octets", folder, flags, s.folder, s.flags, s.top, len(above))
		}
	})
}

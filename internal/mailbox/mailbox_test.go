package mailbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mailbox/title"
	"gatepost/internal/store"
)

var start = time.Date(2026, 11, 22, 3, 29, 0, 0, time.UTC)

// house is a store, a blob store and the mailboxes in them.
type house struct {
	*Boxes
	db    *store.DB
	blobs *faulty
	clock *clock.Fake
	dir   string
}

// faulty is a blob store that can be told to fail.
type faulty struct {
	blob.Store
	mu   sync.Mutex
	fail error
}

func (f *faulty) failing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail
}

func (f *faulty) Create() (blob.Writer, error) {
	if err := f.failing(); err != nil {
		return nil, err
	}
	return f.Store.Create()
}

func (f *faulty) Link(old, name string) error {
	if err := f.failing(); err != nil {
		return err
	}
	return f.Store.Link(old, name)
}

// open returns mailboxes in a new directory, with accounts 1, 2 and 3.
func open(t testing.TB) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), clock: clock.NewFake(start)}
	h.reopen(t)
	err := h.db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		for id := range int64(3) {
			if err := addAccount(tx, id+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.db.Close() })
	return h
}

func addAccount(tx *store.Tx, id int64) error {
	_, err := tx.Exec(`INSERT INTO account
		(id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
		VALUES (?, 'example.org', ?, 'user', 0, 0, 0, 0, ?, 0)`, id, fmt.Sprint("user", id), []byte{})
	return err
}

// reopen opens what is on disk anew, as after a crash.
func (h *house) reopen(t testing.TB) {
	t.Helper()
	if h.db != nil {
		if err := h.db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	h.db, err = store.Open(context.Background(), store.Options{
		Path: filepath.Join(h.dir, "store.db"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := blob.OpenDir(filepath.Join(h.dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	h.blobs = &faulty{Store: dir}
	h.Boxes = New(h.db, h.blobs, h.clock, rand.Reader)
}

func newID(t testing.TB) envelope.ID {
	t.Helper()
	id, err := envelope.NewID(start, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// letter is a message of about size octets.
func letter(size int) []byte {
	head := "From: Anna <anna@example.org>\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n\r\n"
	body := strings.Repeat("The quick brown fox jumps over the lazy dog, and again.\r\n", max(size-len(head), 0)/57+1)
	return []byte(head + body)
}

// filing is a delivery of a small message to account 1.
func filing(t testing.TB) Filing {
	t.Helper()
	return Filing{
		Account:   1,
		Folder:    Inbox,
		ID:        newID(t),
		Recipient: "user1@example.org",
		Header:    []byte("Return-Path: <>\r\n"),
		Body:      envelope.MemoryBody(letter(100)),
		Date:      start,
	}
}

func (h *house) file(t testing.TB, f Filing) Message {
	t.Helper()
	m, err := h.File(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (h *house) list(t testing.TB, account int64, folder string) (list []Message) {
	t.Helper()
	for m, err := range h.Messages(t.Context(), account, folder) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func (h *house) read(t testing.TB, account, id int64) string {
	t.Helper()
	c, err := h.Open(t.Context(), account, id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != c.Size {
		t.Errorf("message %d: size %d, read %d", id, c.Size, len(b))
	}
	return string(b)
}

func (h *house) used(t testing.TB, account int64) int64 {
	t.Helper()
	n, err := h.Used(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// files returns the names in the blob store.
func (h *house) files(t testing.TB) (names []string) {
	t.Helper()
	err := h.blobs.Each(func(name string) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// count returns the rows of a table.
func (h *house) count(t testing.TB, table string) (n int) {
	t.Helper()
	err := h.db.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM ` + table).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// putBlob stores content as the spool does and returns it as a body.
func (h *house) putBlob(t testing.TB, name string, content []byte) *envelope.Body {
	t.Helper()
	w, err := h.blobs.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(name); err != nil {
		t.Fatal(err)
	}
	f, err := h.blobs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	body := envelope.FileBody(f, 0, f.Size(), f.Close)
	body.Blob, body.Sum = name, crc32.Checksum(content, envelope.SumTable)
	t.Cleanup(func() { body.Close() })
	return body
}

func TestFileAndRead(t *testing.T) {
	t.Parallel()
	h := open(t)
	onDisk := bytes.NewReader(append([]byte("junk"), letter(500)...))
	for i, c := range []struct {
		name  string
		body  *envelope.Body
		files int // of ours afterwards
	}{
		{"in memory", envelope.MemoryBody(letter(100)), 0},
		{"of a segment", envelope.FileBody(onDisk, 4, int64(onDisk.Len()-4), nil), 0},
		{"empty", envelope.MemoryBody(nil), 0},
		{"at the bound", envelope.MemoryBody(letter(2 * inlineBound)[:inlineBound]), 0},
		{"beyond the bound", envelope.MemoryBody(letter(2 * inlineBound)[:inlineBound+1]), 1},
		{"large, of a segment", envelope.FileBody(bytes.NewReader(letter(3*inlineBound)), 0, int64(len(letter(3*inlineBound))), nil), 2},
		{"in a file of the spool", h.putBlob(t, newID(t).String(), letter(10*inlineBound)), 3},
	} {
		f := filing(t)
		f.Body = c.body
		content, err := io.ReadAll(c.body.Reader())
		if err != nil {
			t.Fatal(err)
		}
		m := h.file(t, f)
		if m.UID != uint32(i+1) {
			t.Errorf("%s: UID %d", c.name, m.UID)
		}
		if got := h.read(t, 1, m.ID); got != string(f.Header)+string(content) {
			t.Errorf("%s: got %d octets, want %d", c.name, len(got), len(f.Header)+len(content))
		}
		ours := slices.DeleteFunc(h.files(t), func(name string) bool { return !Owns(name) })
		if len(ours) != c.files {
			t.Errorf("%s: %d files", c.name, len(ours))
		}
		if _, err := h.Open(t.Context(), 2, m.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: another account opens it: %v", c.name, err)
		}
	}
	var sum int64
	list := h.list(t, 1, "inbox")
	for _, m := range list {
		sum += m.Size
	}
	if got := h.used(t, 1); got != sum || len(list) != 7 {
		t.Errorf("used %d, %d messages of %d", got, len(list), sum)
	}
}

// The spool goes on without its file: ours is a link of its own.
func TestLinkOutlivesTheSpool(t *testing.T) {
	t.Parallel()
	h := open(t)
	name := newID(t).String()
	f := filing(t)
	f.Body = h.putBlob(t, name, letter(2*inlineBound))
	m := h.file(t, f)
	if err := h.blobs.Remove(name); err != nil {
		t.Fatal(err)
	}
	if got := h.read(t, 1, m.ID); got != string(f.Header)+string(letter(2*inlineBound)) {
		t.Errorf("%d octets", len(got))
	}
}

func TestFileWithoutFieldsInFront(t *testing.T) {
	t.Parallel()
	h := open(t)
	f := filing(t)
	f.Header = nil
	if got := h.read(t, 1, h.file(t, f).ID); got != string(letter(100)) {
		t.Errorf("got %q", got)
	}
}

func TestWhatListsShow(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, c := range []struct {
		name, content, subject, from, date string
	}{
		{"plain", "From: a@example.org\r\nSubject: hi\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n\r\nx\r\n", "hi", "a@example.org", "2026-11-21T09:00:00Z"},
		{"encoded", "subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nFROM: =?iso-8859-1?q?J=F6rg?= <j@example.org>\r\n\r\n", "Grüße", "Jörg <j@example.org>", "2026-11-22T03:29:00Z"},
		{"folded", "Subject: one\r\n two\r\n\r\n", "one two", "", "2026-11-22T03:29:00Z"},
		{"the first counts", "Subject: one\r\nSubject: two\r\n\r\n", "one", "", "2026-11-22T03:29:00Z"},
		{"hidden controls", "Subject: =?utf-8?q?a=0D=0Ab=1Bc=E2=80=AEd?=\r\n\r\n", "abcd", "", "2026-11-22T03:29:00Z"},
		{"not UTF-8", "Subject: a\xffb\r\n\r\n", "a\uFFFDb", "", "2026-11-22T03:29:00Z"},
		{"in the body", "To: x\r\n\r\nSubject: no\r\nFrom: no@example.org\r\n", "", "", "2026-11-22T03:29:00Z"},
		{"no header", "\r\nSubject: no\r\n", "", "", "2026-11-22T03:29:00Z"},
		{"no end", "Subject: cut off\r\n", "cut off", "", "2026-11-22T03:29:00Z"},
		{"date after the last year", "Date: Fri, 31 Dec 9999 23:59:59 -0100\r\n\r\n", "", "", "2026-11-22T03:29:00Z"},
		{"date before the first", "Date: Thu, 01 Jan 1970 00:00:00 +0100\r\n\r\n", "", "", "2026-11-22T03:29:00Z"},
		{"odd date", "Date: yesterday\r\n\r\n", "", "", "2026-11-22T03:29:00Z"},
		{"long", "Subject: " + strings.Repeat("ä", 500) + "\r\n\r\n", strings.Repeat("ä", maxText/2), "", "2026-11-22T03:29:00Z"},
		{"beyond the bound", "X: " + strings.Repeat("x", summaryBound) + "\r\nSubject: late\r\n\r\n", "", "", "2026-11-22T03:29:00Z"},
	} {
		for kind, body := range map[string]*envelope.Body{
			"memory": envelope.MemoryBody([]byte(c.content)),
			"file":   envelope.FileBody(strings.NewReader(c.content), 0, int64(len(c.content)), nil),
		} {
			f := filing(t)
			f.Body, f.Flags = body, Seen|Flagged
			filed := h.file(t, f)
			list := h.list(t, 1, Inbox)
			for _, m := range []Message{filed, list[len(list)-1]} {
				if m.Subject != c.subject || m.From != c.from || m.Date.Format(time.RFC3339) != c.date {
					t.Errorf("%s, %s: %q, %q, %s", c.name, kind, m.Subject, m.From, m.Date)
				}
				if _, err := json.Marshal(m); err != nil {
					t.Errorf("%s, %s: %v", c.name, kind, err)
				}
				if m != filed || m.Flags != Seen|Flagged || m.Size != int64(len(c.content)+len(f.Header)) {
					t.Errorf("%s, %s: %+v and %+v", c.name, kind, m, filed)
				}
			}
		}
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, err := range h.Messages(t.Context(), 1, "inbox") {
		t.Errorf("the INBOX that nothing has arrived in: %v", err)
	}
	for _, err := range h.Messages(t.Context(), 99, Inbox) {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("the INBOX of nobody: %v", err)
		}
	}
	const want = "INBOX:inbox Sent:sent Drafts:drafts Junk:junk Trash:trash Archive:archive"
	names := func() string {
		list, err := h.Folders(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, f := range list {
			words = append(words, f.Name+":"+f.Role)
		}
		return strings.Join(words, " ")
	}
	for range 2 {
		if got := names(); got != want {
			t.Fatalf("got %s", got)
		}
	}
	for _, name := range []string{"Zoo", "Captured", "inbox/sub"} {
		f := filing(t)
		f.Folder = name
		h.file(t, f)
	}
	if got := names(); got != want+" Captured: INBOX/sub: Zoo:" {
		t.Errorf("got %s", got)
	}
	f := filing(t)
	f.Flags = Seen
	h.file(t, f)
	h.file(t, filing(t))
	list, err := h.Folders(t.Context(), 1)
	if f := list[0]; err != nil || f.Messages != 2 || f.Unseen != 1 || f.UIDNext != 3 || int64(f.UIDValidity) != start.Unix() {
		t.Errorf("%+v, %v", f, err)
	}
	if list, err := h.Folders(t.Context(), 99); !errors.Is(err, ErrNotFound) {
		t.Errorf("folders of nobody: %v, %v", list, err)
	}
	for _, err := range h.Messages(t.Context(), 1, "Nowhere") {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("messages of a folder that is not there: %v", err)
		}
	}
}

func TestFolderName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"inbox":                            "INBOX",
		"InBox/Sub":                        "INBOX/Sub",
		"Sub/inbox":                        "Sub/inbox",
		"Entwürfe":                         "Entwürfe",
		"Entwu\u0308rfe":                   "Entwürfe",
		strings.Repeat("a", title.MaxName): strings.Repeat("a", title.MaxName),
		strings.Repeat("a/", title.MaxDepth-1) + "a": strings.Repeat("a/", title.MaxDepth-1) + "a",
		"":                                   "!",
		"/":                                  "!",
		"a//b":                               "!",
		"/a":                                 "!",
		"a/":                                 "!",
		"..":                                 "!",
		"a/../b":                             "!",
		"a*":                                 "!",
		"%":                                  "!",
		"#news":                              "!",
		"a\nb":                               "!",
		"a\x00":                              "!",
		"a\u202eb":                           "!",
		"a\u2028b":                           "!",
		"\xff":                               "!",
		strings.Repeat("a", title.MaxName+1): "!",
		strings.Repeat("a/", title.MaxDepth) + "a": "!",
	} {
		got, err := folderName(in)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// A folder that is made again under an old name has a greater UIDVALIDITY,
// whatever the clock says.
func TestUIDValidityGrows(t *testing.T) {
	t.Parallel()
	h := open(t)
	f := filing(t)
	f.Folder = "Again"
	var last uint32
	for _, jump := range []time.Duration{0, 0, -time.Hour, 2 * time.Hour} {
		h.clock.Jump(jump)
		f.ID = newID(t)
		h.file(t, f)
		list, err := h.Folders(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		again := list[len(list)-1]
		if again.Name != "Again" || again.UIDValidity <= last {
			t.Errorf("%+v after %d", again, last)
		}
		last = again.UIDValidity
		err = h.db.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(`DELETE FROM message`); err != nil {
				return err
			}
			_, err := tx.Exec(`DELETE FROM folder WHERE name = 'Again'`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestMessagesComeInPages(t *testing.T) {
	t.Parallel()
	h := open(t)
	const n = pageSize + 3
	var group sync.WaitGroup
	for range n {
		group.Go(func() { h.file(t, filing(t)) })
	}
	group.Wait()
	list := h.list(t, 1, Inbox)
	for i, m := range list {
		if m.UID != uint32(i+1) {
			t.Fatalf("UID %d at %d", m.UID, i)
		}
	}
	if len(list) != n {
		t.Errorf("%d messages", len(list))
	}
}

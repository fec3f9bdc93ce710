package mailbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/audit"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// checked returns what Check finds, and the files that it says are owned.
func (h *house) checked(t *testing.T) (list []audit.Finding, owned []string) {
	t.Helper()
	n, err := h.db.Snapshot(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	return h.check1(t, n)
}

func (h *house) check1(t *testing.T, n Moment) (list []audit.Finding, owned []string) {
	t.Helper()
	var read int64
	err := Check(t.Context(), n, h.blobs, func(k int64) { read += k }, func(name string) { owned = append(owned, name) },
		func(f audit.Finding) { list = append(list, f) })
	if err != nil {
		t.Fatal(err)
	}
	if work, err := Work(n); err != nil || work != read {
		t.Errorf("read %d octets of %d, %v", read, work, err)
	}
	files, err := Files(n)
	if err != nil || len(files) != len(owned) {
		t.Errorf("%d files, %d owned, %v", len(files), len(owned), err)
	}
	return list, owned
}

// furnished is a house with some mail: small and large, in two folders.
func furnished(t *testing.T) *house {
	t.Helper()
	h := open(t)
	for i, body := range []*envelope.Body{
		envelope.MemoryBody(letter(100)), envelope.MemoryBody(letter(2 * inlineBound)), h.putBlob(t, newID(t).String(), letter(3*inlineBound)),
		envelope.MemoryBody(nil),
	} {
		f := filing(t)
		f.ID, f.Body, f.Account = newID(t), body, int64(1+i%2)
		f.Header = []byte("Delivered-To: somebody\r\n")
		if i > 2 {
			f.Folder = "Archive/Old"
		}
		if _, err := h.File(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// within is the store in the middle of a transaction.
type within struct{ tx *store.Tx }

func (w within) View(f func(*store.Tx) error) error { return f(w.tx) }

func (w within) sql(t *testing.T, query string, args ...any) {
	t.Helper()
	n, err := w.tx.Exec(query, args...)
	if err != nil || n == 0 {
		t.Errorf("%s: %d rows, %v", query, n, err)
	}
}

// undone does something to the store and undoes it.
func (h *house) undone(t *testing.T, f func(within)) {
	t.Helper()
	undo := errors.New("undo")
	err := h.db.Update(context.Background(), func(tx *store.Tx) error {
		f(within{tx})
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
}

// blobFile returns where a file of the blob store is.
func (h *house) blobFile(t *testing.T, name string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(h.dir, "blob", "??", name))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0]
}

// Every rule that a row or a body can break is told, once and by the name of
// what it is about.
func TestCheck(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	list, files := h.checked(t)
	if len(list) > 0 || len(files) != 2 {
		t.Fatalf("found %+v, files %q", list, files)
	}
	for _, c := range []struct {
		spoil string
		want  string
	}{
		{`UPDATE mailbox SET used = used + 1 WHERE account = 1`, "The mailbox of user1@example.org counts "},
		{`UPDATE folder SET uidnext = 1 WHERE account = 1 AND name = 'INBOX'`, "In user1@example.org, INBOX the next UID is 1 and a message has 2."},
		{`UPDATE message SET uid = 0 WHERE id = 1`, "In user1@example.org, INBOX the next UID"},
		{`UPDATE message SET modseq = 99 WHERE id = 1`, "In user1@example.org, INBOX the highest change is "},
		{`INSERT INTO expunged (folder, modseq, uid) SELECT folder, 1, uid FROM message WHERE id = 1`,
			"In user1@example.org, INBOX the message of UID 1 is said to be gone"},
		{`INSERT INTO expunged (folder, modseq, uid) SELECT folder, 1, 77 FROM message WHERE id = 1`,
			"In user1@example.org, INBOX the message of UID 77 is said to be gone"},
		{`DELETE FROM body WHERE id = 1`, "In user1@example.org, INBOX message 1 has no content."},
		{`UPDATE body SET refs = 2 WHERE id = 1`, "Content 1 counts 2 messages that have it; there are 1."},
		{`UPDATE sequence SET next = 2 WHERE name = 'message'`, "The sequence message goes on with 2, and 4 is given already."},
		{`UPDATE sequence SET next = 2 WHERE name = 'folder'`, "The sequence folder goes on with 2, and "},
		{`INSERT INTO filed (spool, recipient) VALUES ('short', 'x@example.org')`, "What is remembered as filed for x@example.org has an id of 5 octets."},
		{`UPDATE folder SET name = 'a//b' WHERE account = 1 AND name = 'Trash'`, `A folder of account 1 is called "a//b"`},
		{`UPDATE folder SET role = 'x' WHERE account = 1 AND name = 'Trash'`, `A folder of account 1 is called "Trash" and has the role "x".`},
		{`UPDATE folder SET uidvalidity = uidvalidity + 1000 WHERE account = 1 AND name = 'Trash'`, "The folder Trash of account 1 has UIDVALIDITY "},
		{`UPDATE body SET content = CAST('!' AS BLOB) || SUBSTR(content, 2) WHERE id = 1`,
			"The content of message 1 in user1@example.org, INBOX does not match its checksum."},
		{`UPDATE body SET header = CAST('!' AS BLOB) || SUBSTR(header, 2) WHERE id = 2`,
			"The content of message 2 in user2@example.org, INBOX does not match its checksum."},
		{`UPDATE body SET content = SUBSTR(content, 2) WHERE id = 1`, "The content of message 1 in user1@example.org, INBOX has "},
		{`INSERT INTO body (id, refs, size, blob, header, content) VALUES (99, 0, 7, '', '', '')`,
			"Content 99, which no message has, has 0 octets instead of 7."},
	} {
		h.undone(t, func(w within) {
			w.sql(t, c.spoil)
			list, _ := h.check1(t, w)
			expect(t, c.spoil, list, c.want)
		})
	}
	h.undone(t, func(w within) {
		w.sql(t, `UPDATE message SET size = size - 1 WHERE id = 1`)
		w.sql(t, `UPDATE mailbox SET used = used - 1 WHERE account = 1`)
		list, _ := h.check1(t, w)
		expect(t, "sizes", list, "In user1@example.org, INBOX message 1 has ")
	})
	h.undone(t, func(w within) {
		w.sql(t, `UPDATE body SET header_sum = -1, content_sum = -1`)
		if list, _ := h.check1(t, w); len(list) > 0 {
			t.Errorf("filed before there were checksums: %+v", list)
		}
	})
	// Mail of an account that is gone is a leftover.
	h.undone(t, func(w within) {
		w.sql(t, `DELETE FROM account WHERE id = 2`)
		list, _ := h.check1(t, w)
		if len(list) != 1 || list[0].Level != audit.Warning || list[0].Text != "The account 2 is gone and its mail is still there." {
			t.Errorf("found %+v", list)
		}
	})
}

// expect compares findings with the one that there should be.
func expect(t *testing.T, what string, list []audit.Finding, want string) {
	t.Helper()
	if len(list) != 1 || !strings.HasPrefix(list[0].Text, want) || list[0].Level != audit.Failure || list[0].Fix == "" ||
		strings.Contains(list[0].Text, "%!") {
		t.Errorf("%s: found %+v, want %q", what, list, want)
	}
}

// Files that are not what was filed are told by the messages that have them,
// copied ones and linked ones.
func TestCheckFiles(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	_, files := h.checked(t)
	for i, message := range []string{"message 2 in user2@example.org, INBOX", "message 3 in user1@example.org, INBOX"} {
		path := h.blobFile(t, files[i])
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := slices.Clone(whole)
		flipped[len(whole)/2] ^= 4
		for _, c := range []struct {
			content []byte
			want    string
		}{
			{flipped, "does not match its checksum"},
			{whole[1:], "has "},
			{nil, "is missing: "},
		} {
			err := os.Remove(path)
			if c.content != nil {
				err = os.WriteFile(path, c.content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			list, _ := h.checked(t)
			expect(t, c.want, list, "The content of "+message+" "+c.want)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if list, _ := h.checked(t); len(list) > 0 {
		t.Errorf("all is back: %+v", list)
	}
}

// After Renew every folder has a UIDVALIDITY that no folder of its mailbox
// ever had, or will have.
func TestRenew(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	validities := func() (list []uint32) {
		t.Helper()
		for account := range int64(2) {
			folders, err := h.Folders(t.Context(), account+1)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range folders {
				list = append(list, f.UIDValidity)
			}
		}
		return list
	}
	seen := map[string]bool{}
	note := func(when string) {
		t.Helper()
		for i, v := range validities() {
			account := 1
			if i >= 6 {
				account = 2
			}
			key := fmt.Sprint(account, " ", v)
			if seen[key] {
				t.Errorf("%s: %d again", when, v)
			}
			seen[key] = true
		}
	}
	renew := func() {
		t.Helper()
		if err := h.db.Update(t.Context(), func(tx *store.Tx) error { return Renew(tx, h.clock.Now()) }); err != nil {
			t.Fatal(err)
		}
		if list, _ := h.checked(t); len(list) > 0 {
			t.Errorf("found %+v", list)
		}
	}
	note("at first")
	renew()
	note("at the same second")
	h.clock.Advance(1000)
	renew()
	note("later")
	before := slices.Max(validities())
	f := filing(t)
	f.ID, f.Account, f.Folder = newID(t), 2, "New"
	if _, err := h.File(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if after := validities(); slices.Max(after) <= before {
		t.Errorf("a new folder has %v", after)
	}
}

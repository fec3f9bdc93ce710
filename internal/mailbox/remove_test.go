package mailbox

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"gatepost/internal/envelope"
	"gatepost/internal/mailbox/title"
	"gatepost/internal/store"
)

// dismiss removes an account from the directory, but not its mail.
func (h *house) dismiss(t *testing.T, account int64) {
	t.Helper()
	err := h.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM account WHERE id = ?`, account)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	h := open(t)
	var group sync.WaitGroup
	for range chunk + chunk/2 {
		group.Go(func() { h.file(t, filing(t)) })
	}
	group.Wait()
	large := filing(t)
	large.Body = envelope.MemoryBody(letter(2 * inlineBound))
	h.file(t, large)
	other := filing(t)
	other.Account, other.Body = 2, large.Body
	kept := h.file(t, other)

	h.dismiss(t, 1)
	if err := h.Remove(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"message": 1, "body": 1, "mailbox": 1, "folder": len(title.Standard)} {
		if n := h.count(t, table); n != want {
			t.Errorf("%d rows in %s, want %d", n, table, want)
		}
	}
	if files := h.files(t); len(files) != 1 {
		t.Errorf("files %v", files)
	}
	if got := h.read(t, 2, kept.ID); len(got) != int(kept.Size) {
		t.Errorf("the other account's message has %d octets", len(got))
	}
	// A delivery that still knew the account comes too late.
	if _, err := h.File(t.Context(), filing(t)); !errors.Is(err, ErrNotFound) || h.count(t, "filed") == 0 {
		t.Errorf("filed for a removed account: %v", err)
	}
	if n := h.count(t, "mailbox"); n != 1 {
		t.Errorf("%d mailboxes", n)
	}
}

// A body that two messages share goes with the second.
func TestRemoveKeepsSharedBodies(t *testing.T) {
	t.Parallel()
	h := open(t)
	f := filing(t)
	f.Body = envelope.MemoryBody(letter(2 * inlineBound))
	m := h.file(t, f)
	other := filing(t)
	other.Account = 2
	h.file(t, other)
	// Account 2 gets a copy, as IMAP will make them within an account.
	err := h.db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`UPDATE body SET refs = 2 WHERE id = ?`, m.ID); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE message SET body = ? WHERE folder IN (SELECT id FROM folder WHERE account = 2)`, m.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.dismiss(t, 1)
	if err := h.Remove(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	copied := h.list(t, 2, Inbox)[0]
	if got := h.read(t, 2, copied.ID); got != string(f.Header)+string(letter(2*inlineBound)) {
		t.Errorf("the copy has %d octets", len(got))
	}
	h.dismiss(t, 2)
	if err := h.Remove(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if files := h.files(t); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	h := open(t)
	f := filing(t)
	f.Body = envelope.MemoryBody(letter(2 * inlineBound))
	m := h.file(t, f)
	of2 := f
	of2.Account, of2.Recipient = 2, "user2@example.org"
	h.file(t, of2)

	spools := newID(t).String()
	h.putBlob(t, spools, letter(100)).Close()
	orphan := blobPrefix + newID(t).String()
	h.putBlob(t, orphan, letter(100)).Close()
	placing := blobPrefix + newID(t).String()
	h.putBlob(t, placing, letter(100)).Close()
	h.placing[placing] = true
	h.dismiss(t, 2)

	swept, err := h.Sweep(t.Context())
	if err != nil || swept != (Swept{Mailboxes: 1, Files: 1}) {
		t.Errorf("%+v, %v", swept, err)
	}
	files := h.files(t)
	if len(files) != 3 || !slices.Contains(files, spools) || !slices.Contains(files, placing) {
		t.Errorf("left: %v", files)
	}
	if got := h.read(t, 1, m.ID); got != string(f.Header)+string(letter(2*inlineBound)) {
		t.Errorf("%d octets", len(got))
	}
	if n := h.count(t, "mailbox"); n != 1 {
		t.Errorf("%d mailboxes", n)
	}
}

// Sweeping all the time takes nothing from those who file.
func TestSweepWhileFiling(t *testing.T) {
	t.Parallel()
	h := open(t)
	done := make(chan struct{})
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := h.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 10 {
				f := filing(t)
				f.Body = envelope.MemoryBody(letter(inlineBound + 1000))
				h.file(t, f)
			}
		})
	}
	group.Wait()
	close(done)
	sweeper.Wait()
	for _, m := range h.list(t, 1, Inbox) {
		h.read(t, 1, m.ID)
	}
	if n := len(h.files(t)); n != 40 {
		t.Errorf("%d files", n)
	}
}

package local

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mailbox"
	"gatepost/internal/store"
)

// Attempts that repeat one another, at the same time or after a crash that
// lost their outcomes, put one message into each mailbox.
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blobs, err := blob.OpenDir(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const accounts = 5
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		for i := range accounts {
			if _, err := tx.Exec(`INSERT INTO account
				(id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
				VALUES (?, 'example.org', ?, 'user', 0, 0, 0, 0, ?, 0)`, i+1, fmt.Sprint("user", i), []byte{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := clock.NewFake(start)
	box := mailbox.New(db, blobs, c, rand.Reader)
	town := newPeople()
	for a, acct := range town {
		acct.Quota = 0
		town[a] = acct
	}
	count := func(account int64) (n int) {
		for _, err := range box.Messages(t.Context(), account, mailbox.Inbox) {
			if err == nil {
				n++
			}
		}
		return n
	}
	var want [accounts]int
	rapid.Check(t, func(rt *rapid.T) {
		l := New(Options{Directory: town, Boxes: box, Clock: c, Log: slog.New(slog.DiscardHandler)})
		to := rapid.SliceOfNDistinct(rapid.IntRange(0, accounts-1), 1, accounts, rapid.ID).Draw(rt, "to")
		var names []string
		for _, n := range to {
			names = append(names, fmt.Sprintf("user%d@example.org", n))
			want[n]++
		}
		a := attempt(names...)
		id, err := envelope.NewID(start, rand.Reader)
		if err != nil {
			rt.Fatal(err)
		}
		a.Envelope.ID = id
		if rapid.IntRange(0, 9).Draw(rt, "large") == 0 {
			a.Body = envelope.MemoryBody([]byte(text + strings.Repeat("x\r\n", 30_000)))
		}
		var group sync.WaitGroup
		for range rapid.IntRange(1, 4).Draw(rt, "repeats") {
			group.Go(func() {
				for _, o := range l.Deliver(context.Background(), a) {
					if o.Status != envelope.Delivered {
						t.Errorf("%+v", o)
					}
				}
			})
		}
		group.Wait()
		l.Settled([]envelope.ID{id})
		l.Close()
	})
	for n, w := range want {
		if got := count(int64(n + 1)); got != w {
			t.Errorf("user%d has %d messages, want %d", n, got, w)
		}
	}
	err = box.Prune(t.Context(), func(id envelope.ID) bool {
		t.Errorf("%s is remembered after it was settled", id)
		return false
	})
	if err != nil {
		t.Error(err)
	}
}

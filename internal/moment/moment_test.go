package moment

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mailbox"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// house is a spool and mailboxes, and somebody who carries mail from one to
// the other as fast as they can.
type house struct {
	t     *testing.T
	parts Parts
	boxes *mailbox.Boxes

	mu    sync.Mutex
	acked map[envelope.ID]bool
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, acked: map[envelope.ID]bool{}}
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	h.parts.Blobs, err = blob.OpenDir(filepath.Join(dir, "blobs"))
	must(err)
	h.parts.DB, err = store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "store.db"), Log: quiet})
	must(err)
	t.Cleanup(func() { h.parts.DB.Close() })
	must(h.parts.DB.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO account
			(id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
			VALUES (1, 'example.org', 'anna', 'user', 0, 0, 0, 0, ?, 0)`, []byte{})
		return err
	}))
	h.parts.Spool, _, err = spool.Open(spool.Options{
		Dir: filepath.Join(dir, "spool"), FS: blob.OS, Blobs: h.parts.Blobs, Clock: clock.System, Random: rand.Reader, Log: quiet,
		SegmentSize: 1 << 20, Inline: 8 << 10, DraftBudget: 1 << 20, FreshBudget: 1 << 20,
	})
	must(err)
	t.Cleanup(func() { h.parts.Spool.Close() })
	h.boxes = mailbox.New(h.parts.DB, h.parts.Blobs, clock.System, rand.Reader)
	return h
}

// carry takes one message all the way: committed, filed, done, forgotten.
func (h *house) carry(size int) error {
	d := h.parts.Spool.Create()
	if _, err := d.Write([]byte("Subject: x\r\n\r\n" + strings.Repeat("0123456789abcd\r\n", size/16))); err != nil {
		return err
	}
	to := addr.MustParse("anna@example.org")
	e := &envelope.Envelope{Recipients: []envelope.Recipient{{To: to}}}
	if err := d.Commit(e); err != nil {
		return err
	}
	h.mu.Lock()
	h.acked[e.ID] = true
	h.mu.Unlock()
	body, err := h.parts.Spool.Body(e.ID)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = h.boxes.File(context.Background(), mailbox.Filing{
		Account: 1, Folder: mailbox.Inbox, ID: e.ID, Recipient: to.String(), Body: body, Date: time.Unix(1e9, 0),
	})
	if err != nil {
		return err
	}
	durable := make(chan struct{})
	h.parts.Spool.Change([]envelope.Change{{ID: e.ID, Status: envelope.Delivered}}, func() { close(durable) })
	<-durable
	return h.boxes.Forget(context.Background(), []envelope.ID{e.ID})
}

// known returns what is acknowledged.
func (h *house) known() map[envelope.ID]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.acked)
}

// look checks one moment. acked was acknowledged before it was taken.
func (h *house) look(m *Moment, acked map[envelope.ID]bool) error {
	waiting, filed, remembered := map[envelope.ID]bool{}, map[envelope.ID]int{}, map[envelope.ID]bool{}
	err := m.Spool.Each(func(s *spool.Message) error {
		waiting[s.Envelope.ID] = true
		f, err := s.Open()
		if err != nil {
			return fmt.Errorf("waiting: %w", err)
		}
		return f.Close()
	})
	if err != nil {
		return err
	}
	read := func(query string, row func(id envelope.ID)) error {
		return m.Store.View(func(tx *store.Tx) error {
			rows, err := tx.Query(query)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var raw []byte
				if err := rows.Scan(&raw); err != nil {
					return err
				}
				row(envelope.ID(raw))
			}
			return rows.Err()
		})
	}
	if err := read(`SELECT spool FROM message`, func(id envelope.ID) { filed[id]++ }); err != nil {
		return err
	}
	if err := read(`SELECT spool FROM filed`, func(id envelope.ID) { remembered[id] = true }); err != nil {
		return err
	}
	for id := range acked {
		if !waiting[id] && filed[id] == 0 {
			return fmt.Errorf("%v is neither in the spool nor in the mailbox", id)
		}
	}
	for id := range waiting {
		if filed[id] > 0 && !remembered[id] {
			return fmt.Errorf("%v would be filed a second time", id)
		}
	}
	files, err := mailbox.Files(m.Store)
	if err != nil {
		return err
	}
	for _, f := range files {
		file, err := h.parts.Blobs.Open(f.Name)
		if err != nil {
			return fmt.Errorf("filed: %w", err)
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

// In no moment is a message missing that was acknowledged before it, and in
// none could a message be filed a second time, however fast it moves.
func TestTake(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	var carriers sync.WaitGroup
	defer carriers.Wait()
	defer stop()
	for i := range 6 {
		carriers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				size := 100
				if n%16 == i {
					size = 80 << 10
				}
				if err := h.carry(size); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range 40 {
		acked := h.known()
		for ; len(acked) < 5*round && !t.Failed(); acked = h.known() {
			time.Sleep(time.Millisecond)
		}
		m, err := Take(t.Context(), h.parts)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.look(m, acked); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTakeFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if m, err := Take(ctx, h.parts); err == nil {
		t.Error("taken after its time", m.Close())
	}
	if err := h.carry(80 << 10); err != nil {
		t.Error(err)
	}
	// Nothing is held after a failure: the blob of what is done goes.
	for left := 2; left > 1; time.Sleep(time.Millisecond) {
		left = 0
		h.parts.Blobs.Each(func(string) error { left++; return nil })
	}
}

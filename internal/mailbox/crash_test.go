package mailbox

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"testing"

	"gatepost/internal/blob"
	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// on puts the mailboxes of h on another file system.
func (h *house) on(t *testing.T, fs *crashfs.FS) {
	t.Helper()
	dir, err := blob.OpenDirOn(fs, "/blob")
	if err != nil {
		t.Fatal(err)
	}
	h.blobs = &faulty{Store: dir}
	h.Boxes = New(h.db, h.blobs, h.clock, crand.Reader)
}

// The power goes at every operation of the file system while a large message
// is filed, and right before the transaction. What was filed is whole
// afterwards, what was not is filed by the next attempt, and Sweep leaves one
// file for each message. A store commit is one step that happened or not.
func TestPowerLossWhileFiling(t *testing.T) {
	t.Parallel()
	h := open(t)
	large := letter(2 * inlineBound)
	const spools = "spools"
	for _, linked := range []bool{false, true} {
		for stop, done := 0, false; !done; stop++ {
			for seed := range uint64(5) {
				h.empty(t)
				disk := crashfs.New()
				h.on(t, disk)
				f := filing(t)
				f.Body = envelope.MemoryBody(large)
				if linked {
					f.Body = h.putBlob(t, spools, large)
				}
				ctx, cancel := context.WithCancel(t.Context())
				operations := 0
				disk.Hook = func(crashfs.Op) error {
					if operations++; operations > stop {
						return crashfs.ErrStopped
					}
					return nil
				}
				if seed == 0 {
					cancel() // the file is made, the transaction is not begun
				}
				_, err := h.File(ctx, f)
				cancel()
				filed := err == nil
				done = filed && operations <= stop

				after := disk.Crash(rand.New(rand.NewPCG(seed, uint64(stop))).IntN)
				h.on(t, after)
				h.check(t, f, large, filed)
				if t.Failed() {
					t.Fatalf("linked %v, stopped after %d operations, seed %d, File said %v", linked, stop, seed, err)
				}
			}
		}
	}
}

// check delivers f again, as the queue does after a crash, and looks for one
// whole message.
func (h *house) check(t *testing.T, f Filing, content []byte, filed bool) {
	f.Body = envelope.MemoryBody(content)
	_, err := h.File(t.Context(), f)
	if filed != (err != nil) {
		t.Errorf("filed %v, then %v", filed, err)
	}
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	list := h.list(t, 1, Inbox)
	if len(list) != 1 || h.read(t, 1, list[0].ID) != string(f.Header)+string(content) {
		t.Errorf("%d messages, or damaged", len(list))
	}
	ours := 0
	for _, name := range h.files(t) {
		if Owns(name) {
			ours++
		}
	}
	if ours != 1 {
		t.Errorf("%d files of ours", ours)
	}
}

package mailbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// A delivery whose outcome was lost in a crash is repeated and files
// nothing, also when the user has expunged the message meanwhile.
func TestFiledOnceAcrossCrashes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 2 * inlineBound} {
		h := open(t)
		f := filing(t)
		f.Body = envelope.MemoryBody(letter(size))
		h.file(t, f)
		before, files := h.used(t, 1), h.files(t)
		for range 3 {
			h.reopen(t)
			if _, err := h.File(t.Context(), f); !errors.Is(err, ErrFiled) {
				t.Fatalf("the second time: %v", err)
			}
			if n, used := len(h.list(t, 1, Inbox)), h.used(t, 1); n != 1 || used != before {
				t.Errorf("%d messages, %d octets of %d", n, used, before)
			}
			if got := h.files(t); !slices.Equal(got, files) {
				t.Errorf("files %v, were %v", got, files)
			}
		}
		err := h.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`DELETE FROM message`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.File(t.Context(), f); !errors.Is(err, ErrFiled) || len(h.list(t, 1, Inbox)) != 0 {
			t.Errorf("after the user expunged it: %v", err)
		}
		other := f
		other.Recipient, other.Account = "user2@example.org", 2
		h.file(t, other)
	}
}

func TestForgetAndPrune(t *testing.T) {
	t.Parallel()
	h := open(t)
	var ids []envelope.ID
	for range 2*chunk + 1 {
		ids = append(ids, newID(t))
	}
	var group sync.WaitGroup
	for _, id := range ids {
		for _, account := range []int64{1, 2} {
			group.Go(func() {
				f := filing(t)
				f.ID, f.Account, f.Recipient = id, account, fmt.Sprint(account)
				h.file(t, f)
			})
		}
	}
	group.Wait()
	if err := h.Forget(t.Context(), ids[:chunk+1]); err != nil {
		t.Fatal(err)
	}
	if n := h.count(t, "filed"); n != 2*chunk {
		t.Errorf("%d pairs after Forget", n)
	}
	last := ids[2*chunk]
	if err := h.Prune(t.Context(), func(id envelope.ID) bool { return id == last }); err != nil {
		t.Fatal(err)
	}
	if n := h.count(t, "filed"); n != 2 {
		t.Errorf("%d pairs after Prune", n)
	}
	f := filing(t)
	f.ID, f.Recipient = last, "1"
	if _, err := h.File(t.Context(), f); !errors.Is(err, ErrFiled) {
		t.Errorf("a live message was forgotten: %v", err)
	}
}

// Of any number of deliveries of one message at the same time, one files it.
func TestFiledOnceAtTheSameTime(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, size := range []int{100, 2 * inlineBound} {
		f := filing(t)
		f.Body = envelope.MemoryBody(letter(size))
		var filed, before atomic.Int64
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				switch _, err := h.File(t.Context(), f); {
				case err == nil:
					filed.Add(1)
				case errors.Is(err, ErrFiled):
					before.Add(1)
				}
			})
		}
		group.Wait()
		if filed.Load() != 1 || before.Load() != 19 {
			t.Errorf("filed %d times, refused %d", filed.Load(), before.Load())
		}
	}
	if n, bodies, files := h.count(t, "message"), h.count(t, "body"), len(h.files(t)); n != 2 || bodies != 2 || files != 1 {
		t.Errorf("%d messages, %d bodies, %d files", n, bodies, files)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 2 * inlineBound} {
		h := open(t)
		f := filing(t)
		f.Body = envelope.MemoryBody(letter(size))
		each := f.Body.Size() + int64(len(f.Header))
		f.Quota = 5*each + each/2

		var filed, full atomic.Int64
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				f := f
				f.ID = newID(t)
				switch _, err := h.File(t.Context(), f); {
				case err == nil:
					filed.Add(1)
				case errors.Is(err, ErrQuota):
					full.Add(1)
				}
			})
		}
		group.Wait()
		if filed.Load() != 5 || full.Load() != 15 || h.used(t, 1) != 5*each {
			t.Errorf("filed %d, refused %d, used %d of %d", filed.Load(), full.Load(), h.used(t, 1), f.Quota)
		}
		if size > inlineBound && len(h.files(t)) != 5 {
			t.Errorf("%d files", len(h.files(t)))
		}
		// What was refused was not filed: it comes in when there is room,
		// and the last octet may be used.
		f.ID, f.Quota = newID(t), 6*each-1
		if _, err := h.File(t.Context(), f); !errors.Is(err, ErrQuota) {
			t.Errorf("an octet too much: %v", err)
		}
		f.Quota = 6 * each
		h.file(t, f)
		if list := h.list(t, 1, Inbox); list[5].UID != 6 {
			t.Errorf("refused messages took UIDs: %d", list[5].UID)
		}
	}
}

// Without room for the body's file nothing is filed, and the next attempt
// succeeds.
func TestBlobFails(t *testing.T) {
	t.Parallel()
	h := open(t)
	name := newID(t).String()
	for _, body := range []*envelope.Body{
		envelope.MemoryBody(letter(2 * inlineBound)),
		h.putBlob(t, name, letter(2*inlineBound)),
	} {
		f := filing(t)
		f.Body = body
		h.blobs.fail = syscall.ENOSPC
		if _, err := h.File(t.Context(), f); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v", err)
		}
		h.blobs.fail = nil
		if len(h.placing) != 0 {
			t.Errorf("still placing %v", h.placing)
		}
		h.file(t, f)
	}
	if n := h.count(t, "message"); n != 2 {
		t.Errorf("%d messages", n)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	h := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := filing(t)
	if _, err := h.File(ctx, f); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	h.file(t, f)
}

// model is what the mailboxes should hold: for each account the pairs that
// were filed, and the pairs that are remembered.
type model struct {
	boxes map[int64]map[string]int64 // account to pair to size
	pairs map[string]bool
	gone  map[int64]bool
}

// Deliveries, repeats, crashes, removals and sweeps in any order leave each
// message in each mailbox once, and not one file too few or too many.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	h := open(t)
	rapid.Check(t, func(rt *rapid.T) {
		h.empty(t)
		m := model{map[int64]map[string]int64{1: {}, 2: {}, 3: {}}, map[string]bool{}, map[int64]bool{}}
		ids := []envelope.ID{newID(t), newID(t), newID(t), newID(t)}
		acts := map[string]func(*rapid.T){
			"file": func(rt *rapid.T) {
				f := filing(t)
				f.Account = rapid.Int64Range(1, 3).Draw(rt, "account")
				f.ID = rapid.SampledFrom(ids).Draw(rt, "message")
				f.Recipient = fmt.Sprint(f.Account)
				f.Folder = rapid.SampledFrom([]string{Inbox, "Captured"}).Draw(rt, "folder")
				f.Body = envelope.MemoryBody(letter(rapid.SampledFrom([]int{10, inlineBound + 1000}).Draw(rt, "size")))
				f.Quota = 4 * inlineBound
				m.file(t, h, f)
			},
			"crash": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "seldom, since it takes long") == 0 {
					h.reopen(t)
				}
			},
			"forget": func(rt *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(rt, "message")
				if err := h.Forget(t.Context(), []envelope.ID{id}); err != nil {
					rt.Fatal(err)
				}
				for pair := range m.pairs {
					if pair[:26] == id.String() {
						delete(m.pairs, pair)
					}
				}
				// The queue never delivers it again.
				ids[slices.Index(ids, id)] = newID(t)
			},
			"remove": func(rt *rapid.T) {
				account := rapid.Int64Range(1, 3).Draw(rt, "account")
				err := h.db.Update(t.Context(), func(tx *store.Tx) error {
					_, err := tx.Exec(`DELETE FROM account WHERE id = ?`, account)
					return err
				})
				if err != nil {
					rt.Fatal(err)
				}
				m.boxes[account], m.gone[account] = map[string]int64{}, true
				if rapid.Bool().Draw(rt, "crash before the mail goes") {
					_, err = h.Sweep(t.Context())
				} else {
					err = h.Remove(t.Context(), account)
				}
				if err != nil {
					rt.Fatal(err)
				}
			},
		}
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			acts[rapid.SampledFrom(slices.Sorted(maps.Keys(acts))).Draw(rt, "act")](rt)
			m.check(t, h)
		}
		if _, err := h.Sweep(t.Context()); err != nil {
			rt.Fatal(err)
		}
		m.check(t, h)
	})
}

// empty makes h what open returned.
func (h *house) empty(t *testing.T) {
	err := h.db.Update(t.Context(), func(tx *store.Tx) error {
		for _, table := range []string{"filed", "message", "body", "folder", "mailbox", "account"} {
			if _, err := tx.Exec(`DELETE FROM ` + table); err != nil {
				return err
			}
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
	for _, name := range h.files(t) {
		if err := h.blobs.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// file files with h and says what must have happened.
func (m *model) file(t *testing.T, h *house, f Filing) {
	pair := f.ID.String() + f.Recipient
	size := f.Body.Size() + int64(len(f.Header))
	var used int64
	for _, n := range m.boxes[f.Account] {
		used += n
	}
	var want error
	switch {
	case m.pairs[pair]:
		want = ErrFiled
	case m.gone[f.Account]:
		want = ErrNotFound
	case used+size > f.Quota:
		want = ErrQuota
	}
	_, err := h.File(t.Context(), f)
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("File: %v, want %v", err, want)
	}
	if err == nil {
		m.pairs[pair] = true
		m.boxes[f.Account][pair] = size
	}
}

// check compares what h holds with what it should hold.
func (m *model) check(t *testing.T, h *house) {
	large := 0
	for account, box := range m.boxes {
		var want int64
		for _, size := range box {
			want += size
			if size > inlineBound {
				large++
			}
		}
		if got := h.used(t, account); got != want {
			t.Fatalf("account %d uses %d, want %d", account, got, want)
		}
		if m.gone[account] {
			continue
		}
		n := 0
		for _, folder := range []string{Inbox, "Captured"} {
			for _, err := range h.Messages(t.Context(), account, folder) {
				switch {
				case err == nil:
					n++
				case !errors.Is(err, ErrNotFound): // not made yet
					t.Fatal(err)
				}
			}
		}
		if n != len(box) {
			t.Fatalf("account %d has %d messages, want %d", account, n, len(box))
		}
	}
	if files := h.files(t); len(files) != large {
		t.Fatalf("%d files, want %d", len(files), large)
	}
	if pairs := h.count(t, "filed"); pairs != len(m.pairs) {
		t.Fatalf("%d pairs, want %d", pairs, len(m.pairs))
	}
}

// gather lets deliveries wait for the writer together, and returns how many
// transactions they took.
func (h *house) gather(t *testing.T, deliveries ...func()) int64 {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		err := h.db.Update(t.Context(), func(*store.Tx) error {
			close(held)
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-held
	before := h.db.Counters.Updates.Load()
	for i, deliver := range deliveries {
		all.Go(deliver)
		for h.waiting() != i%maxTogether+1 {
			runtime.Gosched()
		}
	}
	close(release)
	all.Wait()
	return h.db.Counters.Updates.Load() - before
}

// waiting returns how many wait in the group that is open.
func (h *house) waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		return 0
	}
	return len(h.open.list)
}

// Those who file at the same time share a transaction. What is filed together
// with something that is refused is filed all the same, in its own right: also
// large messages, whose files must stay.
func TestFiledTogether(t *testing.T) {
	t.Parallel()
	h := open(t)
	deliver := func(f Filing, want error) func() {
		return func() {
			if _, err := h.File(t.Context(), f); !errors.Is(err, want) {
				t.Errorf("got %v; want %v", err, want)
			}
		}
	}
	var list []func()
	var f Filing
	for i := range maxTogether + 1 {
		f = filing(t)
		f.ID, f.Body = newID(t), envelope.MemoryBody(letter(100+i%2*2*inlineBound))
		list = append(list, deliver(f, nil))
	}
	if n := h.gather(t, list...); n != 2 {
		t.Errorf("%d deliveries took %d transactions", len(list), n)
	}
	again, full := f, filing(t)
	full.ID, full.Quota, full.Body = newID(t), 1, envelope.MemoryBody(letter(2*inlineBound))
	f.ID, f.Body = newID(t), envelope.MemoryBody(letter(2*inlineBound))
	if n := h.gather(t, deliver(f, nil), deliver(again, ErrFiled), deliver(full, ErrQuota)); n != 1+3 {
		t.Errorf("a group and each of it alone took %d transactions", n)
	}
	const all = maxTogether + 2
	messages := h.list(t, 1, Inbox)
	for i, m := range messages {
		if int(m.UID) != i+1 {
			t.Errorf("message %d has UID %d", i+1, m.UID)
		}
	}
	if n, files := h.count(t, "filed"), h.files(t); len(messages) != all || n != all || len(files) != maxTogether/2+1 {
		t.Errorf("%d messages, %d pairs, %d files", len(messages), n, len(files))
	}
}

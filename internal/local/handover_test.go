package local

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/blob"
	"gatepost/internal/blob/crashfs"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
	"gatepost/internal/mailbox"
	"gatepost/internal/queue"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

var handovers = flag.Int("handovers", 40, "how often TestHandOver stops the machine")

// TestHandOver stops the machine at any step of the way from the session's
// commit through spool, queue and this package into the mailbox: at every
// operation of the file system, and before and after every transaction of
// the store, which happened or not. Half of the time it stops once more
// while it recovers. When it is left alone in the end, every message that
// was acknowledged is in each of its mailboxes, whole, once.
func TestHandOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t)
		defer v.db.Close()
		steps := v.round(1 << 30)
		if steps < 50 {
			t.Errorf("a round has %d steps", steps)
		}
		for range *handovers {
			v.round(1 + v.rng.IntN(steps))
			if t.Failed() {
				return
			}
		}
	})
}

// village is all that a message passes, on a disk that can crash.
type village struct {
	t     *testing.T
	db    *store.DB
	clock *clock.Fake
	rng   *rand.Rand
	disk  *crashfs.FS
	blobs *blob.Dir
	boxes *mailbox.Boxes
	local *Local
	spool *spool.Spool
	queue *queue.Queue

	mu      sync.Mutex
	left    int // steps until the machine stops
	letters []*letter
}

// letter is one message.
type letter struct {
	subject string
	body    []byte
	to      []int64 // accounts
	acked   bool
}

const villagers = 3

func newVillage(t *testing.T) *village {
	v := &village{t: t, clock: clock.NewFake(start), rng: rand.New(rand.NewPCG(1, 1))}
	var err error
	v.db, err = store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	v.update(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`)
	return v
}

func (v *village) update(statements ...string) {
	v.t.Helper()
	err := v.db.Update(v.t.Context(), func(tx *store.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// round begins with nothing, lets letters come, stops the machine at a step,
// and looks at the mailboxes after the end. It returns the steps it took.
func (v *village) round(stop int) int {
	var empty []string
	for _, table := range []string{"filed", "message", "body", "folder", "mailbox", "account"} {
		empty = append(empty, "DELETE FROM "+table)
	}
	for i := range villagers {
		empty = append(empty, fmt.Sprintf(`INSERT INTO account
			(id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
			VALUES (%d, 'example.org', 'user%d', 'user', 0, 0, 0, 0, '', 0)`, i+1, i+1))
	}
	v.update(empty...)
	v.disk, v.letters, v.left = crashfs.New(), nil, stop
	taken := stop
	if v.open() {
		v.write()
		synctest.Wait()
		v.clock.Advance(time.Minute)
		synctest.Wait()
		taken -= v.left
		v.close()
	}
	v.disk = v.disk.Crash(v.rng.IntN)
	if v.left = 1 << 30; v.rng.IntN(2) == 0 {
		v.left = 1 + v.rng.IntN(50)
		if v.open() {
			v.clock.Advance(time.Hour)
			synctest.Wait()
			v.close()
		}
		v.disk, v.left = v.disk.Crash(v.rng.IntN), 1<<30
	}
	if !v.open() {
		v.t.Fatal("it does not start again")
	}
	v.finish()
	v.check(fmt.Sprintf("stopped at step %d", stop))
	v.close()
	return taken
}

// step is one operation after which the machine may stop.
func (v *village) step() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.left == 0 {
		return crashfs.ErrStopped
	}
	if v.left--; v.left == 0 {
		return crashfs.ErrStopped
	}
	return nil
}

// open starts everything; it reports false if the machine stopped meanwhile.
func (v *village) open() bool {
	quiet := slog.New(slog.DiscardHandler)
	v.disk.Hook = func(op crashfs.Op) error {
		switch op.Kind {
		case crashfs.Read, crashfs.Open, crashfs.List, crashfs.Size:
			return nil
		}
		return v.step()
	}
	random := &locked{r: rand.NewChaCha8([32]byte{byte(v.rng.Uint32()), byte(v.rng.Uint32())})}
	var err error
	if v.blobs, err = blob.OpenDirOn(v.disk, "/blob"); err != nil {
		return v.stopped(err)
	}
	v.boxes = mailbox.New(v.db, v.blobs, v.clock, random)
	var report *spool.Report
	v.spool, report, err = spool.Open(spool.Options{
		Dir: "/spool", FS: v.disk, Blobs: v.blobs, Clock: v.clock, Random: random, Log: quiet,
		SegmentSize: 64 << 10, Inline: 8 << 10, DraftBudget: 1 << 20, FreshBudget: 32 << 10,
	})
	if err != nil {
		return v.stopped(err)
	}
	for _, f := range report.Findings {
		v.t.Errorf("reported as damaged: %s", f)
	}
	people := people{}
	for i := range int64(villagers) {
		people[fmt.Sprintf("user%d@example.org", i+1)] = account.Account{ID: i + 1}
	}
	v.local = New(Options{Directory: people, Boxes: fragile{v}, Clock: v.clock, Log: quiet})
	v.queue = queue.New(queue.Options{
		Spool: queueSpool{v.spool}, Router: home{}, Local: v.local, Remote: nowhere{v.t}, Clock: v.clock, Log: quiet,
		Begin:  func([]byte) (*dkim.Signer, error) { return nil, nil },
		Random: random, Hostname: "mx.example.org", Postmaster: addr.MustParse("postmaster@example.org"),
		Lifetime: 5 * 24 * time.Hour, DelayNotice: 4 * 24 * time.Hour, KeptFor: 30 * 24 * time.Hour,
		RemoteWorkers: 4, LocalWorkers: 4, PerDestination: 4,
	})
	v.spool.Serve(v.queue.Offer)
	if err := v.boxes.Prune(v.t.Context(), v.spool.Live); err != nil {
		v.t.Error(err)
	}
	v.queue.Start()
	synctest.Wait()
	return true
}

func (v *village) stopped(err error) bool {
	if !errors.Is(err, crashfs.ErrStopped) {
		v.t.Fatal(err)
	}
	return false
}

// close ends everything after the power has gone.
func (v *village) close() {
	v.mu.Lock()
	v.left = 0
	v.mu.Unlock()
	v.disk.Stop()
	v.queue.Stop(v.t.Context())
	v.spool.Close()
	v.local.Close()
}

// write lets letters of several sizes come, some at the same time.
func (v *village) write() {
	sizes := []int{200, 6 << 10, 20 << 10, 80 << 10} // inline, a blob, a blob that is linked
	for range 4 {
		var group sync.WaitGroup
		for range 1 + v.rng.IntN(2) {
			l := &letter{subject: fmt.Sprint("letter ", len(v.letters))}
			line := l.subject + " goes on and on, as letters do\r\n"
			l.body = []byte("Subject: " + l.subject + "\r\n\r\n" + strings.Repeat(line, sizes[v.rng.IntN(4)]/len(line)))
			for _, i := range v.rng.Perm(villagers)[:1+v.rng.IntN(villagers)] {
				l.to = append(l.to, int64(i+1))
			}
			v.letters = append(v.letters, l)
			group.Go(func() { l.acked = v.commit(l) == nil })
		}
		group.Wait()
		if v.rng.IntN(2) == 0 {
			synctest.Wait()
		}
	}
}

func (v *village) commit(l *letter) error {
	e := &envelope.Envelope{From: addr.MustParse("sender@remote.example"), Header: []byte("Received: from a by b\r\n")}
	for _, to := range l.to {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(fmt.Sprintf("user%d@example.org", to))})
	}
	d := v.spool.Create()
	defer d.Discard()
	if _, err := d.Write(l.body); err != nil {
		return err
	}
	return d.Commit(e)
}

// finish lets time pass until nothing is on its way.
func (v *village) finish() {
	for range 500 {
		waiting := 0
		v.spool.Each(func(*envelope.Envelope) bool { waiting++; return true })
		if waiting == 0 {
			v.clock.Advance(time.Minute) // for what is forgotten later
			synctest.Wait()
			return
		}
		v.clock.Advance(time.Hour)
		synctest.Wait()
	}
	v.t.Fatal("something is never delivered")
}

// check looks at every mailbox, and for what should not be left.
func (v *village) check(context string) {
	v.t.Helper()
	large := 0
	found := map[string]map[int64]int{}
	for account := range int64(villagers) {
		for m, err := range v.boxes.Messages(v.t.Context(), account+1, mailbox.Inbox) {
			if errors.Is(err, mailbox.ErrNotFound) {
				break // nothing has come yet
			}
			if err != nil {
				v.t.Fatal(err)
			}
			if found[m.Subject] == nil {
				found[m.Subject] = map[int64]int{}
			}
			found[m.Subject][account+1]++
			l := v.letter(m.Subject)
			if l == nil || !bytes.HasSuffix(v.read(account+1, m.ID), append([]byte("Received: from a by b\r\n"), l.body...)) {
				v.t.Errorf("%s: %q is not whole", context, m.Subject)
			} else if len(l.body) > 64<<10 {
				large++
			}
		}
	}
	for _, l := range v.letters {
		first := found[l.subject][l.to[0]]
		for _, to := range l.to {
			n := found[l.subject][to]
			if n > 1 || n == 0 && l.acked || n != first {
				v.t.Errorf("%s: user %d has %s (acknowledged: %v) %d times", context, to, l.subject, l.acked, n)
			}
			delete(found[l.subject], to)
		}
		if len(found[l.subject]) > 0 {
			v.t.Errorf("%s: %s is where it was not sent", context, l.subject)
		}
	}
	if _, err := v.boxes.Sweep(v.t.Context()); err != nil {
		v.t.Error(err)
	}
	files := 0
	if err := v.blobs.Each(func(string) error { files++; return nil }); err != nil || files != large {
		v.t.Errorf("%s: %d files for %d large messages, %v", context, files, large, err)
	}
	err := v.boxes.Prune(v.t.Context(), func(id envelope.ID) bool {
		v.t.Errorf("%s: a delivered message is still remembered", context)
		return false
	})
	if err != nil {
		v.t.Error(err)
	}
}

func (v *village) letter(subject string) *letter {
	for _, l := range v.letters {
		if l.subject == subject {
			return l
		}
	}
	return nil
}

func (v *village) read(account, id int64) []byte {
	c, err := v.boxes.Open(v.t.Context(), account, id)
	if err != nil {
		v.t.Errorf("message %d: %v", id, err)
		return nil
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		v.t.Errorf("message %d: %v", id, err)
	}
	return b
}

// fragile are mailboxes whose machine may stop before and after a
// transaction: it happened, or not.
type fragile struct{ v *village }

func (f fragile) File(ctx context.Context, filing mailbox.Filing) (mailbox.Message, error) {
	if err := f.v.step(); err != nil {
		return mailbox.Message{}, err
	}
	m, err := f.v.boxes.File(ctx, filing)
	if stopped := f.v.step(); stopped != nil {
		return mailbox.Message{}, stopped
	}
	return m, err
}

func (f fragile) Forget(ctx context.Context, ids []envelope.ID) error {
	if err := f.v.step(); err != nil {
		return err
	}
	return errors.Join(f.v.boxes.Forget(ctx, ids), f.v.step())
}

func (f fragile) Used(ctx context.Context, id int64) (int64, error) { return f.v.boxes.Used(ctx, id) }

type queueSpool struct{ *spool.Spool }

func (s queueSpool) Create() queue.Draft { return s.Spool.Create() }

// home is where all mail goes.
type home struct{}

func (home) Route(addr.Domain) (string, bool) { return "example.org", true }

// nowhere is where no mail goes.
type nowhere struct{ t *testing.T }

func (n nowhere) Deliver(_ context.Context, a *envelope.Attempt) []envelope.Outcome {
	n.t.Error("a message goes to another server")
	return make([]envelope.Outcome, len(a.Recipients))
}

// locked is a reader for many.
type locked struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *locked) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

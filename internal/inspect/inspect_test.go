package inspect

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/blob/blobtest"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/mailbox"
	"gatepost/internal/moment"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// newHouse returns what a running server stores: a large message in the spool
// and in a mailbox.
func newHouse(t *testing.T, dir string) *Running {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &Running{}
	var err error
	r.Parts.Blobs, err = blob.OpenDir(filepath.Join(dir, "blobs"))
	must(err)
	r.Parts.DB, err = store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "store.db"), Log: quiet})
	must(err)
	t.Cleanup(func() { r.Parts.DB.Close() })
	must(r.Parts.DB.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO account
			(id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
			VALUES (1, 'example.org', 'anna', 'user', 0, 0, 0, 0, ?, 0)`, []byte{})
		return err
	}))
	r.Parts.Spool, _, err = spool.Open(spoolOptions(dir, r.Parts.Blobs))
	must(err)
	t.Cleanup(func() { r.Parts.Spool.Close() })
	r.Keys, err = keys.Open(filepath.Join(dir, "keys"), keys.Options{Clock: clock.System, Random: rand.Reader, Log: quiet})
	must(err)
	r.Boxes = mailbox.New(r.Parts.DB, r.Parts.Blobs, clock.System, rand.Reader)

	content := []byte("Subject: x\r\n\r\n" + strings.Repeat("0123456789abcd\r\n", 10_000))
	d := r.Parts.Spool.Create()
	_, err = d.Write(content)
	must(err)
	e := &envelope.Envelope{Recipients: []envelope.Recipient{{To: addr.MustParse("anna@example.org")}}}
	must(d.Commit(e))
	_, err = r.Boxes.File(t.Context(), mailbox.Filing{
		Account: 1, Folder: mailbox.Inbox, ID: e.ID, Recipient: "anna@example.org", Body: envelope.MemoryBody(content), Date: e.Received,
	})
	must(err)
	return r
}

func spoolOptions(dir string, blobs blob.Store) spool.Options {
	return spool.Options{
		Dir: filepath.Join(dir, "spool"), FS: blob.OS, Blobs: blobs, Clock: clock.System, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		SegmentSize: 1 << 20, Inline: 8 << 10, DraftBudget: 1 << 20, FreshBudget: 1 << 20,
	}
}

func (r *Running) found(t *testing.T) (list []audit.Finding) {
	t.Helper()
	var done, total int64
	err := r.Check(t.Context(), func(d, of int64) { done, total = d, of }, func(f audit.Finding) { list = append(list, f) })
	if err != nil {
		t.Fatal(err)
	}
	if done != total || total == 0 {
		t.Errorf("read %d octets of %d", done, total)
	}
	return list
}

// wrong returns what is not as it should be.
func wrong(list []audit.Finding) []audit.Finding {
	return slices.DeleteFunc(list, func(f audit.Finding) bool { return f.Level == audit.OK })
}

func TestSound(t *testing.T) {
	t.Parallel()
	r := newHouse(t, t.TempDir())
	list := r.found(t)
	var checks []string
	for _, f := range list {
		checks = append(checks, string(f.Level)+" "+f.Check)
	}
	want := []string{"ok store", "ok account", "ok activity", "ok protection", "ok reports", "ok forward", "ok mailbox", "ok spool", "ok files"}
	if !slices.Equal(checks, want) {
		t.Errorf("%+v", list)
	}
	r.Told = []string{"the spool was damaged", "the spool was damaged"}
	if list := wrong(r.found(t)); len(list) != 1 || list[0].Text != "the spool was damaged." || list[0].Level != audit.Failure || list[0].Fix == "" {
		t.Errorf("%+v", list)
	}
}

// Files that belong to nobody are told, those that are about to go are not.
func TestOrphans(t *testing.T) {
	t.Parallel()
	r := newHouse(t, t.TempDir())
	id, err := envelope.NewID(clock.System.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{id.String(), "m-" + id.String()}
	for _, name := range append(names, "m-doomed") {
		blobtest.Put(t, r.Parts.Blobs, name, "x")
	}
	defer r.Parts.Blobs.Hold()()
	if err := r.Parts.Blobs.Remove("m-doomed"); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, f := range wrong(r.found(t)) {
		told = append(told, f.Text)
		if f.Level != audit.Warning || f.Fix == "" {
			t.Errorf("%+v", f)
		}
	}
	slices.Sort(told)
	if len(told) != 2 || told[0] != "The file "+names[0]+" belongs to no message." || told[1] != "The file "+names[1]+" belongs to no message." {
		t.Errorf("%q", told)
	}
	for i := range maxFindings + 10 {
		blobtest.Put(t, r.Parts.Blobs, fmt.Sprint("m-", i), "x")
	}
	list := wrong(r.found(t))
	if len(list) != maxFindings+1 || list[maxFindings].Text != "12 more findings of this kind are not shown." {
		t.Errorf("%d findings, the last %+v", len(list), list[len(list)-1])
	}
}

// That one part is damaged does not keep the others from being checked.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newHouse(t, dir)
	m, err := moment.Take(t.Context(), r.Parts)
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	if _, err := m.Store.WriteTo(&image); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	const pageSize = 4096
	b := image.Bytes()
	for page := pageSize; page < len(b); page += pageSize {
		if p := b[page : page+pageSize]; bytes.Contains(p, []byte("INBOX")) || bytes.Contains(p, []byte("anna")) {
			copy(p, "damaged page")
		}
	}
	path := filepath.Join(dir, "damaged.db")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged, err := store.Look(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer damaged.Close()
	defer r.Parts.Blobs.Hold()()
	messages := r.Parts.Spool.Snapshot()
	defer messages.Close()
	things := &Things{Store: damaged, Spool: messages, Blobs: r.Parts.Blobs, Keys: r.Keys}
	levels := map[string]audit.Level{}
	err = things.Check(t.Context(), func(int64, int64) {}, func(f audit.Finding) {
		t.Logf("%+v", f)
		levels[f.Check] = audit.Worst([]audit.Finding{f, {Level: levels[f.Check]}})
	})
	if err != nil || levels["store"] != audit.Failure || levels["spool"] != audit.OK || len(levels) != 9 {
		t.Errorf("%v, %v", levels, err)
	}
}

// There is nothing wrong with what is not there yet, and it is not made.
func TestNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blobs, err := blob.OpenDirOn(blob.Frozen(blob.OS), filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	messages, report, err := spool.Look(spoolOptions(dir, blobs))
	if err != nil || len(report.Findings) > 0 {
		t.Fatal(report, err)
	}
	defer messages.Close()
	things := &Things{Spool: messages, Blobs: blobs}
	err = things.Check(t.Context(), func(int64, int64) {}, func(f audit.Finding) {
		if f.Level != audit.OK {
			t.Errorf("%+v", f)
		}
	})
	if err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	r := newHouse(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	err := r.Check(ctx, func(int64, int64) { cancel() }, func(audit.Finding) {})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Nothing is held any more: what is removed goes.
	blobtest.Put(t, r.Parts.Blobs, "m-x", "x")
	if err := r.Parts.Blobs.Remove("m-x"); err != nil {
		t.Error(err)
	}
	if _, there := blobtest.Get(t, r.Parts.Blobs, "m-x"); there {
		t.Error("a check that ended still holds files")
	}
}

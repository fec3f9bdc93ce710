package recovery

import (
	"bytes"
	"errors"
	"log/slog"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// A sound log is read as it was written, the second time through indexes.
func TestSound(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1), message(2))
	b.write(message(3), change(1, 0, envelope.Deferred))
	b.next()
	b.write(change(2, 0, envelope.Delivered), message(4))
	b.write(change(2, 1, envelope.Failed), gone(4), change(3, -1, 0))
	for _, scanned := range []int{2, 0, 0} {
		r := b.read()
		if r.Torn+r.Orphans > 0 || r.Scanned != scanned && scanned == 0 || r.Segments != 2 {
			t.Errorf("%+v", r)
		}
		b.told(r)
		b.expect(1, 3)
		if got := b.state.Ledger.Find(id(1)).Envelope.Recipients[0].Status; got != envelope.Deferred {
			t.Errorf("recipient of 1 is %v", got)
		}
		if b.state.Seq != b.seq || b.state.Durable != b.mark || b.state.Blind {
			t.Errorf("goes on at %d, durable %+v", b.state.Seq, b.state.Durable)
		}
		b.must(sealAll(b))
	}
}

// sealAll makes durable what Read wrote without a sync, as time does.
func sealAll(b *logbook) error {
	for _, g := range b.state.Ledger.Segments {
		h, err := b.fs.Open(g.Path)
		if err == nil {
			err = h.Sync()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A bad batch behind the last one that is known to be durable was cut short
// by a crash: it is no damage, and what is whole in it is kept. Nothing of
// the file is changed.
func TestTornTail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		flip func(b *logbook, at int64)
		want []int
	}{
		{"the batch's header", func(b *logbook, at int64) { b.flip(b.seg.Path, at+10) }, []int{1, 2, 3, 4}},
		{"a record's header", func(b *logbook, at int64) { b.flip(b.seg.Path, b.places[3].off+10) }, []int{1, 2, 4}},
		{"a body", func(b *logbook, at int64) { b.flip(b.seg.Path, b.places[3].off+wire.RecordHeader+10) }, []int{1, 2, 4}},
		{"an envelope", func(b *logbook, at int64) {
			b.flip(b.seg.Path, b.places[3].off+wire.RecordHeader+int64(b.places[3].body)+10)
		}, []int{1, 2, 4}},
		{"all of it", func(b *logbook, at int64) {
			for _, off := range []int64{at, b.places[3].off, b.places[4].off} {
				b.flip(b.seg.Path, off+10)
			}
		}, []int{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newLogbook(t)
			b.write(message(1), message(2))
			at := b.write(message(3), message(4))
			tt.flip(b, at)
			sound, before := at, b.contents(b.seg.Path)
			r := b.read()
			if len(tt.want) > 2 != (r.Torn == 1) {
				t.Errorf("%d torn", r.Torn)
			}
			b.told(r)
			b.expect(tt.want...)
			if b.state.Durable.Seq != 2 || b.state.Seq < 2 {
				t.Errorf("durable to %d, used to %d", b.state.Durable.Seq, b.state.Seq)
			}
			after := b.contents(b.seg.Path)
			if !bytes.Equal(before[:sound+wire.Block], after[:sound+wire.Block]) || len(before) != len(after) {
				t.Error("what is left of the batch was changed")
			}
			b.told(b.reread())
			b.expect(tt.want...)
		})
	}
}

// A bad batch before one that says it was durable is corruption: it is
// reported at every start, what is sound in it is salvaged, what follows is
// read, nothing is truncated, and no blob is removed.
func TestCorruption(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		flip func(b *logbook, at int64)
		want []int
		told string
	}{
		{"the batch's header", func(b *logbook, at int64) { b.flip(b.places[3].path, at+10) }, []int{1, 2, 3, 4, 5}, "2 records of it could be saved"},
		{"a record's header", func(b *logbook, at int64) { b.flip(b.places[3].path, b.places[3].off+10) }, []int{1, 2, 4, 5}, "1 of 2 records"},
		{"all of it", func(b *logbook, at int64) {
			for _, off := range []int64{at, b.places[3].off, b.places[4].off} {
				b.flip(b.places[3].path, off+10)
			}
		}, []int{1, 2, 5}, "0 records of it could be saved"},
	} {
		for _, where := range []string{"the same segment", "the next segment"} {
			t.Run(tt.name+", "+where, func(t *testing.T) {
				t.Parallel()
				b := newLogbook(t)
				b.write(message(1), message(2))
				at := b.write(message(3), message(4))
				damaged := b.seg.Path
				if where == "the next segment" {
					b.next()
				}
				b.write(message(5))
				b.blob(99) // all that is left of some message
				tt.flip(b, at)
				for i := range 4 {
					before := b.contents(damaged)
					var r *Report
					if i%2 == 0 {
						r = b.read()
					} else {
						r = b.reread() // the others are read through their indexes
					}
					if r.Torn > 0 || len(r.Findings) < 2 || !strings.Contains(strings.Join(r.Findings, "; "), "belong to no message") {
						t.Errorf("%d torn, findings %q", r.Torn, r.Findings)
					}
					// Without a batch behind it, nothing is left to stumble over.
					if said := r.Findings[0]; !strings.Contains(said, tt.told) && !strings.Contains(said, "records 3 to 4 were durable and are gone") {
						t.Errorf("finding %q", said)
					}
					b.expect(tt.want...)
					if b.blobNames() != 1 {
						t.Error("a blob was removed")
					}
					if !bytes.Equal(before, b.contents(damaged)) {
						t.Error("the damaged segment was changed")
					}
				}
			})
		}
	}
}

// A damaged segment is set aside when it is freed, and reported from then on
// as long as it is there.
func TestSetAside(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1))
	b.write(message(2))
	b.flip(b.seg.Path, b.places[1].off+10)
	b.blob(99)
	b.read()
	g := b.state.Ledger.Segments[0]
	if _, err := b.pool.Retire(g); err != nil {
		t.Fatal(err)
	}
	b.pool.Put(g)
	for range 2 {
		r := b.read()
		b.told(r, "1 damaged files are set aside", "belong to no message")
		b.expect()
	}
	names, err := b.fs.List(testDir)
	b.must(err)
	i := slices.IndexFunc(names, func(s string) bool { return strings.HasSuffix(s, ".damaged") })
	if i < 0 {
		t.Fatalf("files %q", names)
	}
	b.must(errors.Join(b.fs.Remove(path.Join(testDir, names[i])), b.fs.SyncDir(testDir)))
	r := b.read()
	b.told(r)
	if r.Orphans != 1 || b.blobNames() != 0 {
		t.Errorf("%d orphans, %d blobs", r.Orphans, b.blobNames())
	}
}

// The content of a message is damaged: the message is there, and it is told.
func TestDamagedBody(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1), message(2))
	b.write(message(3))
	b.flip(b.seg.Path, b.places[1].off+wire.RecordHeader+5)
	r := b.read()
	b.told(r, "1 of 2 records", "the content of the message")
	if e := b.state.Ledger.Find(id(1)); e == nil || e.Envelope.From != env(1).From {
		t.Error("message 1 was dropped")
	}
}

// A blob that is missing is reported, and its message kept. Blobs without a
// message go, if nothing was lost.
func TestBlobs(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(large(1), large(2), message(3))
	b.blob(1)
	b.blob(7) // a commit that was cut short
	w, err := b.blobs.Create()
	b.must(err)
	b.must(w.Commit("m-of-the-mailbox"))
	r := b.read()
	b.told(r, "the content of message "+id(2).String()+" is missing")
	b.expect(1, 2, 3)
	if r.Orphans != 1 || b.blobNames() != 2 {
		t.Errorf("%d orphans, %d blobs", r.Orphans, b.blobNames())
	}
	// When a part of the log was lost, it may have been its message.
	b.blob(8)
	b.flip(b.places[3].path, 10)
	r = b.reread()
	if r.Orphans != 1 || b.blobNames() != 3 {
		t.Errorf("%d orphans, %d blobs, %q", r.Orphans, b.blobNames(), r.Findings)
	}
}

// What was refused does not come back, wherever that is said.
func TestVoid(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		b := newLogbook(t)
		b.write(message(1))
		b.write(message(2), message(3)) // refused: sequences 2 and 3
		b.next()
		if late {
			b.write(message(2)) // came again
		}
		b.write(void(2, 3, 1))
		if !late {
			b.write(message(2))
		}
		for range 3 {
			b.told(b.read())
			b.expect(1, 2)
		}
	}
}

// A record with good sums that says nothing is reported, and does no harm.
func TestNonsense(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1), entry{kind: wire.Message, meta: []byte("nonsense")}, message(2))
	b.write(message(3))
	b.told(b.read(), "is intact but makes no sense")
	b.expect(1, 2, 3)
	b.told(b.read(), "is intact but makes no sense")
}

// A segment that was used before and one that never was say nothing.
func TestRecycled(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	for n := range 5 {
		b.write(message(10+n), message(20+n))
	}
	old := b.seg
	b.next()
	b.write(message(1))
	_, err := b.pool.Retire(old)
	b.must(err)
	b.pool.Put(old)
	b.next() // in the old one
	b.write(message(2))
	b.must(b.pool.Refill())
	r := b.read()
	b.told(r)
	b.expect(1, 2)
	if r.Segments != 2 {
		t.Errorf("%d segments", r.Segments)
	}
	if len(b.state.Ledger.Segments) != 2 {
		t.Errorf("%d in use", len(b.state.Ledger.Segments))
	}
}

// As long as a part of the log cannot be read, nothing that was there is
// freed; when it can be, everything is there, with its latest state.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1), message(2))
	hidden := b.seg.Path
	b.next()
	b.write(change(1, 0, envelope.Delivered), change(1, 1, envelope.Delivered), message(3))
	b.fs.Hook = func(op crashfs.Op) error {
		if op.Kind == crashfs.Read && op.Path == hidden {
			return syscall.EIO
		}
		return nil
	}
	b.told(b.reread(), "cannot be read")
	b.expect(3)
	if !b.state.Blind {
		t.Error("it does not know that it is blind")
	}
	for _, g := range b.state.Ledger.Segments {
		if !g.Stuck {
			t.Errorf("%s may be freed", g.Path)
		}
	}
	if v := b.state.Ledger.Victim(testSize); v != nil {
		t.Errorf("%s is to be freed", v.Path)
	}
	b.told(b.read())
	b.expect(2, 3)
	if b.state.Blind {
		t.Error("it is still blind")
	}
}

// Nor is anything freed when what was read could not be made durable: a
// crash may undo it.
func TestUnsure(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1), message(2))
	b.next()
	b.write(change(1, 0, envelope.Delivered), change(1, 1, envelope.Delivered), message(3))
	b.fs.Hook = func(op crashfs.Op) error {
		if op.Kind == crashfs.Sync && op.Path == b.seg.Path {
			return syscall.EIO
		}
		return nil
	}
	b.told(b.reread(), "could not be made sure of")
	b.expect(2, 3)
	for _, g := range b.state.Ledger.Segments {
		if !g.Stuck || !b.state.Blind {
			t.Errorf("%s may be freed; blind %v", g.Path, b.state.Blind)
		}
	}
	b.told(b.read())
	b.expect(2, 3)
}

// When nothing can be read at all, an error says so, and the next start
// finds everything.
func TestErrors(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1), large(2))
	b.blob(2)
	b.fs = b.fs.Crash(func(int) int { return 0 })
	b.start()
	for _, op := range []crashfs.Op{
		{Kind: crashfs.Mkdir, Path: testDir}, {Kind: crashfs.SyncDir, Path: "/data"}, {Kind: crashfs.SyncDir, Path: testDir},
		{Kind: crashfs.List, Path: testDir}, {Kind: crashfs.Open, Path: b.seg.Path}, {Kind: crashfs.Size, Path: b.seg.Path},
		{Kind: crashfs.List, Path: "/data/blob"},
	} {
		b.fs.Hook = func(got crashfs.Op) error {
			if got == op {
				return syscall.EIO
			}
			return nil
		}
		pool := &segment.Pool{FS: b.fs, Dir: testDir, Size: testSize}
		if _, _, err := Read(pool, b.blobs, slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v fails: %v", op, err)
		}
	}
	b.fs.Hook = nil
	b.told(b.read())
	b.expect(1, 2)
}

// date makes the segment one that another version has written.
func (b *logbook) date(version byte) {
	head := wire.SegmentHead{Gen: 1, Tag: b.seg.Tag, Size: testSize}.Encode()
	head[7] = version
	sum := wire.Checksum(head[:32])
	copy(head[32:], []byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)})
	h, err := b.fs.Open(b.seg.Path)
	b.must(err)
	_, err = h.WriteAt(head, 0)
	b.must(err)
}

// The first version is read as it was written.
func TestFirstVersion(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1))
	b.date('1')
	b.told(b.read())
	b.expect(1)
}

func TestNewerVersion(t *testing.T) {
	t.Parallel()
	b := newLogbook(t)
	b.write(message(1))
	b.date('9')
	b.start()
	before := b.fs.Fingerprint()
	_, _, err := Read(b.pool, b.blobs, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "newer version of Gatepost (format 9)") {
		t.Errorf("it is read: %v", err)
	}
	if b.fs.Fingerprint() != before {
		t.Error("it was changed")
	}
}

// The operator is told each finding as an error.
func TestLog(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := Report{Messages: 3, Torn: 1}
	r.find("something is %s", "amiss")
	r.Log(slog.New(slog.NewTextHandler(&out, nil)))
	for _, want := range []string{"level=INFO", "messages=3", "torn=1", "level=ERROR", `finding="something is amiss"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}

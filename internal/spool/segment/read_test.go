package segment

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/spool/wire"
)

// What was written is read batch by batch, and through the index once the
// segment is sealed, without any body.
func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.take()
	before := r.mark
	for n := range 4 {
		r.write(g, 1+n)
	}
	r.lost()
	rd := Read(r.used[0])
	r.found(rd, span(1, 10)...)
	if rd.Indexed || rd.Sound != 10 || rd.Last != 10 || len(rd.Trouble)+len(rd.Findings) > 0 || rd.Empty() {
		t.Errorf("%+v", rd)
	}
	if want := []wire.Mark{before, {Seq: 1, Gen: 1}, {Seq: 3, Gen: 1}, {Seq: 6, Gen: 1}}; !slices.Equal(rd.Marks, want) {
		t.Errorf("marks %v", rd.Marks)
	}
	r.must(rd.Seal(func(f wire.Found) bool { return f.Seq == 4 }))
	reads := 0
	r.fs.Hook = func(op crashfs.Op) error {
		if op.Kind == crashfs.Read {
			reads++
		}
		return nil
	}
	r.open()
	opened := reads
	rd = Read(r.used[0])
	if reads-opened > 3 { // the header, the trailer, the index
		t.Errorf("%d reads of a sealed segment", reads-opened)
	}
	r.found(rd, 1, 2, 3, 5, 6, 7, 8, 9, 10)
	if !rd.Indexed || rd.Sound != 10 || rd.Last != 10 || len(rd.Trouble)+len(rd.Findings) > 0 {
		t.Errorf("%+v", rd)
	}
}

// However full a segment is, its index fits, and the file never grows.
func TestFull(t *testing.T) {
	t.Parallel()
	for _, records := range []int{1, 3, 7} {
		r := newRig(t)
		g := r.take()
		for full := false; !full; {
			b := r.batch(g, 0)
			for b.Len() < records && !full {
				next := r.seq + 1
				if full = !b.Fits(wire.RecordHeader+len(text(next)+meta(next)), len(meta(next)), 1<<20); !full {
					r.add(b)
				}
			}
			if b.Len() > 0 {
				_, err := b.Write()
				r.must(err)
			}
		}
		if g.used < testSize/2 {
			t.Errorf("full with %d octets", g.used)
		}
		r.must(g.Seal())
		r.must(g.file.Sync())
		r.lost()
		rd := Read(r.used[0])
		if !rd.Indexed || rd.Segment.Size != testSize {
			t.Errorf("indexed %v, %d octets", rd.Indexed, rd.Segment.Size)
		}
		r.found(rd, span(1, r.seq)...)
	}
}

// A batch stays below the bound that it is given.
func TestMost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.batch(r.take(), 1)
	size := len(b.buf)
	for _, tt := range []struct {
		most int
		want bool
	}{{size, false}, {size + 99, false}, {size + 104, true}} {
		if got := b.Fits(97, 0, tt.most); got != tt.want {
			t.Errorf("97 more octets after %d fit into %d: %v", size, tt.most, got)
		}
	}
	b.Shrink(size - 1)
	if b.buf != nil {
		t.Error("it keeps its memory")
	}
}

// A torn index is not believed, and costs nothing.
func TestTornIndex(t *testing.T) {
	t.Parallel()
	for seed := range 40 {
		r := newRig(t)
		g := r.take()
		for range 3 {
			r.write(g, 5)
		}
		r.must(g.Seal())
		state := uint32(seed)
		r.fs = r.fs.Crash(func(n int) int {
			state = state*1664525 + 1013904223
			return int(state>>16) % n
		})
		r.open()
		rd := Read(r.used[0])
		r.found(rd, span(1, 15)...)
		if len(rd.Trouble)+len(rd.Findings) > 0 || rd.Last != 15 {
			t.Errorf("%+v", rd)
		}
	}
}

// A batch that a crash cut short is trouble behind what is sound. Whole
// records of it are found. An index that is written then does not say that
// the others were durable.
func TestTornBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.take()
	r.write(g, 3)
	at := r.write(g, 3) // records 4 to 6
	r.flip(g, at+wire.BatchHeader+2*int64(wire.RoundUp(wire.RecordHeader+len(text(4)+meta(4)), wire.Align))+50)
	r.lost()
	rd := Read(r.used[0])
	r.found(rd, span(1, 6)...)
	if rd.Sound != 3 || rd.Last != 6 || len(rd.Trouble) != 1 || rd.Trouble[0].Seq != 6 || len(rd.Findings) > 0 {
		t.Errorf("%+v", rd)
	}
	rd.Found = slices.DeleteFunc(rd.Found, func(f wire.Found) bool { return f.Damaged })
	r.must(rd.Seal(func(wire.Found) bool { return false }))
	r.open()
	rd = Read(r.used[0])
	r.found(rd, span(1, 5)...)
	if !rd.Indexed || rd.Sound != 3 || rd.Last != 6 || !slices.Contains(rd.Marks, wire.Mark{Seq: 3, Gen: 1}) {
		t.Errorf("%+v", rd)
	}
}

// Where a batch is damaged, what is whole of it is found, and what follows.
func TestDamage(t *testing.T) {
	t.Parallel()
	record := int64(wire.RoundUp(wire.RecordHeader+len(text(4)+meta(4)), wire.Align))
	for _, tt := range []struct {
		name  string
		at    int64 // in the second of three batches, of records 4 to 6
		found []uint64
	}{
		{"the batch's header", 20, span(1, 9)},
		{"a record's header", wire.BatchHeader + record + 20, []uint64{1, 2, 3, 4, 6, 7, 8, 9}},
		{"a record's meta", wire.BatchHeader + record + wire.RecordHeader + int64(len(text(5))) + 1, []uint64{1, 2, 3, 4, 6, 7, 8, 9}},
		{"a record's body", wire.BatchHeader + record + wire.RecordHeader + 5, span(1, 9)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.take()
			r.write(g, 3)
			at := r.write(g, 3)
			r.write(g, 3)
			r.flip(g, at+tt.at)
			r.lost()
			rd := Read(r.used[0])
			r.found(rd, tt.found...)
			if rd.Sound != 3 || rd.Last != 9 || len(rd.Trouble) != 1 || rd.Trouble[0].Seq < 4 || rd.Trouble[0].Seq > 6 {
				t.Errorf("%+v", rd)
			}
			rd.Segment.Damaged = true
			r.must(rd.Seal(func(wire.Found) bool { return false }))
			r.open()
			if rd := Read(r.used[0]); rd.Indexed {
				t.Error("a damaged segment got an index, and its damage would not be seen again")
			}
		})
	}
}

// A body cannot pass for a part of the log: not with what it saw elsewhere,
// nor where old content follows the log's end.
func TestForgery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.take()
	r.write(g, 3)
	stolen := make([]byte, 2*wire.Block)
	r.must(readFull(g.file, stolen, wire.Block))
	other := r.take()
	var b Batch
	b.Begin(other, r.seq+1, r.mark)
	buf := append(make([]byte, wire.RecordHeader), stolen...)
	b.Add(wire.RecordHead{Kind: wire.Message, Body: len(stolen), BodySum: wire.Checksum(stolen)}, buf)
	_, err := b.Write()
	r.must(err)
	r.flip(other, wire.Block+4)                   // the batch
	r.flip(other, wire.Block+wire.BatchHeader+20) // and the record
	r.lost()
	if rd := Read(r.used[1]); len(rd.Found) > 0 {
		t.Errorf("found %d records in a body", len(rd.Found))
	}
}

// What a segment held before it was used again is never read as new.
func TestUsedAgain(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		r := newRig(t)
		g := r.take()
		for range 5 {
			r.write(g, 3)
		}
		if sealed {
			r.must(g.Seal())
		}
		old := g.Gen
		_, err := r.pool.Retire(g)
		r.must(err)
		r.pool.Put(g)
		g = r.take()
		if g.Gen <= old {
			t.Fatalf("generation %d after %d", g.Gen, old)
		}
		first := r.seq + 1
		r.write(g, 2)
		r.lost()
		if len(r.used) != 1 {
			t.Fatalf("%d segments", len(r.used))
		}
		rd := Read(r.used[0])
		r.found(rd, span(first, r.seq)...)
		if len(rd.Trouble)+len(rd.Findings) > 0 || rd.Indexed {
			t.Errorf("sealed %v: %+v", sealed, rd)
		}
	}
}

// What cannot be read now is neither believed to be empty nor written over.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for fail := 1; ; fail++ {
		r := newRig(t)
		g := r.take()
		r.write(g, 3)
		r.write(g, 3)
		r.lost()
		reads, writes := 0, 0
		r.fs.Hook = func(op crashfs.Op) error {
			switch op.Kind {
			case crashfs.Write:
				writes++
			case crashfs.Read:
				// One read fails, or all from it on.
				if reads++; reads == fail || reads > fail && fail%2 == 0 {
					return syscall.EIO
				}
			}
			return nil
		}
		before := r.fs.Fingerprint()
		rd := Read(r.used[0])
		r.fs.Hook = nil
		if reads < fail {
			break
		}
		if rd.Segment.Stuck != (len(rd.Findings) == 1) || rd.Segment.Stuck && writes > 0 || r.fs.Fingerprint() != before {
			t.Errorf("read %d failed: stuck %v, %d writes, %q", fail, rd.Segment.Stuck, writes, rd.Findings)
		}
		if !rd.Segment.Stuck {
			r.found(rd, span(1, 6)...)
		} else if rd.Empty() {
			t.Errorf("read %d failed: it passes for empty", fail)
		}
		r.open()
		rd = Read(r.used[0])
		r.found(rd, span(1, 6)...)
	}
}

// Heads that are not as they should be.
func TestHead(t *testing.T) {
	t.Parallel()
	head := func(h wire.SegmentHead) func(*rig, *Segment) {
		return func(r *rig, g *Segment) {
			_, err := g.file.WriteAt(h.Encode(), 0)
			r.must(errors.Join(err, g.file.Sync()))
		}
	}
	for _, tt := range []struct {
		name     string
		do       func(*rig, *Segment)
		finding  string
		found    []uint64
		stuck    bool
		damaged  bool
		isEmpty  bool
		contents int
	}{
		{name: "sound", do: func(*rig, *Segment) {}, found: span(1, 3), contents: 3},
		{name: "unused", do: func(*rig, *Segment) {}, isEmpty: true},
		{name: "damaged", do: func(r *rig, g *Segment) { r.flip(g, 10) }, found: span(1, 3), contents: 3, damaged: true,
			finding: "the header of"},
		{name: "damaged and unused", do: func(r *rig, g *Segment) { r.flip(g, 10) }, stuck: true, finding: "damaged header"},
		{name: "damaged with its first batch", do: func(r *rig, g *Segment) { r.flip(g, 10); r.flip(g, wire.Block+10) },
			contents: 3, stuck: true, finding: "damaged header"},
		{name: "of an older generation", do: head(wire.SegmentHead{Gen: 0, Tag: 1, Size: testSize}), contents: 3, stuck: true,
			finding: "older generation"},
		{name: "of a newer generation", do: head(wire.SegmentHead{Gen: 9, Tag: 1, Size: testSize}), isEmpty: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.take()
			if tt.contents > 0 {
				r.write(g, tt.contents)
			}
			tt.do(r, g)
			r.lost()
			rd := Read(r.used[0])
			r.found(rd, tt.found...)
			g = rd.Segment
			if g.Stuck != tt.stuck || g.Damaged != tt.damaged || rd.Empty() != tt.isEmpty {
				t.Errorf("stuck %v, damaged %v, empty %v", g.Stuck, g.Damaged, rd.Empty())
			}
			if told := strings.Join(rd.Findings, "; "); (told == "") != (tt.finding == "") || !strings.Contains(told, tt.finding) {
				t.Errorf("findings %q", told)
			}
		})
	}
}

func TestImpossibleSize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h, err := r.fs.Create(r.pool.path(1, suffixUsed))
	r.must(err)
	_, err = h.WriteAt(make([]byte, wire.Block), 0)
	r.must(errors.Join(err, h.Sync(), r.fs.SyncDir(testDir)))
	r.open()
	rd := Read(r.used[0])
	if !rd.Segment.Stuck || len(rd.Findings) != 1 || rd.Empty() {
		t.Errorf("%+v", rd)
	}
}

// What a process left in memory when it died is made durable before anybody
// relies on it.
func TestHarden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.take()
	r.write(g, 3)
	fail := true
	r.fs.Hook = func(op crashfs.Op) error {
		if fail && op.Kind == crashfs.Sync {
			return syscall.EIO
		}
		return nil
	}
	if _, err := r.batch(g, 3).Write(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the write succeeded: %v", err)
	}
	// The disk fails still: what is read is there, but it is not sure.
	r.open()
	rd := Read(r.used[0])
	r.found(rd, span(1, 6)...)
	if !rd.Segment.Bad || len(rd.Findings) != 1 {
		t.Errorf("%+v", rd)
	}
	if r.must(rd.Seal(func(wire.Found) bool { return false })); rd.Segment.index != nil {
		t.Error("an index says that it is sure")
	}
	fail = false
	r.open()
	Read(r.used[0])
	r.lost()
	r.found(Read(r.used[0]), span(1, 6)...)
}

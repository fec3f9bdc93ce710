package recovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"testing"
	"time"

	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// FuzzRead reads logs in which one segment holds arbitrary octets, one real
// records with arbitrary octets written over them, and one records with good
// sums that say arbitrary things. It must end, within its bounds of time and
// memory, and every message whose octets are as they were must be there.
func FuzzRead(f *testing.F) {
	le := binary.LittleEndian
	head := wire.SegmentHead{Gen: 3, Tag: 4, Size: testSize}.Encode()
	batch := make([]byte, wire.Block)
	wire.BatchHead{Gen: 3, Tag: 4, First: 1, Length: wire.Block, Count: 1}.Put(batch)
	record := message(7)
	n := copy(batch[wire.BatchHeader+wire.RecordHeader:], append(record.body, record.meta...))
	wire.RecordHead{Kind: wire.Message, Tag: 4, Seq: 1, Body: len(record.body), Meta: n - len(record.body),
		BodySum: wire.Checksum(record.body), MetaSum: wire.Checksum(record.meta)}.Put(batch[wire.BatchHeader:])
	f.Add(append(head, batch...), []byte{}, []byte{}, false)
	f.Add(head, le.AppendUint16(nil, wire.Block+10), record.meta, true)
	f.Add([]byte("not a segment"), []byte{0, 0, 1, 0, 0x10, 2, 0xff, 0xff, 3}, gone(1).meta, true)
	f.Add([]byte{}, []byte{0, 0xff, 1, 0xb8, 0xff, 2}, void(1, 99, 99).meta, false) // the trailer
	f.Add([]byte{}, []byte{8, 0x10, 1}, change(2, 1, 5).meta, true)
	f.Fuzz(func(t *testing.T, arbitrary, edits, meta []byte, sealed bool) {
		if len(arbitrary) > 1<<20 {
			return // no segment is that large here
		}
		b := newLogbook(t)
		b.write(message(1), message(2), message(3))
		b.write(message(4))
		b.write(message(5), change(5, 0, 1))
		first := b.seg
		b.next()
		for kind := wire.Message; kind <= wire.Void; kind++ {
			b.write(message(int(100+kind)), entry{kind: kind, body: meta, meta: meta})
		}
		if sealed {
			b.must(errors.Join(first.Seal(), b.seg.Seal()))
		}
		untouched := b.edit(first, edits)
		b.put(0x99, arbitrary)
		started := time.Now()
		b.fs = b.fs.Crash(func(int) int { return 1 })
		b.start()
		state, report, err := Read(b.pool, b.blobs, slog.New(slog.DiscardHandler))
		if err != nil {
			if v, ok := wire.Version(arbitrary); !ok || !wire.Newer(v) {
				t.Fatal(err)
			}
			return
		}
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if len(report.Findings) > 100 {
			t.Errorf("%d findings", len(report.Findings))
		}
		b.state = state
		for n := range untouched {
			if state.Ledger.Find(id(n)) == nil && !speaksOf(meta, n) {
				t.Errorf("message %d is sound and gone: %q", n, report.Findings)
			}
		}
	})
}

// speaksOf reports whether the meta of a record might end or void a message:
// with good sums and our tag it is believed.
func speaksOf(meta []byte, n int) bool {
	d := wire.NewDecoder(meta, &wire.Words{})
	for d.More() {
		if d.ID() == id(n) {
			return true
		}
	}
	d = wire.NewDecoder(meta, &wire.Words{})
	for d.More() {
		if c, _ := d.Change(); c.ID == id(n) {
			return true
		}
	}
	d = wire.NewDecoder(meta, &wire.Words{})
	if e, _ := d.Envelope(); e.ID == id(n) {
		return true
	}
	return len(meta) >= 24 // a void
}

// edit writes over a segment: each three octets say where and what. It
// returns the messages in it whose records, and the head that they are known
// by, are as they were.
func (b *logbook) edit(g *segment.Segment, edits []byte) map[int]bool {
	content := b.contents(g.Path)
	untouched := map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true}
	heads := 0
	for ; len(edits) >= 3; edits = edits[3:] {
		at := int64(binary.LittleEndian.Uint16(edits)) % int64(len(content))
		if edits[2] == 0 {
			continue
		}
		for bit := range 8 {
			if edits[2]&(1<<bit) != 0 {
				b.fs.Flip(g.Path, 8*at+int64(bit))
			}
		}
		if at < 2*wire.Block {
			heads++ // of the segment, or of the batch that stands in for it
		}
		for n := range untouched {
			if p := b.places[n]; at >= p.off && at < p.off+int64(wire.RoundUp(p.size, wire.Align)) {
				delete(untouched, n)
			}
		}
	}
	if heads > 1 {
		return nil
	}
	return untouched
}

// put makes a segment of arbitrary octets.
func (b *logbook) put(gen uint64, content []byte) {
	b.t.Helper()
	h, err := b.fs.Create(path.Join(testDir, fmt.Sprintf("%016x.seg", gen)))
	b.must(err)
	_, err = h.WriteAt(content, 0)
	b.must(errors.Join(err, h.Sync(), b.fs.SyncDir(testDir)))
}

package segment

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/blob/crashfs"
	"gatepost/internal/spool/wire"
)

const (
	testDir  = "/data/spool"
	testSize = 16 * wire.Block
)

// rig is a pool on a disk that can crash.
type rig struct {
	t    *testing.T
	fs   *crashfs.FS
	pool *Pool
	used []*Segment // that Open found
	seq  uint64
	mark wire.Mark
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, fs: crashfs.New()}
	r.must(errors.Join(r.fs.Mkdir("/data"), r.fs.SyncDir("/")))
	r.open()
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// open opens the directory as a process does that starts.
func (r *rig) open() {
	r.t.Helper()
	r.pool = &Pool{FS: r.fs, Dir: testDir, Size: testSize, Random: rand.Reader}
	var err error
	r.used, err = r.pool.Open()
	r.must(err)
}

func (r *rig) take() *Segment {
	r.t.Helper()
	g, err := r.pool.Take()
	r.must(err)
	return g
}

// text is the body of a record, meta its meta.
func text(seq uint64) string { return strings.Repeat(fmt.Sprint("body ", seq, "\r\n"), 100) }
func meta(seq uint64) string { return fmt.Sprint("meta ", seq) }

// write appends a batch of records to g.
func (r *rig) write(g *Segment, records int) (at int64) {
	r.t.Helper()
	at = g.used
	_, err := r.batch(g, records).Write()
	r.must(err)
	r.mark = wire.Mark{Seq: r.seq, Gen: g.Gen}
	return at
}

func (r *rig) batch(g *Segment, records int) *Batch {
	var b Batch
	b.Begin(g, r.seq+1, r.mark)
	for range records {
		r.add(&b)
	}
	return &b
}

// add adds the next record to a batch.
func (r *rig) add(b *Batch) {
	r.seq++
	body, meta := []byte(text(r.seq)), []byte(meta(r.seq))
	b.Add(wire.RecordHead{
		Kind: wire.Message, Body: len(body), Meta: len(meta), BodySum: wire.Checksum(body), MetaSum: wire.Checksum(meta),
	}, slices.Concat(make([]byte, wire.RecordHeader), body, meta))
}

// lost crashes with nothing left that was not synced, and starts again.
func (r *rig) lost() {
	r.t.Helper()
	r.fs = r.fs.Crash(func(int) int { return 0 })
	r.open()
}

// flip inverts a bit of the octet at an offset.
func (r *rig) flip(g *Segment, at int64) {
	r.t.Helper()
	if !r.fs.Flip(g.Path, 8*at+3) {
		r.t.Fatalf("%s has no octet %d", g.Path, at)
	}
}

// found checks that a reading holds records, whole or with damaged bodies, of
// sequences.
func (r *rig) found(rd *Reading, seqs ...uint64) {
	r.t.Helper()
	var got []uint64
	for _, f := range rd.Found {
		got = append(got, f.Seq)
		if string(f.Text) != meta(f.Seq) {
			r.t.Errorf("record %d has meta %q", f.Seq, f.Text)
		}
		b := make([]byte, f.Body)
		if err := rd.Segment.ReadBody(b, f.Off); err != nil {
			r.t.Errorf("record %d: %v", f.Seq, err)
		} else if whole := string(b) == text(f.Seq); whole == f.Damaged {
			r.t.Errorf("record %d: whole %v, damaged %v", f.Seq, whole, f.Damaged)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(seqs) {
		r.t.Errorf("found %v, want %v; trouble %v", got, seqs, rd.Trouble)
	}
}

func span(first, last uint64) (list []uint64) {
	for ; first <= last; first++ {
		list = append(list, first)
	}
	return list
}

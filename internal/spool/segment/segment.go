// Package segment is the files of the spool's log: making, appending to,
// sealing, freeing and reading them. The package comment of spool says what
// is in them and why.
//
// A file is in the hands of one goroutine at a time; Pool alone may be used
// from several.
package segment

import (
	"errors"
	"io"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/wire"
)

// Segment is one file of the log, in one of its lives.
type Segment struct {
	Gen, Tag uint64
	Path     string
	Size     int64
	file     blob.Handle

	// Where it is appended to.
	used   int64 // where the next batch begins
	index  []byte
	count  int // records in index
	before wire.Mark
	last   uint64 // sequence; zero: nothing is appended
	torn   int    // sequences up to last that a crash cut short

	// The rest is the spool's, under its lock.

	// Live is how many octets are still needed. IDs are the messages that
	// may have a record here, Touched those with a change or an end.
	Live    int64
	IDs     []envelope.ID
	Touched []envelope.ID

	Written int64 // octets that are durable and do not change any more
	Pins    int   // readers of bodies
	Kept    int   // snapshots that need it: it is not freed
	Leaving bool  // it is being freed: a snapshot does without it

	Full   bool // nothing is appended any more
	Sealed bool // it has an index, or will never have one
	Bad    bool // a write or sync failed: nothing is written to it any more
	Unread bool // something in it cannot be copied: it must empty by itself
	Stuck  bool // it is left as it is until the next start
	Freed  bool

	// Damaged says that something in it was lost: it gets no index, so that
	// every start reads and reports it, and in the end it is set aside.
	Damaged bool
}

// Touch notes that a change or an end of a message lies here.
func (g *Segment) Touch(id envelope.ID) {
	if n := len(g.Touched); n == 0 || g.Touched[n-1] != id {
		g.Touched = append(g.Touched, id)
	}
}

// Fits reports whether another batch of so many octets can be appended, and
// the index grow by so many, and the segment still be sealed.
func (g *Segment) Fits(batch, index int) bool {
	return g.used+int64(wire.RoundUp(batch, wire.Block)) <= wire.IndexStart(g.Size, len(g.index)+index)
}

// Holds reports whether a record with so much meta fits into an empty segment
// of a size.
func Holds(size int64, record, meta int) bool {
	empty := Segment{Size: size, used: wire.Block}
	return empty.Fits(wire.BatchHeader+wire.RoundUp(record, wire.Align), wire.IndexEntry+meta)
}

// Seal ends the segment with its index, which makes the next start fast.
// Nothing depends on it, so it is not synced: without one, or with a torn
// one, a segment is read batch by batch. The index is dropped from memory
// either way.
func (g *Segment) Seal() error {
	index := g.index
	g.index = nil
	if g.count == 0 {
		return nil
	}
	start := wire.IndexStart(g.Size, len(index))
	b := make([]byte, g.Size-start)
	copy(b, index)
	wire.Trailer{
		Gen: g.Gen, Tag: g.Tag, Last: g.last, Torn: g.torn, Before: g.before,
		Offset: start, Length: len(index), Count: g.count, Sum: wire.Checksum(index),
	}.Put(b[len(b)-wire.TrailerSize:])
	_, err := g.file.WriteAt(b, start)
	return err
}

// ReadBody fills b with the body of the record at off.
func (g *Segment) ReadBody(b []byte, off int64) error {
	return readFull(g.file, b, off+wire.RecordHeader)
}

// Body returns the body of the record at off, as it is on the disk.
func (g *Segment) Body(off, size int64) *io.SectionReader {
	return io.NewSectionReader(g.file, off+wire.RecordHeader, size)
}

// Used returns where the next batch goes.
func (g *Segment) Used() int64 { return g.used }

// Close closes the file.
func (g *Segment) Close() error { return g.file.Close() }

// readFull fills b from off on.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Batch is what is written and synced at once.
type Batch struct {
	seg  *Segment
	head wire.BatchHead
	buf  []byte
}

// zeros is what gaps are filled with.
var zeros [1 << 20]byte

// Begin starts a batch in g whose first record will have a sequence. durable
// says what is durable now. The memory of the batch is used again.
func (b *Batch) Begin(g *Segment, first uint64, durable wire.Mark) {
	b.seg = g
	b.head = wire.BatchHead{Gen: g.Gen, Tag: g.Tag, First: first, Durable: durable}
	b.buf = append(b.buf[:0], zeros[:wire.BatchHeader]...)
}

// Fits reports whether another record fits into the batch, the segment, and
// a number of octets.
func (b *Batch) Fits(record, meta, most int) bool {
	size := len(b.buf) + wire.RoundUp(record, wire.Align)
	return size <= most && b.seg.Fits(size, wire.IndexEntry+meta)
}

// Add appends a record, which begins with room for its header. h lacks the
// tag and the sequence. It returns where the record will be.
func (b *Batch) Add(h wire.RecordHead, record []byte) (off int64) {
	g := b.seg
	h.Tag, h.Seq = g.Tag, b.head.First+uint64(b.head.Count)
	h.Put(record)
	b.head.Count++
	off = g.used + int64(len(b.buf))
	b.buf = append(b.buf, record...)
	b.buf = append(b.buf, zeros[:h.Length()-len(record)]...)
	g.index = wire.AppendIndex(g.index, off, h, record[wire.RecordHeader+h.Body:])
	g.count++
	return off
}

// Len returns the number of records.
func (b *Batch) Len() int { return b.head.Count }

// Last returns the sequence of the last record.
func (b *Batch) Last() uint64 { return b.head.First + uint64(b.head.Count) - 1 }

// Write makes the batch durable and returns how many octets it took. After
// an error nobody knows what is on the disk, and nothing may be appended to
// the segment any more: a second sync might succeed without what the first
// has lost.
func (b *Batch) Write() (int, error) {
	g := b.seg
	b.head.Length = len(b.buf)
	b.head.Put(b.buf)
	b.buf = append(b.buf, zeros[:wire.RoundUp(len(b.buf), wire.Block)-len(b.buf)]...)
	if _, err := g.file.WriteAt(b.buf, g.used); err != nil {
		return 0, err
	}
	if err := g.file.Sync(); err != nil {
		return 0, err
	}
	if g.last == 0 {
		g.before = b.head.Durable
	}
	g.used += int64(len(b.buf))
	g.last = b.Last()
	return len(b.buf), nil
}

// Shrink gives the memory back if it has grown beyond a number of octets.
func (b *Batch) Shrink(most int) {
	if cap(b.buf) > most {
		b.buf = nil
	}
}

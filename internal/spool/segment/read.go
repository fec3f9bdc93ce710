package segment

import (
	"bytes"
	"fmt"

	"gatepost/internal/spool/wire"
)

// maxSize bounds a file that is read, in octets.
const maxSize = 1 << 30

// Reading is what a segment was found to hold.
type Reading struct {
	Segment *Segment
	Indexed bool         // read through its index, without the bodies
	Found   []wire.Found // in the order of the log
	Marks   []wire.Mark  // what was durable, here and elsewhere
	Sound   uint64       // last sequence before the first trouble
	Last    uint64       // highest sequence seen
	Trouble []Trouble
	// Findings are sentences about what is damaged for certain.
	Findings []string

	end int64 // where what was read ends
}

// Trouble is a place that could not be read. Whether it is a torn tail or
// corruption shows once all segments were read.
type Trouble struct {
	Seq  uint64 // of the last record that it concerns, as far as is known
	Text string
}

// Read reads a segment at the start: through its index, or else batch by
// batch. What is damaged it says in the reading and in marks of g.
func Read(g *Segment) *Reading {
	r := &Reading{Segment: g, end: wire.Block}
	if !r.identify() || r.readIndexed() {
		return r
	}
	content := r.readWhole()
	r.scan(content)
	if !g.Stuck && !r.Empty() {
		r.harden(content)
	}
	return r
}

// Empty reports whether the segment was made and never used.
func (r *Reading) Empty() bool {
	g := r.Segment
	return !g.Stuck && !g.Damaged && len(r.Found) == 0 && len(r.Marks) == 0 && len(r.Trouble) == 0
}

func (r *Reading) find(format string, args ...any) {
	r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
}

// identify finds the tag of the segment. It reports false if there is nothing
// to be read.
func (r *Reading) identify() bool {
	g := r.Segment
	if g.Size < 2*wire.Block || g.Size > maxSize {
		g.Stuck = true
		r.find("%s has an impossible size of %d octets; it is left as it is", g.Path, g.Size)
		return false
	}
	b := make([]byte, 2*wire.Block)
	if err := readFull(g.file, b, 0); err != nil {
		g.Stuck = true
		r.find("%s cannot be read and is left as it is: %v", g.Path, err)
		return false
	}
	if h, ok := wire.ParseSegmentHead(b); ok {
		if h.Gen < g.Gen {
			g.Stuck = true
			r.find("%s has the header of an older generation and is left as it is", g.Path)
		}
		// That of a newer one was written when the segment, which held
		// nothing, was to be used, and a crash came before its name changed.
		g.Tag = h.Tag
		return h.Gen == g.Gen
	}
	// The first batch is where no body can be: its tag can be believed.
	if h, ok := wire.ParseBatchHead(b[wire.Block:]); ok && h.Gen == g.Gen {
		g.Tag, g.Damaged = h.Tag, true
		r.find("the header of %s is damaged; what it holds could be read", g.Path)
		return true
	}
	g.Stuck = true
	r.find("%s has a damaged header, cannot be read and is left as it is", g.Path)
	return false
}

// readIndexed reads a sealed segment. It reports false if the segment has no
// good index; what a trailer says was durable is remembered all the same.
func (r *Reading) readIndexed() bool {
	g := r.Segment
	b := make([]byte, wire.TrailerSize)
	if readFull(g.file, b, g.Size-wire.TrailerSize) != nil {
		return false
	}
	t, ok := wire.ParseTrailer(b)
	if !ok || t.Gen != g.Gen || t.Tag != g.Tag {
		return false
	}
	r.Marks = append(r.Marks, wire.Mark{Seq: t.Sound(), Gen: g.Gen}, t.Before)
	if t.Offset < wire.Block || t.Offset+int64(t.Length)+wire.TrailerSize > g.Size {
		return false
	}
	index := make([]byte, t.Length)
	if readFull(g.file, index, t.Offset) != nil || wire.Checksum(index) != t.Sum {
		return false
	}
	return r.parseIndex(index, t)
}

func (r *Reading) parseIndex(index []byte, t wire.Trailer) bool {
	list := make([]wire.Found, 0, min(t.Count, len(index)/wire.IndexEntry))
	for len(index) > 0 {
		f, rest, ok := wire.ParseIndex(index)
		if !ok || f.Off+int64(f.Length()) > t.Offset {
			return false
		}
		list, index = append(list, f), rest
	}
	if len(list) != t.Count {
		return false
	}
	r.Found, r.Indexed, r.Sound, r.Last = list, true, t.Sound(), t.Last
	return true
}

// readWhole reads the content of the file, with zeros where it cannot be
// read. What cannot be read now may be read at the next start: then the file
// is not written to, nor freed.
func (r *Reading) readWhole() []byte {
	const chunk = 256 << 10
	b := make([]byte, r.Segment.Size)
	var failed error
	for off := 0; off < len(b); off += chunk {
		part := b[off:min(off+chunk, len(b))]
		if readFull(r.Segment.file, part, int64(off)) == nil {
			continue
		}
		for at := 0; at < len(part); at += wire.Block {
			piece := part[at:min(at+wire.Block, len(part))]
			if err := readFull(r.Segment.file, piece, int64(off+at)); err != nil {
				clear(piece)
				failed = err
			}
		}
	}
	if failed != nil {
		r.Segment.Stuck = true
		r.find("parts of %s cannot be read: %v", r.Segment.Path, failed)
	}
	return b
}

// scan reads a segment batch by batch. Its content was written by us, but
// the bodies in it were not: nothing is believed without the tag, which
// nobody who sends mail can know. So no body can pass for a part of the log,
// also where the log is damaged, or where old content follows its end.
func (r *Reading) scan(content []byte) {
	p := wire.Block
	for p+wire.BatchHeader <= len(content) {
		if h, ok := r.batchAt(content, p); ok {
			r.readBatch(content, p, h)
			p += wire.RoundUp(h.Length, wire.Block)
			r.end = int64(min(p, len(content)))
			continue
		}
		next := r.nextBatch(content, p+wire.Block)
		if next < 0 {
			r.salvage(content, p, len(content), false)
			break
		}
		r.salvage(content, p, next, true)
		p = next
	}
	if len(r.Trouble) == 0 {
		r.Sound = r.Last
	}
}

// batchAt returns the header of a batch of this life of the segment.
func (r *Reading) batchAt(content []byte, p int) (wire.BatchHead, bool) {
	h, ok := wire.ParseBatchHead(content[p:])
	return h, ok && h.Gen == r.Segment.Gen && h.Tag == r.Segment.Tag && p+h.Length <= len(content)
}

func (r *Reading) nextBatch(content []byte, p int) int {
	for ; p+wire.BatchHeader <= len(content); p += wire.Block {
		if _, ok := r.batchAt(content, p); ok {
			return p
		}
	}
	return -1
}

// readBatch reads the records of one batch.
func (r *Reading) readBatch(content []byte, p int, h wire.BatchHead) {
	r.Marks = append(r.Marks, h.Durable)
	sound, last := r.Last, h.First+uint64(h.Count)-1
	if good := r.readRecords(content[:p+h.Length], p+wire.BatchHeader); good < h.Count {
		r.stumble(sound, last, "%d of %d records at offset %d are damaged", h.Count-good, h.Count, p)
	}
	r.Last = max(r.Last, last)
}

// salvage looks for records where no batch can be read. That nothing is
// there is no trouble at the end of the log.
func (r *Reading) salvage(content []byte, from, to int, inside bool) {
	before, sound := len(r.Found), r.Last
	r.readRecords(content[:to], from)
	n := len(r.Found) - before
	if !inside && n == 0 {
		return
	}
	r.stumble(sound, max(sound+1, r.Last), "a batch at offset %d is damaged; %d records of it could be saved", from, n)
	if n > 0 {
		f := r.Found[len(r.Found)-1]
		r.end = min(wire.RoundUp(f.Off+int64(f.Length()), wire.Block), int64(len(content)))
	}
}

// stumble notes trouble behind a sound sequence.
func (r *Reading) stumble(sound, seq uint64, format string, args ...any) {
	if len(r.Trouble) == 0 {
		r.Sound = sound
	}
	r.Trouble = append(r.Trouble, Trouble{seq, fmt.Sprintf(format, args...)})
}

// readRecords reads records from off to the end of content, searching for
// the next where one does not follow the other. It returns how many are
// whole. The length in a good header can be believed, so that each octet is
// summed once at most.
func (r *Reading) readRecords(content []byte, off int) (good int) {
	for off+wire.RecordHeader <= len(content) {
		h, ok := wire.ParseRecordHead(content[off:], r.Segment.Tag)
		if !ok {
			off += wire.Align
			continue
		}
		end := off + wire.RecordHeader + h.Body + h.Meta
		if end > len(content) {
			break
		}
		body, meta := content[off+wire.RecordHeader:end-h.Meta], content[end-h.Meta:end]
		f := wire.Found{RecordHead: h, Off: int64(off), Damaged: wire.Checksum(body) != h.BodySum}
		if wire.Checksum(meta) == h.MetaSum {
			f.Text = bytes.Clone(meta)
			r.Found = append(r.Found, f)
			r.Last = max(r.Last, h.Seq)
			if !f.Damaged {
				good++
			}
		}
		off += h.Length()
	}
	return good
}

// harden writes what was read once more, and syncs it. It may have come from
// memory only, after a process died in the middle of a batch or a sync had
// failed; once it is relied upon, it must be on the disk.
func (r *Reading) harden(content []byte) {
	g := r.Segment
	_, err := g.file.WriteAt(content[wire.Block:r.end], wire.Block)
	if err == nil {
		err = g.file.Sync()
	}
	if err != nil {
		g.Bad = true
		r.find("what %s holds could not be made sure of: %v", g.Path, err)
	}
}

// Seal writes the index of a segment that a crash left without one, so that
// the next start is fast. Records for which skip is true count for nothing.
func (r *Reading) Seal(skip func(wire.Found) bool) error {
	g := r.Segment
	if g.Bad || g.Damaged {
		return nil
	}
	for _, f := range r.Found {
		if !skip(f) {
			g.index = wire.AppendIndex(g.index, f.Off, f.RecordHead, f.Text)
			g.count++
		}
	}
	g.used, g.last, g.torn = r.end, r.Last, int(r.Last-r.Sound)
	for _, m := range r.Marks {
		if m.Gen < g.Gen {
			g.before = m
		}
	}
	if !g.Fits(0, 0) {
		g.index, g.count = nil, 0
		return nil
	}
	return g.Seal()
}

// Package wire is the format of the spool's log: headers, and how envelopes
// and changes are encoded. It is pure; the package comment of spool shows how
// the parts fit together.
//
// It trusts nothing but checksums: whatever it is given to parse, it returns
// a value that is in range or says that there is none, and takes no more
// memory than a small multiple of its input.
package wire

import (
	"encoding/binary"
	"hash/crc32"

	"gatepost/internal/envelope"
)

// Sizes of the format, in octets. The package comment shows how they fit
// together.
const (
	Block        = 4096 // what a batch begins at: no later write touches an older batch's
	BatchHeader  = 56
	RecordHeader = 40
	TrailerSize  = 72
	IndexEntry   = 25 // of a record, beside its meta
	Align        = 8  // of records in a batch
)

const (
	segmentMagic = 0x326c6f6f70735047 // "GPspool2": the last octet is the version of the format
	firstVersion = '1'                // which is read like the second: it knew no Via and no Unfit
	batchMagic   = 0x62737047         // "Gpsb"
	trailerMagic = 0x69737047         // "Gpsi"
	recordMagic  = 0x5247             // "GR"
)

// The kinds of records.
const (
	Message byte = 1 + iota // a message as it was committed, with the changes that belong to it
	Moved                   // a message copied with its state of that moment
	Changes
	Gone     // ids of messages that are done and whose records may still be somewhere
	Void     // sequences whose records count for nothing: they were refused
	lastKind = Void
)

var (
	// Castagnoli is the polynomial of all sums: processors compute it.
	Castagnoli = envelope.SumTable
	le         = binary.LittleEndian
)

// Checksum returns the CRC32C of p.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, Castagnoli) }

// RoundUp returns n rounded up to a multiple of unit, a power of two.
func RoundUp[T int | int64](n, unit T) T { return (n + unit - 1) &^ (unit - 1) }

// SegmentHead is what a segment begins with, alone in its block.
type SegmentHead struct {
	Gen  uint64
	Tag  uint64 // random; whoever writes a body cannot know it, and so cannot forge a record
	Size int64
}

// Encode returns the block.
func (h SegmentHead) Encode() []byte {
	b := make([]byte, Block)
	le.PutUint64(b, segmentMagic)
	le.PutUint64(b[8:], h.Gen)
	le.PutUint64(b[16:], h.Tag)
	le.PutUint64(b[24:], uint64(h.Size))
	le.PutUint32(b[32:], Checksum(b[:32]))
	return b
}

// headSize is what a segment's head takes of its block, in octets. Every
// version of the format begins a segment so: magic, three numbers, sum.
const headSize = 36

// ParseSegmentHead reads what Encode returned.
func ParseSegmentHead(b []byte) (h SegmentHead, ok bool) {
	if version, ok := Version(b); !ok || version < firstVersion || Newer(version) {
		return h, false
	}
	return SegmentHead{le.Uint64(b[8:]), le.Uint64(b[16:]), int64(le.Uint64(b[24:]))}, true
}

// Version returns the version of the format of a segment that begins with b,
// a character; Newer tells whether this program can read it.
func Version(b []byte) (version byte, ok bool) {
	if len(b) < headSize || le.Uint64(b)<<8 != segmentMagic<<8&(1<<64-1) || le.Uint32(b[32:]) != Checksum(b[:32]) {
		return 0, false
	}
	return b[7], true
}

// Newer reports whether a version came after the one that is written here.
func Newer(version byte) bool { return version > segmentMagic>>56 }

// Mark says that up to a sequence everything that was written to the
// segment of a generation was durable.
type Mark struct{ Seq, Gen uint64 }

// BatchHead is what a batch begins with.
type BatchHead struct {
	Gen, Tag uint64
	First    uint64 // sequence of its first record; the others follow
	Durable  Mark   // when the batch was begun
	Length   int    // with this header
	Count    int
}

// Put encodes the header into the first BatchHeader octets of b.
func (h BatchHead) Put(b []byte) {
	le.PutUint32(b[4:], batchMagic)
	le.PutUint64(b[8:], h.Gen)
	le.PutUint64(b[16:], h.Tag)
	le.PutUint64(b[24:], h.First)
	le.PutUint64(b[32:], h.Durable.Seq)
	le.PutUint64(b[40:], h.Durable.Gen)
	le.PutUint32(b[48:], uint32(h.Length))
	le.PutUint32(b[52:], uint32(h.Count))
	le.PutUint32(b, Checksum(b[4:BatchHeader]))
}

// ParseBatchHead reads a header; what follows it may still be torn.
func ParseBatchHead(b []byte) (h BatchHead, ok bool) {
	if len(b) < BatchHeader || le.Uint32(b[4:]) != batchMagic || le.Uint32(b) != Checksum(b[4:BatchHeader]) {
		return h, false
	}
	h = BatchHead{
		Gen: le.Uint64(b[8:]), Tag: le.Uint64(b[16:]), First: le.Uint64(b[24:]),
		Durable: Mark{le.Uint64(b[32:]), le.Uint64(b[40:])},
		Length:  int(le.Uint32(b[48:])), Count: int(le.Uint32(b[52:])),
	}
	return h, h.Length >= BatchHeader
}

// RecordHead is what a record begins with. Body and meta have sums of their
// own, so that damage to one leaves the other of use, and so that both can
// be computed before the sequence is known.
type RecordHead struct {
	Kind             byte
	Tag, Seq         uint64
	Body, Meta       int
	BodySum, MetaSum uint32
}

// Put encodes the header into the first RecordHeader octets of b.
func (h RecordHead) Put(b []byte) {
	le.PutUint16(b[4:], recordMagic)
	b[6], b[7] = h.Kind, 0
	le.PutUint64(b[8:], h.Tag)
	le.PutUint64(b[16:], h.Seq)
	le.PutUint32(b[24:], uint32(h.Body))
	le.PutUint32(b[28:], uint32(h.Meta))
	le.PutUint32(b[32:], h.BodySum)
	le.PutUint32(b[36:], h.MetaSum)
	le.PutUint32(b, Checksum(b[4:RecordHeader]))
}

// ParseRecordHead reads a header that carries a tag.
func ParseRecordHead(b []byte, tag uint64) (h RecordHead, ok bool) {
	if len(b) < RecordHeader || le.Uint16(b[4:]) != recordMagic || le.Uint64(b[8:]) != tag ||
		le.Uint32(b) != Checksum(b[4:RecordHeader]) {
		return h, false
	}
	h = RecordHead{
		Kind: b[6], Tag: tag, Seq: le.Uint64(b[16:]),
		Body: int(le.Uint32(b[24:])), Meta: int(le.Uint32(b[28:])),
		BodySum: le.Uint32(b[32:]), MetaSum: le.Uint32(b[36:]),
	}
	return h, h.Kind >= Message && h.Kind <= lastKind
}

// Length returns the octets of the record in a batch.
func (h RecordHead) Length() int { return RoundUp(RecordHeader+h.Body+h.Meta, Align) }

// Found is a record that was read.
type Found struct {
	RecordHead
	Off     int64  // in its segment
	Text    []byte // of its meta
	Damaged bool   // its body does not match its sum; bodies behind an index are not looked at
}

// AppendIndex appends what the index says of a record: all but its body. It
// does not look like a record, so that a torn index is never read as one.
func AppendIndex(b []byte, off int64, h RecordHead, meta []byte) []byte {
	b = le.AppendUint32(b, uint32(off))
	b = le.AppendUint32(b, uint32(h.Body))
	b = le.AppendUint32(b, h.BodySum)
	b = le.AppendUint32(b, uint32(len(meta)))
	b = le.AppendUint64(b, h.Seq)
	b = append(b, h.Kind)
	return append(b, meta...)
}

// ParseIndex reads what AppendIndex appended, and returns what follows.
func ParseIndex(b []byte) (f Found, rest []byte, ok bool) {
	if len(b) < IndexEntry {
		return f, nil, false
	}
	f.Off = int64(le.Uint32(b))
	f.RecordHead = RecordHead{
		Body: int(le.Uint32(b[4:])), BodySum: le.Uint32(b[8:]),
		Meta: int(le.Uint32(b[12:])), Seq: le.Uint64(b[16:]), Kind: b[24],
	}
	if b = b[IndexEntry:]; f.Meta > len(b) {
		return f, nil, false
	}
	f.Text = b[:f.Meta]
	return f, b[f.Meta:], true
}

// Trailer ends a sealed segment and leads to its index.
type Trailer struct {
	Gen, Tag uint64
	Last     uint64 // sequence in the segment
	Torn     int    // how many of the last sequences a crash cut short
	Before   Mark   // of the segment's first batch
	Offset   int64  // of the index
	Length   int    // of the index
	Count    int    // of records
	Sum      uint32 // of the index
}

// Put encodes the trailer into the first TrailerSize octets of b.
func (t Trailer) Put(b []byte) {
	le.PutUint32(b[4:], trailerMagic)
	le.PutUint64(b[8:], t.Gen)
	le.PutUint64(b[16:], t.Tag)
	le.PutUint64(b[24:], t.Last)
	le.PutUint64(b[32:], t.Before.Seq)
	le.PutUint64(b[40:], t.Before.Gen)
	le.PutUint64(b[48:], uint64(t.Offset))
	le.PutUint32(b[56:], uint32(t.Length))
	le.PutUint32(b[60:], uint32(t.Count))
	le.PutUint32(b[64:], t.Sum)
	le.PutUint32(b[68:], uint32(t.Torn))
	le.PutUint32(b, Checksum(b[4:TrailerSize]))
}

// ParseTrailer reads what Put wrote.
func ParseTrailer(b []byte) (t Trailer, ok bool) {
	if len(b) < TrailerSize || le.Uint32(b[4:]) != trailerMagic || le.Uint32(b) != Checksum(b[4:TrailerSize]) {
		return t, false
	}
	return Trailer{
		Gen: le.Uint64(b[8:]), Tag: le.Uint64(b[16:]), Last: le.Uint64(b[24:]),
		Before: Mark{le.Uint64(b[32:]), le.Uint64(b[40:])},
		Offset: int64(le.Uint64(b[48:])), Length: int(le.Uint32(b[56:])),
		Count: int(le.Uint32(b[60:])), Sum: le.Uint32(b[64:]), Torn: int(le.Uint32(b[68:])),
	}, true
}

// Sound returns the last sequence in the segment that is durable for certain.
func (t Trailer) Sound() uint64 { return t.Last - min(t.Last, uint64(t.Torn)) }

// IndexStart returns where an index of a length begins in a segment of a
// size: as late as it can, at a block of its own.
func IndexStart(size int64, length int) int64 {
	return (size - TrailerSize - int64(length)) &^ (Block - 1)
}

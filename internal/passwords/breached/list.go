// Package breached answers whether a password is on a list of those that were
// breached or are common, without knowing any of them: a list is a filter
// (binary fuse, 16 bits a password), which never misses one of its own and
// takes one in 65,536 others for one.
//
// # Lists
//
// Common ships inside: 56,000 passwords, made from testdata (go generate).
// An operator makes another from what Have I Been Pwned offers for download
// (Convert), which is too large to hold: a look-up reads one shard of it.
//
// # Format
//
//	magic   "gpbreach"
//	shards  the fingerprints of each, 16 bits
//	index   36 octets a shard: first key (64 bits), seed (64), segment length
//	        (32), segments (32), keys (32), CRC32C of the fingerprints (32),
//	        32 bits of nothing
//	footer  version (8), hash (8), nothing (16), shards (32), keys (64), time
//	        of making in seconds since 1970 (64), CRC32C of the index and of
//	        the footer up to here (32), magic
//
// Numbers are little-endian. The key of a password is the first 64 bits of
// its hash; the shards hold the keys in ascending order, so that the index
// says which one a key would be in.
//
// # Trust and limits
//
// Who can write the file decides what is refused. Damage is an error, never
// an answer: each shard that is read is compared with its checksum. Memory is
// bounded by maxShards (the index) and maxFingerprints (a shard).
package breached

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"slices"
	"time"

	"github.com/FastFilter/xorfilter"
)

const (
	magic      = "gpbreach"
	version    = 1
	entrySize  = 36
	footerSize = 36

	// shardKeys is how many keys a shard holds; the last has what is left.
	shardKeys = 1 << 16
	// maxShards bounds the index: it is 4.5 MiB then, for eight milliards of
	// passwords.
	maxShards = 1 << 17
	// maxFingerprints bounds a shard. One of shardKeys keys has some 73,000.
	maxFingerprints = 1 << 18
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of Read and Contains: what is wrong with the file, as half a
// sentence.
var (
	ErrForeign = errors.New("it is not a list of breached passwords")
	ErrDamaged = errors.New("it is damaged or cut short")
	ErrNewer   = errors.New("it was made by a newer Gatepost")
)

// Info tells about a list.
type Info struct {
	Hash      Hash
	Passwords uint64
	Octets    int64
	Made      time.Time // zero: not known
}

// entry is one shard in the index.
type entry struct {
	first         uint64
	seed          uint64
	segmentLength uint32
	segments      uint32
	keys          uint32
	sum           uint32

	offset int64 // computed
}

// fingerprints returns how many there are: one segment more for each of the
// two other places that a key has.
func (e *entry) fingerprints() int64 { return (int64(e.segments) + 2) * int64(e.segmentLength) }

// List is an open list. Its methods may be called from any goroutine.
type List struct {
	r      io.ReaderAt
	info   Info
	index  []entry
	shards []*shard // all of them, if they are held in memory
}

type shard = xorfilter.BinaryFuse[uint16]

// Read opens a list of size octets. It reads the index, no shard.
func Read(r io.ReaderAt, size int64) (*List, error) {
	begin, end := make([]byte, len(magic)), make([]byte, footerSize)
	if size < int64(len(magic)) {
		return nil, ErrForeign
	}
	if _, err := r.ReadAt(begin, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if string(begin) != magic {
		return nil, ErrForeign
	}
	if size < int64(len(magic)+footerSize) {
		return nil, ErrDamaged
	}
	if _, err := r.ReadAt(end, size-footerSize); err != nil && err != io.EOF {
		return nil, err
	}
	if string(end[28:]) != magic {
		return nil, ErrDamaged
	}
	if end[0] > version {
		return nil, ErrNewer
	}
	l := &List{r: r, info: Info{
		Hash: Hash(end[1]), Passwords: binary.LittleEndian.Uint64(end[8:]), Octets: size,
		Made: time.Unix(int64(binary.LittleEndian.Uint64(end[16:])), 0).UTC(),
	}}
	return l, l.readIndex(end)
}

// readIndex reads and checks the index that the footer tells of.
func (l *List) readIndex(footer []byte) error {
	n := int64(binary.LittleEndian.Uint32(footer[4:]))
	at := l.info.Octets - footerSize - n*entrySize
	if n == 0 || n > maxShards || at < int64(len(magic)) || footer[0] != version || !l.info.Hash.known() {
		return ErrDamaged
	}
	raw := make([]byte, n*entrySize)
	if _, err := l.r.ReadAt(raw, at); err != nil && err != io.EOF {
		return err
	}
	sum := crc32.Update(crc32.Checksum(raw, castagnoli), castagnoli, footer[:24])
	if sum != binary.LittleEndian.Uint32(footer[24:]) {
		return ErrDamaged
	}
	offset, keys := int64(len(magic)), uint64(0)
	l.index = make([]entry, 0, n)
	for b := range slices.Chunk(raw, entrySize) {
		e := parseEntry(b)
		if !e.sound() || len(l.index) > 0 && e.first <= l.index[len(l.index)-1].first {
			return ErrDamaged
		}
		e.offset = offset
		offset += 2 * e.fingerprints()
		keys += uint64(e.keys)
		l.index = append(l.index, e)
	}
	if offset != at || keys != l.info.Passwords {
		return ErrDamaged
	}
	return nil
}

func parseEntry(b []byte) entry {
	le := binary.LittleEndian
	return entry{
		first: le.Uint64(b), seed: le.Uint64(b[8:]),
		segmentLength: le.Uint32(b[16:]), segments: le.Uint32(b[20:]), keys: le.Uint32(b[24:]), sum: le.Uint32(b[28:]),
	}
}

func (e *entry) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(le.AppendUint64(b, e.first), e.seed)
	for _, n := range []uint32{e.segmentLength, e.segments, e.keys, e.sum, 0} {
		b = le.AppendUint32(b, n)
	}
	return b
}

// sound reports whether a key of any value finds its three places within the
// fingerprints: segments are of a power of two, and there are enough.
func (e *entry) sound() bool {
	return bits.OnesCount32(e.segmentLength) == 1 && e.segments > 0 && e.keys > 0 &&
		e.segmentLength <= maxFingerprints && e.segments <= maxFingerprints && e.fingerprints() <= maxFingerprints
}

// Info tells about the list.
func (l *List) Info() Info { return l.info }

// Contains reports whether a password is on the list.
func (l *List) Contains(password string) (bool, error) {
	return l.contains(l.info.Hash.key(password))
}

func (l *List) contains(key uint64) (bool, error) {
	i, exact := slices.BinarySearchFunc(l.index, key, func(e entry, key uint64) int { return cmp.Compare(e.first, key) })
	switch {
	case exact:
		return true, nil
	case i == 0: // before the first of all
		return false, nil
	}
	s, err := l.shard(i - 1)
	if err != nil {
		return false, err
	}
	return s.Contains(key), nil
}

// shard returns one shard, from memory or from the file.
func (l *List) shard(i int) (*shard, error) {
	if l.shards != nil {
		return l.shards[i], nil
	}
	e := &l.index[i]
	raw := make([]byte, 2*e.fingerprints())
	if _, err := l.r.ReadAt(raw, e.offset); err != nil && err != io.EOF {
		return nil, err
	}
	if crc32.Checksum(raw, castagnoli) != e.sum {
		return nil, ErrDamaged
	}
	s := &shard{
		Seed: e.seed, SegmentLength: e.segmentLength, SegmentLengthMask: e.segmentLength - 1,
		SegmentCount: e.segments, SegmentCountLength: e.segments * e.segmentLength,
		Fingerprints: make([]uint16, e.fingerprints()),
	}
	for i := range s.Fingerprints {
		s.Fingerprints[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return s, nil
}

// hold keeps the whole list in memory from now on.
func (l *List) hold() error {
	shards := make([]*shard, len(l.index))
	for i := range shards {
		var err error
		if shards[i], err = l.shard(i); err != nil {
			return err
		}
	}
	l.shards = shards
	return nil
}

// Verify reads the whole list and compares it with its checksums.
func (l *List) Verify() error {
	for i := range l.index {
		if _, err := l.shard(i); err != nil {
			return err
		}
	}
	return nil
}

// writer makes a list of keys that come in ascending order. It holds the
// keys of one shard, and the index.
type writer struct {
	w      io.Writer
	hash   Hash
	keys   []uint64
	index  []entry
	octets int64
	total  uint64
	last   uint64
	any    bool
}

func newWriter(w io.Writer, hash Hash) (*writer, error) {
	n, err := io.WriteString(w, magic)
	return &writer{w: w, hash: hash, octets: int64(n)}, err
}

// errOrder says that a key is less than the one before it.
var errOrder = errors.New("not in ascending order")

func (w *writer) add(key uint64) error {
	switch {
	case w.any && key < w.last:
		return errOrder
	case w.any && key == w.last: // two of one beginning, or one twice
		return nil
	}
	w.any, w.last = true, key
	if w.keys = append(w.keys, key); len(w.keys) == shardKeys {
		return w.cut()
	}
	return nil
}

// cut writes the keys that were gathered as a shard.
func (w *writer) cut() error {
	if len(w.keys) == 0 {
		return nil
	}
	if len(w.index) == maxShards {
		return fmt.Errorf("it has more than %d passwords", uint64(maxShards)*shardKeys)
	}
	first, n := w.keys[0], len(w.keys)
	s, err := xorfilter.NewBinaryFuse[uint16](w.keys)
	if err != nil {
		return err
	}
	w.keys = w.keys[:0]
	raw := make([]byte, 0, 2*len(s.Fingerprints))
	for _, f := range s.Fingerprints {
		raw = binary.LittleEndian.AppendUint16(raw, f)
	}
	w.index = append(w.index, entry{
		first: first, seed: s.Seed, segmentLength: s.SegmentLength, segments: s.SegmentCount,
		keys: uint32(n), sum: crc32.Checksum(raw, castagnoli),
	})
	w.total += uint64(n)
	return w.write(raw)
}

func (w *writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.octets += int64(n)
	return err
}

// end writes what is left, the index and the footer.
func (w *writer) end(made time.Time) (Info, error) {
	if err := w.cut(); err != nil {
		return Info{}, err
	}
	if w.total == 0 {
		return Info{}, errors.New("it holds no passwords")
	}
	var b []byte
	for i := range w.index {
		b = w.index[i].append(b)
	}
	b = append(b, version, byte(w.hash), 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(w.index)))
	b = binary.LittleEndian.AppendUint64(b, w.total)
	b = binary.LittleEndian.AppendUint64(b, uint64(made.Unix()))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	err := w.write(append(b, magic...))
	return Info{Hash: w.hash, Passwords: w.total, Octets: w.octets, Made: time.Unix(made.Unix(), 0).UTC()}, err
}

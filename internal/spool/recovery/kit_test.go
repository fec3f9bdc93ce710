package recovery

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/blob"
	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

const (
	testDir  = "/data/spool"
	testSize = 16 * wire.Block
)

// logbook writes logs as the spool does, and reads them.
type logbook struct {
	t      testing.TB
	fs     *crashfs.FS
	blobs  *blob.Dir
	random io.Reader // of tags: the same each time, so that a fuzzer sees the same
	pool   *segment.Pool
	seg    *segment.Segment // that is written to
	seq    uint64
	mark   wire.Mark
	state  *State
	places
}

// places are where records are, by message.
type places map[int]struct {
	path string
	off  int64 // of the record
	body int   // octets of its body
	size int   // octets of the record
}

func newLogbook(t testing.TB) *logbook {
	t.Helper()
	b := &logbook{t: t, fs: crashfs.New(), places: places{}, random: rand.NewChaCha8([32]byte{})}
	b.must(errors.Join(b.fs.Mkdir("/data"), b.fs.SyncDir("/")))
	b.start()
	_, err := b.pool.Open()
	b.must(err)
	b.next()
	return b
}

func (b *logbook) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// start is what a process does before it reads the log.
func (b *logbook) start() {
	b.t.Helper()
	b.pool = &segment.Pool{FS: b.fs, Dir: testDir, Size: testSize, Random: b.random}
	var err error
	b.blobs, err = blob.OpenDirOn(b.fs, "/data/blob")
	b.must(err)
}

// next goes on in another segment.
func (b *logbook) next() {
	b.t.Helper()
	var err error
	b.seg, err = b.pool.Take()
	b.must(err)
}

// entry is a record to be written.
type entry struct {
	kind    byte
	message int // of Message and Moved
	body    []byte
	meta    []byte
}

func id(n int) envelope.ID { return envelope.ID{0: 1, 1: byte(n), 15: byte(n >> 8)} }

func body(n int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("line of message %d\r\n", n), 40))
}

func env(n int) *envelope.Envelope {
	return &envelope.Envelope{
		ID: id(n), Received: time.Unix(int64(1000+n), 0).UTC(), From: addr.MustParse(fmt.Sprintf("sender%d@example.org", n)),
		Recipients: []envelope.Recipient{{To: addr.MustParse("a@example.com")}, {To: addr.MustParse("b@example.com")}},
	}
}

func message(n int) entry {
	return entry{kind: wire.Message, message: n, body: body(n), meta: wire.AppendEnvelope(nil, env(n), wire.Content{})}
}

// large is a message whose body is in a blob.
func large(n int) entry {
	c := wire.Content{Size: int64(len(body(n))), Sum: wire.Checksum(body(n)), Blob: true}
	return entry{kind: wire.Message, message: n, meta: wire.AppendEnvelope(nil, env(n), c)}
}

func change(n, recipient int, s envelope.Status) entry {
	c := envelope.Change{ID: id(n), Recipient: recipient, Status: s, Attempts: 1}
	return entry{kind: wire.Changes, meta: wire.AppendChange(nil, &c, false)}
}

func gone(n int) entry {
	id := id(n)
	return entry{kind: wire.Gone, meta: id[:]}
}

func void(first, last, gen uint64) entry {
	return entry{kind: wire.Void, meta: wire.AppendVoided(nil, wire.Voided{First: first, Last: last, Gen: gen})}
}

// write writes a batch and returns where it begins.
func (b *logbook) write(entries ...entry) (at int64) {
	b.t.Helper()
	var batch segment.Batch
	batch.Begin(b.seg, b.seq+1, b.mark)
	for i, e := range entries {
		buf := slices.Concat(make([]byte, wire.RecordHeader), e.body, e.meta)
		off := batch.Add(wire.RecordHead{
			Kind: e.kind, Body: len(e.body), Meta: len(e.meta), BodySum: wire.Checksum(e.body), MetaSum: wire.Checksum(e.meta),
		}, buf)
		if i == 0 {
			at = off - wire.BatchHeader
		}
		if e.message > 0 {
			p := b.places[e.message]
			p.path, p.off, p.body, p.size = b.seg.Path, off, len(e.body), len(buf)
			b.places[e.message] = p
		}
	}
	_, err := batch.Write()
	b.must(err)
	b.seq += uint64(len(entries))
	b.mark = wire.Mark{Seq: b.seq, Gen: b.seg.Gen}
	return at
}

// blob puts the body of a message where large says it is.
func (b *logbook) blob(n int) {
	b.t.Helper()
	w, err := b.blobs.Create()
	b.must(err)
	_, err = w.Write(body(n))
	b.must(errors.Join(err, w.Commit(id(n).String())))
}

// flip inverts a bit of the octet at an offset of a segment.
func (b *logbook) flip(path string, at int64) {
	b.t.Helper()
	if !b.fs.Flip(path, 8*at+1) {
		b.t.Fatalf("%s has no octet %d", path, at)
	}
}

// read crashes with nothing left that was not synced, and reads the log.
func (b *logbook) read() *Report {
	b.t.Helper()
	b.fs = b.fs.Crash(func(int) int { return 0 })
	return b.reread()
}

func (b *logbook) reread() *Report {
	b.t.Helper()
	b.start()
	state, report, err := Read(b.pool, b.blobs, slog.New(slog.DiscardHandler))
	b.must(err)
	b.state = state
	if report.Messages != len(state.Ledger.Entries) {
		b.t.Errorf("%d messages reported, %d there", report.Messages, len(state.Ledger.Entries))
	}
	return report
}

// expect checks which messages are there, oldest first, and that each is
// whole.
func (b *logbook) expect(want ...int) {
	b.t.Helper()
	var got []int
	for n := range 200 {
		e := b.state.Ledger.Find(id(n))
		if e == nil {
			continue
		}
		got = append(got, n)
		if e.Envelope.From != env(n).From || len(e.Envelope.Recipients) != 2 {
			b.t.Errorf("message %d: %+v", n, e.Envelope)
		}
		if e.Body.Size != int64(len(body(n))) || e.Body.Sum != wire.Checksum(body(n)) {
			b.t.Errorf("message %d: %+v", n, e.Body)
		}
		if e.Body.Blob {
			continue
		}
		content := make([]byte, e.Body.Size)
		if err := e.At.ReadBody(content, e.Off); err != nil || wire.Checksum(content) != e.Body.Sum {
			b.t.Errorf("message %d is not whole: %v", n, err)
		}
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("messages %v, want %v", got, want)
	}
}

// told checks that there is a finding for each of the parts of sentences, and
// no other.
func (b *logbook) told(r *Report, parts ...string) {
	b.t.Helper()
	if len(r.Findings) != len(parts) {
		b.t.Errorf("%d findings, want %d: %q", len(r.Findings), len(parts), r.Findings)
		return
	}
	for i, part := range parts {
		if !strings.Contains(r.Findings[i], part) {
			b.t.Errorf("finding %q, want %q", r.Findings[i], part)
		}
	}
}

// contents returns what a file holds.
func (b *logbook) contents(path string) []byte {
	b.t.Helper()
	h, err := b.fs.Open(path)
	b.must(err)
	size, err := h.Size()
	b.must(err)
	content, err := io.ReadAll(io.NewSectionReader(h, 0, size))
	b.must(err)
	return content
}

func (b *logbook) blobNames() (n int) {
	b.t.Helper()
	b.must(b.blobs.Each(func(string) error { n++; return nil }))
	return n
}

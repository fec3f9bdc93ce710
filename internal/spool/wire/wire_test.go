package wire

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// flip returns b with one bit inverted.
func flip(b []byte, bit int) []byte {
	b = slices.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// Heads read as they were written, from exactly as much as they take, and not
// at all when any bit of them is wrong.
func TestHeads(t *testing.T) {
	t.Parallel()
	mark := Mark{Seq: 1<<63 + 5, Gen: 7}
	seg := SegmentHead{Gen: 1<<63 + 1, Tag: math.MaxUint64, Size: 1 << 30}
	batch := BatchHead{Gen: 3, Tag: 4, First: 5, Durable: mark, Length: 1 << 22, Count: 1000}
	record := RecordHead{Kind: Moved, Tag: 4, Seq: 9, Body: 1<<32 - 1, Meta: 77, BodySum: 1, MetaSum: math.MaxUint32}
	trailer := Trailer{Gen: 3, Tag: 4, Last: 9, Torn: 2, Before: mark, Offset: 1 << 29, Length: 1 << 20, Count: 5, Sum: 6}
	put := func(n int, put func([]byte)) []byte {
		b := bytes.Repeat([]byte{0xff}, n+3) // what is not set must not matter
		put(b)
		return b[:n]
	}
	for _, tt := range []struct {
		name string
		b    []byte
		read func([]byte) (any, bool)
		want any
	}{
		{"segment", seg.Encode()[:headSize], func(b []byte) (any, bool) { h, ok := ParseSegmentHead(b); return h, ok }, seg},
		{"batch", put(BatchHeader, batch.Put), func(b []byte) (any, bool) { h, ok := ParseBatchHead(b); return h, ok }, batch},
		{"record", put(RecordHeader, record.Put), func(b []byte) (any, bool) { h, ok := ParseRecordHead(b, 4); return h, ok }, record},
		{"trailer", put(TrailerSize, trailer.Put), func(b []byte) (any, bool) { h, ok := ParseTrailer(b); return h, ok }, trailer},
	} {
		if got, ok := tt.read(tt.b); !ok || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, got, ok)
		}
		if got, ok := tt.read(append(slices.Clone(tt.b), 1, 2, 3)); !ok || got != tt.want {
			t.Errorf("%s with more behind it: %+v, %v", tt.name, got, ok)
		}
		for n := range len(tt.b) {
			if _, ok := tt.read(tt.b[:n]); ok {
				t.Errorf("%s: %d octets are enough", tt.name, n)
			}
		}
		for bit := range 8 * len(tt.b) {
			if _, ok := tt.read(flip(tt.b, bit)); ok {
				t.Errorf("%s: bit %d does not matter", tt.name, bit)
			}
		}
	}
	if _, ok := ParseRecordHead(put(RecordHeader, record.Put), 5); ok {
		t.Error("a record with another tag is read")
	}
	for _, kind := range []byte{0, lastKind + 1, 0xff} {
		h := record
		h.Kind = kind
		if _, ok := ParseRecordHead(put(RecordHeader, h.Put), 4); ok {
			t.Errorf("a record of kind %d is read", kind)
		}
	}
	short := batch
	short.Length = BatchHeader - 1
	if _, ok := ParseBatchHead(put(BatchHeader, short.Put)); ok {
		t.Error("a batch shorter than its header is read")
	}
	if n := len(seg.Encode()); n != Block {
		t.Errorf("a segment's head takes %d octets", n)
	}
	if got := trailer.Sound(); got != 7 {
		t.Errorf("sound to %d", got)
	}
	if got := (Trailer{Last: 1, Torn: 2}).Sound(); got != 0 {
		t.Errorf("more torn than there is: sound to %d", got)
	}
}

// A version is believed only with its sum: a flipped bit is no newer version.
func TestVersion(t *testing.T) {
	t.Parallel()
	b := SegmentHead{Gen: 1, Tag: 2, Size: 3}.Encode()
	if v, ok := Version(b); !ok || v != '2' || Newer(v) {
		t.Errorf("our own version: %c, %v", v, ok)
	}
	for bit := range 8 * headSize {
		if v, ok := Version(flip(b, bit)); ok {
			t.Errorf("with bit %d flipped: version %c", bit, v)
		}
	}
	for _, c := range []struct {
		version byte
		newer   bool
		read    bool
	}{{'0', false, false}, {'1', false, true}, {'2', false, true}, {'3', true, false}} {
		other := slices.Clone(b)
		other[7] = c.version
		le.PutUint32(other[32:], Checksum(other[:32]))
		if v, ok := Version(other); !ok || v != c.version || Newer(v) != c.newer {
			t.Errorf("version %c: %c, %v", c.version, v, ok)
		}
		if _, ok := ParseSegmentHead(other); ok != c.read {
			t.Errorf("version %c is read: %v", c.version, ok)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ n, unit, want int }{
		{0, 8, 0}, {1, 8, 8}, {8, 8, 8}, {9, 8, 16}, {1, Block, Block}, {Block, Block, Block},
	} {
		if got := RoundUp(tt.n, tt.unit); got != tt.want {
			t.Errorf("%d rounds up to %d", tt.n, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		size := int64(Block * rapid.IntRange(16, 1<<18).Draw(t, "blocks"))
		length := rapid.IntRange(0, int(size)/2).Draw(t, "length")
		start := IndexStart(size, length)
		if start%Block != 0 || start+int64(length)+TrailerSize > size || size-start-int64(length)-TrailerSize >= Block {
			t.Errorf("an index of %d in %d begins at %d", length, size, start)
		}
	})
	if n := len(AppendChange(nil, &envelope.Change{
		Recipient: math.MaxInt32, Attempts: math.MaxUint16, Next: time.Unix(0, math.MaxInt64), Reason: strings.Repeat("x", MaxReason),
	}, true)); n > MaxChange {
		t.Errorf("a change takes %d octets, more than %d", n, MaxChange)
	}
}

func texts(max int) *rapid.Generator[string] { return rapid.StringN(-1, -1, max) }

func times() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		n := rapid.Int64().Draw(t, "nanoseconds")
		if n == 0 {
			return time.Time{}
		}
		return time.Unix(0, n).UTC()
	})
}

func addresses() *rapid.Generator[addr.Address] {
	return rapid.Custom(func(t *rapid.T) addr.Address {
		return addr.Address{Local: texts(80).Draw(t, "local"), Domain: addr.Domain(texts(80).Draw(t, "domain"))}
	})
}

func ids() *rapid.Generator[envelope.ID] {
	return rapid.Custom(func(t *rapid.T) (id envelope.ID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		return id
	})
}

func statuses() *rapid.Generator[envelope.Status] {
	return rapid.Map(rapid.Uint8Range(0, uint8(envelope.Dropped)), func(n uint8) envelope.Status { return envelope.Status(n) })
}

func envelopes() *rapid.Generator[*envelope.Envelope] {
	return rapid.Custom(func(t *rapid.T) *envelope.Envelope {
		e := &envelope.Envelope{
			ID: ids().Draw(t, "id"), Received: times().Draw(t, "received"), From: addresses().Draw(t, "from"),
			Origin:  envelope.Origin(rapid.Uint8Range(0, uint8(envelope.Proven)).Draw(t, "origin")),
			Account: texts(300).Draw(t, "account"), Client: texts(100).Draw(t, "client"),
			Ret: envelope.Ret(rapid.Uint8Range(0, uint8(envelope.RetHdrs)).Draw(t, "ret")), EnvID: texts(100).Draw(t, "envid"),
			UTF8: rapid.Bool().Draw(t, "utf8"), RequireTLS: rapid.Bool().Draw(t, "requiretls"), TLSOptional: rapid.Bool().Draw(t, "tls optional"), Unfit: rapid.Bool().Draw(t, "unfit"), Form: envelope.Form(rapid.Byte().Draw(t, "form")),
			Header: rapid.SliceOf(rapid.Byte()).Draw(t, "header"), Size: rapid.Int64Range(0, 1<<62).Draw(t, "size"),
			Held: rapid.Bool().Draw(t, "held"), Delayed: rapid.Bool().Draw(t, "delayed"),
		}
		for range rapid.IntRange(0, 5).Draw(t, "recipients") {
			e.Recipients = append(e.Recipients, envelope.Recipient{
				To: addresses().Draw(t, "to"), ORcpt: texts(100).Draw(t, "orcpt"), Notify: envelope.Notify(rapid.Uint8Range(0, 0x7f).Draw(t, "notify")),
				Via: rapid.OneOf(addresses(), rapid.Just(addr.Address{})).Draw(t, "via"), Status: statuses().Draw(t, "status"), Attempts: rapid.Uint16().Draw(t, "attempts"),
				Next: times().Draw(t, "next"), Reason: texts(MaxReason).Draw(t, "reason"),
			})
		}
		return e
	})
}

// Envelopes and what says where their bodies are read as they were written;
// cut short anywhere they make no sense.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := envelopes().Draw(t, "envelope")
		c := Content{Blob: rapid.Bool().Draw(t, "blob")}
		if c.Blob {
			c.Size, c.Sum = rapid.Int64Range(0, 1<<62).Draw(t, "body"), rapid.Uint32().Draw(t, "sum")
		}
		b := AppendEnvelope([]byte("before"), e, c)[6:]
		d := NewDecoder(b, &Words{})
		got, content := d.Envelope()
		if d.Failed() || d.More() {
			t.Fatalf("failed %v, %d octets left", d.Failed(), d.Len())
		}
		if diff := cmp.Diff(e, got, cmpopts.EquateEmpty()); diff != "" || content != c {
			t.Errorf("%s%+v, want %+v", diff, content, c)
		}
		d = NewDecoder(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")], &Words{})
		if d.Envelope(); !d.Failed() {
			t.Error("a part of it makes sense")
		}
	})
}

func TestChanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type said struct {
			Change envelope.Change
			Last   bool
		}
		var want, got []said
		var b []byte
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			s := said{envelope.Change{
				ID: ids().Draw(t, "id"), Recipient: rapid.IntRange(-1, math.MaxInt32).Draw(t, "recipient"),
				Status: statuses().Draw(t, "status"), Attempts: rapid.Uint16().Draw(t, "attempts"),
				Next: times().Draw(t, "next"), Reason: texts(MaxReason).Draw(t, "reason"),
				Held: rapid.Bool().Draw(t, "held"), Delayed: rapid.Bool().Draw(t, "delayed"),
			}, rapid.Bool().Draw(t, "last")}
			want, b = append(want, s), AppendChange(b, &s.Change, s.Last)
		}
		d := NewDecoder(b, &Words{})
		for d.More() {
			c, last := d.Change()
			got = append(got, said{c, last})
		}
		if diff := cmp.Diff(want, got); diff != "" || d.Failed() {
			t.Errorf("failed %v: %s", d.Failed(), diff)
		}
	})
}

func TestIDsAndVoids(t *testing.T) {
	t.Parallel()
	id := envelope.ID{1, 15: 2}
	v := Voided{First: 1, Last: math.MaxUint64, Gen: 3}
	d := NewDecoder(AppendVoided(slices.Clone(id[:]), v), nil)
	if got := d.ID(); got != id {
		t.Errorf("id %v", got)
	}
	if got := d.Voided(); got != v || d.Failed() || d.More() {
		t.Errorf("void %+v, failed %v, more %v", got, d.Failed(), d.More())
	}
	for n := range 24 {
		d := NewDecoder(make([]byte, n), nil)
		if v := d.Voided(); !d.Failed() || v != (Voided{}) {
			t.Errorf("a void of %d octets: %+v", n, v)
		}
	}
	for n := range 16 {
		d := NewDecoder(bytes.Repeat([]byte{1}, n), nil)
		if id := d.ID(); !d.Failed() || !id.IsZero() {
			t.Errorf("an id of %d octets: %v", n, id)
		}
	}
}

// Records in an index read as they were appended.
func TestIndex(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var want []Found
		var b []byte
		for range rapid.IntRange(0, 5).Draw(t, "records") {
			f := Found{
				RecordHead: RecordHead{
					Kind: rapid.ByteRange(Message, lastKind).Draw(t, "kind"), Seq: rapid.Uint64().Draw(t, "seq"),
					Body: rapid.IntRange(0, math.MaxUint32).Draw(t, "body"), BodySum: rapid.Uint32().Draw(t, "sum"),
				},
				Off: rapid.Int64Range(0, math.MaxUint32).Draw(t, "offset"), Text: rapid.SliceOf(rapid.Byte()).Draw(t, "meta"),
			}
			f.Meta = len(f.Text)
			want, b = append(want, f), AppendIndex(b, f.Off, f.RecordHead, f.Text)
		}
		whole := b
		var got []Found
		for len(b) > 0 {
			f, rest, ok := ParseIndex(b)
			if !ok {
				t.Fatal("it does not read")
			}
			got, b = append(got, f), rest
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
		if len(want) > 0 {
			last := want[len(want)-1]
			from := len(whole) - IndexEntry - last.Meta
			cut := rapid.IntRange(from, len(whole)-1).Draw(t, "cut")
			if _, _, ok := ParseIndex(whole[from:cut]); ok {
				t.Error("a part of an entry reads")
			}
		}
	})
}

// What is out of range makes no sense, and is not in the value either.
func TestOutOfRange(t *testing.T) {
	t.Parallel()
	e := &envelope.Envelope{Recipients: []envelope.Recipient{{}}}
	b := AppendEnvelope(nil, e, Content{})
	const origin, ret = 17, 18 // octets of an envelope
	status := len(b) - 4       // before attempts, next and reason
	for _, tt := range []struct {
		name string
		at   int
		set  byte
	}{
		{"origin", origin, byte(envelope.Proven) + 1},
		{"ret", ret, byte(envelope.RetHdrs) + 1},
		{"status", status, byte(envelope.Dropped) + 1},
	} {
		wrong := slices.Clone(b)
		wrong[tt.at] = tt.set
		if d := NewDecoder(wrong, &Words{}); func() bool { d.Envelope(); return !d.Failed() }() {
			t.Errorf("%s: %d passes", tt.name, tt.set)
		}
	}
	c := AppendChange(nil, &envelope.Change{}, false)
	for _, tt := range []struct {
		at  int
		set byte
	}{{16, flagsOfChange + 1}, {17, byte(envelope.Dropped) + 1}} {
		wrong := slices.Clone(c)
		wrong[tt.at] = tt.set
		if d := NewDecoder(wrong, &Words{}); func() bool { d.Change(); return !d.Failed() }() {
			t.Errorf("octet %d of a change: %d passes", tt.at, tt.set)
		}
	}
}

// A decoder takes no more memory than a small multiple of what it reads,
// whatever that claims.
func TestClaims(t *testing.T) {
	t.Parallel()
	b := AppendEnvelope(nil, &envelope.Envelope{}, Content{})
	b = append(b[:len(b)-1], 0xff, 0xff, 0xff, 0xff, 0x0f) // four billion recipients
	b = append(b, make([]byte, 1000)...)
	d := NewDecoder(b, &Words{})
	if e, _ := d.Envelope(); !d.Failed() || cap(e.Recipients) > len(b) {
		t.Errorf("room for %d recipients in %d octets", cap(e.Recipients), len(b))
	}
	d = NewDecoder(append(make([]byte, 20), 0xff, 0xff, 0xff, 0xff, 0x7f), &Words{})
	if d.Envelope(); !d.Failed() || d.More() {
		t.Error("a text of gigabytes passes")
	}
}

// Words keeps one copy of a text, forgets when it has grown to its bound, and
// never gives back another text.
func TestWords(t *testing.T) {
	t.Parallel()
	var w Words
	big := []byte("example.org and more")
	a := w.Intern(big[:11])
	big[0] = 'X'
	if b := w.Share("example.org"); a != "example.org" || b != a {
		t.Errorf("%q and %q", a, b)
	}
	for i := range 3 * maxWords {
		s := strings.Repeat("x", i%300) + time.Duration(i).String()
		if got := w.Share(s); got != s {
			t.Fatalf("%q became %q", s, got)
		}
		if len(w.known) > maxWords {
			t.Fatalf("it keeps %d words", len(w.known))
		}
	}
	long := strings.Repeat("y", maxWord+1)
	if w.Intern([]byte(long)) != long || w.known[long] != "" {
		t.Error("a long text is kept")
	}
}

// FuzzDecode reads arbitrary meta of every kind. Whatever makes sense is
// written as it was understood.
func FuzzDecode(f *testing.F) {
	e := &envelope.Envelope{From: addr.MustParse("a@b.example"), Recipients: []envelope.Recipient{{To: addr.MustParse("c@d.example")}}}
	f.Add(AppendEnvelope(nil, e, Content{Size: 5, Blob: true}))
	f.Add(AppendChange(AppendEnvelope(nil, e, Content{}), &envelope.Change{Reason: "x"}, true))
	f.Add(AppendVoided(nil, Voided{1, 2, 3}))
	f.Add(AppendIndex(nil, 5, RecordHead{Kind: Gone}, make([]byte, 16)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(b, &Words{})
		if e, c := d.Envelope(); !d.Failed() {
			if len(e.Recipients) > len(b) {
				t.Errorf("%d recipients in %d octets", len(e.Recipients), len(b))
			}
			d = NewDecoder(AppendEnvelope(nil, e, c), &Words{})
			if again, content := d.Envelope(); d.Failed() || !cmp.Equal(e, again, cmpopts.EquateEmpty()) || content != c {
				t.Errorf("%+v is read as %+v", e, again)
			}
		}
		d = NewDecoder(b, &Words{})
		for d.More() {
			c, last := d.Change()
			if d.Failed() {
				break
			}
			again := NewDecoder(AppendChange(nil, &c, last), &Words{})
			if got, l := again.Change(); got != c || l != last {
				t.Errorf("%+v is read as %+v", c, got)
			}
		}
		for rest, ok := b, true; ok && len(rest) > 0; {
			var f Found
			if f, rest, ok = ParseIndex(rest); ok && len(f.Text) != f.Meta {
				t.Errorf("%d octets of meta, %d claimed", len(f.Text), f.Meta)
			}
		}
		ParseTrailer(b)
		ParseBatchHead(b)
	})
}

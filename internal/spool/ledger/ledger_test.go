package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

func id(n int) envelope.ID { return envelope.ID{0: byte(n), 1: byte(n >> 8), 15: 1} }

func entry(n, recipients int) *Entry {
	return &Entry{Envelope: &envelope.Envelope{
		ID: id(n), Received: time.Unix(int64(n), 0), Recipients: make([]envelope.Recipient, recipients),
	}}
}

// land adds a message whose record is in g.
func land(l *Ledger, n, recipients int, g *segment.Segment) *Entry {
	e := entry(n, recipients)
	l.Entries[id(n)] = e
	l.Mention(e, g)
	l.Land(e, g, wire.Block, 100)
	l.Append(e)
	return e
}

func seg(l *Ledger, gen uint64) *segment.Segment {
	g := &segment.Segment{Gen: gen, Size: 1000, Full: true, Sealed: true}
	l.Segments = append(l.Segments, g)
	return g
}

// audit checks that what is needed of the segments adds up.
func audit(l *Ledger) error {
	var sum int64
	for _, g := range l.Segments {
		if g.Live < 0 {
			return fmt.Errorf("segment %d needs %d octets", g.Gen, g.Live)
		}
		sum += g.Live
	}
	if sum != l.Live {
		return fmt.Errorf("%d octets are needed in segments, %d in all", sum, l.Live)
	}
	return nil
}

// What is final stays, and what does not exist is not changed.
func TestApply(t *testing.T) {
	t.Parallel()
	l := New()
	e := entry(1, 2).Envelope
	next := time.Unix(5, 0)
	for _, tt := range []struct {
		c    envelope.Change
		want bool
	}{
		{envelope.Change{Recipient: 0, Status: envelope.Deferred, Attempts: 1, Next: next, Reason: "later"}, true},
		{envelope.Change{Recipient: 2, Status: envelope.Delivered}, false},
		{envelope.Change{Recipient: -2, Status: envelope.Delivered}, false},
		{envelope.Change{Recipient: 1, Status: envelope.Delivered}, true},
		{envelope.Change{Recipient: 1, Status: envelope.Deferred}, false},
		{envelope.Change{Recipient: 1, Status: envelope.Failed}, false},
		{envelope.Change{Recipient: -1, Held: true}, true},
	} {
		if got := l.Apply(e, &tt.c); got != tt.want || Applies(e, &tt.c) && tt.c.Status.Final() {
			t.Errorf("%+v: %v", tt.c, got)
		}
	}
	want := envelope.Recipient{Status: envelope.Deferred, Attempts: 1, Next: next, Reason: "later"}
	if e.Recipients[0] != want || e.Recipients[1].Status != envelope.Delivered || !e.Held || e.Delayed {
		t.Errorf("%+v", e)
	}
}

// Change leads from the recorded state to the present one.
func TestChange(t *testing.T) {
	t.Parallel()
	e := entry(1, 1)
	e.Envelope.Held = true
	e.Envelope.Recipients[0] = envelope.Recipient{Status: envelope.Deferred, Attempts: 3, Next: time.Unix(9, 0), Reason: "x"}
	for place := range 2 {
		c := e.Change(place)
		other := entry(1, 1)
		if !New().Apply(other.Envelope, &c) {
			t.Fatalf("%+v does not apply", c)
		}
		if place == 0 && other.Envelope.Recipients[0] != e.Envelope.Recipients[0] || place == 1 && !other.Envelope.Held {
			t.Errorf("%+v leads to %+v", c, other.Envelope)
		}
	}
}

// Messages are seen while they are live, oldest first.
func TestOrder(t *testing.T) {
	t.Parallel()
	l := New()
	g := seg(l, 1)
	var list []*Entry
	for n := range 5 {
		list = append(list, land(l, n, 1, g))
	}
	list[1].Stage = Done
	arriving := entry(9, 1)
	l.Entries[id(9)] = arriving
	seen := func() (s string) {
		l.Each(func(e *Entry) bool { s += fmt.Sprint(e.Envelope.ID[0], " "); return e.Envelope.ID[0] != 3 })
		return s
	}
	if got := seen(); got != "0 2 3 " {
		t.Errorf("seen %s", got)
	}
	if l.Find(id(1)) != nil || l.Find(id(9)) != nil || l.Find(id(2)) != list[2] {
		t.Error("Find sees what is not live")
	}
	for _, n := range []int{0, 3, 4, 2} { // the first, one between, the last
		l.Forget(list[n])
		if l.Find(id(n)) != nil {
			t.Errorf("%d is not forgotten", n)
		}
	}
	l.Forget(arriving)
	if got := seen(); got != "" || len(l.Entries) != 1 {
		t.Errorf("seen %s of %d", got, len(l.Entries))
	}
}

// A dead message is explained for as long as a record of it is left.
func TestTombs(t *testing.T) {
	t.Parallel()
	l := New()
	a, b, c := seg(l, 1), seg(l, 2), seg(l, 3)
	e := land(l, 1, 1, a)
	l.Mention(e, b) // a copy
	l.Land(e, b, wire.Block, 100)
	if a.Live != 0 || b.Live != 100 {
		t.Errorf("needed %d and %d", a.Live, b.Live)
	}
	l.Finish(e, c)
	tomb := l.Tombs[id(1)]
	if tomb == nil || tomb.At != c || b.Live != 0 || c.Live != tombSize || l.Live != tombSize {
		t.Fatalf("tomb %+v, needed %d and %d", tomb, b.Live, c.Live)
	}
	if !l.Needs(id(1), c, false) || l.Needs(id(1), b, false) {
		t.Error("the wrong segment explains it")
	}
	l.Release(a)
	if l.Tombs[id(1)] == nil || l.Needs(id(1), c, true) || !l.Needs(id(1), c, false) {
		t.Error("one record is left, and needs no explanation beside it only")
	}
	// Said once more elsewhere.
	d := seg(l, 4)
	if l.Gone(id(1), d) || tomb.At != d || c.Live != 0 || d.Live != tombSize {
		t.Errorf("tomb %+v", tomb)
	}
	l.Release(b)
	if len(l.Tombs) != 0 || l.Live != 0 {
		t.Errorf("%d tombs, %d octets needed after the last record is gone", len(l.Tombs), l.Live)
	}
	if l.Gone(id(1), d) || len(l.Tombs) != 0 {
		t.Error("nobody's end is remembered")
	}
	// A record and its end in one segment go together.
	l.Finish(land(l, 2, 1, d), d)
	if len(l.Tombs) != 0 {
		t.Error("it is explained where it is")
	}
	if err := audit(l); err != nil {
		t.Error(err)
	}
}

// The blob of a message is nobody's when its end is durable.
func TestTrash(t *testing.T) {
	t.Parallel()
	l := New()
	g := seg(l, 1)
	e := land(l, 1, 1, g)
	e.Body.Blob = true
	l.Finish(e, g)
	l.Finish(land(l, 2, 1, g), g)
	if !slices.Equal(l.Trash, []string{id(1).String()}) {
		t.Errorf("trash %q", l.Trash)
	}
}

// Voids are said somewhere for as long as a segment may hold what they speak
// of.
func TestVoids(t *testing.T) {
	t.Parallel()
	l := New()
	a, b, c := seg(l, 1), seg(l, 2), seg(l, 3)
	v := &Void{Voided: wire.Voided{First: 5, Last: 7, Gen: 2}}
	l.Voids = append(l.Voids, v)
	if owed := l.Owed(); len(owed) != 1 || owed[0] != v {
		t.Errorf("owed %v", owed)
	}
	v.At = c
	if len(l.Owed()) != 0 {
		t.Error("what is said is owed")
	}
	for _, tt := range []struct {
		g    *segment.Segment
		seq  uint64
		want bool
	}{{a, 4, false}, {a, 5, true}, {b, 7, true}, {b, 8, false}, {c, 6, false}} {
		if got := l.IsVoid(tt.g, wire.Found{RecordHead: wire.RecordHead{Seq: tt.seq}}); got != tt.want {
			t.Errorf("record %d in segment %d is void: %v", tt.seq, tt.g.Gen, got)
		}
	}
	if l.Unsay(c); len(l.Owed()) != 1 {
		t.Error("the segment that says it goes, and nobody says it again")
	}
	v.At = seg(l, 4)
	l.Release(a)
	if len(l.Voids) != 1 {
		t.Error("forgotten while segment 2 is there")
	}
	l.Release(b)
	if len(l.Voids) != 0 {
		t.Error("kept, though it concerns nothing")
	}
	// What is owed is never forgotten.
	l.Voids = []*Void{{Voided: wire.Voided{First: 1, Last: 2, Gen: 1}}}
	if l.Release(c); len(l.Voids) != 1 {
		t.Error("an owed one is forgotten")
	}
}

// A disk that goes on failing owes one void, however long it fails.
func TestOwe(t *testing.T) {
	t.Parallel()
	l := New()
	one := func(first, last, gen uint64) *Void {
		return &Void{Voided: wire.Voided{First: first, Last: last, Gen: gen}, Blobs: []string{fmt.Sprint(gen)}}
	}
	l.Owe([]*Void{one(3, 4, 1), one(5, 9, 2)})
	l.Owe([]*Void{one(10, 10, 3), one(12, 13, 4)})
	if len(l.Voids) != 2 || l.Voids[0].Voided != (wire.Voided{First: 3, Last: 10, Gen: 3}) || len(l.Voids[0].Blobs) != 3 {
		t.Errorf("%+v %+v", l.Voids[0], l.Voids)
	}
	l.Voids[1].At = seg(l, 5)
	if l.Owe([]*Void{one(14, 14, 6)}); len(l.Voids) != 3 {
		t.Error("what a segment says already was made to say more")
	}
}

func TestVictim(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		live []int64
		mark func([]*segment.Segment)
		want int // index, -1: none
	}{
		{"no segments", nil, nil, -1},
		{"a nearly empty one", []int64{500, 31, 0}, nil, 1},
		{"a little more than that", []int64{500, 32}, nil, -1},
		{"half full in all", []int64{400, 300, 350, 400}, nil, 1},
		{"not yet", []int64{700, 700, 100}, nil, -1},
		{"the least is more than half", []int64{501, 501, 501, 501, 501}, nil, -1},
		{"one that is appended to", []int64{0, 600}, func(s []*segment.Segment) { s[0].Full = false }, -1},
		{"one that is not sealed", []int64{0, 600}, func(s []*segment.Segment) { s[0].Sealed = false }, -1},
		{"one that is stuck", []int64{0, 600}, func(s []*segment.Segment) { s[0].Stuck = true }, -1},
		{"one that cannot be copied", []int64{10, 600}, func(s []*segment.Segment) { s[0].Unread = true }, -1},
		{"one that cannot be copied and is empty", []int64{0, 600}, func(s []*segment.Segment) { s[0].Unread = true }, 0},
	} {
		l := New()
		for i, live := range tt.live {
			g := seg(l, uint64(i+1))
			g.Live, l.Live = live, l.Live+live
		}
		if tt.mark != nil {
			tt.mark(l.Segments)
		}
		if got := slices.Index(l.Segments, l.Victim(1000)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// Whatever happens in whatever order, the octets that are needed add up, and
// in the end nothing is.
func TestWeights(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := New()
		gen, serial := uint64(0), 0
		grow := func() *segment.Segment { gen++; return seg(l, gen) }
		g := grow()
		live := func() []*Entry {
			var list []*Entry
			l.Each(func(e *Entry) bool { list = append(list, e); return true })
			return list
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			list := live()
			switch act := rapid.IntRange(0, 5).Draw(t, "act"); {
			case act == 0:
				g = grow()
			case act == 1 || len(list) == 0:
				serial++
				land(l, serial, 2, g)
			case act == 2:
				l.Place(rapid.SampledFrom(list).Draw(t, "message"), rapid.IntRange(-1, 1).Draw(t, "recipient"), g, 30)
			case act == 3:
				l.Finish(rapid.SampledFrom(list).Draw(t, "message"), g)
			case act == 4: // moved
				e := rapid.SampledFrom(list).Draw(t, "message")
				l.Mention(e, g)
				l.Land(e, g, wire.Block, 120)
			default:
				if victim := l.Segments[0]; victim.Live == 0 && victim != g {
					l.Release(victim)
				}
			}
			if err := audit(l); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range live() {
			l.Finish(e, g)
		}
		for len(l.Segments) > 0 {
			l.Release(l.Segments[0])
		}
		if l.Live != 0 || len(l.Entries)+len(l.Tombs) > 0 {
			t.Errorf("%d octets needed, %d messages, %d tombs", l.Live, len(l.Entries), len(l.Tombs))
		}
	})
}

// What a record says is replayed whatever its place; what makes no sense is
// told, and does no harm.
func TestReplay(t *testing.T) {
	t.Parallel()
	l := New()
	a, b := seg(l, 1), seg(l, 2)
	message := func(n int) []byte { return wire.AppendEnvelope(nil, entry(n, 1).Envelope, wire.Content{}) }
	final := envelope.Change{ID: id(2), Status: envelope.Delivered}
	deferred := envelope.Change{ID: id(1), Status: envelope.Deferred, Attempts: 1}
	gone := id(3)
	for _, tt := range []struct {
		name string
		g    *segment.Segment
		kind byte
		text []byte
		want bool
	}{
		{"a message", a, wire.Message, message(1), true},
		{"another", a, wire.Message, message(2), true},
		{"a third", a, wire.Message, message(3), true},
		{"a change", b, wire.Changes, wire.AppendChange(nil, &deferred, false), true},
		{"the last change", b, wire.Changes, wire.AppendChange(nil, &final, true), true},
		{"an end", b, wire.Gone, gone[:], true},
		{"an end of nobody", b, wire.Gone, make([]byte, 16), true},
		{"a change of nobody", b, wire.Changes, wire.AppendChange(nil, &envelope.Change{ID: id(9)}, true), true},
		{"a change of a recipient that is not there", b, wire.Changes, wire.AppendChange(nil, &envelope.Change{ID: id(1), Recipient: 7}, false), true},
		{"the dead once more", b, wire.Moved, message(2), true},
		{"half a message", b, wire.Message, message(4)[:20], false},
		{"half a change", b, wire.Changes, wire.AppendChange(nil, &deferred, false)[:10], false},
		{"half an id", b, wire.Gone, gone[:9], false},
	} {
		f := wire.Found{RecordHead: wire.RecordHead{Kind: tt.kind, Meta: len(tt.text)}, Off: wire.Block, Text: tt.text}
		if got := l.Replay(tt.g, f); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	l.Replayed()
	e := l.Find(id(1))
	if len(l.Entries) != 1 || e == nil || e.Envelope.Recipients[0].Attempts != 1 || e.Notes[0].At != b {
		t.Errorf("%+v", l.Entries)
	}
	if len(l.Tombs) != 2 || l.Tombs[id(2)].copies != 2 {
		t.Errorf("tombs %+v", l.Tombs)
	}
	if err := audit(l); err != nil {
		t.Error(err)
	}
}

package ledger

import (
	"slices"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Tomb explains a dead message for as long as some segment holds a record of
// it: without the explanation, the record would come back to life.
type Tomb struct {
	At     *segment.Segment // that has the explanation
	copies int32            // segments that may hold a record
}

// tombSize is what an explanation takes in a segment, in octets: an id, its
// share of a record, and that again in the index.
const tombSize = 48

// Void is a range of sequences that were refused after something of them may
// have reached the disk. It is needed while a segment up to Gen is left.
type Void struct {
	wire.Voided
	At    *segment.Segment // that says so; nil: it is owed
	Blobs []string         // of what was refused, to be removed when it is durable
}

// bury notes where the explanation of a dead message is.
func (l *Ledger) bury(id envelope.ID, g *segment.Segment, copies int32) {
	t := l.Tombs[id]
	if t == nil {
		t = &Tomb{copies: copies}
		l.Tombs[id] = t
	}
	l.weigh(t.At, -tombSize)
	t.At = g
	l.weigh(g, tombSize)
	g.Touch(id)
}

// Gone says that the end of a message is said in g, perhaps once more. It
// reports whether the message ends by it.
func (l *Ledger) Gone(id envelope.ID, g *segment.Segment) bool {
	if e := l.Entries[id]; e != nil {
		l.Finish(e, g)
		return true
	}
	if l.Tombs[id] != nil {
		l.bury(id, g, 0)
	}
	return false
}

// Needs reports whether g has the explanation of a dead message of which a
// record is elsewhere; here says that one is in g too.
func (l *Ledger) Needs(id envelope.ID, g *segment.Segment, here bool) bool {
	t := l.Tombs[id]
	return t != nil && t.At == g && (t.copies > 1 || !here)
}

// Release says that a segment is gone from the disk, with all that is in it.
func (l *Ledger) Release(g *segment.Segment) {
	l.Remove(g)
	l.Live -= g.Live
	g.Live, g.Freed = 0, true
	for _, id := range g.IDs {
		if e := l.Entries[id]; e != nil {
			e.copies--
			continue
		}
		if t := l.Tombs[id]; t != nil {
			if t.copies--; t.copies == 0 {
				l.weigh(t.At, -tombSize)
				delete(l.Tombs, id)
			}
		}
	}
	g.IDs, g.Touched = nil, nil
	l.dropVoids()
}

// dropVoids forgets what concerns no segment any more.
func (l *Ledger) dropVoids() {
	oldest := l.oldestBut(nil)
	l.Voids = slices.DeleteFunc(l.Voids, func(v *Void) bool { return v.At != nil && v.Gen < oldest })
}

// oldestBut returns the lowest generation in use, g apart.
func (l *Ledger) oldestBut(g *segment.Segment) uint64 {
	for _, other := range l.Segments {
		if other != g {
			return other.Gen
		}
	}
	return ^uint64(0)
}

// Unsay makes the voids that g says, and that other segments need, owed once
// more.
func (l *Ledger) Unsay(g *segment.Segment) {
	oldest := l.oldestBut(g)
	for _, v := range l.Voids {
		if v.At == g && v.Gen >= oldest {
			v.At = nil
		}
	}
}

// Owe adds voids that no segment says yet. Those of a disk that goes on
// failing follow one another, and are one.
func (l *Ledger) Owe(voids []*Void) {
	for _, v := range voids {
		if n := len(l.Voids); n > 0 && l.Voids[n-1].At == nil && l.Voids[n-1].Last+1 == v.First {
			last := l.Voids[n-1]
			last.Last, last.Gen, last.Blobs = v.Last, v.Gen, append(last.Blobs, v.Blobs...)
			continue
		}
		l.Voids = append(l.Voids, v)
	}
}

// Owed returns the voids that no segment says.
func (l *Ledger) Owed() (owed []*Void) {
	for _, v := range l.Voids {
		if v.At == nil {
			owed = append(owed, v)
		}
	}
	return owed
}

// nearlyEmpty is the part of a segment, as a divisor, that is copied at once
// to have the segment back.
const nearlyEmpty = 32

// Victim returns the segment to be freed next, nil if none need be: the
// oldest that is nearly empty; or, when the full ones take twice what is
// needed and one segment of a size, the one with the least in it, since then
// it is at most half full.
func (l *Ledger) Victim(size int64) *segment.Segment {
	var least *segment.Segment
	var held int64
	for _, g := range l.Segments {
		if !g.Full || g.Kept > 0 {
			continue
		}
		held += g.Size
		if !g.Sealed || g.Stuck || g.Unread && g.Live > 0 {
			continue
		}
		if g.Live <= g.Size/nearlyEmpty {
			return g
		}
		if least == nil || g.Live < least.Live {
			least = g
		}
	}
	if least == nil || held < 2*l.Live+size || least.Live > least.Size/2 {
		return nil
	}
	return least
}

// Held returns the octets of all segments in use.
func (l *Ledger) Held() (n int64) {
	for _, g := range l.Segments {
		n += g.Size
	}
	return n
}

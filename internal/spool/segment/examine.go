package segment

import (
	"gatepost/internal/spool/wire"
)

// View is what of a segment can be read while others use it.
type View struct {
	Segment *Segment
	End     int64 // what is before it does not change any more
	Sealed  bool  // the index, if there is one, neither
}

// Examine reads a segment batch by batch, whether it has an index or not, and
// compares the two. It touches neither the segment nor the disk.
func (v View) Examine() *Reading {
	g := v.Segment
	r := &Reading{Segment: &Segment{Gen: g.Gen, Tag: g.Tag, Path: g.Path, Size: g.Size, file: g.file}, end: wire.Block}
	if !r.identify() {
		return r
	}
	r.scan(r.readWhole()[:min(v.End, g.Size)])
	if v.Sealed {
		r.compare()
	}
	return r
}

// compare finds what the index says and the log does not.
func (r *Reading) compare() {
	g := r.Segment
	x := &Reading{Segment: g}
	indexed := x.readIndexed()
	r.Marks = append(r.Marks, x.Marks...)
	if !indexed && len(x.Marks) > 0 {
		r.find("the index of %s is damaged; the next start reads the file without it", g.Path)
	}
	there := make(map[int64]wire.Found, len(r.Found))
	for _, f := range r.Found {
		there[f.Off] = f
	}
	for _, f := range x.Found {
		h := there[f.Off]
		if h.Seq != f.Seq || h.Kind != f.Kind || h.Body != f.Body || h.BodySum != f.BodySum || string(h.Text) != string(f.Text) {
			r.find("%s: the record at offset %d is not what the index says of it", g.Path, f.Off)
		}
	}
}

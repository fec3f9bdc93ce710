// Package canon brings messages into the forms that DKIM hashes, which make
// equal what the way of a message may change: RFC 6376, section 3.4.
//
// It serves dkim, and arc by way of it. A body streams through it and is
// never kept; what is held back are counts. Nothing that is written to it can
// make it fail.
package canon

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Form is a canonicalization.
type Form uint8

// The forms.
const (
	Simple Form = iota
	Relaxed
)

// Body hashes a body while it is written to it, once for each
// canonicalization and length that is asked for. Its zero value is ready.
type Body struct {
	canons [2]canonizer
}

// BodyHash is one hash of a body.
type BodyHash struct {
	limit int64 // octets that count; -1: all
	total int64 // octets of the canonical body
	h     hash.Hash
}

// Hash adds a hash of the body in a canonicalization, or of its first limit
// octets unless limit is negative. It must be called before Write.
func (b *Body) Hash(f Form, limit int64) *BodyHash {
	z := &b.canons[f]
	z.relaxed = f == Relaxed
	for _, h := range z.hashes {
		if h.limit == limit {
			return h
		}
	}
	h := &BodyHash{limit: limit, h: sha256.New()}
	z.hashes = append(z.hashes, h)
	return h
}

// Write takes the next octets of the body, in canonical form: lines end in
// CR LF. It never fails.
func (b *Body) Write(p []byte) (int, error) {
	for i := range b.canons {
		if z := &b.canons[i]; len(z.hashes) > 0 && len(p) > 0 {
			z.write(p)
		}
	}
	return len(p), nil
}

// Close ends the body; the sums are those of the whole from here on.
func (b *Body) Close() {
	for i := range b.canons {
		if z := &b.canons[i]; len(z.hashes) > 0 && !z.closed {
			z.close()
		}
	}
}

// Sum returns the hash of what counts.
func (h *BodyHash) Sum() []byte { return h.h.Sum(make([]byte, 0, sha256.Size)) }

// Missing returns how many octets the body lacks to what was to count.
func (h *BodyHash) Missing() int64 { return max(0, h.limit-h.total) }

// Unsigned returns how many octets of the body do not count.
func (h *BodyHash) Unsigned() int64 {
	if h.limit < 0 {
		return 0
	}
	return max(0, h.total-h.limit)
}

func (h *BodyHash) write(p []byte) {
	if h.limit >= 0 {
		left := h.limit - h.total
		h.total += int64(len(p))
		p = p[:max(0, min(int64(len(p)), left))]
	}
	h.h.Write(p)
}

// canonizer brings a body into one of the forms of RFC 6376, section 3.4.3
// and 3.4.4, and hashes that. Most of a body is the same in every form, so
// it looks for what is not and passes on the rest as it stands.
type canonizer struct {
	relaxed bool
	closed  bool
	wrote   bool // there was something but empty lines
	cr      bool // a CR is held until it is known whether LF follows
	space   bool // white space is held until it is known whether the line ends
	lines   int  // line ends are held until it is known whether the body does
	hashes  []*BodyHash

	few      [256]byte // of which gathered are to be hashed
	gathered int
}

func (z *canonizer) write(p []byte) {
	if z.cr {
		z.cr = false
		if p[0] == '\n' {
			z.lineEnd()
			p = p[1:]
		} else {
			z.text(lineCR)
		}
	}
	if n := len(p); n > 0 && p[n-1] == '\r' {
		z.cr = true
		p = p[:n-1]
	}
	if !z.relaxed || bytes.IndexByte(p, ' ') < 0 && bytes.IndexByte(p, '\t') < 0 && !z.space {
		z.verbatim(p)
		return
	}
	z.relax(p)
}

// relax passes on p with its white space brought into form.
func (z *canonizer) relax(p []byte) {
	tab := -1 // the next tab from where we are
	for i := 0; i < len(p); {
		if !z.space {
			if tab < i {
				tab = i + until(p[i:], '\t')
			}
			n := unchanged(p[i:], tab-i)
			z.verbatim(p[i : i+n])
			i += n
		}
		for i < len(p) && (p[i] == ' ' || p[i] == '\t') {
			z.space = true
			i++
		}
		switch {
		case !z.space || i == len(p):
		case i+1 < len(p) && p[i] == '\r' && p[i+1] == '\n':
			z.lineEnd()
			i += 2
		default:
			z.flush()
		}
	}
}

// until returns how many octets stand before the first c.
func until(p []byte, c byte) int {
	if i := bytes.IndexByte(p, c); i >= 0 {
		return i
	}
	return len(p)
}

// verbatim passes on what stays as it is, but for line ends at its end.
func (z *canonizer) verbatim(p []byte) {
	n := len(p)
	for n >= 2 && p[n-2] == '\r' && p[n-1] == '\n' {
		n -= 2
	}
	if n > 0 {
		z.text(p[:n])
	}
	z.lines += (len(p) - n) / 2
}

// lineEnd takes a line end; white space before it goes.
func (z *canonizer) lineEnd() {
	z.space = false
	z.lines++
}

var (
	lineEnds  = bytes.Repeat([]byte("\r\n"), 64)
	lineSpace = []byte(" ")
	lineCR    = []byte("\r")
)

// text passes on p after what was held.
func (z *canonizer) text(p []byte) {
	z.flush()
	z.wrote = true
	z.emit(p)
}

// flush passes on what was held.
func (z *canonizer) flush() {
	for z.lines > 0 {
		n := min(z.lines, len(lineEnds)/2)
		z.emit(lineEnds[:2*n])
		z.lines -= n
	}
	if z.space {
		z.space = false
		z.emit(lineSpace)
	}
}

// emit hashes p. Pieces of a few octets, as changed white space makes them,
// are gathered: a hash is slow to begin.
func (z *canonizer) emit(p []byte) {
	if z.gathered+len(p) <= len(z.few) {
		z.gathered += copy(z.few[z.gathered:], p)
		return
	}
	z.hash(z.few[:z.gathered])
	z.gathered = 0
	if len(p) <= len(z.few)/4 {
		z.gathered = copy(z.few[:], p)
		return
	}
	z.hash(p)
}

func (z *canonizer) hash(p []byte) {
	for _, h := range z.hashes {
		h.write(p)
	}
}

// close ends the body: empty lines at its end go, and it ends in one line
// end. An empty one is a line end if simple, nothing if relaxed.
func (z *canonizer) close() {
	z.closed = true
	if z.cr {
		z.text(lineCR)
	}
	if z.wrote || !z.relaxed {
		z.emit(lineEnds[:2])
	}
	z.hash(z.few[:z.gathered])
}

// unchanged returns how many octets of p the relaxed form leaves alone, where
// the first tab is known: those before it, and before a space that white
// space, a CR or the end of p follows. Single spaces stand everywhere and the
// hash waits, so
// it looks at many octets at a time.
func unchanged(p []byte, tab int) int {
	i := 0
	for i < tab {
		i += pairless(p[i:tab])
		for end := min(i+32, tab); i < end; i++ {
			if p[i] == ' ' && changes(p[i:]) {
				return i
			}
		}
	}
	return tab
}

// pairless returns a number of octets at the start of p, some 32 at a time,
// among which is no space that a space, a tab or a CR follows. Now and then
// it stops at others: what follows it takes for one of the three unless it has
// a bit of 0x52, and it looks past the top bit.
func pairless(p []byte) int {
	const ones, sevens, highs = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f, 0x8080808080808080
	const some = ' ' * ones
	le, n := binary.LittleEndian, len(p)
	for len(p) >= 33 {
		q := (*[33]byte)(p)
		a := (le.Uint64(q[0:])^some)&sevens | le.Uint64(q[1:])&(0x52*ones)
		b := (le.Uint64(q[8:])^some)&sevens | le.Uint64(q[9:])&(0x52*ones)
		c := (le.Uint64(q[16:])^some)&sevens | le.Uint64(q[17:])&(0x52*ones)
		d := (le.Uint64(q[24:])^some)&sevens | le.Uint64(q[25:])&(0x52*ones)
		// Has one of them an octet of zero?
		if (a+sevens)&(b+sevens)&(c+sevens)&(d+sevens)&highs != highs {
			break
		}
		p = p[32:]
	}
	return n - len(p)
}

// changes reports whether the space at the start of p does not stay as it is.
func changes(p []byte) bool {
	return len(p) == 1 || p[1] == ' ' || p[1] == '\t' || p[1] == '\r'
}

// Package lines makes the lines of a message end as they do in the store, in
// CR LF, and brings back how they ended before.
//
// # Place in the path
//
// Mail that is imported from files ends its lines as the system did that
// wrote it: mostly in LF, sometimes in CR LF, now and then in both. The
// mailbox keeps the message as SMTP and IMAP carry it and, beside it, what
// Canon noted; an export with Restore gives the same octets as there were.
//
// # The note
//
// One octet of marks (bit 0: the last line had no end), then the lengths of
// runs as varints: so many lines end in LF, then so many in CR LF, and so on.
// The last run is left out, being all the rest. A message whose lines all end
// in LF therefore has a note of one octet. An empty note says nothing: all
// lines end in CR LF.
//
// All other octets are content and stay: a CR that no LF follows, NUL, 8-bit
// text.
//
// # Trust and limits
//
// Nothing is trusted. Memory does not grow with the message; a note has at
// most MaxNote octets, and a message whose line ends change more often keeps
// none.
package lines

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// MaxNote bounds a note, in octets.
const MaxNote = 16 << 10

// piece is how much of a line is handled at once, in octets.
const piece = 16 << 10

// unended marks a message whose last line had no end.
const unended = 1

// ErrNote says that a note was not written by Canon.
var ErrNote = errors.New("not a note of line ends")

// ErrMany says that a message's line ends change too often to be noted.
var ErrMany = errors.New("its lines end in LF and CR LF in turn too often")

var crlf = []byte("\r\n")

// Canon reads a message with every line ending in CR LF, the last one too.
type Canon struct {
	r    *bufio.Reader
	out  []byte // to be read
	buf  []byte // that out is in
	held bool   // a CR ended the last piece: the end of its line may follow
	open bool   // the line of the last piece has not ended
	err  error

	marks byte
	runs  []byte
	mixed bool  // the present run is of CR LF
	run   int64 // its length
	many  bool  // runs would be longer than MaxNote
}

// NewCanon returns a reader of what r gives.
func NewCanon(r io.Reader) *Canon { return &Canon{r: bufio.NewReaderSize(r, piece)} }

// Reset makes c read another message.
func (c *Canon) Reset(r io.Reader) {
	c.r.Reset(r)
	*c = Canon{r: c.r, buf: c.buf[:0], runs: c.runs[:0]}
}

// Read implements io.Reader.
func (c *Canon) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.fill()
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// fill brings the next piece of a line to out.
func (c *Canon) fill() {
	text, err := c.r.ReadSlice('\n')
	b := c.buf[:0]
	if c.held {
		b = append(b, '\r')
	}
	b = append(b, text...)
	c.held = false
	switch {
	case bytes.HasSuffix(b, crlf):
		c.note(true)
		c.open = false
	case bytes.HasSuffix(b, crlf[1:]):
		b = append(b[:len(b)-1], crlf...)
		c.note(false)
		c.open = false
	case err == io.EOF:
		if c.open || len(b) > 0 {
			b = append(b, crlf...)
			c.marks |= unended
		}
	case len(b) > 0:
		c.open = true
		if b[len(b)-1] == '\r' {
			c.held, b = true, b[:len(b)-1]
		}
	}
	if err != bufio.ErrBufferFull {
		c.err = err
	}
	c.buf, c.out = b, b
}

// note counts the end of a line.
func (c *Canon) note(mixed bool) {
	if mixed != c.mixed {
		if len(c.runs) > MaxNote-2*binary.MaxVarintLen64 {
			c.many = true
		} else {
			c.runs = binary.AppendUvarint(c.runs, uint64(c.run))
		}
		c.mixed, c.run = mixed, 0
	}
	c.run++
}

// Note returns how the lines ended, once all was read: empty when all of
// them, the last one too, ended in CR LF. ErrMany comes with an empty one.
func (c *Canon) Note() ([]byte, error) {
	if c.many {
		return nil, ErrMany
	}
	if c.marks == 0 && c.mixed && len(c.runs) == 1 && c.runs[0] == 0 {
		return nil, nil
	}
	return append([]byte{c.marks}, c.runs...), nil
}

// AllLF is the note of a message whose lines all ended in LF.
var AllLF = []byte{0}

// AllCRLF is a note that says more plainly than an empty one that all lines
// ended in CR LF.
var AllCRLF = []byte{0, 0}

// Restore returns a reader of a canonical message as it was before Canon.
func Restore(r io.Reader, note []byte) (io.Reader, error) {
	if len(note) == 0 {
		return r, nil
	}
	runs, err := parse(note)
	if err != nil {
		return nil, err
	}
	return &restored{r: bufio.NewReaderSize(r, piece), runs: runs, unended: note[0]&unended != 0}, nil
}

// Check returns ErrNote for what Canon did not write.
func Check(note []byte) error {
	if len(note) == 0 {
		return nil
	}
	_, err := parse(note)
	return err
}

// parse reads the runs of a note.
func parse(note []byte) (runs []uint64, err error) {
	if len(note) > MaxNote || note[0]&^unended != 0 {
		return nil, ErrNote
	}
	for rest := note[1:]; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return nil, ErrNote
		}
		runs, rest = append(runs, n), rest[size:]
	}
	return runs, nil
}

// restored is the reader of Restore.
type restored struct {
	r       *bufio.Reader
	runs    []uint64 // those to come, the present one first
	mixed   bool     // the present run is of CR LF
	unended bool

	held []byte // what ended the last piece: a CR, or an end of a line that may be the last
	buf  []byte
	out  []byte
	err  error
}

func (r *restored) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *restored) fill() {
	text, err := r.r.ReadSlice('\n')
	b := r.buf[:0]
	if err != io.EOF || len(text) > 0 || !r.unended || len(r.held) == 1 && r.held[0] == '\r' {
		b = append(b, r.held...)
	}
	b = append(b, text...)
	r.held = r.held[:0]
	switch {
	case bytes.HasSuffix(b, crlf):
		b = b[:len(b)-2]
		end := crlf
		if !r.next() {
			end = crlf[1:]
		}
		if r.unended {
			r.held = append(r.held, end...)
		} else {
			b = append(b, end...)
		}
	case err == bufio.ErrBufferFull && b[len(b)-1] == '\r':
		r.held, b = append(r.held, '\r'), b[:len(b)-1]
	}
	if err != bufio.ErrBufferFull {
		r.err = err
	}
	r.buf, r.out = b, b
}

// next reports whether the next line ends in CR LF.
func (r *restored) next() bool {
	for len(r.runs) > 0 && r.runs[0] == 0 {
		r.runs, r.mixed = r.runs[1:], !r.mixed
	}
	if len(r.runs) > 0 {
		r.runs[0]--
	}
	return r.mixed
}
